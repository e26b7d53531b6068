//! Dashboards that take what they are told as it is told, on connections that may be bad, and note every wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

use super::telemetry::{BBOX, EAST, Name, State};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// How the network of a dashboard is, until all is calm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    Steady,
    /// Torn down every second or so; it comes back with its cursors.
    Flapping,
    /// Reads nothing for a second or two at a time.
    Slow,
}

/// What a dashboard shows.
#[derive(Debug, Default)]
pub struct Shown {
    pub fleets: BTreeMap<Name, State>,
    pub region: BTreeMap<Name, State>,
    cursors: BTreeMap<String, String>,
    /// Fleets of which only what changed is coming.
    resumed: BTreeSet<String>,
    /// The newest time of each asset told on this connection, by subscription.
    told: BTreeMap<(&'static str, Name), i64>,
    /// The only ones that it may be told of.
    granted: Vec<&'static str>,
    pub wrongs: Vec<String>,
    pub connections: usize,
    pub resyncs: usize,
}

impl Shown {
    fn tell(&mut self, event: &str, body: &Value) {
        let fleet = body["fleet"].as_str().unwrap_or_default().to_owned();
        match event {
            "fleet_snapshot" => {
                if body["part"] == 1 && !self.resumed.contains(&fleet) {
                    self.fleets.retain(|(of, _), _| *of != fleet);
                }
                if body["part"] == body["parts"] {
                    self.resumed.remove(&fleet);
                    self.cursors.insert(fleet, body["cursor"].as_str().unwrap().to_owned());
                }
                self.put("fleet", &body["assets"]);
            }
            "fleet_updates" => {
                self.cursors.insert(fleet, body["cursor"].as_str().unwrap().to_owned());
                self.put("fleet", &body["assets"]);
            }
            "region_snapshot" => {
                if body["part"] == 1 {
                    self.region.clear();
                }
                self.put("region", &body["assets"]);
            }
            "region_updates" => {
                self.put("region", &body["entered"]);
                self.put("region", &body["moved"]);
                for left in body["left"].as_array().unwrap() {
                    let text = |name: &str| left[name].as_str().unwrap().to_owned();
                    let name = (text("fleet"), text("id"));
                    if self.region.remove(&name).is_none() {
                        self.wrongs.push(format!("{name:?} left the region and was not in it"));
                    }
                }
            }
            "resync" => {
                self.resyncs += 1;
                self.resumed.remove(&fleet);
            }
            _ => {}
        }
    }

    fn put(&mut self, kind: &'static str, assets: &Value) {
        for asset in assets.as_array().unwrap() {
            let (name, state) = State::of(asset);
            if !self.granted.contains(&name.0.as_str()) {
                self.wrongs.push(format!("{kind}: {name:?} was not granted"));
            }
            if kind == "region" && !state.is_in(BBOX) && !state.is_in(EAST) {
                self.wrongs.push(format!("{name:?} is in no region: {state:?}"));
            }
            let before = self.told.insert((kind, name.clone()), state.ts);
            if let Some(before) = before.filter(|before| *before > state.ts) {
                self.wrongs.push(format!("{kind}: {name:?} went back from {before} to {}", state.ts));
            }
            let shown = if kind == "fleet" { &mut self.fleets } else { &mut self.region };
            shown.insert(name, state);
        }
    }
}

/// One viewer's page.
#[derive(Debug, Clone)]
pub struct Dashboard {
    pub habit: Habit,
    pub token: String,
    pub fleets: Vec<&'static str>,
    pub shown: Arc<Mutex<Shown>>,
    /// Where gateways may be found.
    pub addrs: Arc<Mutex<Vec<String>>>,
    /// Everybody behaves from now on.
    pub calm: Arc<AtomicBool>,
}

impl Dashboard {
    /// Connects again and again, for ever.
    pub async fn live(self, seed: u64) {
        let mut rng = SmallRng::seed_from_u64(seed);
        loop {
            let addr = {
                let addrs = self.addrs.lock().unwrap();
                addrs[rng.random_range(0..addrs.len())].clone()
            };
            let url = format!("ws://{addr}/socket.io/?EIO=4&transport=websocket&token={}", self.token);
            let connecting = timeout(Duration::from_secs(5), tokio_tungstenite::connect_async(url));
            if let Ok(Ok((socket, _))) = connecting.await {
                self.connection(socket, &mut rng).await;
            }
            sleep(Duration::from_millis(rng.random_range(50..300))).await;
        }
    }

    /// Until it ends, one way or the other.
    async fn connection(&self, mut socket: Socket, rng: &mut SmallRng) -> Option<()> {
        {
            let mut shown = self.shown.lock().unwrap();
            shown.connections += 1;
            (shown.told, shown.resumed) = (BTreeMap::new(), BTreeSet::new());
            shown.region.clear();
            shown.granted.clone_from(&self.fleets);
        }
        socket.send(Message::text("40")).await.ok()?;
        let (mut map, mut next_move) = (None, Instant::now());
        let ends = Instant::now() + Duration::from_millis(rng.random_range(300..2_500));
        let mut next_nap = Instant::now();
        loop {
            let is_calm = self.calm.load(Ordering::Relaxed);
            if self.habit == Habit::Flapping && !is_calm && Instant::now() > ends {
                return None;
            }
            if self.habit == Habit::Slow && !is_calm && Instant::now() > next_nap {
                sleep(Duration::from_millis(rng.random_range(500..2_000))).await;
                next_nap = Instant::now() + Duration::from_millis(300);
            }
            // Maps are panned to and fro, and in the end they are where they began.
            if let Some(bbox) = map.as_mut().filter(|bbox| !is_calm || **bbox == EAST)
                && Instant::now() > next_move
            {
                *bbox = if *bbox == BBOX { EAST } else { BBOX };
                next_move = Instant::now() + Duration::from_millis(rng.random_range(50..1_500));
                watch(&mut socket, *bbox).await?;
            }
            let Ok(next) = timeout(Duration::from_millis(200), socket.next()).await else { continue };
            if let Message::Text(text) = next?.ok()? {
                self.packet(&text, &mut socket).await?;
                if text.starts_with("40") {
                    map = Some(BBOX);
                }
            }
        }
    }

    async fn packet(&self, text: &str, socket: &mut Socket) -> Option<()> {
        if text == "2" {
            return socket.send(Message::text("3")).await.ok();
        }
        if text.starts_with("40") {
            return self.subscribe(socket).await;
        }
        if let Some(rest) = text.strip_prefix("43") {
            let (number, answer) = rest.split_at(rest.find('[')?);
            let answer: Value = serde_json::from_str(answer).ok()?;
            let fleet = self.fleets.get(number.parse::<usize>().ok()?);
            if answer[0]["ok"] != true {
                assert_eq!(answer[0]["error"]["code"], "unavailable", "{answer}");
                return None; // A store that is away: it is asked again, from the start.
            }
            if let Some(fleet) = fleet.filter(|_| answer[0]["resumed"] == true) {
                self.shown.lock().unwrap().resumed.insert((*fleet).to_owned());
            }
            return Some(());
        }
        let Some(event) = text.strip_prefix("42") else { return Some(()) };
        let event: Value = serde_json::from_str(event).ok()?;
        self.shown.lock().unwrap().tell(event[0].as_str()?, &event[1]);
        Some(())
    }

    async fn subscribe(&self, socket: &mut Socket) -> Option<()> {
        for (number, fleet) in self.fleets.iter().enumerate() {
            let since = self.shown.lock().unwrap().cursors.get(*fleet).cloned();
            let mut body = json!({"fleet": fleet, "interval_ms": 100});
            if let Some(since) = since {
                body["since"] = since.into();
            }
            let request = json!(["fleet_subscribe", body]);
            socket.send(Message::text(format!("42{number}{request}"))).await.ok()?;
        }
        watch(socket, BBOX).await
    }
}

async fn watch(socket: &mut Socket, bbox: [f64; 4]) -> Option<()> {
    let request = json!(["region_subscribe", {"region": "middle", "bbox": bbox, "interval_ms": 100}]);
    socket.send(Message::text(format!("4299{request}"))).await.ok()
}
