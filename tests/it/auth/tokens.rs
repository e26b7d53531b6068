//! Tokens as Node's cryptography makes them, a server that publishes keys, and gateways that want tokens.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{Router, http::StatusCode, routing::get};
use serde_json::{Map, Value, json};

use crate::support::{Gateway, GatewayBuilder, node, now_ms};

/// Long enough for every hash.
pub const SECRET: &str = "only-for-tests-only-for-tests-only";

/// Seconds since 1970, some seconds from now.
pub fn in_seconds(seconds: i64) -> i64 {
    now_ms() / 1000 + seconds
}

/// Claims that are good for an hour.
pub fn good(fleets: Value) -> Value {
    json!({"sub": "viewer", "fleets": fleets, "exp": in_seconds(3600)})
}

/// Keys to be made, and tokens to be signed with them.
#[derive(Debug, Default)]
pub struct Wanted {
    keys: Map<String, Value>,
    tokens: Map<String, Value>,
}

/// What was made.
#[derive(Debug)]
pub struct Made(Value);

impl Wanted {
    /// `kind`: `rsa`, `p256`, `p384`, `ed25519`, or `secret: …`.
    pub fn key(mut self, name: &str, kind: &str) -> Self {
        self.keys.insert(name.to_owned(), kind.into());
        self
    }

    pub fn token(self, label: &str, key: &str, alg: &str, claims: Value) -> Self {
        self.token_with(label, key, alg, json!({}), claims)
    }

    pub fn token_with(mut self, label: &str, key: &str, alg: &str, header: Value, claims: Value) -> Self {
        let token = json!({"key": key, "alg": alg, "header": header, "claims": claims});
        self.tokens.insert(label.to_owned(), token);
        self
    }

    pub async fn make(self) -> Made {
        let wanted = json!({"keys": self.keys, "tokens": self.tokens});
        let run = node::script("tokens.mjs").arg(wanted).run_ok().await;
        Made(run.facts().remove(0))
    }
}

impl Made {
    pub fn token(&self, label: &str) -> &str {
        self.0["tokens"][label].as_str().unwrap_or_else(|| panic!("no token {label}"))
    }

    pub fn labels(&self) -> Vec<&str> {
        self.0["tokens"].as_object().unwrap().keys().map(String::as_str).collect()
    }

    pub fn public(&self, key: &str) -> &str {
        self.0["keys"][key]["public"].as_str().unwrap()
    }

    pub fn private(&self, key: &str) -> &str {
        self.0["keys"][key]["private"].as_str().unwrap()
    }

    /// A document with the public keys of these names.
    pub fn key_set(&self, keys: &[&str]) -> String {
        let keys: Vec<_> = keys.iter().map(|key| &self.0["keys"][key]["jwk"]).collect();
        json!({"keys": keys}).to_string()
    }
}

/// Tokens signed with [`SECRET`], each with its claims.
pub async fn with_secret(tokens: &[(&str, Value)]) -> Made {
    let wanted = Wanted::default().key("s", &format!("secret: {SECRET}"));
    let token =
        |wanted: Wanted, (label, claims): &(&str, Value)| wanted.token(label, "s", "HS256", claims.clone());
    tokens.iter().fold(wanted, token).make().await
}

/// A gateway that wants tokens; source and keys are up to the test.
pub fn guarded() -> GatewayBuilder {
    Gateway::builder().env("FLEETCAST_AUTH", "jwt")
}

/// Publishes a document, or fails, and counts who asks.
#[derive(Debug, Clone)]
pub struct Issuer {
    addr: SocketAddr,
    state: Arc<Mutex<(StatusCode, String, usize)>>,
}

impl Issuer {
    pub async fn start(status: u16, document: String) -> Self {
        let status = StatusCode::from_u16(status).unwrap();
        let state = Arc::new(Mutex::new((status, document, 0)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = state.clone();
        let answer = get(async move || {
            let mut state = shared.lock().unwrap();
            state.2 += 1;
            (state.0, state.1.clone())
        });
        let router = Router::new().route("/keys", answer);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { addr, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}/keys", self.addr)
    }

    pub fn publish(&self, status: u16, document: String) {
        let mut state = self.state.lock().unwrap();
        (state.0, state.1) = (StatusCode::from_u16(status).unwrap(), document);
    }

    pub fn asked(&self) -> usize {
        self.state.lock().unwrap().2
    }
}
