//! Any history of updates, panning, grants, slow viewers and losses ends with every viewer's map equal to
//! what asking each shape about each asset gives.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::Value;

use super::*;
use crate::{
    fleet::Update,
    region::{CellId, ShapeLimits, arbitrary, encode},
};

const FLEETS: [&str; 3] = ["north", "south", "west"];
const REGIONS: [&str; 2] = ["map", "list"];

type Name = (String, String);

#[derive(Debug, Clone)]
enum Step {
    Update { fleet: usize, asset: u8, ts_ms: i64, position: Option<Position> },
    Nudge { fleet: usize, asset: u8, by: f64 },
    Subscribe { viewer: u64, region: usize, shape: Shape, fleets: Option<BTreeSet<usize>>, interval_ms: u64 },
    Unsubscribe { viewer: u64, region: usize },
    Drop { viewer: u64 },
    Grant { viewer: u64, fleets: BTreeSet<usize> },
    ForgetAsset { fleet: usize, asset: u8 },
    ForgetFleet { fleet: usize },
    ForgetCell { at: Position, level: u8 },
    Resync { viewer: u64, region: usize },
    Tick { after_ms: u64, limit: usize, busy: Option<u64> },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (fleet, asset, viewer, region) = (0..3_usize, 0..6_u8, 0..3_u64, 0..2_usize);
    let some_fleets = proptest::collection::btree_set(0..3_usize, 0..=3);
    let update = (fleet.clone(), asset.clone(), -3..4_i64, option::weighted(0.95, arbitrary::place()))
        .prop_map(|(fleet, asset, ts_ms, position)| Step::Update { fleet, asset, ts_ms, position });
    let nudge = (fleet.clone(), asset.clone(), -0.5..0.5_f64).prop_map(|(fleet, asset, by)| Step::Nudge {
        fleet,
        asset,
        by,
    });
    let subscribe = (
        viewer.clone(),
        region.clone(),
        arbitrary::shape(),
        option::weighted(0.3, some_fleets.clone()),
        select(vec![50, 250, 10_000]),
    )
        .prop_map(|(viewer, region, shape, fleets, interval_ms)| Step::Subscribe {
            viewer,
            region,
            shape,
            fleets,
            interval_ms,
        });
    let one = (viewer.clone(), region.clone());
    let step = prop_oneof![
        12 => update,
        6 => nudge,
        5 => subscribe,
        1 => one.clone().prop_map(|(viewer, region)| Step::Unsubscribe { viewer, region }),
        1 => viewer.clone().prop_map(|viewer| Step::Drop { viewer }),
        2 => (viewer.clone(), some_fleets).prop_map(|(viewer, fleets)| Step::Grant { viewer, fleets }),
        1 => (fleet.clone(), asset).prop_map(|(fleet, asset)| Step::ForgetAsset { fleet, asset }),
        1 => fleet.prop_map(|fleet| Step::ForgetFleet { fleet }),
        1 => (arbitrary::place(), 0..8_u8).prop_map(|(at, level)| Step::ForgetCell { at, level }),
        1 => one.prop_map(|(viewer, region)| Step::Resync { viewer, region }),
        8 => (0..400_u64, select(vec![1, 100]), option::weighted(0.3, viewer))
            .prop_map(|(after_ms, limit, busy)| Step::Tick { after_ms, limit, busy }),
    ];
    vec(step, 1..120)
}

/// A dashboard's map of one region.
#[derive(Debug)]
struct Dashboard {
    shape: Shape,
    fleets: Option<BTreeSet<usize>>,
    assets: BTreeMap<Name, i64>,
}

/// The engine beside a model that knows no index.
struct World {
    engine: RegionEngine,
    now: Instant,
    clock_ms: i64,
    assets: BTreeMap<(usize, u8), (i64, Option<Position>)>,
    /// The newest time of each asset, forgotten or not: a store that loads it again is not behind.
    newest_ms: BTreeMap<(usize, u8), i64>,
    grants: BTreeMap<u64, BTreeSet<usize>>,
    dashboards: BTreeMap<(u64, usize), Dashboard>,
    listening: BTreeSet<String>,
}

fn fleet_id(fleet: usize) -> FleetId {
    FleetId::parse(FLEETS[fleet]).unwrap()
}

fn asset_id(asset: u8) -> AssetId {
    AssetId::parse(&format!("asset-{asset}")).unwrap()
}

fn name(text: &Value) -> Name {
    (text["fleet"].as_str().unwrap().to_owned(), text["id"].as_str().unwrap().to_owned())
}

fn grants(fleets: &BTreeSet<usize>) -> MaySee {
    let fleets: BTreeSet<&str> = fleets.iter().map(|fleet| FLEETS[*fleet]).collect();
    Arc::new(move |fleet| fleets.contains(fleet.as_str()))
}

impl World {
    fn new() -> Self {
        Self {
            engine: RegionEngine::default(),
            now: Instant::now(),
            clock_ms: 1_000,
            assets: BTreeMap::new(),
            newest_ms: BTreeMap::new(),
            grants: (0..3).map(|viewer| (viewer, BTreeSet::from([0, 1, 2]))).collect(),
            dashboards: BTreeMap::new(),
            listening: BTreeSet::new(),
        }
    }

    fn apply(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Update { fleet, asset, ts_ms, position } => self.update(fleet, asset, ts_ms, position),
            Step::Nudge { fleet, asset, by } => {
                if let Some((_, Some(at))) = self.assets.get(&(fleet, asset)).copied() {
                    let moved = Position {
                        lat: (at.lat + by).clamp(-90.0, 90.0),
                        lon: (at.lon + by).clamp(-180.0, 180.0),
                    };
                    self.update(fleet, asset, 1, Some(moved));
                }
            }
            Step::Subscribe { viewer, region, shape, fleets, interval_ms } => {
                self.subscribe(viewer, region, shape, fleets, interval_ms)?;
            }
            Step::Unsubscribe { viewer, region } => {
                let was = self.dashboards.remove(&(viewer, region)).is_some();
                prop_assert_eq!(self.engine.unsubscribe(ViewerKey(viewer), REGIONS[region]), was);
            }
            Step::Drop { viewer } => {
                self.dashboards.retain(|(other, _), _| *other != viewer);
                self.engine.drop_viewer(ViewerKey(viewer));
            }
            Step::Grant { viewer, fleets } => {
                self.engine.set_grants(ViewerKey(viewer), &grants(&fleets));
                self.grants.insert(viewer, fleets);
            }
            Step::ForgetAsset { fleet, asset } => {
                self.assets.remove(&(fleet, asset));
                self.engine.forget_asset(&fleet_id(fleet), &asset_id(asset));
            }
            Step::ForgetFleet { fleet } => {
                self.assets.retain(|(other, _), _| *other != fleet);
                self.engine.forget_fleet(&fleet_id(fleet));
            }
            Step::ForgetCell { at, level } => {
                let cell = CellId::at(at).unwrap().ancestor(level);
                self.assets.retain(|_, (_, at)| {
                    at.and_then(CellId::at).is_none_or(|leaf| leaf.ancestor(level) != cell)
                });
                self.engine.forget_cell(cell);
            }
            Step::Resync { viewer, region } => self.resync(viewer, region)?,
            Step::Tick { after_ms, limit, busy } => {
                self.now += Duration::from_millis(after_ms);
                self.tick(limit, busy)?;
            }
        }
        self.listen()
    }

    fn update(&mut self, fleet: usize, asset: u8, ts_ms: i64, position: Option<Position>) {
        // Time goes on by one per update; a message may be a little older than another one.
        self.clock_ms += 1;
        let newest_ms = self.newest_ms.entry((fleet, asset)).or_insert(i64::MIN);
        let mut ts_ms = self.clock_ms + ts_ms;
        if !self.assets.contains_key(&(fleet, asset)) {
            ts_ms = ts_ms.max(*newest_ms);
        }
        *newest_ms = ts_ms.max(*newest_ms);
        let update = Update { asset: None, ts_ms, position, raw: Bytes::from_static(b"{}") };
        let state = AssetState::after(None, &asset_id(asset), &update, None).unwrap();
        self.engine.on_update(&fleet_id(fleet), &Arc::new(state));
        let known = self.assets.entry((fleet, asset)).or_insert((i64::MIN, None));
        if ts_ms >= known.0 {
            *known = (ts_ms, position);
        }
    }

    fn subscribe(
        &mut self,
        viewer: u64,
        region: usize,
        shape: Shape,
        fleets: Option<BTreeSet<usize>>,
        interval_ms: u64,
    ) -> Result<(), TestCaseError> {
        let request = RegionRequest {
            region: RegionName::parse(REGIONS[region]).unwrap(),
            shape: Arc::new(shape.clone()),
            interval: Duration::from_millis(interval_ms),
            fleets: fleets.as_ref().map(|fleets| fleets.iter().map(|fleet| fleet_id(*fleet)).collect()),
            may_see: grants(&self.grants[&viewer]),
        };
        let dashboard = Dashboard { shape, fleets, assets: BTreeMap::new() };
        match self.engine.subscribe(ViewerKey(viewer), request, self.now) {
            Subscribed::New => {
                prop_assert!(self.dashboards.insert((viewer, region), dashboard).is_none());
                self.resync(viewer, region)?;
            }
            Subscribed::Moved => {
                let known = self.dashboards.get_mut(&(viewer, region)).expect("only a known region moves");
                *known = Dashboard { assets: std::mem::take(&mut known.assets), ..dashboard };
            }
        }
        Ok(())
    }

    /// A snapshot, through the messages that carry it.
    fn load(&mut self, viewer: u64, region: usize, texts: &[Bytes]) -> Result<(), TestCaseError> {
        let mut assets = BTreeMap::new();
        let name_of_region = RegionName::parse(REGIONS[region]).unwrap();
        let mut parts = encode::SnapshotParts::new(&name_of_region, texts.to_vec());
        while let Some(part) = parts.peek() {
            parts.advance();
            let part: Value = serde_json::from_slice(&part).unwrap();
            for text in part["assets"].as_array().unwrap() {
                prop_assert!(assets.insert(name(text), text["ts"].as_i64().unwrap()).is_none());
            }
        }
        let expected = self.expected(viewer, region);
        self.dashboards.get_mut(&(viewer, region)).unwrap().assets = assets;
        prop_assert_eq!(&self.dashboards[&(viewer, region)].assets, &expected, "snapshot");
        Ok(())
    }

    fn resync(&mut self, viewer: u64, region: usize) -> Result<(), TestCaseError> {
        let texts = self.engine.snapshot(ViewerKey(viewer), REGIONS[region]);
        prop_assert_eq!(texts.is_some(), self.dashboards.contains_key(&(viewer, region)));
        texts.map_or(Ok(()), |texts| self.load(viewer, region, &texts))
    }

    fn tick(&mut self, limit: usize, busy: Option<u64>) -> Result<(), TestCaseError> {
        let mut told = Vec::new();
        self.engine.tick(
            self.now,
            limit,
            |viewer, _| Some(viewer.0) != busy,
            |viewer, region, delta| {
                told.push((viewer.0, region.clone(), encode::region_updates(region, delta)));
            },
        );
        for (viewer, region, messages) in told {
            prop_assert!(!messages.is_empty() && Some(viewer) != busy);
            let index = REGIONS.iter().position(|name| *name == region.as_str()).unwrap();
            let seen = |fleet: &str| self.grants[&viewer].iter().any(|granted| FLEETS[*granted] == fleet);
            let dashboard = self.dashboards.get_mut(&(viewer, index)).expect("a told region exists");
            for message in messages {
                let message: Value = serde_json::from_slice(&message).unwrap();
                for text in message["entered"].as_array().unwrap() {
                    prop_assert!(seen(text["fleet"].as_str().unwrap()), "not granted: {}", text);
                    prop_assert!(dashboard.assets.insert(name(text), text["ts"].as_i64().unwrap()).is_none());
                }
                for text in message["moved"].as_array().unwrap() {
                    prop_assert!(seen(text["fleet"].as_str().unwrap()), "not granted: {}", text);
                    let older = dashboard.assets.insert(name(text), text["ts"].as_i64().unwrap());
                    prop_assert!(older.is_some_and(|ts| ts <= text["ts"].as_i64().unwrap()), "{}", text);
                }
                for text in message["left"].as_array().unwrap() {
                    prop_assert!(dashboard.assets.remove(&name(text)).is_some(), "{}", text);
                }
            }
        }
        Ok(())
    }

    fn listen(&mut self) -> Result<(), TestCaseError> {
        let mut twice = None;
        self.engine.drain_interest(|cell, on| {
            let cell = cell.to_string();
            if on != self.listening.contains(&cell) {
                if on {
                    self.listening.insert(cell)
                } else {
                    self.listening.remove(&cell)
                };
            } else {
                twice = Some(cell);
            }
        });
        prop_assert_eq!(twice, None, "told twice");
        Ok(())
    }

    /// The oracle: every asset against the shape, one by one.
    fn expected(&self, viewer: u64, region: usize) -> BTreeMap<Name, i64> {
        let dashboard = &self.dashboards[&(viewer, region)];
        let wanted = |fleet: &usize| dashboard.fleets.as_ref().is_none_or(|fleets| fleets.contains(fleet));
        self.assets
            .iter()
            .filter(|((fleet, _), _)| self.grants[&viewer].contains(fleet) && wanted(fleet))
            .filter(|(_, (_, at))| at.is_some_and(|at| dashboard.shape.contains(at)))
            .map(|((fleet, asset), (ts, _))| ((FLEETS[*fleet].to_owned(), asset_id(*asset).to_string()), *ts))
            .collect()
    }

    fn finish(mut self) -> Result<(), TestCaseError> {
        // One round after the last wait: nothing may need a second one.
        self.now += Duration::from_secs(11);
        self.tick(usize::MAX, None)?;
        prop_assert_eq!(self.engine.next_due(), None);
        for (viewer, region) in self.dashboards.keys() {
            let (map, expected) =
                (&self.dashboards[&(*viewer, *region)].assets, self.expected(*viewer, *region));
            prop_assert_eq!(map, &expected, "viewer {} region {}", viewer, REGIONS[*region]);
        }
        for viewer in 0..3 {
            self.apply(Step::Drop { viewer })?;
        }
        for fleet in 0..3 {
            self.apply(Step::ForgetFleet { fleet })?;
        }
        prop_assert_eq!(self.engine.sizes(), RegionSizes::default());
        prop_assert!(self.listening.is_empty(), "{:?}", self.listening);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_map_ends_equal_to_the_oracle(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.apply(step)?;
        }
        world.finish()?;
    }
}

fn shape(json: &str) -> Shape {
    Shape::parse(&serde_json::from_str(json).unwrap(), ShapeLimits::default()).unwrap()
}

/// One viewer with one region around the origin, ticked once.
fn watching() -> World {
    let mut world = World::new();
    world.subscribe(0, 0, shape(r#"{"bbox":[-1,-1,1,1]}"#), None, 250).unwrap();
    world
}

#[test]
fn the_first_change_after_a_quiet_time_is_told_at_once_and_the_next_one_an_interval_later() {
    let mut world = watching();
    world.now += Duration::from_secs(60);
    world.update(0, 0, 0, Some(Position { lat: 0.0, lon: 0.0 }));
    assert!(world.engine.next_due().unwrap() <= world.now);
    world.tick(100, None).unwrap();
    world.update(0, 0, 0, Some(Position { lat: 0.1, lon: 0.0 }));
    assert_eq!(world.engine.next_due(), Some(world.now + Duration::from_millis(250)));
}

#[test]
fn a_hundred_moves_in_a_second_are_answered_twenty_times() {
    let mut world = watching();
    world.update(0, 0, 0, Some(Position { lat: 0.0, lon: 0.0 }));
    let (mut told, shapes) = (0, [shape(r#"{"bbox":[5,5,6,6]}"#), shape(r#"{"bbox":[-2,-2,2,2]}"#)]);
    for turn in 0..100 {
        // Alternating every 60 ms, so that each answer has something to say.
        let target = shapes[(turn / 6) % 2].clone();
        world.subscribe(0, 0, target, None, 10_000).unwrap();
        world.now += Duration::from_millis(10);
        world.engine.tick(world.now, 100, |_, _| true, |_, _, _| told += 1);
    }
    assert!((10..=20).contains(&told), "{told}");
}

#[test]
fn a_busy_viewer_gets_one_delta_for_all_the_time() {
    let mut world = watching();
    for turn in 0..20 {
        world.update(0, 0, 0, Some(Position { lat: 0.0, lon: f64::from(turn) / 100.0 }));
        world.now += Duration::from_millis(250);
        world.tick(100, Some(0)).unwrap();
    }
    let mut told = Vec::new();
    world.now += Duration::from_millis(250);
    world.engine.tick(
        world.now,
        100,
        |_, _| true,
        |_, _, delta| {
            told.push((delta.entered.len(), delta.moved.len(), delta.left.len()));
        },
    );
    assert_eq!(told, [(1, 0, 0)]);
}

#[test]
fn a_state_without_a_new_place_is_still_told() {
    let mut world = watching();
    let at = Some(Position { lat: 0.5, lon: 0.5 });
    world.update(0, 0, 0, at);
    world.now += Duration::from_secs(1);
    world.tick(100, None).unwrap();
    world.update(0, 0, 5, at);
    let mut told = Vec::new();
    world.now += Duration::from_secs(1);
    world.engine.tick(world.now, 100, |_, _| true, |_, _, delta| told.push(delta.moved.len()));
    assert_eq!(told, [1]);
}

fn put_long_asset(engine: &mut RegionEngine, asset: usize, ts_ms: i64) {
    let raw = format!(r#"{{"text":"{}"}}"#, "x".repeat(1000)).into();
    let update = Update { asset: None, ts_ms, position: Some(Position { lat: 1.0, lon: 2.0 }), raw };
    let id = AssetId::parse(&format!("a{asset}")).unwrap();
    let state = AssetState::after(None, &id, &update, None).unwrap();
    engine.on_update(&FleetId::parse("f").unwrap(), &Arc::new(state));
}

/// One viewer of the world, four deltas a second, to be told of so many assets.
fn world_of_long_assets(count: usize, now: Instant) -> RegionEngine {
    let mut engine = RegionEngine::default();
    let request = RegionRequest {
        region: RegionName::parse("world").unwrap(),
        shape: shape(r#"{"bbox":[-180,-90,180,90]}"#).into(),
        interval: Duration::from_millis(250),
        fleets: None,
        may_see: Arc::new(|_| true),
    };
    engine.subscribe(ViewerKey(0), request, now);
    (0..count).for_each(|asset| put_long_asset(&mut engine, asset, 1));
    engine
}

#[test]
fn a_long_delta_comes_piece_by_piece_and_the_rest_in_its_newest_state() {
    let start = Instant::now();
    let mut engine = world_of_long_assets(1000, start);
    let now = start + Duration::from_secs(1);
    let (mut seen, mut pieces) = (BTreeMap::new(), 0);
    while engine.next_due().is_some_and(|at| at <= now) {
        engine.tick(
            now,
            1,
            |_, _| true,
            |_, _, delta| {
                let bytes: usize = delta.entered.iter().map(|text| text.len()).sum();
                assert!(bytes < 130 * 1024 && delta.moved.is_empty(), "{bytes}");
                for text in &delta.entered {
                    let asset: Value = serde_json::from_slice(text).unwrap();
                    let (id, ts) = (asset["id"].to_string(), asset["ts"].as_i64().unwrap());
                    assert!(seen.insert(id, ts).is_none(), "told twice");
                }
            },
        );
        if pieces == 0 {
            (900..1000).for_each(|asset| put_long_asset(&mut engine, asset, 2));
        }
        pieces += 1;
    }
    assert!((7..=10).contains(&pieces), "{pieces}");
    assert_eq!(seen.len(), 1000);
    assert_eq!(seen.values().filter(|ts| **ts == 2).count(), 100);
}

#[test]
fn a_viewer_that_reads_waits_for_no_interval_and_one_that_does_not_is_seldom_asked() {
    let mut now = Instant::now();
    let mut engine = world_of_long_assets(1000, now);
    let (mut told, mut first_at, mut busy_until) = (0, None, now);
    while let Some(due) = engine.next_due() {
        now = now.max(due);
        let is_ready = now >= busy_until;
        engine.tick(now, 1, |_, _| is_ready, |_, _, delta| told += delta.entered.len());
        if is_ready {
            busy_until = now + Duration::from_millis(5);
            first_at.get_or_insert(now);
        }
    }
    assert_eq!(told, 1000);
    assert!(now - first_at.unwrap() < Duration::from_millis(150), "8 pieces");

    put_long_asset(&mut engine, 0, 2);
    let (end, mut asked) = (now + Duration::from_secs(60), 0);
    while let Some(due) = engine.next_due().filter(|due| *due < end) {
        asked += 1;
        engine.tick(due, 1, |_, _| false, |_, _, _| panic!("not ready"));
    }
    assert!((200..300).contains(&asked), "{asked}");
}
