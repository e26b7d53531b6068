//! The edge beside a real Node server (socket.io 4.8, `allowEIO3`): a raw client says the same to both, case by
//! case, and what differs is in a list with its reasons, or is a fault.

use std::{fs, path::PathBuf, time::Duration};

use serde_json::Value;

use crate::support::{Gateway, GatewayBuilder, node};

fn gateway() -> GatewayBuilder {
    Gateway::builder()
        .env("FLEETCAST_SOURCE", "demo")
        .env("FLEETCAST_DEMO_ASSETS", 10)
        .env("FLEETCAST_DEMO_FLEETS", 1)
        .env("FLEETCAST_CORS_ORIGINS", "https://good.com")
        .env("FLEETCAST_MAX_MESSAGE_BYTES", 65_536)
}

#[tokio::test]
async fn the_edge_answers_as_node_does_but_for_what_the_protocol_page_lists() {
    let plain = gateway().start().await;
    let beating =
        gateway().env("FLEETCAST_PING_INTERVAL", "1s").env("FLEETCAST_PING_TIMEOUT", "1s").start().await;
    let script = node::script("comparison.mjs").arg(plain.url()).arg(beating.url());
    let facts = script.limit(Duration::from_secs(240)).run_ok().await.facts();
    let (summary, surprises) = facts.split_last().unwrap();
    assert!(surprises.is_empty(), "{}", lines(surprises));
    assert!(summary["compared"].as_u64().unwrap() > 1000, "{summary}");
    assert_eq!(summary["unused"], serde_json::json!([]), "rows of the list that name no case");
    // None of it was an error of ours.
    assert_eq!(plain.metric("fleetcast_bridge_errors_total").await, 0.0);
    assert_eq!(plain.metric("fleetcast_panics_total").await, 0.0);
    // Polling sessions that were left without a word live until their heartbeat fails.
    plain.wait_metric(r#"fleetcast_connections{transport="websocket"}"#, 0.0).await;
}

fn lines(facts: &[Value]) -> String {
    facts.iter().map(|fact| format!("{fact:#}\n")).collect()
}

/// Compares what stands between `<!-- differences -->` and `<!-- /differences -->`, or writes it (`make bless`).
#[tokio::test]
async fn the_protocol_page_has_the_differences_from_node() {
    let facts = node::script("comparison.mjs").arg("--list").run_ok().await.facts();
    let mut expected = "\n| what | Node | Fleetcast | why |\n| --- | --- | --- | --- |\n".to_owned();
    for fact in &facts {
        let row = &fact["difference"];
        let cells = ["what", "node", "fleetcast", "why"].map(|name| row[name].as_str().unwrap());
        assert!(cells.iter().all(|cell| !cell.contains(['|', '\n']) && !cell.is_empty()), "{row}");
        expected += &format!("| {} |\n", cells.join(" | "));
    }
    expected += "\n";
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/PROTOCOL.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("<!-- differences -->\n").expect("a place for the list");
    let (actual, after) = rest.split_once("<!-- /differences -->").expect("the place has an end");
    if std::env::var_os("FLEETCAST_BLESS").is_some() {
        let parts = [before, "<!-- differences -->\n", &expected, "<!-- /differences -->", after];
        fs::write(&path, parts.concat()).unwrap();
    } else {
        assert!(actual == expected, "docs/PROTOCOL.md is not up to date: run `make bless`\n{expected}");
    }
}
