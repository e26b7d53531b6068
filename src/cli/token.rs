//! `fleetcast token`: signs a token for development and tests. Real tokens come from whoever knows the users.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Args;
use serde_json::{Map, Value, json};

use super::{misused, say};
use crate::{
    auth::{SigningKey, sign},
    values::{Secret, positive_duration},
};

/// What the token says, and what it is signed with.
#[derive(Debug, Args)]
pub(super) struct TokenOptions {
    /// Fleets that it grants, separated by commas, or `*` for all
    #[arg(long, value_name = "FLEETS", value_delimiter = ',', required = true)]
    fleets: Vec<String>,
    /// Whose token it is
    #[arg(long, value_name = "TEXT", default_value = "developer")]
    subject: String,
    /// It also opens the operations page: the claim `admin`
    #[arg(long)]
    admin: bool,
    /// How long it is good for
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = positive_duration)]
    expires_in: Duration,
    /// The secret that the gateway has too: HS256
    #[arg(long, env = "FLEETCAST_JWT_SECRET", value_name = "SECRET")]
    jwt_secret: Option<Secret>,
    /// The private key to the gateway's public one, in PEM
    #[arg(long, env = "FLEETCAST_JWT_PRIVATE_KEY", value_name = "PEM")]
    jwt_private_key: Option<Secret>,
    /// Its `iss`
    #[arg(long, env = "FLEETCAST_JWT_ISSUER", value_name = "TEXT")]
    jwt_issuer: Option<String>,
    /// Its `aud`
    #[arg(long, env = "FLEETCAST_JWT_AUDIENCE", value_name = "TEXT", value_delimiter = ',')]
    jwt_audience: Vec<String>,
    /// The claim for the fleets
    #[arg(long, env = "FLEETCAST_JWT_FLEETS_CLAIM", value_name = "NAME", default_value = "fleets")]
    jwt_fleets_claim: String,
}

pub(super) fn run(options: &TokenOptions) -> ExitCode {
    let key = match (options.jwt_private_key.clone(), options.jwt_secret.clone()) {
        (Some(pem), _) => SigningKey::Private(pem),
        (None, Some(secret)) => SigningKey::Secret(secret),
        (None, None) => {
            return misused(
                &"FLEETCAST_JWT_SECRET (--jwt-secret) or FLEETCAST_JWT_PRIVATE_KEY (--jwt-private-key) is required",
            );
        }
    };
    match sign(&key, &claims(options)) {
        Ok(token) => {
            say(&token);
            ExitCode::SUCCESS
        }
        Err(error) => misused(&format_args!("FLEETCAST_JWT_PRIVATE_KEY (--jwt-private-key): {error}")),
    }
}

fn claims(options: &TokenOptions) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let fleets = match options.fleets.as_slice() {
        [all] if all == "*" => json!("*"),
        fleets => json!(fleets),
    };
    let mut claims = json!({
        "sub": options.subject,
        "iat": now.as_secs(),
        "exp": (now + options.expires_in).as_secs(),
    });
    put(&mut claims, &options.jwt_fleets_claim, fleets);
    if options.admin {
        claims["admin"] = json!(true);
    }
    if let Some(issuer) = &options.jwt_issuer {
        claims["iss"] = json!(issuer);
    }
    match options.jwt_audience.as_slice() {
        [] => {}
        [one] => claims["aud"] = json!(one),
        several => claims["aud"] = json!(several),
    }
    claims
}

/// Puts a value where the gateway will look for it.
fn put(claims: &mut Value, name: &str, value: Value) {
    let Some(path) = name.strip_prefix('/') else {
        claims[name] = value;
        return;
    };
    let mut place = claims;
    for key in path.split('/') {
        let key = key.replace("~1", "/").replace("~0", "~");
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[key];
    }
    *place = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_claim_goes_where_the_gateway_looks() {
        let mut claims = json!({"sub": "a"});
        put(&mut claims, "fleets", json!("*"));
        put(&mut claims, "/app/x~1y/fleets", json!(["a"]));
        assert_eq!(claims, json!({"sub": "a", "fleets": "*", "app": {"x/y": {"fleets": ["a"]}}}));
        assert_eq!(claims.pointer("/app/x~1y/fleets"), Some(&json!(["a"])));
    }
}
