//! The atlas as paths that vehicles can follow. Pure; made once from the seed.

use super::{
    atlas::{LANES, Place, REGIONS},
    chance::Chance,
    path::Path,
};

/// How far bends leave the straight line, as a part of its length.
const ROAD_BEND: f64 = 0.05;
const RAIL_BEND: f64 = 0.025;
/// Lanes have waypoints instead.
const SEA_BEND: f64 = 0.012;

/// A trip out is at least this long.
const TRIP_M_MIN: f64 = 120_000.0;

/// What a network is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Road,
    Rail,
    Sea,
}

/// One step of a trip.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// Index into [`Networks::paths`].
    pub(super) path: u32,
    pub(super) is_reversed: bool,
    /// Whether the vehicle stops at the far end, or only turns.
    pub(super) ends_at_stop: bool,
}

/// The joined places of one region and mode.
#[derive(Debug)]
struct Network {
    region: usize,
    mode: Mode,
    /// Per place: the steps that leave it, with the place that they lead to.
    steps: Vec<Vec<(Step, usize)>>,
    /// Per place: whether vehicles stop there.
    is_stop: Vec<bool>,
}

/// All networks, and every path of them.
#[derive(Debug)]
pub(super) struct Networks {
    pub(super) paths: Vec<Path>,
    networks: Vec<Network>,
}

/// How many regions there are: the land's first, then the sea's.
pub(super) const REGION_COUNT: usize = REGIONS.len() + LANES.len();

pub(super) fn region_name(region: usize) -> &'static str {
    REGIONS.get(region).map_or_else(|| LANES[region - REGIONS.len()].name, |region| region.name)
}

pub(super) fn is_sea(region: usize) -> bool {
    region >= REGIONS.len()
}

impl Networks {
    pub(super) fn new(seed: u64) -> Self {
        let mut networks = Self { paths: Vec::new(), networks: Vec::new() };
        for (index, region) in REGIONS.iter().enumerate() {
            for (mode, bend) in [(Mode::Road, ROAD_BEND), (Mode::Rail, RAIL_BEND)] {
                let joins = region.roads.iter().map(|&(a, b)| (usize::from(a), usize::from(b)));
                networks.add(index, mode, region.places, joins, bend, seed);
            }
        }
        for (index, lane) in LANES.iter().enumerate() {
            let joins = (1..lane.places.len()).map(|place| (place - 1, place));
            networks.add(REGIONS.len() + index, Mode::Sea, lane.places, joins, SEA_BEND, seed);
        }
        networks
    }

    fn add(
        &mut self,
        region: usize,
        mode: Mode,
        places: &[Place],
        joins: impl Iterator<Item = (usize, usize)>,
        bend: f64,
        seed: u64,
    ) {
        let mut steps = vec![Vec::new(); places.len()];
        let is_stop: Vec<bool> = places.iter().map(|(name, ..)| !name.is_empty()).collect();
        for (a, b) in joins {
            let index = self.paths.len();
            let place = |at: usize| (places[at].1, places[at].2);
            self.paths.push(Path::new(place(a), place(b), bend, &mut Chance::new(seed, index as u64)));
            for (from, to, is_reversed) in [(a, b, false), (b, a, true)] {
                let path = u32::try_from(index).expect("an atlas has few paths");
                let step = Step { path, is_reversed, ends_at_stop: is_stop[to] };
                steps[from].push((step, to));
            }
        }
        self.networks.push(Network { region, mode, steps, is_stop });
    }

    /// A trip out and back again: along the whole lane at sea, over one to three roads on land, or more
    /// if they are short.
    pub(super) fn round_trip(&self, region: usize, mode: Mode, chance: &mut Chance) -> Vec<Step> {
        let network = self.networks.iter().find(|network| (network.region, network.mode) == (region, mode));
        let network = network.expect("land regions have roads and rails, lanes have the sea");
        let (mut place, steps_max) = match mode {
            Mode::Sea => (0, usize::MAX),
            Mode::Road | Mode::Rail => (chance.index(network.steps.len()), 1 + chance.index(3)),
        };
        let mut came_from = None;
        let mut there: Vec<(Step, usize)> = Vec::new();
        let mut there_m = 0.0;
        while there.len() < steps_max || there_m < TRIP_M_MIN {
            let all = &network.steps[place];
            let mut onward: Vec<_> = all.iter().filter(|(_, to)| Some(*to) != came_from).copied().collect();
            if onward.is_empty() && there_m < TRIP_M_MIN {
                onward.clone_from(all); // A dead end close by is no trip: on through where it came from.
            }
            if onward.is_empty() {
                break; // The end of the lane or of a dead-end road: turn round.
            }
            let (step, to) = chance.pick(&onward);
            there.push((step, place));
            there_m += self.paths[step.path as usize].length_m;
            (came_from, place) = (Some(place), to);
        }
        let back = there.iter().rev().map(|&(step, from)| Step {
            is_reversed: !step.is_reversed,
            ends_at_stop: network.is_stop[from],
            ..step
        });
        there.iter().map(|&(step, _)| step).chain(back).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_trip_is_one_line_without_a_jump() {
        let networks = Networks::new(1);
        for region in 0..REGION_COUNT {
            let modes: &[Mode] = if is_sea(region) { &[Mode::Sea] } else { &[Mode::Road, Mode::Rail] };
            for &mode in modes {
                for seed in 0..50 {
                    let trip = networks.round_trip(region, mode, &mut Chance::new(seed, 0));
                    assert!(trip.len() >= 2 && trip.len().is_multiple_of(2));
                    assert!(trip.last().is_some_and(|step| step.ends_at_stop), "home is a stop");
                    for (step, next) in trip.iter().zip(trip.iter().cycle().skip(1)) {
                        let (end, start) = (networks.end(step, 1.0), networks.end(next, 0.0));
                        let apart_m = super::super::path::distance_m(end, start);
                        assert!(apart_m < 0.1, "{} jumps by {apart_m} m", region_name(region));
                    }
                }
            }
        }
    }

    #[test]
    fn every_place_has_a_way_to_every_other_and_no_road_is_absurd() {
        let networks = Networks::new(1);
        for network in &networks.networks {
            let mut reached = vec![false; network.steps.len()];
            let mut todo = vec![0];
            while let Some(place) = todo.pop() {
                if !std::mem::replace(&mut reached[place], true) {
                    todo.extend(network.steps[place].iter().map(|(_, to)| *to));
                }
            }
            assert!(reached.iter().all(|reached| *reached), "{}", region_name(network.region));
            for (step, _) in network.steps.iter().flatten() {
                let km = networks.paths[step.path as usize].length_m / 1000.0;
                assert!((15.0..1000.0).contains(&km), "{}: {km} km", region_name(network.region));
            }
        }
    }

    impl Networks {
        fn end(&self, step: &Step, travelled: f64) -> crate::fleet::Position {
            let travelled = if step.is_reversed { 1.0 - travelled } else { travelled };
            self.paths[step.path as usize].at(travelled).position
        }
    }
}
