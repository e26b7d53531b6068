//! The harness keeps its own promises: servers start, faults are real, children end, scripts are captured.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::support::{ChaosProxy, PATIENCE, RedisServer, node, parse_metrics};

const MOMENT: Duration = Duration::from_millis(150);

#[tokio::test]
async fn redis_restarts_empty_on_its_port_and_a_pause_is_a_pause() {
    let mut redis = RedisServer::start().await;
    let _: () = redis.command(&["SET", "key", "value"]).await;
    redis.restart().await;
    assert_eq!(redis.command::<Option<String>>(&["GET", "key"]).await, None);

    let mut connection = redis.connect().await;
    redis.pause();
    let ping = redis::cmd("PING");
    assert!(timeout(MOMENT, ping.query_async::<String>(&mut connection)).await.is_err());
    redis.resume();
    let pong = redis::cmd("PING").query_async::<String>(&mut redis.connect().await).await;
    assert_eq!(pong.unwrap(), "PONG");
}

#[tokio::test]
async fn a_dropped_server_is_gone() {
    let redis = RedisServer::start().await;
    let port = redis.port();
    drop(redis);
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

#[tokio::test]
async fn the_proxy_delays_stalls_and_cuts() {
    let proxy = ChaosProxy::start(echo_server().await);
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    assert!(echoes(&mut client).await);

    proxy.delay(MOMENT);
    let started = Instant::now();
    assert!(echoes(&mut client).await);
    assert!(started.elapsed() >= MOMENT * 2, "once there, once back");

    proxy.stall();
    assert!(timeout(MOMENT, echoes(&mut client)).await.is_err());
    proxy.pass();
    let mut late = [0; 4];
    timeout(PATIENCE, client.read_exact(&mut late)).await.unwrap().unwrap();

    proxy.cut();
    assert!(timeout(PATIENCE, client.read(&mut late)).await.unwrap().is_err(), "a reset is no goodbye");
    // The reset may come before `connect` returns, or after.
    if let Ok(mut refused) = TcpStream::connect(proxy.addr()).await {
        assert!(!echoes(&mut refused).await);
    }
    proxy.pass();
    assert!(echoes(&mut TcpStream::connect(proxy.addr()).await.unwrap()).await);
}

#[tokio::test]
async fn a_half_open_connection_stays_silent_after_the_link_is_healed() {
    let proxy = ChaosProxy::start(echo_server().await);
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    assert!(echoes(&mut client).await);
    proxy.half_open();
    assert!(timeout(MOMENT, echoes(&mut client)).await.is_err());
    proxy.pass();
    assert!(timeout(MOMENT, echoes(&mut client)).await.is_err());
    assert!(echoes(&mut TcpStream::connect(proxy.addr()).await.unwrap()).await);
}

#[tokio::test]
async fn node_scripts_are_captured() {
    let run = |exit: i32| {
        node::script("harness.mjs").arg("one").env("HARNESS_VARIABLE", "two").env("HARNESS_EXIT", exit).run()
    };
    let finished = run(0).await;
    assert!(finished.status.success());
    let facts = finished.facts();
    assert_eq!(facts[0]["clients"], serde_json::json!(["2.5", "3.1", "4.0", "4.4", "4.8"]));
    assert_eq!(facts[1], serde_json::json!({"args": ["one"], "variable": "two"}));
    assert_eq!(run(3).await.status.code(), Some(3));
}

#[test]
fn metrics_are_read() {
    let samples = parse_metrics("# HELP a_total Help.\na_total{x=\"1\",y=\"2\"} 3\nb 4.5\n# EOF\n");
    assert_eq!(samples.len(), 2);
    assert_eq!((samples[0].name.as_str(), samples[0].value), ("a_total", 3.0));
    assert_eq!(samples[0].labels, ["x=\"1\"", "y=\"2\""]);
}

async fn echo_server() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                drop(tokio::io::copy(&mut from, &mut to).await);
            });
        }
    });
    addr
}

async fn echoes(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 4];
    stream.write_all(b"ping").await.is_ok()
        && stream.read_exact(&mut answer).await.is_ok_and(|_| &answer == b"ping")
}
