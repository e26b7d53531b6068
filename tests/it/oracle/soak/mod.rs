//! The promise for minutes or hours, with everything at once: faults of every kind, rebalances, waves of viewers
//! that come and are torn away, viewers that read nothing, and a firehose beside it all. `make soak` runs it and
//! writes a report.
//!
//! Losses are what the oracle finds in the end: an asset that a dashboard shows otherwise than the newest records
//! say. In between it keeps note of everything that went back in time or was shown to a stranger.

mod report;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
    producer::FutureRecord,
};
use report::{Report, Sampler};
use serde_json::json;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    CONVERGENCE, Cluster, Dashboard, FLEETS, Habit, PARTITIONS, Telemetry, difference, good, produce,
    with_secret,
};
use crate::{
    auth::tokens::{Made, in_seconds},
    support::{Gateway, Kafka, RedisServer, Viewer, now_ms},
};

/// Updates a second beside those that the oracle keeps account of.
const FIREHOSE_PER_S: u64 = 2_000;
const FIREHOSE_FLEET: &str = "firehose";
const STORM_VIEWERS: usize = 300;
const STORM_EVERY: Duration = Duration::from_secs(15);
/// How many dashboards of each habit there are for each token.
const DASHBOARDS: usize = 3;
const REBALANCE: Duration = Duration::from_secs(2);
/// Gauges that are zero when nobody is there.
const GAUGES: [&str; 10] = [
    "viewers",
    "rooms",
    "sockets_in_no_room",
    "rooms_in_no_socket",
    "memberships",
    "watched_fleets",
    "regions",
    "region_assets",
    "connections",
    "redis_subscriptions",
];

/// What happened beside the faults.
#[derive(Debug, Default)]
struct Counts {
    storm_viewers: AtomicUsize,
    firehose: AtomicUsize,
    rebalances: AtomicUsize,
}

#[expect(clippy::disallowed_methods, reason = "how long is asked of whoever runs it")]
fn minutes() -> f64 {
    std::env::var("FLEETCAST_SOAK_MINUTES").map_or(10.0, |minutes| minutes.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "for minutes: make soak"]
#[expect(clippy::print_stdout, reason = "the report, for whoever waits for it")]
async fn the_promise_holds_for_as_long_as_it_is_asked() {
    let lasts = Duration::from_secs_f64(minutes() * 60.0);
    let seed = rand::random();
    let mut rng = SmallRng::seed_from_u64(seed);
    let tokens = tokens(lasts).await;
    let mut cluster = cluster().await;
    let (calm, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let counts = Arc::new(Counts::default());
    let dashboards = dashboards(&cluster, &calm, &mut rng, &tokens);
    let oracle = produce(&cluster, rng.random(), stop.clone());
    let others = [
        firehose(&cluster, stop.clone(), counts.clone()),
        storms(&cluster, tokens.token("all"), calm.clone(), counts.clone()),
        idlers(&cluster, tokens.token("all"), calm.clone()),
        rebalance(&cluster, calm.clone(), counts.clone()),
    ];
    let (began, mut sampler) = (Instant::now(), Sampler::default());
    let mut report = endure(&mut cluster, &mut rng, &mut sampler, lasts).await;
    calm.store(true, Ordering::Relaxed);
    stop.store(true, Ordering::Relaxed);
    let oracle = oracle.await.unwrap();
    for other in others {
        other.await.unwrap();
    }
    judge(&mut report, dashboards, &oracle).await;
    report.lasted = began.elapsed();
    report.records = oracle.count();
    report.storm_viewers = counts.storm_viewers.load(Ordering::Relaxed);
    report.firehose = counts.firehose.load(Ordering::Relaxed);
    report.rebalances = counts.rebalances.load(Ordering::Relaxed);
    report.gauges_left = gauges_left(&cluster.gateways).await;
    report.points.push(sampler.look(began.elapsed(), &cluster.gateways).await);
    println!("{}", report.publish());
    assert!(report.losses.is_empty(), "{:#?}\nseed {seed}", report.losses);
    assert!(report.wrongs.is_empty(), "{:#?}\nseed {seed}", report.wrongs);
    assert!(report.gauges_left.is_empty(), "{:#?}", report.gauges_left);
}

/// Tokens that hold for longer than all of it lasts.
async fn tokens(lasts: Duration) -> Made {
    let exp = in_seconds(3600 + i64::try_from(lasts.as_secs()).unwrap());
    let claims = |fleets| {
        let mut claims = good(fleets);
        claims["exp"] = exp.into();
        claims
    };
    with_secret(&[("all", claims(json!("*"))), ("two", claims(json!(["north", "west"])))]).await
}

async fn cluster() -> Cluster {
    // A broker of its own, since it is killed, too.
    let kafka: &'static Kafka = Box::leak(Box::new(Kafka::start().await));
    let topic = kafka.topic("soak", i32::try_from(PARTITIONS).unwrap()).await;
    let redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let mut cluster = Cluster { kafka, topic, redis, gateways: Vec::new(), addrs: Arc::default() };
    cluster.add_gateway().await;
    cluster.add_gateway().await;
    cluster
}

/// One fault after the other, and a look at the replicas after each.
#[expect(clippy::print_stdout, reason = "progress, for whoever waits for it")]
async fn endure(cluster: &mut Cluster, rng: &mut SmallRng, sampler: &mut Sampler, lasts: Duration) -> Report {
    let (began, mut report) = (Instant::now(), Report::default());
    while began.elapsed() < lasts {
        let fault = suffer(cluster, rng).await;
        *report.faults.entry(fault).or_default() += 1;
        sleep(Duration::from_millis(rng.random_range(500..2_500))).await;
        report.points.push(sampler.look(began.elapsed(), &cluster.gateways).await);
        println!("{:>5.0} s  {fault}", began.elapsed().as_secs_f64());
    }
    report
}

/// What the dashboards show once all is calm, and what they noted on the way.
async fn judge(report: &mut Report, dashboards: Vec<(Dashboard, JoinHandle<()>)>, oracle: &Telemetry) {
    let healed = Instant::now();
    let differences = || -> Vec<String> {
        let of = |(dashboard, _): &(Dashboard, JoinHandle<()>)| {
            difference(&dashboard.shown.lock().unwrap(), &dashboard.fleets, oracle)
        };
        dashboards.iter().filter_map(of).collect()
    };
    while !differences().is_empty() && healed.elapsed() < CONVERGENCE {
        sleep(Duration::from_millis(100)).await;
    }
    report.losses = differences();
    report.converged_after = healed.elapsed();
    for (dashboard, task) in dashboards {
        assert!(!task.is_finished(), "a dashboard panicked");
        task.abort();
        let shown = dashboard.shown.lock().unwrap();
        report.wrongs.extend(shown.wrongs.iter().cloned());
        report.connections += shown.connections;
        report.resyncs += shown.resyncs;
    }
}

/// One fault of the oracle's, or one of the broker.
async fn suffer(cluster: &mut Cluster, rng: &mut SmallRng) -> &'static str {
    let moment = Duration::from_millis(rng.random_range(300..3_000));
    match rng.random_range(0..10) {
        0 => {
            cluster.kafka.pause();
            sleep(moment).await;
            cluster.kafka.resume();
            "Kafka stood still"
        }
        1 => {
            cluster.kafka.stop();
            sleep(moment).await;
            cluster.kafka.start_again().await;
            "Kafka was killed and came back"
        }
        _ => cluster.suffer(rng).await,
    }
}

fn dashboards(
    cluster: &Cluster,
    calm: &Arc<AtomicBool>,
    rng: &mut SmallRng,
    tokens: &Made,
) -> Vec<(Dashboard, JoinHandle<()>)> {
    let mut all = Vec::new();
    for habit in [Habit::Steady, Habit::Flapping, Habit::Slow].repeat(DASHBOARDS) {
        for (label, fleets) in [("all", FLEETS.to_vec()), ("two", vec!["north", "west"])] {
            let dashboard = Dashboard {
                habit,
                token: tokens.token(label).to_owned(),
                fleets,
                shown: Arc::default(),
                addrs: cluster.addrs.clone(),
                calm: calm.clone(),
            };
            let task = tokio::spawn(dashboard.clone().live(rng.random()));
            all.push((dashboard, task));
        }
    }
    all
}

/// Updates of a fleet that nobody keeps account of.
fn firehose(cluster: &Cluster, stop: Arc<AtomicBool>, counts: Arc<Counts>) -> JoinHandle<()> {
    let (producer, topic) = (cluster.kafka.producer(), cluster.topic.clone());
    tokio::spawn(async move {
        let mut n = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            for _ in 0..FIREHOSE_PER_S / 50 {
                n += 1;
                let (asset, ts) = (n % 1000, now_ms());
                let text = format!(
                    r#"{{"fleetId":"{FIREHOSE_FLEET}","assetId":"a{asset}","ts":{ts},"lat":-60.5,"lon":-150.5,"n":{n}}}"#
                );
                let partition = i32::try_from(asset % 3).unwrap();
                let record = FutureRecord::<(), _>::to(&topic).partition(partition).payload(&text);
                // A queue that is full while the broker is away is not the gateway's matter.
                if producer.send_result(record).is_ok() {
                    counts.firehose.fetch_add(1, Ordering::Relaxed);
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    })
}

/// A viewer, if there is anybody to serve it at present.
async fn connect(addrs: &Mutex<Vec<String>>, number: usize, fleet: &str, token: &str) -> Option<Viewer> {
    let addr = {
        let addrs = addrs.lock().unwrap();
        addrs[number % addrs.len()].clone()
    };
    let query = format!("fleetId={fleet}&token={token}");
    // In a task, since a connection that breaks in the middle of its handshake is a panic to the harness.
    let connecting = async move { timeout(Duration::from_secs(5), Viewer::try_connect(&addr, &query)).await };
    tokio::spawn(connecting).await.ok()?.ok()?.ok()
}

/// Waves of viewers of everything, each torn away some seconds later.
fn storms(cluster: &Cluster, token: &str, calm: Arc<AtomicBool>, counts: Arc<Counts>) -> JoinHandle<()> {
    let (addrs, token) = (cluster.addrs.clone(), token.to_owned());
    tokio::spawn(async move {
        while !calm.load(Ordering::Relaxed) {
            let mut wave = Vec::new();
            for number in 0..STORM_VIEWERS {
                let fleet = [FIREHOSE_FLEET, FLEETS[0], FLEETS[1]][number % 3];
                wave.extend(connect(&addrs, number, fleet, &token).await);
            }
            counts.storm_viewers.fetch_add(wave.len(), Ordering::Relaxed);
            sleep(Duration::from_secs(2)).await;
            wave.into_iter().for_each(Viewer::tear_down);
            sleep(STORM_EVERY).await;
        }
    })
}

/// Viewers of the firehose that read nothing at all, until they are thrown out or half a minute is over.
fn idlers(cluster: &Cluster, token: &str, calm: Arc<AtomicBool>) -> JoinHandle<()> {
    let (addrs, token) = (cluster.addrs.clone(), token.to_owned());
    tokio::spawn(async move {
        while !calm.load(Ordering::Relaxed) {
            let mut idle = Vec::new();
            for number in 0..6 {
                idle.extend(connect(&addrs, number, FIREHOSE_FLEET, &token).await);
            }
            for _ in 0..30 {
                if !calm.load(Ordering::Relaxed) {
                    sleep(Duration::from_secs(1)).await;
                }
            }
            idle.into_iter().for_each(Viewer::tear_down);
        }
    })
}

/// Partitions change hands every two seconds: another consumer joins, takes its share, and leaves.
fn rebalance(cluster: &Cluster, calm: Arc<AtomicBool>, counts: Arc<Counts>) -> JoinHandle<()> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", cluster.kafka.brokers())
        .set("group.id", format!("{} group", cluster.topic))
        .set("enable.auto.commit", "false")
        .set("session.timeout.ms", "6000")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
    let topic = cluster.topic.clone();
    tokio::task::spawn_blocking(move || {
        while !calm.load(Ordering::Relaxed) {
            let visitor: BaseConsumer = config.create().unwrap();
            visitor.subscribe(&[topic.as_str()]).unwrap();
            let leaves = std::time::Instant::now() + REBALANCE;
            while std::time::Instant::now() < leaves {
                drop(visitor.poll(Duration::from_millis(100)));
            }
            drop(visitor);
            counts.rebalances.fetch_add(2, Ordering::Relaxed);
            std::thread::sleep(REBALANCE);
        }
    })
}

/// Gauges that are not zero though everybody has left, by replica.
async fn gauges_left(gateways: &[Gateway]) -> Vec<String> {
    let left = async || {
        let mut left = Vec::new();
        for (number, gateway) in gateways.iter().enumerate() {
            for gauge in GAUGES {
                let value = gateway.metric(&format!("fleetcast_{gauge}")).await;
                if value != 0.0 {
                    left.push(format!("replica {number}: {gauge} {value}"));
                }
            }
        }
        left
    };
    let until = Instant::now() + Duration::from_secs(60);
    while !left().await.is_empty() && Instant::now() < until {
        sleep(Duration::from_millis(500)).await;
    }
    left().await
}
