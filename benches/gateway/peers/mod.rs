//! Gateways that live in this program, each started as a process of its own by `peer <name>`.

mod plain_port;
mod raw;

use anyhow::Result;

/// Serves until it is killed.
pub(crate) fn serve(name: &str) -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "peers take the same two variables, in Node and here")]
    let variable = |key: &str| std::env::var(key).map_err(|_| anyhow::anyhow!("{key} is not set"));
    let (port, redis) = (variable("PORT")?.parse()?, variable("REDIS_URL")?);
    match name {
        "raw" => raw::serve(port, &redis),
        "socketioxide" => plain_port::serve(port, &redis),
        _ => anyhow::bail!("no peer is called {name}"),
    }
}
