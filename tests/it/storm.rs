//! Churn: the storm that killed the Node gateway. Afterwards nothing is left.

use std::time::Duration;

use futures_util::{StreamExt, stream};

use crate::support::{Gateway, RedisServer, Viewer, eventually_within};

const SETTLED: Duration = Duration::from_secs(30);

async fn wave(addr: &str, count: usize, fleets: usize) -> Vec<Viewer> {
    stream::iter(0..count)
        .map(|index| async move { Viewer::connect(addr, &format!("fleetId=fleet-{}", index % fleets)).await })
        .buffer_unordered(64)
        .collect()
        .await
}

async fn settled(gateway: &Gateway, redis: &RedisServer) {
    for metric in [
        "viewers",
        "rooms",
        "sockets_in_no_room",
        "rooms_in_no_socket",
        "memberships",
        "watched_fleets",
        "connections",
        "http_connections",
        "redis_subscriptions",
    ] {
        let name = format!("fleetcast_{metric}");
        eventually_within(SETTLED, metric, async || gateway.metric(&name).await == 0.0).await;
    }
    eventually_within(SETTLED, "no channel is left", async || {
        redis.command::<Vec<String>>(&["PUBSUB", "CHANNELS", "updates:*"]).await.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_waves_of_five_thousand_leave_nothing_behind() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::builder()
        .redis(&redis)
        .env("FLEETCAST_SOURCE", "redis")
        .env("FLEETCAST_CONNECT_RATE", "100000/s")
        .env("FLEETCAST_LOG", "warn,fleetcast::app=info")
        .start()
        .await;
    // One connection pays for what is made once: thread-local buffers, the first connection to Redis.
    wave(gateway.addr(), 50, 5).await.into_iter().for_each(Viewer::tear_down);
    settled(&gateway, &redis).await;
    let fds = gateway.open_fds();
    let tasks = gateway.metric("fleetcast_runtime_tasks").await;

    for _ in 0..5 {
        let viewers = wave(gateway.addr(), 5000, 100).await;
        assert_eq!(gateway.metric("fleetcast_viewers").await, 5000.0);
        assert_eq!(gateway.metric("fleetcast_rooms").await, 100.0);
        assert_eq!(gateway.metric("fleetcast_memberships").await, 1000.0);
        assert_eq!(gateway.metric("fleetcast_watched_fleets").await, 100.0);
        redis.command::<i64>(&["PUBLISH", "updates:fleet-1", "hello"]).await;
        for (index, mut viewer) in viewers.into_iter().enumerate() {
            if index % 2 == 0 {
                viewer.tear_down();
            } else {
                viewer.send("1").await;
            }
        }
    }
    settled(&gateway, &redis).await;
    eventually_within(SETTLED, "descriptors are back", async || gateway.open_fds() <= fds + 4).await;
    eventually_within(SETTLED, "tasks are back", async || {
        gateway.metric("fleetcast_runtime_tasks").await <= tasks + 4.0
    })
    .await;
    assert_eq!(gateway.metric("fleetcast_bridge_errors_total").await, 0.0);
}

/// The article's three heap snapshots, ten times: A at the start, B with 5,000 viewers, C after they are
/// gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_after_ten_storms_is_memory_before_them() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::builder()
        .redis(&redis)
        .env("FLEETCAST_SOURCE", "redis")
        .env("FLEETCAST_CONNECT_RATE", "100000/s")
        .env("FLEETCAST_LOG", "warn,fleetcast::app=info")
        .start()
        .await;
    let resident = async |mark: &str| -> f64 {
        let (status, body) = gateway.admin_get(&format!("/debug/memory?mark={mark}")).await;
        assert_eq!(status, 200, "{body}");
        gateway.rss_bytes() as f64
    };
    // The first storm pays for tables and pools that are made once and stay.
    wave(gateway.addr(), 5000, 500).await.into_iter().for_each(Viewer::tear_down);
    settled(&gateway, &redis).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let a = resident("A").await;
    for cycle in 0..10 {
        let viewers = wave(gateway.addr(), 5000, 500).await;
        let b = resident("B").await;
        viewers.into_iter().for_each(Viewer::tear_down);
        settled(&gateway, &redis).await;
        let per_viewer = (b - a) / 5e3;
        assert!((4e3..16.0 * 1024.0).contains(&per_viewer), "{per_viewer} bytes per idle viewer");
        let mut c = f64::MAX;
        for _ in 0..10 {
            c = c.min(resident("C").await);
            if c - a <= 0.05 * (b - a) {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let stays = 100.0 * (c - a) / (b - a);
        eprintln!(
            "cycle {cycle}: A {a}, B {b}, C {c}: {stays:.1} % stay, {:.0} bytes per viewer",
            (b - a) / 5e3
        );
        assert!(stays <= 5.0, "cycle {cycle}: A {a}, B {b}, C {c}: {stays:.1} % stay");
    }
}
