//! One simulated vehicle: what it is, and its state at any moment. Pure: the state is a function of the
//! seed and the time since the start, so any two runs with the same seed agree.
//! Invariant: no jump. A vehicle moves as fast as it says; it stands still at its stops.

use std::f64::consts::TAU;

use super::{
    chance::Chance,
    network::{Mode, Networks, Step},
};
use crate::fleet::Position;

/// What carries the goods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Road,
    Reefer,
    Rail,
    Sea,
}

/// What a kind can do.
struct Traits {
    mode: Mode,
    /// Mean speed between stops.
    cruise_kmh: (f64, f64),
    dwell_s: (f64, f64),
    ramp_s: f64,
    range_km: f64,
    /// How far from the middle of the road it drives, so that vehicles are no single line.
    spread_deg: f64,
}

/// A vehicle at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    pub(super) position: Position,
    pub(super) speed_kmh: f64,
    pub(super) heading_deg: f64,
    pub(super) temperature_c: Option<f64>,
    pub(super) fuel_pct: f64,
    pub(super) alarm: Option<&'static str>,
}

/// A leg of the round trip and the stop after it.
#[derive(Debug, Clone, Copy)]
struct Leg {
    step: Step,
    /// Seconds from the start of the round trip to its departure.
    departs_s: f64,
    drive_s: f64,
    dwell_s: f64,
    /// Parts of the drive spent speeding up and slowing down; 0 where it only passes.
    ramps: (f32, f32),
    fuel_pct: (f32, f32),
}

#[derive(Debug)]
pub(super) struct Vehicle {
    pub(super) kind: Kind,
    legs: Box<[Leg]>,
    round_trip_s: f64,
    /// Where in its round trip it is at the start.
    offset_s: f64,
    aside: Position,
    /// Speed varies around the mean by this part.
    sway: f64,
    temperature_c: f64,
    /// Seconds of one slow rise and repair of the cooling, for the few where it fails.
    failing_s: Option<f64>,
    /// Seconds between two times that the door is open on the way, for the few where it is.
    door_s: Option<f64>,
    is_patchy: bool,
}

/// Nobody is silent before this: every asset is seen first.
const ALL_TALK_S: f64 = 120.0;
const SILENCE_EVERY_S: f64 = 2400.0;
const SILENCE_S: f64 = 900.0;
const DOOR_OPEN_S: f64 = 75.0;
const FAILING_RISE_C: f64 = 11.0;
const TEMPERATURE_ALARM_C: f64 = 5.0;
const FUEL_ALARM_PCT: f64 = 12.0;

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Road => "road",
            Self::Reefer => "reefer",
            Self::Rail => "rail",
            Self::Sea => "sea",
        }
    }

    /// What people call one of them.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Road => "Truck",
            Self::Reefer => "Reefer",
            Self::Rail => "Train",
            Self::Sea => "Vessel",
        }
    }

    #[rustfmt::skip]
    fn traits(self) -> Traits {
        let minutes = |low: f64, high: f64| (low * 60.0, high * 60.0);
        match self {
            Self::Road => Traits {
                mode: Mode::Road, cruise_kmh: (62.0, 76.0), dwell_s: minutes(8.0, 45.0), ramp_s: 40.0,
                range_km: 1300.0, spread_deg: 0.025,
            },
            Self::Reefer => Traits {
                mode: Mode::Road, cruise_kmh: (60.0, 74.0), dwell_s: minutes(15.0, 60.0), ramp_s: 40.0,
                range_km: 1100.0, spread_deg: 0.025,
            },
            Self::Rail => Traits {
                mode: Mode::Rail, cruise_kmh: (75.0, 105.0), dwell_s: minutes(20.0, 90.0), ramp_s: 150.0,
                range_km: 2400.0, spread_deg: 0.004,
            },
            Self::Sea => Traits {
                mode: Mode::Sea, cruise_kmh: (26.0, 38.0), dwell_s: minutes(240.0, 900.0), ramp_s: 900.0,
                range_km: 9000.0, spread_deg: 0.03,
            },
        }
    }
}

impl Vehicle {
    pub(super) fn new(networks: &Networks, region: usize, kind: Kind, chance: &mut Chance) -> Self {
        let traits = kind.traits();
        let steps = networks.round_trip(region, traits.mode, chance);
        let cruise_mps = chance.between(traits.cruise_kmh.0, traits.cruise_kmh.1) / 3.6;
        let mut departs_s = 0.0;
        let mut starts_from_stop = true;
        let mut legs: Vec<Leg> = Vec::with_capacity(steps.len());
        for step in steps {
            let drive_s = networks.paths[step.path as usize].length_m / cruise_mps;
            let (low, high) = traits.dwell_s;
            let dwell_s = if step.ends_at_stop { chance.between(low, high) } else { 0.0 };
            let ramp = (traits.ramp_s / drive_s).min(0.2) as f32;
            let ramp_at = |is_stop: bool| if is_stop { ramp } else { 0.0 };
            let ramps = (ramp_at(starts_from_stop), ramp_at(step.ends_at_stop));
            legs.push(Leg { step, departs_s, drive_s, dwell_s, ramps, fuel_pct: (0.0, 0.0) });
            departs_s += drive_s + dwell_s;
            starts_from_stop = step.ends_at_stop;
        }
        refuel(&mut legs, networks, traits.range_km, chance);
        let spread = traits.spread_deg;
        let is_reefer = kind == Kind::Reefer;
        Self {
            kind,
            legs: legs.into(),
            round_trip_s: departs_s,
            offset_s: chance.unit() * departs_s,
            aside: Position { lat: chance.between(-spread, spread), lon: chance.between(-spread, spread) },
            sway: chance.between(0.04, 0.12),
            temperature_c: chance.pick(&[-20.0, -18.0, -18.0, 2.0, 4.0, 4.0, 7.0, 13.0]),
            failing_s: (is_reefer && chance.happens(0.015)).then(|| chance.between(3000.0, 6000.0)),
            door_s: chance.happens(0.01).then(|| chance.between(3000.0, 9000.0)),
            is_patchy: chance.happens(0.003),
        }
    }

    /// Whether nothing is heard of it at the moment.
    pub(super) fn is_silent(&self, elapsed_s: f64) -> bool {
        self.is_patchy && elapsed_s >= ALL_TALK_S && (elapsed_s + self.offset_s) % SILENCE_EVERY_S < SILENCE_S
    }

    /// Its state, so many seconds after the start.
    pub(super) fn at(&self, elapsed_s: f64, networks: &Networks) -> Sample {
        let on_trip_s = (elapsed_s + self.offset_s) % self.round_trip_s;
        let current = self.legs.iter().rposition(|leg| leg.departs_s <= on_trip_s).unwrap_or(0);
        let leg = &self.legs[current];
        let on_leg_s = on_trip_s - leg.departs_s;
        let (travelled, rate) = leg.progress(on_leg_s, self.sway);
        let path = &networks.paths[leg.step.path as usize];
        let point = path.at(if leg.step.is_reversed { 1.0 - travelled } else { travelled });
        let turned = if leg.step.is_reversed { 180.0 } else { 0.0 };
        let fuel_pct = self.fuel_pct(current, on_leg_s, travelled);
        let temperature_c = self.temperature_c(current, on_leg_s, elapsed_s);
        Sample {
            position: Position {
                lat: point.position.lat + self.aside.lat,
                lon: point.position.lon + self.aside.lon,
            },
            speed_kmh: point.metres * rate * 3.6,
            heading_deg: (point.heading_deg + turned) % 360.0,
            temperature_c,
            fuel_pct,
            alarm: self.alarm(temperature_c, fuel_pct, elapsed_s),
        }
    }

    fn fuel_pct(&self, current: usize, on_leg_s: f64, travelled: f64) -> f64 {
        let leg = &self.legs[current];
        let (from, to) = (f64::from(leg.fuel_pct.0), f64::from(leg.fuel_pct.1));
        if on_leg_s < leg.drive_s || leg.dwell_s == 0.0 {
            return from + (to - from) * travelled;
        }
        let next = f64::from(self.legs[(current + 1) % self.legs.len()].fuel_pct.0);
        to + (next - to) * ((on_leg_s - leg.drive_s) / leg.dwell_s).min(1.0)
    }

    /// Cooled to the set point with a slow swing; doors open at stops let the warmth in.
    fn temperature_c(&self, current: usize, on_leg_s: f64, elapsed_s: f64) -> Option<f64> {
        const WARMING_C: f64 = 2.4;
        if self.kind != Kind::Reefer {
            return None;
        }
        let leg = &self.legs[current];
        let previous = &self.legs[(current + self.legs.len() - 1) % self.legs.len()];
        let warmed = |dwell_s: f64| WARMING_C * (1.0 - (-dwell_s / 900.0).exp());
        let residue = warmed(previous.dwell_s) * (-on_leg_s / 1200.0).exp();
        let open = warmed((on_leg_s - leg.drive_s).max(0.0));
        let swing = 0.5 * (TAU * (elapsed_s + self.offset_s) / 1100.0).sin();
        Some(self.temperature_c + swing + residue + open + self.failure_c(elapsed_s))
    }

    /// What a failing cooling adds: it rises slowly, is noticed, and is repaired.
    fn failure_c(&self, elapsed_s: f64) -> f64 {
        let Some(period_s) = self.failing_s else { return 0.0 };
        let part = ((elapsed_s + self.offset_s) % period_s) / period_s;
        let level = if part < 0.7 { part / 0.7 } else { ((0.95 - part) / 0.25).clamp(0.0, 1.0) };
        FAILING_RISE_C * level
    }

    fn alarm(&self, temperature_c: Option<f64>, fuel_pct: f64, elapsed_s: f64) -> Option<&'static str> {
        if temperature_c.is_some_and(|now| now > self.temperature_c + TEMPERATURE_ALARM_C) {
            return Some("temperature");
        }
        if fuel_pct < FUEL_ALARM_PCT {
            return Some("fuel");
        }
        let is_open = self.door_s.is_some_and(|every_s| (elapsed_s + self.offset_s) % every_s < DOOR_OPEN_S);
        is_open.then_some("door")
    }
}

impl Leg {
    /// How far it has come, and how fast that grows per second.
    fn progress(&self, on_leg_s: f64, sway: f64) -> (f64, f64) {
        if on_leg_s >= self.drive_s {
            return (1.0, 0.0);
        }
        // Traffic: time itself runs a little faster and slower, a whole number of times per leg.
        let part = on_leg_s / self.drive_s;
        let waves = (self.drive_s / 400.0).ceil();
        let (sin, cos) = (TAU * waves * part).sin_cos();
        let warped = part + sway * sin / (TAU * waves);
        let (speeding, slowing) = (f64::from(self.ramps.0), f64::from(self.ramps.1));
        let top = 1.0 / (1.0 - (speeding + slowing) / 2.0);
        let (travelled, slope) = if warped < speeding {
            (top * warped * warped / (2.0 * speeding), top * warped / speeding)
        } else if warped > 1.0 - slowing {
            let left = 1.0 - warped;
            (1.0 - top * left * left / (2.0 * slowing), top * left / slowing)
        } else {
            (top * (warped - speeding / 2.0), top)
        };
        (travelled, slope * (1.0 + sway * cos) / self.drive_s)
    }
}

/// Fills the fuel of each leg: it falls with the way, and is filled up at home and wherever the next leg
/// would take it too low.
fn refuel(legs: &mut [Leg], networks: &Networks, range_km: f64, chance: &mut Chance) {
    const LEAST_PCT: f64 = 10.0;
    let full_pct = chance.between(92.0, 100.0);
    let mut fuel_pct = full_pct;
    let mut is_at_stop = true;
    for leg in legs {
        let used_pct = networks.paths[leg.step.path as usize].length_m / 10.0 / range_km;
        if is_at_stop && fuel_pct - used_pct < LEAST_PCT {
            fuel_pct = full_pct;
        }
        let left_pct = (fuel_pct - used_pct).max(1.0);
        leg.fuel_pct = (fuel_pct as f32, left_pct as f32);
        fuel_pct = left_pct;
        is_at_stop = leg.step.ends_at_stop;
    }
}
