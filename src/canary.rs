//! The delivery canary: an update of a fleet that nobody can see goes the whole way, and its age decides
//! whether this replica is ready.
//!
//! ```text
//! entrance (Kafka topic | behind the source | legacy channel) ─► … ─► websocket of our own ─► age
//! ```
//!
//! Invariants: readiness never rests on a part's own word that it works; the canary costs a constant, and
//! nothing of it is in what users, peers or gauges of viewers see.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};
use tokio_tungstenite::{
    client_async,
    tungstenite::{self, Message},
};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    clock::epoch_ms,
    fleet::{FieldMap, FleetId, Record},
    observe::{Condition, Metrics},
    source::kafka,
    store::{Link, Redis},
    values::duration,
};

/// How many canaries may be on their way; older ones are given up.
const ON_THE_WAY_MAX: usize = 32;
/// How many assets the canary fleet may ever have, whatever the number of replicas and starts: the store
/// keeps each.
const ASSETS: u32 = 4096;
/// So many intervals without a canary are too many.
const INTERVALS_MAX: u32 = 3;
const STEP_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the age is looked at, and canaries are sent until the first one has arrived.
const PACE: Duration = Duration::from_millis(250);

/// The delivery canary.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Delivery canary")]
pub struct CanaryOptions {
    /// How often an update of our own is sent through everything to a websocket of our own; without one for
    /// three times as long this replica is not ready. 0s: never
    #[arg(long, env = "FLEETCAST_CANARY_INTERVAL", value_name = "DURATION", default_value = "5s",
          value_parser = duration)]
    pub canary_interval: Duration,
    /// A topic for it, read with the others and made if it is not there, so that it goes through Kafka too;
    /// otherwise it begins behind the consumer
    #[arg(long, env = "FLEETCAST_CANARY_TOPIC", value_name = "TOPIC")]
    pub canary_topic: Option<String>,
}

/// Where a canary sets out.
#[derive(Debug)]
pub enum Entrance {
    /// As a record of a topic.
    Topic(Box<kafka::Post>, FieldMap),
    /// As a record that the source has just read.
    Pipeline(mpsc::Sender<Record>),
    /// As a message of the legacy ingestion.
    Channel(Redis, String),
}

/// One process's canary.
#[derive(Debug)]
pub struct Canary {
    entrance: Entrance,
    /// Of the public port.
    address: SocketAddr,
    /// How the public port is spoken to, if it speaks TLS.
    tls: Option<Arc<ClientConfig>>,
    /// By which the edge knows our own session.
    key: Arc<str>,
    interval: Duration,
    metrics: Arc<Metrics>,
    condition: Condition,
    /// Before each canary's number: nobody else's is like it.
    word: String,
    asset: String,
    flight: Mutex<Flight>,
}

#[derive(Debug)]
struct Flight {
    on_the_way: VecDeque<(u64, Instant)>,
    number: u64,
    /// When the newest canary that has arrived was sent.
    newest: Instant,
    has_arrived: bool,
    is_listening: bool,
}

impl Canary {
    /// A canary of this process. `public` is the port, with how to speak TLS to it; `key` is what the edge was
    /// told.
    #[must_use]
    pub fn new(
        entrance: Entrance,
        (public, tls): (SocketAddr, Option<Arc<ClientConfig>>),
        key: Arc<str>,
        interval: Duration,
        metrics: Arc<Metrics>,
        condition: Condition,
    ) -> Self {
        let ip = match public.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let newest = Instant::now();
        condition.set_unready("no update has made its way to a websocket yet");
        Self {
            entrance,
            address: (ip, public.port()).into(),
            tls,
            key,
            interval,
            metrics,
            condition,
            word: format!("canary-{:032x}-", rand::random::<u128>()),
            asset: format!("replica-{}", rand::random_range(0..ASSETS)),
            flight: Mutex::new(Flight {
                on_the_way: VecDeque::new(),
                number: 0,
                newest,
                has_arrived: false,
                is_listening: false,
            }),
        }
    }

    fn flight(&self) -> MutexGuard<'_, Flight> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends, listens and judges until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let all = async {
            tokio::join!(self.send_on(), self.listen_on(), self.judge_on());
        };
        stop.run_until_cancelled(all).await;
    }

    async fn send_on(&self) {
        let mut link = None;
        loop {
            let number = {
                let mut flight = self.flight();
                flight.is_listening.then(|| flight.set_out(Instant::now()))
            };
            if let Some(number) = number
                && let Err(error) = self.send(number, &mut link).await
            {
                link = None;
                tracing::debug!(error, "the canary could not set out");
            }
            let is_known = self.flight().has_arrived;
            sleep(if is_known { self.interval } else { PACE.min(self.interval) }).await;
        }
    }

    async fn send(&self, number: u64, link: &mut Option<Link>) -> Result<(), String> {
        let text = |fields: &FieldMap| {
            let mut record = fields.compose(&self.asset, &FleetId::canary(), epoch_ms());
            record["fleetcast_canary"] = json!(format!("{}{number}", self.word));
            record.to_string()
        };
        let plain = FieldMap::default();
        match &self.entrance {
            Entrance::Topic(post, fields) => post.send(text(fields)).await,
            Entrance::Pipeline(records) => {
                let record = plain.parse(Bytes::from(text(&plain))).map_err(|error| error.to_string())?;
                // A pipeline that takes nothing is what the canary is to find out, not to fill.
                records.try_send(record).map_err(|_| "the pipeline is not taking anything".to_owned())
            }
            Entrance::Channel(redis, channel) => {
                let publish = async {
                    if link.is_none() {
                        *link = Some(redis.connect().await?);
                    }
                    let Some(link) = link else { return Ok(()) };
                    redis::cmd("PUBLISH").arg(channel).arg(text(&plain)).query_async::<()>(link).await
                };
                let published = timeout(STEP_TIMEOUT, publish).await.map_err(|_| "no answer".to_owned())?;
                published.map_err(|error| error.to_string())
            }
        }
    }

    async fn listen_on(&self) {
        let mut backoff = Backoff::new(Duration::from_millis(100), STEP_TIMEOUT);
        loop {
            match self.listen(&mut backoff).await {
                Ok(()) => tracing::debug!("the canary's connection ended"),
                Err(error) => tracing::debug!(error, "the canary cannot listen"),
            }
            self.flight().is_listening = false;
            sleep(backoff.next_wait(rand::random())).await;
        }
    }

    /// A viewer like any other, up to the end of its connection.
    async fn listen(&self, backoff: &mut Backoff) -> Result<(), String> {
        let connecting = TcpStream::connect(self.address);
        let tcp = timeout(STEP_TIMEOUT, connecting).await.map_err(|_| "no answer".to_owned())?;
        let tcp = tcp.map_err(|error| error.to_string())?;
        let Some(tls) = self.tls.clone() else { return self.watch(tcp, backoff).await };
        let handshake = TlsConnector::from(tls).connect(ServerName::from(self.address.ip()), tcp);
        let tls = timeout(STEP_TIMEOUT, handshake).await.map_err(|_| "no TLS".to_owned())?;
        // On the heap: a canary without TLS holds no room for it.
        Box::pin(self.watch(tls.map_err(|error| error.to_string())?, backoff)).await
    }

    async fn watch<S>(&self, stream: S, backoff: &mut Backoff) -> Result<(), String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket&own={}", self.address, self.key);
        let connecting = async { client_async(url, stream).await.map_err(|error| error.to_string()) };
        let connected = timeout(STEP_TIMEOUT, connecting).await;
        let (mut socket, _) = connected.unwrap_or_else(|_| Err("no answer".to_owned()))?;
        let failed = |error: tungstenite::Error| error.to_string();
        socket.send(Message::text("40")).await.map_err(failed)?;
        while let Some(message) = socket.next().await {
            let Message::Text(packet) = message.map_err(failed)? else { continue };
            match packet.as_str() {
                "2" => socket.send(Message::text("3")).await.map_err(failed)?,
                packet if packet.starts_with("40") => {
                    backoff.reset();
                    self.flight().is_listening = true;
                }
                packet => self.heard(packet),
            }
        }
        Ok(())
    }

    /// The canaries of all replicas come by; ours has our word in it.
    fn heard(&self, packet: &str) {
        let Some((_, number)) = packet.split_once(&self.word) else { return };
        let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
        let Ok(number) = number[..digits].parse() else { return };
        // The lock is given back before anything else is asked.
        let age = self.flight().arrive(number, Instant::now());
        if let Some(age) = age {
            self.metrics.canary_round_trip.observe(age.as_secs_f64());
            self.judge();
        }
    }

    async fn judge_on(&self) {
        loop {
            self.judge();
            sleep(PACE.min(self.interval)).await;
        }
    }

    fn judge(&self) {
        let (age, has_arrived) = {
            let flight = self.flight();
            (flight.newest.elapsed(), flight.has_arrived)
        };
        self.metrics.canary_age.set(age.as_secs_f64());
        let age_max = (self.interval * INTERVALS_MAX).max(Duration::from_secs(1));
        if age > age_max {
            let reason = format!("no update has made its way to a websocket for {} s", age.as_secs());
            self.condition.set_unready(reason);
        } else if has_arrived {
            self.condition.set_ready();
        }
    }
}

impl Flight {
    fn set_out(&mut self, now: Instant) -> u64 {
        self.number += 1;
        if self.on_the_way.len() >= ON_THE_WAY_MAX {
            self.on_the_way.pop_front();
        }
        self.on_the_way.push_back((self.number, now));
        self.number
    }

    /// How long that one took. One that was given up, or comes twice, counts for nothing.
    fn arrive(&mut self, number: u64, now: Instant) -> Option<Duration> {
        let at = self.on_the_way.iter().position(|(known, _)| *known == number)?;
        let (_, sent) = self.on_the_way.remove(at)?;
        self.newest = self.newest.max(sent);
        self.has_arrived = true;
        Some(now.duration_since(sent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_late_counts_from_when_it_was_sent_and_what_comes_twice_does_not_count() {
        let start = Instant::now();
        let second = |n| start + Duration::from_secs(n);
        let mut flight = Flight {
            on_the_way: VecDeque::new(),
            number: 0,
            newest: start,
            has_arrived: false,
            is_listening: true,
        };
        assert_eq!((flight.set_out(second(1)), flight.set_out(second(2))), (1, 2));
        assert_eq!(flight.arrive(2, second(10)), Some(Duration::from_secs(8)));
        assert_eq!(flight.newest, second(2));
        assert_eq!(flight.arrive(1, second(11)), Some(Duration::from_secs(10)));
        assert_eq!(flight.newest, second(2), "an older one does not make it younger or older");
        assert_eq!(flight.arrive(2, second(12)), None);
        for n in 0..100 {
            flight.set_out(second(20 + n));
        }
        assert_eq!(flight.on_the_way.len(), ON_THE_WAY_MAX);
        assert_eq!(flight.arrive(3, second(200)), None, "given up");
    }

    #[test]
    fn a_canary_is_a_record_like_any_other_wherever_records_keep_their_fields() {
        for fields in ["", "asset=/meta/vehicle/id,fleet=/meta/fleet,ts=/time,lat=/p/0,lon=/p/1"] {
            let fields: FieldMap = fields.parse().unwrap();
            let text = fields.compose("replica-7", &FleetId::canary(), 1_790_000_000_000).to_string();
            let record = fields.parse(Bytes::from(text)).unwrap();
            assert!(record.fleet.is_canary() && record.update.position.is_none());
            assert_eq!(record.update.ts_ms, 1_790_000_000_000);
        }
    }
}
