//! What changes while the process runs: settings, keys; and what is wrong changes nothing.

use serde_json::json;

use crate::{
    auth::tokens::{SECRET, Wanted, good, guarded},
    support::{Gateway, RedisServer, Viewer, eventually},
};

/// The status of a handshake from a page of that origin.
async fn status(gateway: &Gateway, origin: &str) -> u16 {
    let url = format!("{}/socket.io/?EIO=4&transport=polling", gateway.url());
    let request = reqwest::Client::new().get(url).header("origin", origin);
    request.send().await.unwrap().status().as_u16()
}

fn hang_up(gateway: &Gateway) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(gateway.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
}

fn complaints(gateway: &Gateway) -> usize {
    let told = |line: &serde_json::Value| line["message"] == "the configuration stays as it was";
    gateway.log().iter().filter(|line| told(line)).count()
}

#[tokio::test]
async fn origins_and_limits_follow_their_file_and_a_broken_file_changes_nothing() {
    let redis = RedisServer::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("settings.env");
    let write = |origins: &str, connections: &str| {
        let text =
            format!("# ours\nFLEETCAST_CORS_ORIGINS={origins}\nFLEETCAST_MAX_CONNECTIONS={connections}\n");
        std::fs::write(&file, text).unwrap();
    };
    write("https://a.example", "1");
    let gateway = Gateway::builder()
        .redis(&redis)
        .env("FLEETCAST_SOURCE", "redis")
        .env("FLEETCAST_SETTINGS_FILE", file.display())
        .start()
        .await;
    assert_eq!(status(&gateway, "https://b.example").await, 403);
    let mut first = Viewer::connect(gateway.addr(), "fleetId=f").await;
    assert_eq!(status(&gateway, "https://a.example").await, 503, "one is the limit");

    write("https://a.example,https://b.example", "100");
    eventually("the other origin is let in", async || status(&gateway, "https://b.example").await == 200)
        .await;
    assert_eq!(status(&gateway, "https://a.example").await, 200);

    for broken in ["https://b.example/", "nonsense"] {
        let before = complaints(&gateway);
        write(broken, "100");
        eventually("that is told", async || complaints(&gateway) > before).await;
    }
    std::fs::write(&file, "no setting at all").unwrap();
    let before = complaints(&gateway);
    hang_up(&gateway);
    eventually("that too", async || complaints(&gateway) > before).await;
    assert_eq!(status(&gateway, "https://b.example").await, 200, "the last good one is in use");
    redis.command::<i64>(&["PUBLISH", "updates:f", "still here"]).await;
    assert_eq!(first.event("fleet_update").await, "still here", "nobody is asked to leave");
}

#[tokio::test]
async fn keys_are_changed_without_a_restart() {
    let redis = RedisServer::start().await;
    let second = "another-secret-of-more-than-32-letters";
    let made = Wanted::default()
        .key("one", &format!("secret: {SECRET}"))
        .key("two", &format!("secret: {second}"))
        .token("one", "one", "HS256", good(json!("*")))
        .token("two", "two", "HS256", good(json!("*")))
        .make()
        .await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, SECRET).unwrap();
    let gateway = guarded()
        .redis(&redis)
        .env("FLEETCAST_SOURCE", "redis")
        .env("FLEETCAST_JWT_SECRET_FILE", file.display())
        .start()
        .await;
    let connects = async |label: &str| {
        Viewer::try_connect(gateway.addr(), &format!("fleetId=f&token={}", made.token(label))).await.is_ok()
    };
    assert!(connects("one").await && !connects("two").await);
    std::fs::write(&file, "short").unwrap();
    hang_up(&gateway);
    eventually("a bad key is told", async || {
        gateway.log().iter().any(|line| line["message"] == "the configuration stays as it was")
    })
    .await;
    assert!(connects("one").await, "and the good one stays");
    std::fs::write(&file, format!("{second}\n")).unwrap();
    eventually("the new key is in use", async || connects("two").await).await;
    assert!(!connects("one").await);
}
