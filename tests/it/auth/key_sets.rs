//! Keys that an issuer publishes: rotated, guessed at, and away.

use std::time::{Duration, Instant};

use serde_json::json;

use super::tokens::{Issuer, Made, Wanted, good, guarded};
use crate::support::{Gateway, RedisServer, Viewer, eventually, eventually_within};

async fn three_keys() -> Made {
    let wanted = Wanted::default().key("a", "rsa").key("b", "p256").key("c", "ed25519");
    wanted
        .token_with("of a", "a", "RS256", json!({"kid": "a"}), good(json!("*")))
        .token_with("of b", "b", "ES256", json!({"kid": "b"}), good(json!("*")))
        .token("of c without id", "c", "EdDSA", good(json!("*")))
        .token_with("confused", "b", "HS256", json!({"kid": "b"}), good(json!("*")))
        .make()
        .await
}

async fn gateway(redis: &RedisServer, issuer: &Issuer) -> Gateway {
    guarded()
        .redis(redis)
        .env("FLEETCAST_SOURCE", "redis")
        .env("FLEETCAST_JWKS_URL", issuer.url())
        .start()
        .await
}

async fn connect(gateway: &Gateway, token: &str) -> Result<Viewer, String> {
    Viewer::try_connect(gateway.addr(), &format!("fleetId=f&token={token}")).await
}

#[tokio::test]
async fn rotated_keys_are_taken_over_when_a_token_names_one_and_guesses_cost_the_issuer_nothing() {
    let (redis, made) = (RedisServer::start().await, three_keys().await);
    let issuer = Issuer::start(200, made.key_set(&["a"])).await;
    let gateway = gateway(&redis, &issuer).await;
    gateway.wait_ready().await;
    let mut first = connect(&gateway, made.token("of a")).await.unwrap();
    assert_eq!(issuer.asked(), 1);

    // Whoever makes up ids does not make the gateway ask each time, and is not told off for good.
    let began = Instant::now();
    for _ in 0..30 {
        let outcome = connect(&gateway, made.token("of b")).await.map(drop).unwrap_err();
        let is_final = outcome.contains("the token's key is not known");
        assert!(is_final || outcome == "closed", "{outcome}");
    }
    let rounds = began.elapsed().as_secs() as usize / 5 + 1;
    assert!(issuer.asked() <= 1 + rounds, "asked {} times in {:?}", issuer.asked(), began.elapsed());

    issuer.publish(200, made.key_set(&["b", "c"]));
    let taken_over = async || connect(&gateway, made.token("of b")).await.is_ok();
    eventually_within(Duration::from_secs(15), "the new key is taken over", taken_over).await;
    connect(&gateway, made.token("of c without id")).await.unwrap();
    let confused = connect(&gateway, made.token("confused")).await.map(drop).unwrap_err();
    assert!(confused.contains("algorithm is not accepted"), "{confused}");
    eventually_within(Duration::from_secs(15), "the old key opens nothing any more", async || {
        let outcome = connect(&gateway, made.token("of a")).await.map(drop);
        outcome.is_err_and(|refusal| refusal.contains("key is not known"))
    })
    .await;
    redis.command::<i64>(&["PUBLISH", "updates:f", "still here"]).await;
    assert_eq!(first.event("fleet_update").await, "still here", "a key's end is not its viewers' end");
}

#[tokio::test]
async fn while_the_issuer_is_down_known_keys_stay_and_strangers_are_asked_to_come_back() {
    let (redis, made) = (RedisServer::start().await, three_keys().await);
    let issuer = Issuer::start(500, "out of order".to_owned()).await;
    let gateway = gateway(&redis, &issuer).await;
    let (status, body) = gateway.admin_get("/readyz").await;
    assert!(status == 503 && body.contains("keys for tokens"), "{body}");
    // Nobody is to blame for the viewer's token: its transport is closed, and a stock client comes back.
    assert_eq!(connect(&gateway, made.token("of a")).await.map(drop).unwrap_err(), "closed");

    for nonsense in ["{}", r#"{"keys":[]}"#, "<html>login</html>"] {
        issuer.publish(200, nonsense.to_owned());
        let failed = gateway.metric("fleetcast_auth_fetches_failed_total").await;
        eventually_within(Duration::from_secs(20), "the document is refused", async || {
            gateway.metric("fleetcast_auth_fetches_failed_total").await > failed
        })
        .await;
        assert_eq!(gateway.admin_get("/readyz").await.0, 503);
    }
    issuer.publish(200, made.key_set(&["a"]));
    eventually_within(Duration::from_secs(30), "ready", async || gateway.admin_get("/readyz").await.0 == 200)
        .await;
    connect(&gateway, made.token("of a")).await.unwrap();

    issuer.publish(503, String::new());
    let asked = issuer.asked();
    eventually_within(Duration::from_secs(15), "the issuer is asked about the other key", async || {
        let _closed = connect(&gateway, made.token("of b")).await.map(drop);
        issuer.asked() > asked
    })
    .await;
    connect(&gateway, made.token("of a")).await.unwrap();
    assert_eq!(gateway.admin_get("/readyz").await.0, 200, "what it has still serves");
    eventually("all has ended", async || gateway.metric("fleetcast_viewers").await == 0.0).await;
}
