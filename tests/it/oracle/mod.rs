//! The promise, against an oracle: whatever fails, soon after the last fault each viewer's map equals a model of
//! the newest state of every asset that it was granted; on no connection did an asset go back in time, and
//! nobody was shown anything of a fleet that is not theirs.
//!
//! Seeded: a failure names its seed, and `FLEETCAST_ORACLE_SEED` runs that one again (what the machine's timing
//! adds, no seed repeats).

mod dashboard;
mod soak;
mod telemetry;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dashboard::{Dashboard, Habit, Shown};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use rdkafka::producer::FutureRecord;
use serde_json::json;
use telemetry::{FLEETS, Name, PARTITIONS, State, Telemetry};
use tokio::{task::JoinHandle, time::sleep};

use crate::{
    auth::tokens::{SECRET, good, guarded, with_secret},
    support::{Gateway, Kafka, PATIENCE, RedisServer},
};

const RECORDS_PER_S: u64 = 250;
const FAULTS: usize = 10;
/// How soon after the last fault all must be right. The promise says 10 s on a machine of its own.
const CONVERGENCE: Duration = Duration::from_secs(40);

/// The cluster and what is done to it.
struct Cluster {
    kafka: &'static Kafka,
    topic: String,
    redis: RedisServer,
    gateways: Vec<Gateway>,
    addrs: Arc<Mutex<Vec<String>>>,
}

impl Cluster {
    async fn start() -> Self {
        let kafka = Kafka::shared().await;
        let topic = kafka.topic("oracle", i32::try_from(PARTITIONS).unwrap()).await;
        let redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
        let mut cluster = Self { kafka, topic, redis, gateways: Vec::new(), addrs: Arc::default() };
        for _ in 0..2 {
            cluster.add_gateway().await;
        }
        cluster
    }

    async fn add_gateway(&mut self) {
        let gateway = guarded()
            .redis(&self.redis)
            .kafka(self.kafka.brokers(), &self.topic)
            .env("FLEETCAST_JWT_SECRET", SECRET)
            .env("FLEETCAST_KAFKA_PROPERTIES", "session.timeout.ms=6000")
            .start()
            .await;
        self.addrs.lock().unwrap().push(gateway.addr().to_owned());
        self.gateways.push(gateway);
    }

    fn forget(&mut self, index: usize) -> Gateway {
        self.addrs.lock().unwrap().remove(index);
        self.gateways.remove(index)
    }

    /// Some seconds of one fault, and its end.
    async fn suffer(&mut self, rng: &mut SmallRng) -> &'static str {
        let moment = Duration::from_millis(rng.random_range(300..1_500));
        let victim = rng.random_range(0..self.gateways.len());
        match rng.random_range(0..7) {
            0 => {
                self.redis.pause();
                sleep(moment).await;
                self.redis.resume();
                "Redis stood still"
            }
            1 => {
                self.redis.stop();
                sleep(moment).await;
                self.redis.start_again().await;
                "Redis was killed and came back"
            }
            2 => {
                self.forget(victim).kill9();
                self.add_gateway().await;
                "a replica was killed and another began"
            }
            3 => {
                self.gateways[victim].pause();
                sleep(moment).await;
                self.gateways[victim].resume();
                "a replica stood still"
            }
            4 => {
                self.add_gateway().await;
                sleep(moment).await;
                let mut leaving = self.forget(victim);
                leaving.sigterm();
                leaving.wait_exit(PATIENCE).await;
                "a replica joined and another left"
            }
            5 => {
                self.redis.command::<i64>(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
                "subscriptions were cut"
            }
            _ => {
                self.redis.command::<i64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
                "connections were cut"
            }
        }
    }
}

/// Produces until told to stop; what must come of it.
fn produce(cluster: &Cluster, seed: u64, stop: Arc<AtomicBool>) -> JoinHandle<Telemetry> {
    let (producer, topic) = (cluster.kafka.producer(), cluster.topic.clone());
    tokio::spawn(async move {
        let mut telemetry = Telemetry::new(seed);
        let mut sent = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            for _ in 0..RECORDS_PER_S / 50 {
                let (partition, text) = telemetry.next();
                let partition = i32::try_from(partition).unwrap();
                let record = FutureRecord::<(), _>::to(&topic).partition(partition).payload(&text);
                sent.push(producer.send_result(record).map_err(|(error, _)| error).unwrap());
            }
            sleep(Duration::from_millis(20)).await;
        }
        for delivery in sent {
            delivery.await.unwrap().unwrap();
        }
        telemetry
    })
}

/// What a viewer of these fleets shows that it should not, or does not show, if anything.
fn difference(shown: &Shown, fleets: &[&str], oracle: &Telemetry) -> Option<String> {
    let granted = |(name, _): &(&Name, &State)| fleets.contains(&name.0.as_str());
    let expected: Vec<_> = oracle.newest.iter().filter(granted).collect();
    let inside = expected.iter().copied().filter(|(_, state)| state.is_in_region());
    let wrong = |kind: &str, shown: Vec<(&Name, &State)>, expected: Vec<(&Name, &State)>| {
        let lacking = expected.iter().find(|pair| !shown.contains(pair));
        let excess = shown.iter().find(|pair| !expected.contains(pair));
        (lacking.is_some() || excess.is_some())
            .then(|| format!("{kind}: expected {lacking:?}, shown {excess:?}"))
    };
    wrong("fleets", shown.fleets.iter().collect(), expected.clone())
        .or_else(|| wrong("region", shown.region.iter().collect(), inside.collect()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "the seed is the test's own variable")]
#[expect(clippy::print_stdout, reason = "what happened, for whoever runs it with --nocapture")]
async fn whatever_fails_every_viewer_ends_with_the_newest_state_of_what_it_may_see() {
    let seed =
        std::env::var("FLEETCAST_ORACLE_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    let again = format!("again with FLEETCAST_ORACLE_SEED={seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let tokens = with_secret(&[("all", good(json!("*"))), ("two", good(json!(["north", "west"])))]).await;
    let mut cluster = Cluster::start().await;
    let (calm, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));

    let mut dashboards = Vec::new();
    for (number, habit) in [Habit::Steady, Habit::Flapping, Habit::Slow].repeat(2).into_iter().enumerate() {
        let (token, fleets) =
            if number < 3 { ("all", FLEETS.to_vec()) } else { ("two", vec!["north", "west"]) };
        let dashboard = Dashboard {
            habit,
            token: tokens.token(token).to_owned(),
            fleets,
            shown: Arc::default(),
            addrs: cluster.addrs.clone(),
            calm: calm.clone(),
        };
        let task = tokio::spawn(dashboard.clone().live(rng.random()));
        dashboards.push((dashboard, task));
    }

    let producing = produce(&cluster, rng.random(), stop.clone());
    sleep(Duration::from_secs(1)).await;
    let mut suffered = Vec::new();
    for _ in 0..FAULTS {
        suffered.push(cluster.suffer(&mut rng).await);
        sleep(Duration::from_millis(rng.random_range(200..1_200))).await;
    }
    calm.store(true, Ordering::Relaxed);
    stop.store(true, Ordering::Relaxed);
    let oracle = producing.await.unwrap();

    let differences = || -> Vec<String> {
        let of = |(dashboard, _): &(Dashboard, JoinHandle<()>)| {
            let shown = dashboard.shown.lock().unwrap();
            let difference = difference(&shown, &dashboard.fleets, &oracle)?;
            Some(format!("{:?} {:?}: {difference}", dashboard.habit, dashboard.fleets))
        };
        dashboards.iter().filter_map(of).collect()
    };
    let limit = tokio::time::Instant::now() + CONVERGENCE;
    while !differences().is_empty() && tokio::time::Instant::now() < limit {
        sleep(Duration::from_millis(100)).await;
    }
    let left = differences();
    assert!(left.is_empty(), "{left:#?}\nafter {suffered:?}; {again}");
    for (dashboard, task) in &dashboards {
        assert!(!task.is_finished(), "a dashboard panicked; {again}");
        let shown = dashboard.shown.lock().unwrap();
        assert!(
            shown.wrongs.is_empty(),
            "{:?}: {:#?}\nafter {suffered:?}; {again}",
            dashboard.habit,
            shown.wrongs
        );
        println!("{:?}: {} connections, {} resyncs", dashboard.habit, shown.connections, shown.resyncs);
    }
    println!("{} records, {suffered:?}, seed {seed}", oracle.count());
}
