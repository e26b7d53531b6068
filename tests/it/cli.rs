//! The command line as operators meet it: exit codes, one clear line for each mistake, a complete help.

use std::process::ExitStatus;

use crate::support::{Gateway, GatewayBuilder, Kafka, PATIENCE, Process, RedisServer, free_port};

/// Every variable that operators are promised.
const VARIABLES: &[&str] = &[
    "LISTEN",
    "ADMIN_LISTEN",
    "SOURCE",
    "STORE",
    "REDIS_URL",
    "REDIS_CA",
    "REDIS_PREFIX",
    "AUTH",
    "CORS_ORIGINS",
    "KAFKA_BROKERS",
    "KAFKA_TOPICS",
    "KAFKA_GROUP",
    "KAFKA_PROPERTIES",
    "FIELDS",
    "MAX_SKEW",
    "LEGACY_PUBLISH",
    "PAYLOAD",
    "MAX_CONNECTIONS",
    "MAX_CONNECTIONS_PER_ADDRESS",
    "MAX_CONNECTIONS_PER_USER",
    "MAX_MESSAGE_BYTES",
    "MAX_SUBSCRIPTIONS",
    "CONNECT_RATE",
    "CONNECT_RATE_PER_ADDRESS",
    "PING_INTERVAL",
    "PING_TIMEOUT",
    "SLOW_TIMEOUT",
    "SHUTDOWN_GRACE",
    "TRUSTED_PROXIES",
    "ROOM_PREFIX",
    "DEMO_ASSETS",
    "DEMO_FLEETS",
    "DEMO_RATE",
    "LOG",
    "LOG_FORMAT",
];

/// A builder without a source or anything else that `serve` needs.
fn bare(command: &str) -> GatewayBuilder {
    Gateway::builder().command(command).without_env("FLEETCAST_AUTH")
}

async fn ended(builder: GatewayBuilder) -> (ExitStatus, Vec<String>) {
    let mut process: Process = builder.spawn();
    let status = process.wait_exit(PATIENCE).await;
    (status, process.lines())
}

/// The command fails with `code` and one line that contains every one of `words`.
async fn refused(builder: GatewayBuilder, code: i32, words: &[&str]) {
    let (status, lines) = ended(builder).await;
    assert_eq!(status.code(), Some(code), "{lines:?}");
    let told: Vec<&String> = lines.iter().filter(|line| line.starts_with("fleetcast: ")).collect();
    assert_eq!(told.len(), 1, "one line: {lines:?}");
    for word in words {
        assert!(told[0].contains(word), "`{word}` is missing in: {}", told[0]);
    }
}

#[tokio::test]
async fn a_bad_value_is_one_line_that_names_it_and_exit_code_2() {
    let with = |variable: &str, value: &str| bare("serve").env(variable, value);
    refused(with("FLEETCAST_PING_INTERVAL", "25"), 2, &["FLEETCAST_PING_INTERVAL", "`25`"]).await;
    refused(with("FLEETCAST_SOURCE", "rabbit"), 2, &["FLEETCAST_SOURCE", "`rabbit`", "demo, redis"]).await;
    refused(with("FLEETCAST_CONNECT_RATE", "fast"), 2, &["FLEETCAST_CONNECT_RATE", "`fast`", "1000/s"]).await;
    refused(with("FLEETCAST_LISTEN", "nowhere"), 2, &["FLEETCAST_LISTEN", "`nowhere`"]).await;
    refused(with("FLEETCAST_MAX_CONNECTIONS", "0"), 2, &["FLEETCAST_MAX_CONNECTIONS", "0"]).await;
    let rate = "FLEETCAST_CONNECT_RATE_PER_ADDRESS";
    refused(with(rate, "0/s"), 2, &[rate, "`0/s`", "1000/s"]).await;
    refused(with("FLEETCAST_CORS_ORIGINS", "https://a/b"), 2, &["FLEETCAST_CORS_ORIGINS", "`https://a/b`"])
        .await;
    refused(bare("serve").arg("--slow-timeout").arg("never"), 2, &["--slow-timeout", "`never`"]).await;
    refused(bare("serve").arg("--surce"), 2, &["--surce"]).await;
    refused(with("FLEETCAST_TRUSTED_PROXIES", "lan"), 2, &["FLEETCAST_TRUSTED_PROXIES", "`lan`"]).await;
    refused(bare("demo").arg("--rate").arg("1000"), 2, &["FLEETCAST_DEMO_RATE", "1000"]).await;
    refused(bare("demo").arg("--fleets").arg("9").arg("--assets").arg("8"), 2, &["--fleets", "9"]).await;
    refused(bare("dance"), 2, &["dance"]).await;
}

#[tokio::test]
async fn what_is_missing_or_does_not_fit_is_named() {
    let source = |kind: &str| bare("serve").env("FLEETCAST_SOURCE", kind);
    let auth = |builder: GatewayBuilder| builder.env("FLEETCAST_AUTH", "none");
    refused(bare("serve"), 2, &["FLEETCAST_SOURCE", "required"]).await;
    refused(source("demo"), 2, &["FLEETCAST_AUTH", "required"]).await;
    refused(auth(source("redis")), 2, &["FLEETCAST_REDIS_URL", "required"]).await;
    let redis_store = auth(source("demo")).env("FLEETCAST_STORE", "redis");
    refused(redis_store, 2, &["FLEETCAST_REDIS_URL", "FLEETCAST_STORE"]).await;
    let brace = auth(source("demo")).env("FLEETCAST_REDIS_PREFIX", "a{b}");
    refused(brace, 2, &["FLEETCAST_REDIS_PREFIX", "`a{b}`"]).await;
    for (adapter, subscribe) in
        [("sharded", "pattern"), ("classic", "static"), ("classic", "dynamic-private")]
    {
        let mixed = auth(source("demo")).env("FLEETCAST_ADAPTER", adapter);
        let mixed = mixed.env("FLEETCAST_ADAPTER_SUBSCRIBE", subscribe);
        refused(mixed, 2, &["FLEETCAST_ADAPTER_SUBSCRIBE", &format!("`{subscribe}`")]).await;
    }
    let same = auth(source("demo"))
        .env("FLEETCAST_LISTEN", "127.0.0.1:9")
        .env("FLEETCAST_ADMIN_LISTEN", "127.0.0.1:9");
    refused(same, 2, &["FLEETCAST_ADMIN_LISTEN", "127.0.0.1:9"]).await;
    refused(bare("demo").env("FLEETCAST_LOG", "fleetcast=loud"), 2, &["FLEETCAST_LOG", "loud"]).await;
}

#[tokio::test]
async fn a_secret_is_read_from_a_file_and_never_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("redis-url");
    std::fs::write(&file, "http://ada:hunter2@cache/\n").unwrap();
    let serve = || bare("serve").env("FLEETCAST_SOURCE", "redis").env("FLEETCAST_AUTH", "none");
    let from_file = serve().env("FLEETCAST_REDIS_URL_FILE", file.display());
    let (status, lines) = ended(from_file).await;
    assert_eq!(status.code(), Some(2));
    assert!(lines.join("\n").contains("FLEETCAST_REDIS_URL"), "{lines:?}");
    assert!(!lines.join("\n").contains("hunter2"), "{lines:?}");

    let both =
        serve().env("FLEETCAST_REDIS_URL_FILE", file.display()).env("FLEETCAST_REDIS_URL", "redis://a");
    refused(both, 2, &["FLEETCAST_REDIS_URL_FILE", "both"]).await;
    let absent = serve().env("FLEETCAST_REDIS_URL_FILE", "/nowhere/secret");
    refused(absent, 2, &["FLEETCAST_REDIS_URL_FILE", "/nowhere/secret"]).await;
}

#[tokio::test]
async fn a_flag_wins_over_its_variable() {
    let gateway = Gateway::builder().command("demo").env("FLEETCAST_LISTEN", "nowhere at all");
    // A wrong variable does not matter either, once the flag is there.
    let gateway = gateway.arg("--listen").arg("127.0.0.1:0").start().await;
    assert!(gateway.url().starts_with("http://127.0.0.1:"));
}

#[tokio::test]
async fn a_port_that_is_taken_is_a_failed_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    refused(bare("demo").env("FLEETCAST_LISTEN", &addr), 1, &["FLEETCAST_LISTEN", &addr]).await;
    refused(bare("demo").env("FLEETCAST_ADMIN_LISTEN", &addr), 1, &["FLEETCAST_ADMIN_LISTEN", &addr]).await;
}

#[tokio::test]
async fn an_unknown_variable_is_a_warning() {
    let mut gateway =
        Gateway::builder().command("demo").env("FLEETCAST_LISTENN", "typing error").start().await;
    let warning = gateway.wait_log("this variable is none of ours and has no effect").await;
    assert_eq!((&warning["level"], &warning["name"]), (&"WARN".into(), &"FLEETCAST_LISTENN".into()));
    assert!(!gateway.log().iter().any(|line| line["name"] == "FLEETCAST_LISTEN"), "that one is ours");
}

#[tokio::test]
async fn the_help_names_every_variable() {
    let (status, lines) = ended(bare("--help")).await;
    assert_eq!(status.code(), Some(0));
    let help = lines.join("\n");
    for variable in VARIABLES {
        assert!(
            help.contains(&format!("[env: FLEETCAST_{variable}]")),
            "FLEETCAST_{variable} is missing in:\n{help}"
        );
    }
    for command in ["serve", "demo", "check", "version", "Examples:", "FLEETCAST_REDIS_URL_FILE"] {
        assert!(help.contains(command), "{command}");
    }
    let env_lines = help.matches("[env: FLEETCAST_").count();
    assert_eq!(
        env_lines,
        help.matches("[env: ").count(),
        "each variable has the prefix, and no value is shown"
    );
}

#[tokio::test]
async fn the_version_is_told_to_people_and_programs() {
    let (status, lines) = ended(bare("version")).await;
    assert_eq!(
        (status.code(), lines[0].as_str()),
        (Some(0), concat!("fleetcast ", env!("CARGO_PKG_VERSION")))
    );
    let (_, lines) = ended(bare("version").arg("--json")).await;
    let version: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn check_answers_a_line_each() {
    let redis = RedisServer::start().await;
    let check = || bare("check").env("FLEETCAST_SOURCE", "redis").env("FLEETCAST_AUTH", "none");
    let (status, lines) = ended(check().redis(&redis)).await;
    assert_eq!(status.code(), Some(0), "{lines:?}");
    assert!(lines[0].starts_with("ok      configuration"), "{lines:?}");
    assert!(lines[1].starts_with("ok      redis") && lines[1].contains("answered in"), "{lines:?}");

    let nobody = format!("redis://:hunter2@127.0.0.1:{}/", free_port());
    let (status, lines) = ended(check().env("FLEETCAST_REDIS_URL", nobody)).await;
    assert_eq!(status.code(), Some(1), "{lines:?}");
    assert!(lines[1].starts_with("failed  redis") && !lines[1].contains("hunter2"), "{lines:?}");
}

#[tokio::test]
async fn check_asks_kafka_for_the_topics() {
    let kafka = Kafka::shared().await;
    let topic = kafka.topic("check", 3).await;
    let check =
        |brokers: &str, topics: &str| bare("check").env("FLEETCAST_AUTH", "none").kafka(brokers, topics);
    let (status, lines) = ended(check(kafka.brokers(), &topic)).await;
    assert_eq!(status.code(), Some(0), "{lines:?}");
    assert!(lines.contains(&format!("ok      topic {topic}: 3 partitions")), "{lines:?}");

    let (status, lines) = ended(check(kafka.brokers(), &format!("{topic},nowhere"))).await;
    assert_eq!(status.code(), Some(1), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("failed  topic nowhere: ")), "{lines:?}");
    let nobody = format!("127.0.0.1:{}", free_port());
    let (status, lines) = ended(check(&nobody, &topic)).await;
    assert_eq!(status.code(), Some(1), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with(&format!("failed  kafka {nobody}"))), "{lines:?}");
}
