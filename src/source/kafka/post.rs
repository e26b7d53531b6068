//! Writes records to a topic that the consumers of the group read: the way in of the delivery canary.

use std::time::Duration;

use super::{
    Settings,
    letters::{Quiet, make_topic},
};
use rdkafka::{
    error::KafkaError,
    producer::{FutureProducer, FutureRecord},
};

/// A topic to write to.
pub struct Post {
    producer: FutureProducer<Quiet>,
    settings: Settings,
    topic: String,
}

impl Post {
    /// Connects when the first record is sent.
    ///
    /// # Errors
    /// librdkafka does not take the settings.
    pub fn new(settings: &Settings, topic: &str) -> Result<Self, KafkaError> {
        let producer = settings.producer().create_with_context(Quiet)?;
        Ok(Self { producer, settings: settings.clone(), topic: topic.to_owned() })
    }

    /// Writes one record, and waits until the brokers have it.
    ///
    /// # Errors
    /// They did not confirm in time.
    pub async fn send(&self, payload: String) -> Result<(), String> {
        let record = FutureRecord::<(), _>::to(&self.topic).payload(&payload);
        let sent = self.producer.send(record, Duration::from_secs(1)).await;
        if let Err((error, _)) = sent {
            // The consumer made the topic before it joined, unless the brokers were away then.
            make_topic(&self.settings.producer(), &self.topic).await;
            return Err(error.to_string());
        }
        Ok(())
    }
}

impl std::fmt::Debug for Post {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Post").field("topic", &self.topic).finish_non_exhaustive()
    }
}
