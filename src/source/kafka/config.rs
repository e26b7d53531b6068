//! Options of the Kafka source, and the librdkafka settings they lead to.
//! Invariant: settings that the promise to apply before committing rests on can not be overridden.

use std::{str::FromStr, time::Duration};

use clap::Args;
use rdkafka::{ClientConfig, config::RDKafkaLogLevel};

use super::InvalidKafka;
use crate::{
    source::RecordOptions,
    values::{Secret, positive_duration},
};

/// The Kafka source.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Kafka")]
#[group(skip)]
pub struct Options {
    /// Brokers to begin with, `host:port`, separated by commas; required for the source kafka.
    #[arg(long, env = "FLEETCAST_KAFKA_BROKERS", value_name = "HOST:PORT,…")]
    pub kafka_brokers: Option<String>,
    /// Topics to read, separated by commas; required for the source kafka.
    #[arg(long, env = "FLEETCAST_KAFKA_TOPICS", value_name = "TOPIC,…", value_delimiter = ',')]
    pub kafka_topics: Vec<String>,
    /// Consumer group that all replicas share; required for the source kafka.
    #[arg(long, env = "FLEETCAST_KAFKA_GROUP", value_name = "NAME")]
    pub kafka_group: Option<String>,
    /// Further librdkafka settings, such as TLS and SASL: `key=value,key=value`.
    #[arg(long, env = "FLEETCAST_KAFKA_PROPERTIES", value_name = "KEY=VALUE,…")]
    pub kafka_properties: Option<Secret>,
    /// A consumer that lags and gets nothing for this long is made anew.
    #[arg(long, env = "FLEETCAST_KAFKA_STALL_TIMEOUT", value_name = "DURATION", default_value = "60s",
          value_parser = positive_duration)]
    pub kafka_stall_timeout: Duration,
    /// Records larger than this are refused.
    #[arg(long, env = "FLEETCAST_MAX_RECORD_BYTES", value_name = "BYTES", default_value_t = 1 << 20)]
    pub max_record_bytes: usize,
}

/// What the Kafka source runs with: the options, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    pub(super) brokers: String,
    pub(super) topics: Vec<String>,
    /// The one of them that we make ourselves.
    pub(super) own_topic: Option<String>,
    pub(super) group: String,
    properties: Vec<(String, String)>,
    pub(super) stall_timeout: Duration,
    pub(super) record_bytes_max: usize,
    pub(super) records: RecordOptions,
}

/// Settings that are Fleetcast's own to make.
const RESERVED: [&str; 5] = [
    "bootstrap.servers",
    "metadata.broker.list",
    "group.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
];

/// Beginnings of settings that a producer does not know.
const CONSUMER_ONLY: [&str; 14] = [
    "auto.offset.reset",
    "check.crcs",
    "coordinator.query",
    "enable.partition.eof",
    "fetch.",
    "group.",
    "heartbeat.",
    "isolation.level",
    "max.partition.fetch",
    "max.poll",
    "partition.assignment",
    "queued.",
    "session.",
    "statistics.",
];

/// Dead letters may be as large as records come.
const LETTER_BYTES_MAX: usize = 64 << 20;

impl Settings {
    /// Checks the options.
    ///
    /// # Errors
    /// A required option is missing, or librdkafka does not know a property or its value.
    pub fn new(options: &Options, records: &RecordOptions) -> Result<Self, InvalidKafka> {
        let missing = |what: &str, flag: &str| {
            InvalidKafka(format!("FLEETCAST_KAFKA_{what} (--kafka-{flag}) is required for the source kafka"))
        };
        let present = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
        let topics: Vec<_> = options
            .kafka_topics
            .iter()
            .map(|topic| topic.trim().to_owned())
            .filter(|topic| !topic.is_empty())
            .collect();
        if topics.is_empty() {
            return Err(missing("TOPICS", "topics"));
        }
        let properties = options.kafka_properties.as_ref().map_or("", Secret::expose);
        let settings = Self {
            brokers: present(&options.kafka_brokers).ok_or_else(|| missing("BROKERS", "brokers"))?,
            topics,
            own_topic: None,
            group: present(&options.kafka_group).ok_or_else(|| missing("GROUP", "group"))?,
            properties: properties.parse::<Properties>()?.0,
            stall_timeout: options.kafka_stall_timeout,
            record_bytes_max: options.max_record_bytes,
            records: records.clone(),
        };
        for config in [settings.consumer(), settings.producer()] {
            config.create_native_config().map_err(|error| match error {
                rdkafka::error::KafkaError::ClientConfig(_, why, key, _) => {
                    InvalidKafka(format!("FLEETCAST_KAFKA_PROPERTIES (--kafka-properties): {key}: {why}"))
                }
                other => InvalidKafka(format!("FLEETCAST_KAFKA_PROPERTIES (--kafka-properties): {other}")),
            })?;
        }
        Ok(settings)
    }

    /// Reads this topic too, and makes it if it is not there.
    #[must_use]
    pub fn with_own_topic(mut self, topic: &str) -> Self {
        if !self.topics.iter().any(|known| known == topic) {
            self.topics.push(topic.to_owned());
        }
        self.own_topic = Some(topic.to_owned());
        self
    }

    fn property(&self, key: &str) -> Option<&str> {
        self.properties.iter().rev().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set_log_level(RDKafkaLogLevel::Info)
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "fleetcast")
            .set("socket.keepalive.enable", "true")
            .set("reconnect.backoff.max.ms", "5000");
        config
    }

    pub(super) fn consumer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("group.id", &self.group)
            // A new group starts with what is retained, and a new partition with its first record.
            .set("auto.offset.reset", "earliest")
            // How soon added partitions and topics are seen.
            .set("topic.metadata.refresh.interval.ms", "30000")
            // The queue is what a slow store leaves waiting in memory; the default after it was full is
            // to look again a whole second later.
            .set("queued.max.messages.kbytes", "32768")
            .set("fetch.queue.backoff.ms", "10");
        // KIP-848 leaves these to the broker and refuses them.
        if self.property("group.protocol") != Some("consumer") {
            config
                .set("partition.assignment.strategy", "cooperative-sticky")
                // How long the partitions of a replica that died wait for another one.
                .set("session.timeout.ms", "10000");
        }
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        config
    }

    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("message.timeout.ms", "10000")
            .set("topic.metadata.propagation.max.ms", "5000")
            .set("message.max.bytes", LETTER_BYTES_MAX.to_string())
            .set("linger.ms", "5")
            .set("queue.buffering.max.kbytes", "262144");
        for (key, value) in &self.properties {
            if !CONSUMER_ONLY.iter().any(|known| key.starts_with(known)) {
                config.set(key, value);
            }
        }
        config
    }
}

/// `key=value,key=value`; a part without `=` belongs to the value before it, since values may hold commas.
struct Properties(Vec<(String, String)>);

impl FromStr for Properties {
    type Err = InvalidKafka;

    fn from_str(text: &str) -> Result<Self, InvalidKafka> {
        // Values may be secret, so errors name keys alone.
        let invalid = |why: String| {
            Err(InvalidKafka(format!("FLEETCAST_KAFKA_PROPERTIES (--kafka-properties): {why}")))
        };
        let mut properties: Vec<(String, String)> = Vec::new();
        for part in text.split(',') {
            match (part.split_once('='), properties.last_mut()) {
                (Some((key, _)), _) if RESERVED.contains(&key.trim()) => {
                    return invalid(format!("{} is set by Fleetcast", key.trim()));
                }
                (Some((key, value)), _) => properties.push((key.trim().to_owned(), value.trim().to_owned())),
                (None, Some((_, value))) => *value = format!("{value},{}", part.trim()),
                (None, None) if part.trim().is_empty() => {}
                (None, None) => return invalid("does not start with key=value".to_owned()),
            }
        }
        Ok(Self(properties))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        kafka: Options,
        #[command(flatten)]
        records: RecordOptions,
    }

    fn settings(args: &[&str]) -> Result<Settings, InvalidKafka> {
        let base = ["x", "--kafka-brokers", "b:1", "--kafka-topics", "t, u", "--kafka-group", "g"];
        let line = Line::parse_from(base.iter().chain(args));
        Settings::new(&line.kafka, &line.records)
    }

    #[test]
    fn properties_reach_librdkafka_and_values_may_hold_commas() {
        let settings = settings(&["--kafka-properties", "debug=cgrp,topic, fetch.min.bytes=7"]).unwrap();
        assert_eq!(settings.topics, ["t", "u"]);
        let consumer = settings.consumer();
        assert_eq!(consumer.get("debug"), Some("cgrp,topic"));
        assert_eq!(consumer.get("fetch.min.bytes"), Some("7"));
        assert_eq!(consumer.get("partition.assignment.strategy"), Some("cooperative-sticky"));
        assert_eq!(settings.producer().get("fetch.min.bytes"), None);
    }

    #[test]
    fn the_new_group_protocol_is_left_to_the_broker() {
        let settings = settings(&["--kafka-properties", "group.protocol=consumer"]).unwrap();
        assert_eq!(settings.consumer().get("partition.assignment.strategy"), None);
    }

    #[test]
    fn what_can_not_work_is_refused_by_name() {
        let no = |properties: &str, why: &str| {
            let error = settings(&["--kafka-properties", properties]).unwrap_err().to_string();
            assert!(error.contains("FLEETCAST_KAFKA_PROPERTIES") && error.contains(why), "{error}");
        };
        no("enable.auto.commit=true", "enable.auto.commit");
        no("no.such.setting=secret", "no.such.setting");
        no("session.timeout.ms=soon", "session.timeout.ms");
        no("secret", "key=value");
        let line = Line::parse_from(["x", "--kafka-brokers", "b:1", "--kafka-topics", "t"]);
        let error = Settings::new(&line.kafka, &line.records).unwrap_err().to_string();
        assert!(error.contains("FLEETCAST_KAFKA_GROUP"), "{error}");
    }
}
