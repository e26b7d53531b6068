//! A gateway and the topic that it reads: telemetry as a test tells it.

use rdkafka::producer::FutureRecord;

use super::{Gateway, GatewayBuilder, Kafka, PATIENCE, eventually};

/// A gateway whose telemetry a test writes itself.
pub struct World {
    pub gateway: Gateway,
    kafka: &'static Kafka,
    topic: String,
    pub ts: i64,
}

impl World {
    pub async fn new(name: &str, more: &[(&str, &str)]) -> Self {
        Self::over(Gateway::builder(), name, more).await
    }

    pub async fn over(builder: GatewayBuilder, name: &str, more: &[(&str, &str)]) -> Self {
        let kafka = Kafka::shared().await;
        let topic = kafka.topic(name, 1).await;
        let gateway = builder.kafka(kafka.brokers(), &topic);
        let gateway = more.iter().fold(gateway, |gateway, (name, value)| gateway.env(name, value));
        let gateway = gateway.start().await;
        gateway.wait_ready().await;
        Self { gateway, kafka, topic, ts: 1_790_000_000_000 }
    }

    pub async fn put(&mut self, fleet: &str, asset: &str, more: &str) {
        self.ts += 1;
        let text = format!(r#"{{"fleetId":"{fleet}","assetId":"{asset}","ts":{}{more}}}"#, self.ts);
        let record = FutureRecord::<(), _>::to(&self.topic).payload(&text);
        self.kafka.producer().send(record, PATIENCE).await.unwrap();
    }

    pub async fn place(&mut self, fleet: &str, asset: &str, lon: f64, lat: f64) {
        self.put(fleet, asset, &format!(r#","lon":{lon},"lat":{lat}"#)).await;
    }

    pub async fn applied(&self, count: f64) {
        let applied = || async { self.gateway.metric("fleetcast_updates_applied_total").await >= count };
        eventually("all is applied", applied).await;
    }
}
