//! What a region's viewer gets, in which order, and what the source is asked, while updates are missed, the
//! source fails and viewers are slow.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::time::{sleep, timeout};
use tokio_util::sync::DropGuard;

use super::*;
use crate::{
    dispatch::{
        regions::Regions,
        test_world::{event, fleet, viewer},
    },
    fleet::{AssetId, AssetState, FleetId, Position},
    region::{CellId, Shape, ShapeLimits},
    tasks::Tasks,
    transport::TestClient,
};

const QUEUE_BYTES: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);

/// All assets there are, and how it is to ask for them.
#[derive(Default)]
struct Source {
    assets: Mutex<BTreeMap<String, Arc<AssetState>>>,
    fails: AtomicBool,
    wait: Mutex<Duration>,
    loads: AtomicUsize,
}

struct Handle(Arc<Source>);

impl CellSource for Handle {
    fn watch(&self, _: &[CellId]) {}

    fn unwatch(&self, _: &[CellId]) {}

    fn load(&self, _: Vec<CellId>) -> BoxFuture<'static, Option<Vec<Located>>> {
        self.0.loads.fetch_add(1, Ordering::SeqCst);
        let source = self.0.clone();
        Box::pin(async move {
            let found = source.assets.lock().unwrap().values().cloned().collect();
            let wait = *source.wait.lock().unwrap();
            if !wait.is_zero() {
                sleep(wait).await;
            }
            (!source.fails.load(Ordering::SeqCst)).then(|| vec![(fleet("f"), found)])
        })
    }
}

struct World {
    source: Arc<Source>,
    regions: Regions,
    metrics: Arc<Metrics>,
    _stop: DropGuard,
    _tasks: Tasks,
}

impl World {
    fn new() -> Self {
        let (source, stop) = (Arc::<Source>::default(), CancellationToken::new());
        let metrics = Arc::<Metrics>::default();
        let tasks = Tasks::default();
        let regions = Regions::start(Arc::new(Handle(source.clone())), &metrics, &tasks, &stop);
        Self { source, regions, metrics, _stop: stop.drop_guard(), _tasks: tasks }
    }

    fn loads(&self) -> usize {
        self.source.loads.load(Ordering::SeqCst)
    }

    /// Changes an asset where it is kept; regions are not told.
    fn apply(&self, asset: &str, ts_ms: i64, lon: f64) -> Located {
        let state = Arc::new(AssetState {
            id: AssetId::parse(asset).unwrap(),
            ts_ms,
            position: Some(Position { lat: 1.0, lon }),
            origins: Default::default(),
            seq: 1,
            data: Bytes::from(format!(r#"{{"pad":"{:500}"}}"#, "")),
            raw: Bytes::new(),
        });
        self.source.assets.lock().unwrap().insert(asset.to_owned(), state.clone());
        (FleetId::parse("f").unwrap(), vec![state])
    }

    async fn watch(&self, viewer: &Viewer, region: &str, bbox: &str) -> Option<Watched> {
        let spec = serde_json::from_str(&format!(r#"{{"bbox":{bbox}}}"#)).unwrap();
        let request = RegionRequest {
            region: RegionName::parse(region).unwrap(),
            shape: Arc::new(Shape::parse(&spec, ShapeLimits::default()).unwrap()),
            interval: Duration::from_millis(50),
            fleets: None,
            may_see: Arc::new(|_| true),
        };
        timeout(PATIENCE, self.regions.watch(viewer, request)).await.unwrap()
    }

    async fn open(&self, viewer: &Viewer, region: &str) {
        self.regions.open(viewer.id, RegionName::parse(region).unwrap()).await;
    }
}

const WORLD: &str = "[-180,-90,180,90]";
const EAST: &str = "[0,-10,90,10]";

/// What the client takes within a while.
async fn taken(client: &TestClient, time: Duration) -> Vec<(String, Value)> {
    let (mut events, end) = (Vec::new(), Instant::now() + time);
    while Instant::now() < end {
        events.extend(client.take_all().iter().map(|text| event(text)));
        sleep(Duration::from_millis(5)).await;
    }
    events
}

/// What the client takes until an event is as described.
async fn until(client: &TestClient, is_it: impl Fn(&str, &Value) -> bool) -> Vec<(String, Value)> {
    let (mut events, end) = (Vec::new(), Instant::now() + PATIENCE);
    while !events.iter().any(|(name, body): &(String, Value)| is_it(name, body)) {
        assert!(Instant::now() < end, "not told in time, but {events:?}");
        events.extend(client.take_all().iter().map(|text| event(text)));
        sleep(Duration::from_millis(5)).await;
    }
    events
}

fn names(events: &[(String, Value)]) -> Vec<&str> {
    events.iter().map(|(name, _)| name.as_str()).collect()
}

#[tokio::test]
async fn a_source_that_can_not_say_is_asked_once_a_second() {
    let world = World::new();
    world.source.fails.store(true, Ordering::SeqCst);
    let (_client, viewer) = viewer(QUEUE_BYTES);
    assert_eq!(world.watch(&viewer, "map", WORLD).await, None);
    sleep(Duration::from_millis(2500)).await;
    assert!((2..=4).contains(&world.loads()), "asked {} times", world.loads());
    world.source.fails.store(false, Ordering::SeqCst);
    assert_eq!(world.watch(&viewer, "map", WORLD).await, Some(Watched::New));
}

#[tokio::test]
async fn a_reload_that_fails_is_owed_and_viewers_are_told_of_the_gap_then() {
    let world = World::new();
    let (client, viewer) = viewer(QUEUE_BYTES);
    world.apply("left", 1, 5.0);
    world.watch(&viewer, "map", EAST).await;
    world.open(&viewer, "map").await;
    until(&client, |name, _| name == "region_snapshot").await;

    world.source.fails.store(true, Ordering::SeqCst);
    world.source.assets.lock().unwrap().clear();
    world.regions.gap();
    sleep(Duration::from_millis(100)).await;
    world.source.fails.store(false, Ordering::SeqCst);
    let events = until(&client, |name, _| name == "region_snapshot").await;
    assert_eq!(names(&events), ["resync", "region_snapshot"]);
    assert_eq!(events[0].1["reason"], "gap");
    assert_eq!(events[1].1["assets"], serde_json::json!([]), "it was gone when the gap was over");
}

#[tokio::test]
async fn gaps_that_come_fast_do_not_keep_a_reload_from_ending() {
    let world = World::new();
    let (client, viewer) = viewer(QUEUE_BYTES);
    world.watch(&viewer, "map", EAST).await;
    world.open(&viewer, "map").await;
    until(&client, |name, _| name == "region_snapshot").await;
    *world.source.wait.lock().unwrap() = Duration::from_millis(100);
    let before = world.loads();
    let mut events = Vec::new();
    for _ in 0..50 {
        world.regions.gap();
        events.extend(taken(&client, Duration::from_millis(50)).await);
    }
    let reloads = world.loads() - before;
    assert!((2..=4).contains(&reloads), "{reloads} reloads in 2.5 s");
    assert!(names(&events).contains(&"resync"), "none ended");
    world.apply("late", 1, 5.0);
    let has_late = |name: &str, body: &Value| name == "region_snapshot" && body["assets"][0]["id"] == "late";
    world.regions.gap();
    until(&client, has_late).await;
}

#[tokio::test]
async fn updates_that_regions_had_no_room_for_are_found_and_told_as_differences() {
    let world = World::new();
    let (client, viewer) = viewer(QUEUE_BYTES);
    for asset in ["a", "b", "c"] {
        world.apply(asset, 1, 5.0);
    }
    world.watch(&viewer, "map", EAST).await;
    world.open(&viewer, "map").await;
    until(&client, |name, _| name == "region_snapshot").await;
    // No turn for the task until the last one is handed over.
    for ts_ms in 2..(UPDATES_MAX as i64 + 50) {
        let located = world.apply("a", ts_ms, 5.0);
        world.regions.update(located);
    }
    let moved = world.apply("b", 2, 6.0);
    world.regions.update(moved);
    world.regions.update(world.apply("c", 2, -50.0));
    let events = taken(&client, Duration::from_secs(1)).await;
    assert!(names(&events).iter().all(|name| *name == "region_updates"), "{events:?}");
    let told = |list: &str, asset: &str| {
        let of = |(_, body): &(String, Value)| body[list].as_array().cloned().unwrap_or_default();
        events.iter().flat_map(of).filter(|told| told["id"] == asset).count()
    };
    assert_eq!([told("moved", "b"), told("left", "c"), told("moved", "c")], [1, 1, 0]);
    // Of many that were dropped, the first and the others.
    assert!((1..=2).contains(&world.metrics.region_reloads.get()));
}

#[tokio::test]
async fn a_loaded_state_that_is_newer_than_what_was_heard_is_taken() {
    let world = World::new();
    let (client, viewer) = viewer(QUEUE_BYTES);
    let old = world.apply("a", 1, 5.0);
    world.apply("a", 3, 6.0);
    *world.source.wait.lock().unwrap() = Duration::from_millis(100);
    let update = async {
        sleep(Duration::from_millis(50)).await;
        world.regions.update(old); // The one of time 2 was missed.
    };
    tokio::join!(world.watch(&viewer, "map", EAST), update);
    world.open(&viewer, "map").await;
    let events = until(&client, |name, _| name == "region_snapshot").await;
    assert_eq!(events[0].1["assets"][0]["ts"], 3, "{events:?}");
}

#[tokio::test]
async fn a_difference_waits_for_the_acknowledgement_of_the_move() {
    let world = World::new();
    let (client, viewer) = viewer(QUEUE_BYTES);
    world.apply("west", 1, -5.0);
    world.watch(&viewer, "map", EAST).await;
    assert_eq!(world.watch(&viewer, "map", "[-90,-10,0,10]").await, Some(Watched::Moved));
    world.open(&viewer, "map").await;
    assert!(taken(&client, Duration::from_millis(300)).await.is_empty(), "one answer is still on its way");
    world.open(&viewer, "map").await;
    until(&client, |_, body| body["assets"][0]["id"] == "west").await;

    assert_eq!(world.watch(&viewer, "map", EAST).await, Some(Watched::Moved));
    assert!(taken(&client, Duration::from_millis(300)).await.is_empty(), "before its acknowledgement");
    world.open(&viewer, "map").await;
    until(&client, |_, body| body["left"][0]["id"] == "west").await;
}

#[tokio::test]
async fn a_region_does_not_wait_for_the_loads_of_others() {
    let world = World::new();
    let (_one, first) = viewer(QUEUE_BYTES);
    world.watch(&first, "map", EAST).await;
    *world.source.wait.lock().unwrap() = Duration::from_secs(2);
    let (_other, second) = viewer(QUEUE_BYTES);
    let started = Instant::now();
    let elsewhere = world.watch(&second, "map", "[-90,-10,-1,10]");
    let here = async {
        sleep(Duration::from_millis(100)).await;
        world.source.fails.store(true, Ordering::SeqCst);
        let watched = world.watch(&second, "list", "[10,0,20,5]").await;
        (watched, started.elapsed())
    };
    let (elsewhere, (here, elapsed)) = tokio::join!(elsewhere, here);
    assert_eq!((elsewhere, here), (None, Some(Watched::New)));
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
}

#[tokio::test]
async fn a_slow_viewer_has_one_snapshot_under_way() {
    let world = World::new();
    let (client, viewer) = viewer(QUEUE_BYTES);
    for asset in 0..1000 {
        world.apply(&format!("a{asset}"), 1, 5.0);
    }
    let regions = ["one", "two", "three"];
    for region in regions {
        world.watch(&viewer, region, EAST).await;
        world.open(&viewer, region).await;
    }
    sleep(Duration::from_millis(100)).await;
    // What changes until a snapshot is begun is in it already.
    for asset in 0..1000 {
        let located = world.apply(&format!("a{asset}"), 2, 5.0);
        world.regions.update(located);
    }
    sleep(Duration::from_millis(100)).await;
    let mut parts = Vec::new();
    let end = Instant::now() + PATIENCE;
    let begun = |parts: &[Value]| -> BTreeSet<String> {
        parts.iter().map(|body| body["region"].as_str().unwrap().to_owned()).collect()
    };
    let is_last = |body: &Value| body["part"] == body["parts"];
    while begun(&parts).len() < regions.len() || !parts.last().is_some_and(is_last) {
        assert!(Instant::now() < end, "{} parts", parts.len());
        let events: Vec<_> = client.take(QUEUE_BYTES).iter().map(|text| event(text)).collect();
        parts.extend(events.into_iter().filter(|(name, _)| name == "region_snapshot").map(|(_, body)| body));
        sleep(Duration::from_millis(5)).await;
    }
    for pair in parts.windows(2) {
        let goes_on = pair[0]["region"] == pair[1]["region"] && !is_last(&pair[0]);
        assert_eq!(goes_on, pair[1]["part"] != 1, "{} and {}", pair[0]["part"], pair[1]["part"]);
    }
    let mut later = parts.iter().skip_while(|part| !is_last(part)).skip(1);
    assert!(later.all(|part| part["assets"][0]["ts"] == 2), "begun before its turn");
}
