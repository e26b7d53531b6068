//! The harness. Invariant: whatever a test starts ends with the test, even when the test process is killed.
#![allow(dead_code, unused_imports, reason = "each test uses its own part of the harness")]

mod chaos;
mod gateway;
pub mod kafka;
pub mod node;
mod process;
mod redis;
mod tls;
mod viewer;
mod world;

use std::{future::Future, time::Duration};

pub use chaos::ChaosProxy;
pub use gateway::{Gateway, GatewayBuilder, Sample, parse_metrics};
pub use kafka::Kafka;
pub use process::Process;
pub use redis::RedisServer;
pub use tls::Authority;
pub use viewer::Viewer;
pub use world::World;

/// How long an ordinary condition may take on a busy machine with two cores.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Polls `holds` until it is true; panics with `claim` when [`PATIENCE`] is over.
pub async fn eventually<F: Future<Output = bool>>(claim: &str, holds: impl FnMut() -> F) {
    eventually_within(PATIENCE, claim, holds).await;
}

/// Polls `holds` every 20 ms until it is true; panics with `claim` when `limit` is over.
pub async fn eventually_within<F: Future<Output = bool>>(
    limit: Duration,
    claim: &str,
    mut holds: impl FnMut() -> F,
) {
    let polled = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(limit, polled).await.is_err() {
        panic!("not true within {limit:?}: {claim}");
    }
}

/// A loopback port that was free a moment ago, for servers that cannot bind port 0 and tell.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Epoch milliseconds.
pub fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}
