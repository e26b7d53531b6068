//! The proxy configuration of `docker/`, run natively before two gateways: stock clients over polling, websocket
//! and the upgrade reach one replica each, and the other when theirs goes away.

use std::{collections::BTreeSet, path::Path, process::Command};

use serde_json::Value;

use crate::support::{Gateway, PATIENCE, Process, RedisServer, eventually, free_port, node};

const MESSAGES: usize = 100;

async fn replica(redis: &RedisServer) -> Gateway {
    let gateway = Gateway::builder().env("FLEETCAST_SOURCE", "redis").redis(redis);
    let gateway = gateway.env("FLEETCAST_SHUTDOWN_GRACE", "3s");
    let gateway = gateway.env("FLEETCAST_TRUSTED_PROXIES", "127.0.0.1").start().await;
    gateway.wait_ready().await;
    gateway
}

fn haproxy(port: u16, replicas: &[Gateway; 2]) -> Process {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/haproxy.cfg");
    // Debian keeps it where only administrators look.
    let path = format!("{}:/usr/sbin", std::env::var_os("PATH").unwrap_or_default().to_string_lossy());
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(config).env("PATH", path);
    command.env("PROXY_LISTEN", format!("127.0.0.1:{port}"));
    for (replica, name) in replicas.iter().zip(["REPLICA_ONE", "REPLICA_TWO"]) {
        let (_, admin_port) = replica.admin_addr().rsplit_once(':').unwrap();
        command.env(name, replica.addr()).env(format!("{name}_ADMIN_PORT"), admin_port);
    }
    Process::start("haproxy", command)
}

async fn publish(redis: &RedisServer, numbers: std::ops::Range<usize>) {
    let mut connection = redis.connect().await;
    for number in numbers {
        let message = format!("{{\"assetId\":\"a\",\"n\":{number}}}");
        let mut command = redis::cmd("PUBLISH");
        command.arg("updates:f").arg(message);
        let _receivers: usize = command.query_async(&mut connection).await.unwrap();
    }
}

async fn client_addresses(replica: &Gateway) -> Vec<String> {
    let connections: Value = serde_json::from_str(&replica.admin_get("/debug/connections").await.1).unwrap();
    connections.as_array().unwrap().iter().map(|one| one["ip"].as_str().unwrap().to_owned()).collect()
}

async fn fact(process: &mut Process, wanted: impl Fn(&Value) -> bool, what: &str) -> Value {
    let found = |line: &str| serde_json::from_str::<Value>(line).ok().filter(|value| wanted(value));
    process.wait_line(PATIENCE, what, found).await
}

#[tokio::test]
async fn every_client_stays_on_its_replica_and_moves_when_that_goes() {
    let redis = RedisServer::start().await;
    let mut replicas = [replica(&redis).await, replica(&redis).await];
    let port = free_port();
    let _proxy = haproxy(port, &replicas);
    let url = format!("http://127.0.0.1:{port}");
    let ready = || async { reqwest::get(&url).await.is_ok_and(|answer| answer.status() != 503) };
    eventually("the proxy has found a replica", ready).await;

    let script = node::script("proxy.mjs").arg(&url).arg("f").arg(MESSAGES);
    let mut viewers = script.spawn();
    fact(&mut viewers, |fact| fact["fact"] == "all connected", "all connected").await;
    for replica in &replicas {
        let connections = replica.metric("fleetcast_connections").await;
        assert!(connections > 0.0, "an address picks the replica, and both are picked");
    }
    let addresses = [client_addresses(&replicas[0]).await, client_addresses(&replicas[1]).await].concat();
    let expected: BTreeSet<String> = (2..=16).map(|host| format!("127.0.0.{host}")).collect();
    assert_eq!(BTreeSet::from_iter(addresses), expected, "the proxy is believed, and each client told apart");
    publish(&redis, 0..MESSAGES).await;
    let phase = fact(&mut viewers, |fact| fact["phase"] == 0, "the first phase").await;
    assert_eq!(phase["wrong"], serde_json::json!([]));

    let total =
        replicas[0].metric("fleetcast_connections").await + replicas[1].metric("fleetcast_connections").await;
    replicas[0].sigterm();
    assert_eq!(replicas[0].wait_exit(PATIENCE).await.code(), Some(0));
    let moved = || async { replicas[1].metric("fleetcast_viewers").await == total };
    eventually("all viewers came back on the other replica", moved).await;
    fact(
        &mut viewers,
        |fact| fact["fact"] == "all connected" && fact["connects"].as_u64() > Some(15),
        "moved",
    )
    .await;
    publish(&redis, MESSAGES..2 * MESSAGES).await;
    let phase = fact(&mut viewers, |fact| fact["phase"] == 1, "the second phase").await;
    assert_eq!(phase["wrong"], serde_json::json!([]));
}
