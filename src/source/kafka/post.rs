//! Writes records to a topic that the consumers of the group read: the way in of the delivery canary.

use std::time::Duration;

use rdkafka::{
    error::KafkaError,
    producer::{FutureProducer, FutureRecord},
};
use tokio::sync::OnceCell;

use super::{
    Settings,
    letters::{Quiet, make_topic},
};

/// A topic to write to.
pub struct Post {
    producer: FutureProducer<Quiet>,
    settings: Settings,
    topic: String,
    /// Asked for once.
    topic_made: OnceCell<()>,
}

impl Post {
    /// Connects when the first record is sent.
    ///
    /// # Errors
    /// librdkafka does not take the settings.
    pub fn new(settings: &Settings, topic: &str) -> Result<Self, KafkaError> {
        let producer = settings.producer().create_with_context(Quiet)?;
        let topic_made = OnceCell::new();
        Ok(Self { producer, settings: settings.clone(), topic: topic.to_owned(), topic_made })
    }

    /// Writes one record, and waits until the brokers have it.
    ///
    /// # Errors
    /// They did not confirm in time.
    pub async fn send(&self, payload: String) -> Result<(), String> {
        self.topic_made.get_or_init(async || make_topic(&self.settings.producer(), &self.topic).await).await;
        let record = FutureRecord::<(), _>::to(&self.topic).payload(&payload);
        let sent = self.producer.send(record, Duration::from_secs(1)).await;
        sent.map(drop).map_err(|(error, _)| error.to_string())
    }
}

impl std::fmt::Debug for Post {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Post").field("topic", &self.topic).finish_non_exhaustive()
    }
}
