//! A real Kafka broker (`KRaft`, one node, small heap) on free ports, from the jars of its Maven artifacts.
//! Invariant: the jars are fetched once per machine, and a broker lives no longer than the test process.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    message::{Headers, OwnedMessage},
    producer::{BaseProducer, BaseRecord, FutureProducer, FutureRecord, Producer},
};
use rustix::{
    fs::{FlockOperation, flock},
    process::Signal,
};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::{PATIENCE, Process, free_port};

const VERSION: &str = "4.4.0";
const START_LIMIT: Duration = Duration::from_secs(90);
const ANSWER: Duration = Duration::from_secs(10);

/// A broker; killed when dropped.
#[derive(Debug)]
pub struct Kafka {
    /// Where clients are told to go: the broker itself, or a proxy before it.
    brokers: String,
    dir: TempDir,
    process: Mutex<Process>,
}

impl Kafka {
    /// The broker that the tests of this process share; each makes topics of its own.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Kafka> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// A broker of this test's own.
    pub async fn start() -> Self {
        let port = free_port();
        Self::start_on(port, port).await
    }

    /// A broker on `port` that tells its clients to come to `advertised_port`, where a proxy is.
    pub async fn start_on(port: u16, advertised_port: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let controller_port = free_port();
        let properties = format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller_port}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{advertised_port}\n\
             controller.listener.names=CONTROLLER\n\
             log.dirs={}\n\
             auto.create.topics.enable=false\n\
             group.initial.rebalance.delay.ms=0\n\
             group.min.session.timeout.ms=1000\n\
             offsets.topic.num.partitions=4\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.num.partitions=2\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             share.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\n",
            data.display()
        );
        std::fs::write(dir.path().join("server.properties"), properties).unwrap();
        let id = "Zmxl".repeat(5) + "ZQ"; // 16 bytes in base64, as it wants.
        let formatted = java()
            .args(["kafka.tools.StorageTool", "format", "-t", &id, "-c"])
            .arg(dir.path().join("server.properties"))
            .output()
            .unwrap();
        assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
        let process = run(dir.path());
        let process = Mutex::new(process);
        let kafka = Self { brokers: format!("127.0.0.1:{advertised_port}"), dir, process };
        kafka.wait_until_up().await;
        kafka
    }

    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Kills it; what it has on disk stays.
    pub fn stop(&self) {
        self.process.lock().unwrap().kill9();
    }

    pub async fn start_again(&self) {
        *self.process.lock().unwrap() = run(self.dir.path());
        self.wait_until_up().await;
    }

    /// Freezes it: connections stay open, nothing answers.
    pub fn pause(&self) {
        self.process.lock().unwrap().signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.process.lock().unwrap().signal(Signal::CONT);
    }

    /// A new topic.
    pub async fn topic(&self, name: &str, partitions: i32) -> String {
        self.topic_with(name, partitions, &[]).await
    }

    /// A new topic with settings such as `("max.message.bytes", "10000000")`.
    pub async fn topic_with(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) -> String {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        let options = AdminOptions::new().operation_timeout(Some(ANSWER));
        let made = admin.create_topics(&[topic], &options).await.unwrap();
        assert!(made[0].is_ok(), "{made:?}");
        name.to_owned()
    }

    /// A topic gets more partitions.
    pub async fn add_partitions(&self, topic: &str, partitions: usize) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let options = AdminOptions::new().operation_timeout(Some(ANSWER));
        let more = admin.create_partitions(&[NewPartitions::new(topic, partitions)], &options).await.unwrap();
        assert!(more[0].is_ok(), "{more:?}");
    }

    /// Partition 0 forgets what is before `offset`, as when records grow too old.
    pub async fn forget_before(&self, topic: &str, offset: i64) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let options = AdminOptions::new().operation_timeout(Some(ANSWER));
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
        admin.delete_records(&list, &options).await.unwrap();
    }

    pub fn producer(&self) -> FutureProducer {
        self.client()
            .set("message.max.bytes", "20000000")
            .set("linger.ms", "2")
            // The order of a partition outlives a broker that is killed.
            .set("enable.idempotence", "true")
            .set("queue.buffering.max.messages", "1000000")
            .create()
            .unwrap()
    }

    /// Writes values to a partition, in their order; `None` is a null value.
    pub async fn produce(&self, topic: &str, partition: i32, values: &[Option<&[u8]>]) {
        let producer = self.producer();
        let mut sent = Vec::new();
        for value in values {
            let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic).partition(partition);
            record.payload = *value;
            sent.push(producer.send_result(record).map_err(|(error, _)| error).unwrap());
        }
        for delivery in sent {
            delivery.await.unwrap().unwrap();
        }
    }

    /// Writes values to partition 0 in one transaction, which leaves a marker after them. Blocks.
    pub fn produce_in_transaction(&self, topic: &str, values: &[String]) {
        let producer: BaseProducer = self.client().set("transactional.id", topic).create().unwrap();
        producer.init_transactions(ANSWER).unwrap();
        producer.begin_transaction().unwrap();
        for value in values {
            let record: BaseRecord<'_, (), String> = BaseRecord::to(topic).partition(0).payload(value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.commit_transaction(ANSWER).unwrap();
    }

    /// The offsets that a group has committed, by partition; -1 for none.
    pub fn committed(&self, group: &str, topic: &str, partitions: i32) -> Vec<i64> {
        let consumer: BaseConsumer = self.client().set("group.id", group).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(topic, 0, partitions - 1);
        let committed = consumer.committed_offsets(list, ANSWER).unwrap();
        let offset = |number| match committed.find_partition(topic, number).unwrap().offset() {
            Offset::Offset(offset) => offset,
            _ => -1,
        };
        (0..partitions).map(offset).collect()
    }

    /// The first `count` messages of a topic's partition 0; waits for them, and for the topic.
    pub async fn messages(&self, topic: &str, count: usize) -> Vec<OwnedMessage> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let (config, name) = (self.client(), topic.to_owned());
            let read =
                tokio::task::spawn_blocking(move || read_for(config, &name, Duration::from_secs(2), count));
            let messages = read.await.unwrap();
            if messages.len() >= count {
                return messages;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{topic} has {} of {count} messages",
                messages.len()
            );
        }
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
        config
    }

    async fn wait_until_up(&self) {
        let config = self.client();
        let up = tokio::task::spawn_blocking(move || {
            let deadline = std::time::Instant::now() + START_LIMIT;
            while std::time::Instant::now() < deadline {
                let consumer: BaseConsumer = config.create().unwrap();
                if consumer
                    .fetch_metadata(None, Duration::from_millis(500))
                    .is_ok_and(|found| !found.brokers().is_empty())
                {
                    return true;
                }
            }
            false
        });
        assert!(up.await.unwrap(), "kafka did not start: {:?}", self.process.lock().unwrap().lines());
    }
}

/// What a topic's partition 0 holds, as far as it comes in time.
fn read_for(mut config: ClientConfig, topic: &str, limit: Duration, count: usize) -> Vec<OwnedMessage> {
    let consumer: BaseConsumer = config.set("group.id", "reader").create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let (started, mut messages) = (std::time::Instant::now(), Vec::new());
    while messages.len() < count && started.elapsed() < limit {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
            messages.push(message.detach());
        }
    }
    messages
}

/// The value of a header, as text.
pub fn header(message: &OwnedMessage, key: &str) -> Option<String> {
    let value = message.headers()?.iter().find(|header| header.key == key)?.value?;
    Some(String::from_utf8(value.to_vec()).unwrap())
}

fn run(dir: &Path) -> Process {
    let mut command = java();
    command.arg("kafka.Kafka").arg(dir.join("server.properties")).stdin(Stdio::null());
    Process::start("kafka", command)
}

fn java() -> Command {
    let mut command = Command::new("java");
    command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
    command.arg(format!("{}/*", jars().display()));
    command
}

/// The folder with the broker's jars; fetched by Maven if they are not there yet.
fn jars() -> PathBuf {
    let cache = std::env::var_os("FLEETCAST_TEST_CACHE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache"), PathBuf::from);
    let kafka = cache.join("kafka");
    let jars = kafka.join(VERSION);
    if jars.is_dir() {
        return jars;
    }
    std::fs::create_dir_all(&kafka).unwrap();
    // One process fetches, the others wait for it.
    let lock = std::fs::File::create(kafka.join("lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    if jars.is_dir() {
        return jars;
    }
    let partial = kafka.join("partial");
    drop(std::fs::remove_dir_all(&partial));
    let fetched = Command::new("mvn")
        .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", partial.display()))
        .arg(format!("-Dkafka.version={VERSION}"))
        .arg("-f")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/kafka-pom.xml"))
        .output()
        .expect("mvn, to fetch a Kafka broker");
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stdout));
    std::fs::rename(&partial, &jars).unwrap();
    jars
}
