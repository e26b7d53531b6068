//! The admin port: health with reasons, metrics that parse, memory with marks, heap profiles.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Gateway, PATIENCE, RedisServer, eventually, parse_metrics};

async fn demo() -> Gateway {
    Gateway::builder().command("demo").start().await
}

async fn json(gateway: &Gateway, path: &str) -> Value {
    let (status, body) = gateway.admin_get(path).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn health_is_told_until_the_end() {
    let mut gateway = demo().await;
    gateway.wait_ready().await;
    assert_eq!(gateway.admin_get("/livez").await, (200, "ok\n".to_owned()));
    let ready = json(&gateway, "/readyz").await;
    assert_eq!((&ready["ready"], &ready["reasons"]), (&Value::Bool(true), &serde_json::json!({})));
    assert_eq!(gateway.admin_get("/healthz").await.0, 200);
    assert_eq!(gateway.metric("fleetcast_ready").await, 1.0);
    gateway.sigterm();
    assert_eq!(gateway.wait_exit(PATIENCE).await.code(), Some(0));
}

#[tokio::test]
async fn every_metric_has_our_prefix_help_and_a_value() {
    let gateway = demo().await;
    let (status, text) = gateway.admin_get("/metrics").await;
    assert_eq!(status, 200);
    assert!(text.ends_with("# EOF\n"), "OpenMetrics ends with a mark, so that a cut answer is noticed");
    let samples = parse_metrics(&text);
    assert!(samples.len() > 30);
    for sample in &samples {
        assert!(sample.name.starts_with("fleetcast_"), "{sample:?}");
    }
    for line in text.lines().filter(|line| line.starts_with("# HELP")) {
        assert!(line.split_whitespace().count() > 4, "help says nothing: {line}");
    }
    assert!(gateway.metric("fleetcast_process_resident_bytes").await > 1e6);
    assert!(gateway.metric("fleetcast_process_open_fds").await > 3.0);
    assert!(gateway.metric("fleetcast_process_threads").await > 1.0);
    let sampled = || async { gateway.metric("fleetcast_runtime_lag_seconds_count").await > 10.0 };
    eventually("the runtime's lag is sampled", sampled).await;
}

#[tokio::test]
async fn memory_is_compared_between_marks() {
    let gateway = demo().await;
    for mark in ["A", "B", "C"] {
        let answer = json(&gateway, &format!("/debug/memory?mark={mark}")).await;
        assert!(answer["allocator"]["allocated"].as_u64().is_some_and(|bytes| bytes > 100_000), "{answer}");
        assert!(answer["resident"].is_u64() && answer["unclassified"].is_u64(), "{answer}");
    }
    let differences = json(&gateway, "/debug/memory").await["differences"].clone();
    for pair in ["B-A", "C-A", "C-B"] {
        assert!(differences[pair]["allocator.allocated"].is_i64(), "{pair}: {differences}");
    }
    assert_eq!(gateway.admin_get("/debug/memory?mark=D").await.0, 400);
}

#[tokio::test]
async fn freed_memory_goes_back_to_the_system_soon() {
    // The settings compiled into the binary are what makes memory after a storm what it was before.
    let gateway = demo().await;
    let shown = gateway.admin_get("/debug/memory").await.1;
    assert!(shown.contains("retained"), "{shown}");
    let threads = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap();
    let names = threads.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap());
    let names: Vec<String> = names.collect();
    assert!(names.iter().any(|name| name.contains("jemalloc")), "no background thread: {names:?}");
}

#[tokio::test]
async fn a_heap_profile_needs_to_be_asked_for_at_start() {
    let (status, text) = demo().await.admin_get("/debug/heap").await;
    assert_eq!(status, 501);
    assert!(text.contains("MALLOC_CONF=prof:true"), "{text}");

    let profiled =
        Gateway::builder().command("demo").env("MALLOC_CONF", "prof:true,lg_prof_sample:12").start();
    let profiled = profiled.await;
    for _ in 0..2 {
        let (status, profile) = profiled.admin_get("/debug/heap").await;
        assert_eq!(status, 200, "{profile}");
        assert!(profile.starts_with("heap_v2/4096"), "{}", &profile[..100]);
        assert!(profile.contains("MAPPED_LIBRARIES:"), "jeprof needs the map to name functions");
    }
}

#[tokio::test]
async fn unknown_paths_are_not_found_and_the_public_port_shows_no_admin() {
    let gateway = demo().await;
    assert_eq!(gateway.admin_get("/debug").await.0, 404);
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
    for path in ["/metrics", "/debug/memory", "/readyz"] {
        let answer = client.get(format!("{}{path}", gateway.url())).send().await.unwrap();
        let text = answer.text().await.unwrap();
        assert!(!text.contains("fleetcast_") && !text.contains("allocator"), "{path}: {text}");
    }
}

#[tokio::test]
async fn readiness_says_which_service_is_away_at_start_and_later() {
    let mut redis = RedisServer::start().await;
    redis.stop();
    let gateway = Gateway::builder().env("FLEETCAST_SOURCE", "redis").redis(&redis).start().await;
    let reason = || async {
        let (status, body) = gateway.admin_get("/readyz").await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status == 200, body["ready"] == true, "{status} {body}");
        (status, body["reasons"]["redis"].clone())
    };
    assert_eq!(gateway.admin_get("/livez").await.0, 200, "alive, only not ready");
    let (status, why) = reason().await;
    assert!(status == 503 && why.is_string(), "{why}");

    redis.start_again().await;
    gateway.wait_ready().await;
    let probed = || async { gateway.metric("fleetcast_redis_round_trip_seconds_count").await > 1.0 };
    eventually("the round trip to Redis is measured", probed).await;
    redis.pause();
    let lost = || async { reason().await.0 == 503 };
    eventually("a Redis that does not answer is noticed", lost).await;
    redis.resume();
    gateway.wait_ready().await;
    assert_eq!(gateway.metric("fleetcast_ready").await, 1.0);
}

#[tokio::test]
async fn the_state_of_simulated_assets_is_accounted_for() {
    let gateway =
        Gateway::builder().command("demo").arg("--assets").arg(20_000).arg("--rate").arg(5).start().await;
    // Every asset has spoken; the simulation itself is there from the start.
    let spoken = || async { gateway.metric("fleetcast_updates_received_total").await >= 20_000.0 };
    eventually("every asset has spoken", spoken).await;
    let figures = json(&gateway, "/debug/memory").await;
    let class = |name: &str| figures["classes"][name].as_u64().unwrap_or_else(|| panic!("{name}: {figures}"));
    let per_asset = class("state") / 20_000;
    assert!((200..4000).contains(&per_asset), "{per_asset} bytes per asset: {figures}");
    assert!(class("tracks") > 0 && class("rooms") < 10_000, "{figures}");
    let allocated = figures["allocator"]["allocated"].as_u64().unwrap();
    assert!(class("state") + class("tracks") < allocated, "more than there is: {figures}");
}

#[tokio::test]
async fn the_page_comes_with_security_headers_and_without_the_admin_port() {
    let tiles = "https://tiles.example/{z}/{x}/{y}.png";
    let gateway =
        Gateway::builder().env("FLEETCAST_SOURCE", "demo").env("FLEETCAST_MAP_TILES", tiles).start().await;
    for path in ["/", "/ops", "/assets/none.js", "/api/config"] {
        let answer = reqwest::get(format!("{}{path}", gateway.url())).await.unwrap();
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        let policy = header("content-security-policy");
        for part in
            ["default-src 'none'", "script-src 'self';", "worker-src 'self' blob:", "https://tiles.example"]
        {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "no-referrer");
        assert_eq!(header("x-frame-options"), "SAMEORIGIN");
    }
    for path in
        ["/metrics", "/readyz", "/livez", "/healthz", "/debug/memory", "/debug/connections", "/debug/heap"]
    {
        let answer = reqwest::get(format!("{}{path}", gateway.url())).await.unwrap();
        assert_eq!(answer.status().as_u16(), 404, "{path}");
        let (status, _) = gateway.admin_get(path).await;
        assert_ne!(status, 404, "{path}");
    }
}
