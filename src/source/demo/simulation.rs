//! All vehicles and their fleets. Pure: time is an argument.

use std::time::Duration;

use bytes::Bytes;

use super::{
    InvalidDemo, Options,
    chance::Chance,
    json::{self, Identity},
    network::{Networks, REGION_COUNT, is_sea, region_name},
    vehicle::{Kind, Sample, Vehicle},
};
use crate::fleet::{AssetId, FleetId, Record, Update};

/// Streams of chance: one per path, fleet and vehicle, so that more of one does not change the others.
const FLEET_STREAM: u64 = 1 << 32;
const VEHICLE_STREAM: u64 = 1 << 40;

/// Vehicles of regional carriers, fleet by fleet.
#[derive(Debug)]
pub struct Simulation {
    networks: Networks,
    fleets: Vec<FleetId>,
    assets: Vec<Asset>,
}

#[derive(Debug)]
struct Asset {
    id: AssetId,
    fleet: u32,
    /// Its number within the fleet, from 1.
    number: u32,
    vehicle: Vehicle,
}

impl Sample {
    pub(super) fn status(&self) -> &'static str {
        match self.alarm {
            Some(_) => "alarm",
            None if self.speed_kmh < 1.0 => "stopped",
            None => "moving",
        }
    }
}

impl Simulation {
    /// Builds the fleet that follows from the options.
    ///
    /// # Errors
    /// There are more fleets than assets, or the rate is out of its range.
    pub fn new(options: &Options) -> Result<Self, InvalidDemo> {
        options.check()?;
        let &Options { assets, fleets, seed, .. } = options;
        let mut simulation = Self {
            networks: Networks::new(seed),
            fleets: Vec::with_capacity(fleets as usize),
            assets: Vec::with_capacity(assets as usize),
        };
        for (fleet, size) in (0..).zip(sizes(options)) {
            simulation.add_fleet(seed, fleet, size);
        }
        Ok(simulation)
    }

    /// The fleets' names, in order.
    #[must_use]
    pub fn fleets(&self) -> &[FleetId] {
        &self.fleets
    }

    /// How many assets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.assets.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.assets.is_empty()
    }

    /// What the `slice`th part (of `slices`) of the assets says, `elapsed` after the start. The parts
    /// take assets in turn, so each holds some of every larger fleet.
    #[must_use]
    pub fn slice(&self, slice: usize, slices: usize, elapsed: Duration, ts_ms: i64) -> Vec<Record> {
        let elapsed_s = elapsed.as_secs_f64();
        let mut text = Vec::with_capacity(256);
        let assets = self.assets.iter().skip(slice).step_by(slices.max(1));
        let heard = assets.filter(|asset| !asset.vehicle.is_silent(elapsed_s));
        heard
            .map(|asset| Record {
                fleet: self.fleets[asset.fleet as usize].clone(),
                update: self.update(asset, elapsed_s, ts_ms, &mut text),
                origin: None,
            })
            .collect()
    }

    fn update(&self, asset: &Asset, elapsed_s: f64, ts_ms: i64, text: &mut Vec<u8>) -> Update {
        let sample = asset.vehicle.at(elapsed_s, &self.networks);
        let who = Identity {
            asset: asset.id.as_str(),
            fleet: self.fleets[asset.fleet as usize].as_str(),
            kind: asset.vehicle.kind.name(),
            noun: asset.vehicle.kind.noun(),
            number: asset.number as usize,
        };
        text.clear();
        json::write(text, who, ts_ms, &sample);
        Update {
            asset: Some(asset.id.clone()),
            ts_ms,
            position: Some(json::rounded(sample.position)),
            // A copy of its own: the state keeps it, and must not keep its neighbours alive.
            raw: Bytes::copy_from_slice(text),
        }
    }

    /// Regions take turns, so `nordic-01` is first and `nordic-02` comes one round later.
    fn add_fleet(&mut self, seed: u64, fleet: u32, size: u32) {
        let region = fleet as usize % REGION_COUNT;
        let round = fleet as usize / REGION_COUNT + 1;
        let name = format!("{}-{round:02}", region_name(region));
        for number in 1..=size {
            let stream = VEHICLE_STREAM * u64::from(fleet + 1) + u64::from(number);
            let mut chance = Chance::new(seed, stream);
            let kind = kind(region, round, &mut chance);
            let vehicle = Vehicle::new(&self.networks, region, kind, &mut chance);
            let id = AssetId::parse(&format!("{name}-{number:04}")).expect("made of letters and digits");
            self.assets.push(Asset { id, fleet, number, vehicle });
        }
        self.fleets.push(FleetId::parse(&name).expect("made of letters and digits"));
    }
}

/// Carriers differ: of every four in a region one is a cold chain, one a railway.
fn kind(region: usize, round: usize, chance: &mut Chance) -> Kind {
    let reefers = match round % 4 {
        _ if is_sea(region) => return Kind::Sea,
        3 => return Kind::Rail,
        2 => 0.9,
        _ => 0.2,
    };
    if chance.happens(reefers) { Kind::Reefer } else { Kind::Road }
}

/// How many assets each fleet has: at least one, the largest three times the smallest at most.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "parts of a u32")]
fn sizes(options: &Options) -> Vec<u32> {
    let mut chance = Chance::new(options.seed, FLEET_STREAM);
    let weights: Vec<f64> = (0..options.fleets).map(|_| chance.between(0.5, 1.5)).collect();
    let total: f64 = weights.iter().sum();
    let spare = f64::from(options.assets - options.fleets);
    let mut reached = 0.0;
    let mut given = 0;
    let mut sizes: Vec<u32> = Vec::with_capacity(weights.len());
    for weight in weights {
        reached += weight;
        let upto = (spare * reached / total).round() as u32;
        sizes.push(1 + upto - given);
        given = upto;
    }
    sizes
}

#[cfg(test)]
#[path = "simulation_tests.rs"]
mod tests;
