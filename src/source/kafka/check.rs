//! Whether the brokers answer and have the topics: for whoever wants to know before starting.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::Settings;

/// What the cluster said of the configured topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// Brokers of the cluster.
    pub brokers: usize,
    /// Each topic with the number of its partitions, or why it cannot be read.
    pub topics: Vec<(String, Result<usize, String>)>,
}

impl Settings {
    /// The brokers to begin with, as configured.
    #[must_use]
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Asks the cluster for the topics; joins no group and creates nothing. Blocks for up to `limit` per topic.
    ///
    /// # Errors
    /// No broker answers in time, or the settings are refused.
    pub fn ask_for_topics(&self, limit: Duration) -> Result<Topics, rdkafka::error::KafkaError> {
        let consumer: BaseConsumer = self.consumer().set("allow.auto.create.topics", "false").create()?;
        let mut answer = Topics { brokers: 0, topics: Vec::new() };
        for topic in &self.topics {
            let metadata = consumer.fetch_metadata(Some(topic), limit)?;
            answer.brokers = metadata.brokers().len();
            let known = metadata.topics().iter().find(|known| known.name() == topic);
            let partitions = match known.map(|known| (known.error(), known.partitions().len())) {
                Some((None, partitions @ 1..)) => Ok(partitions),
                Some((Some(error), _)) => Err(rdkafka::types::RDKafkaErrorCode::from(error).to_string()),
                Some((None, 0)) | None => Err("it does not exist".to_owned()),
            };
            answer.topics.push((topic.clone(), partitions));
        }
        Ok(answer)
    }
}
