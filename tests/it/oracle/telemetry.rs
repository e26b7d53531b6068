//! Telemetry as sources send it on bad days, and a model of what must come of it.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use serde_json::{Map, Value};

use crate::support::now_ms;

pub const FLEETS: [&str; 3] = ["north", "south", "west"];
pub const PARTITIONS: usize = 3;
const ASSETS: usize = 24;
/// Records of each partition that may be sent once more.
const RECENT_MAX: usize = 50;
/// In the middle of where assets are; some of them are in it at a time.
pub const BBOX: [f64; 4] = [-20.0, -10.0, 20.0, 10.0];
/// Where maps are panned to and from.
pub const EAST: [f64; 4] = [0.0, -10.0, 40.0, 10.0];

/// Fleet and asset.
pub type Name = (String, String);

/// What is known of an asset: event time, place, and the source's own fields merged.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    pub ts: i64,
    place: Option<(f64, f64)>,
    fields: BTreeMap<String, i64>,
}

impl State {
    /// As a viewer is told it.
    pub fn of(asset: &Value) -> (Name, Self) {
        let text = |name: &str| asset[name].as_str().unwrap().to_owned();
        let place = asset["lat"].as_f64().zip(asset["lon"].as_f64());
        let data = asset["data"].as_object().unwrap();
        let mut state = Self { ts: asset["ts"].as_i64().unwrap(), place, ..Self::default() };
        state.take_fields(data);
        ((text("fleet"), text("id")), state)
    }

    fn take_fields(&mut self, data: &Map<String, Value>) {
        for name in ["temp", "fuel", "n"] {
            if let Some(value) = data.get(name).and_then(Value::as_i64) {
                self.fields.insert(name.to_owned(), value);
            }
        }
    }

    pub fn is_in(&self, [west, south, east, north]: [f64; 4]) -> bool {
        self.place.is_some_and(|(lat, lon)| (south..=north).contains(&lat) && (west..=east).contains(&lon))
    }
}

/// The source, and the newest state of every asset.
pub struct Telemetry {
    rng: SmallRng,
    ts: i64,
    n: i64,
    pub newest: BTreeMap<Name, State>,
    recent: Vec<Vec<Map<String, Value>>>,
}

impl Telemetry {
    pub fn new(seed: u64) -> Self {
        let recent = vec![Vec::new(); PARTITIONS];
        let ts = now_ms() - 3_600_000;
        Self { rng: SmallRng::seed_from_u64(seed), ts, n: 0, newest: BTreeMap::new(), recent }
    }

    /// The next record and its partition, which is its asset's.
    pub fn next(&mut self) -> (usize, String) {
        let asset = self.rng.random_range(0..ASSETS);
        let (partition, kind) = (asset % PARTITIONS, self.rng.random_range(0..100));
        let again = kind < 10 && !self.recent[partition].is_empty();
        let record = if again {
            let which = self.rng.random_range(0..self.recent[partition].len());
            self.recent[partition][which].clone()
        } else {
            self.record(asset, kind)
        };
        self.expect(&record);
        let recent = &mut self.recent[partition];
        recent.push(record.clone());
        if recent.len() > RECENT_MAX {
            recent.remove(0);
        }
        (partition, Value::Object(record).to_string())
    }

    /// How many different records there were.
    pub fn count(&self) -> i64 {
        self.n
    }

    fn record(&mut self, asset: usize, kind: i32) -> Map<String, Value> {
        self.ts += self.rng.random_range(1..20_i64);
        self.n += 1;
        // Some come so late that newer ones have been there for long.
        let late = if kind < 20 { self.rng.random_range(1_000..60_000_i64) } else { 0 };
        let mut record = Map::new();
        record.insert("fleetId".into(), FLEETS[asset / PARTITIONS % FLEETS.len()].into());
        record.insert("assetId".into(), format!("a{asset}").into());
        record.insert("ts".into(), (self.ts - late).into());
        record.insert("n".into(), self.n.into());
        if kind < 80 {
            let (lat, lon) = (self.rng.random_range(-20..20_i32), self.rng.random_range(-40..40_i32));
            record.insert("lat".into(), (f64::from(lat) + 0.5).into());
            record.insert("lon".into(), (f64::from(lon) + 0.25).into());
        }
        if kind % 2 == 0 {
            record.insert("temp".into(), self.rng.random_range(-30..30_i64).into());
        }
        if kind % 3 == 0 {
            record.insert("fuel".into(), self.rng.random_range(0..100_i64).into());
        }
        record
    }

    fn expect(&mut self, record: &Map<String, Value>) {
        let text = |name: &str| record[name].as_str().unwrap().to_owned();
        let state = self.newest.entry((text("fleetId"), text("assetId"))).or_default();
        let ts = record["ts"].as_i64().unwrap();
        // At the same time the later record of a log wins.
        if ts < state.ts {
            return;
        }
        state.ts = ts;
        if let (Some(lat), Some(lon)) = (record.get("lat"), record.get("lon")) {
            state.place = Some((lat.as_f64().unwrap(), lon.as_f64().unwrap()));
        }
        state.take_fields(record);
    }
}
