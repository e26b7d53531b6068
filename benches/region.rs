//! What regions cost: 50,000 assets at 1 Hz, 1,000 viewers each with a region of about 500 assets at 250 ms.
//!
//! `cargo bench --bench region` prints one line per claim. Everything is seeded and in virtual time, so a
//! run is work done, not time waited. Times are processor time of the one thread, so that a busy machine
//! does not change them much.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark may stop at the first surprise")]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use fleetcast::{
    fleet::{AssetId, AssetState, FleetId, Position, Update},
    region::{
        AssetIndex, AssetKey, RegionEngine, RegionIndex, RegionName, RegionRequest, Shape, ShapeLimits,
        ViewerKey, encode,
    },
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use rustix::time::{ClockId, clock_gettime};

const ASSETS: u32 = 50_000;
const FLEETS: u32 = 200;
const CITIES: usize = 60;
const REGIONS: u64 = 1000;
const REGION_ASSETS: usize = 500;
const INTERVAL: Duration = Duration::from_millis(250);
const SECONDS: u32 = 4;

/// Vehicles around cities, half of them within a few kilometres of the centre.
struct Traffic {
    fleets: Vec<FleetId>,
    ids: Vec<AssetId>,
    at: Vec<Position>,
    heading: Vec<(f64, f64)>,
    rng: SmallRng,
    ts_ms: i64,
}

impl Traffic {
    fn new() -> Self {
        let mut rng = SmallRng::seed_from_u64(7);
        let cities: Vec<(f64, f64)> =
            (0..CITIES).map(|_| (rng.random_range(-60.0..70.0), rng.random_range(-180.0..180.0))).collect();
        let mut traffic = Self {
            fleets: (0..FLEETS).map(|fleet| FleetId::parse(&format!("fleet-{fleet}")).unwrap()).collect(),
            ids: (0..ASSETS).map(|asset| AssetId::parse(&format!("vehicle-{asset}")).unwrap()).collect(),
            at: Vec::new(),
            heading: Vec::new(),
            rng,
            ts_ms: 1_790_000_000_000,
        };
        for _ in 0..ASSETS {
            let (lat, lon) = cities[traffic.rng.random_range(0..CITIES)];
            let spread = if traffic.rng.random_bool(0.5) { 0.05 } else { 0.5 };
            let mut off = || traffic.rng.random_range(-spread..spread);
            let (lat, lon) = (lat + off(), (lon + off()).clamp(-180.0, 180.0));
            traffic.at.push(Position { lat, lon });
            // About 20 m/s.
            let mut speed = || traffic.rng.random_range(-2e-4..2e-4);
            traffic.heading.push((speed(), speed()));
        }
        traffic
    }

    fn drive(&mut self, asset: usize) -> (FleetId, Arc<AssetState>) {
        self.ts_ms += 1;
        let (north, east) = self.heading[asset];
        let at = &mut self.at[asset];
        at.lat = (at.lat + north).clamp(-90.0, 90.0);
        at.lon = (at.lon + east).clamp(-180.0, 180.0);
        let raw = format!(
            r#"{{"assetId":"{}","ts":{},"lat":{:.6},"lon":{:.6},"speed":71.5,"heading":184,"temp":-18.2}}"#,
            self.ids[asset], self.ts_ms, at.lat, at.lon
        );
        let update = Update { asset: None, ts_ms: self.ts_ms, position: Some(*at), raw: Bytes::from(raw) };
        let state = AssetState::after(None, &self.ids[asset], &update, None).unwrap();
        (self.fleets[asset % FLEETS as usize].clone(), Arc::new(state))
    }
}

/// Processor time of this thread.
#[derive(Clone, Copy)]
struct Cpu(Duration);

impl Cpu {
    fn now() -> Self {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Self(Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap()))
    }

    fn elapsed(self) -> Duration {
        Self::now().0 - self.0
    }
}

fn parse(json: &str) -> Shape {
    Shape::parse(&serde_json::from_str(json).unwrap(), ShapeLimits::default()).unwrap()
}

fn bbox(centre: Position, half: f64) -> Shape {
    let lon = |by: f64| (centre.lon + by).clamp(-180.0, 180.0);
    let lat = |by: f64| (centre.lat + by).clamp(-90.0, 90.0);
    parse(&format!(r#"{{"bbox":[{},{},{},{}]}}"#, lon(-half), lat(-half), lon(half), lat(half)))
}

/// A box around some asset that holds about [`REGION_ASSETS`] assets.
fn region(places: &AssetIndex, rng: &mut SmallRng) -> (Position, f64) {
    let centre = places.position(AssetKey(rng.random_range(0..ASSETS))).unwrap();
    let (mut small, mut large) = (0.001, 40.0);
    for _ in 0..20 {
        let half = f64::midpoint(small, large);
        let shape = bbox(centre, half);
        if places.within(&shape).count() < REGION_ASSETS {
            small = half;
        } else {
            large = half;
        }
    }
    (centre, large)
}

fn per(what: &str, count: usize, started: Cpu) {
    let took = started.elapsed();
    println!(
        "{what:58} {:>10.0} ns each, {:>8.1} ms for {count}",
        took.as_nanos() as f64 / count as f64,
        took.as_secs_f64() * 1e3
    );
}

fn shapes(places: &AssetIndex) {
    let mut rng = SmallRng::seed_from_u64(3);
    let polygon = |count: usize, wild: bool, rng: &mut SmallRng| {
        let vertex = |i: usize| {
            let angle = std::f64::consts::TAU * i as f64 / count as f64;
            let radius = if wild { rng.random_range(0.2..1.0) } else { 1.0 };
            format!("[{},{}]", 13.4 + radius * angle.cos(), 52.5 + radius * angle.sin())
        };
        format!(r#"{{"polygon":[{}]}}"#, (0..count).map(vertex).collect::<Vec<_>>().join(","))
    };
    for (name, json) in [
        ("box", r#"{"bbox":[13.0,52.3,13.8,52.7]}"#.to_owned()),
        ("circle", r#"{"circle":{"lon":13.4,"lat":52.5,"radius_m":30000}}"#.to_owned()),
        ("polygon of 10", polygon(10, true, &mut rng)),
        ("polygon of 1,000, round", polygon(1000, false, &mut rng)),
        ("polygon of 1,000, spiky", polygon(1000, true, &mut rng)),
    ] {
        let shape = parse(&json);
        let started = Cpu::now();
        for _ in 0..100 {
            black_box(parse(black_box(&json)));
        }
        per(
            &format!("{name}: from JSON, checked, covered by {} cells", shape.cover().cells().len()),
            100,
            started,
        );
        let started = Cpu::now();
        for i in 0..10_000 {
            let at =
                Position { lat: 51.5 + f64::from(i % 100) * 0.02, lon: 12.4 + f64::from(i / 100) * 0.02 };
            black_box(shape.contains(black_box(at)));
        }
        per(&format!("{name}: contains"), 10_000, started);
    }
    let world = parse(r#"{"bbox":[-180,-90,180,90]}"#);
    let started = Cpu::now();
    for _ in 0..20 {
        black_box(places.within(&world).count());
    }
    per("assets in the whole world: query of 50,000", 20, started);
}

fn index(traffic: &mut Traffic, places: &mut AssetIndex, boxes: &[(Position, f64)]) {
    let mut regions = RegionIndex::default();
    let started = Cpu::now();
    for (centre, half) in boxes {
        regions.insert(Arc::new(bbox(*centre, *half)));
    }
    per("region: parsed, covered, listed", boxes.len(), started);
    let moves: Vec<(Position, Position)> = (0..ASSETS as usize)
        .map(|asset| {
            let old = traffic.at[asset];
            traffic.drive(asset);
            (old, traffic.at[asset])
        })
        .collect();
    let (mut found, mut met) = (Vec::new(), 0);
    let started = Cpu::now();
    for (old, new) in &moves {
        regions.affected(Some(*old), Some(*new), &mut found);
        met += found.len();
    }
    per(
        &format!("move: regions affected, {:.1} on average", met as f64 / moves.len() as f64),
        moves.len(),
        started,
    );
    let started = Cpu::now();
    for (key, (_, new)) in (0..).zip(&moves) {
        places.place(AssetKey(key), Some(*new));
    }
    per("move: asset index", moves.len(), started);
}

/// Every viewer's region is a box, moved east by a part of its size.
fn requests(boxes: &[(Position, f64)], by: f64) -> Vec<RegionRequest> {
    let request = |(centre, half): &(Position, f64)| {
        let lon = (centre.lon + by * half).clamp(-179.0, 179.0);
        RegionRequest {
            region: RegionName::parse("map").unwrap(),
            shape: Arc::new(bbox(Position { lon, ..*centre }, *half)),
            interval: INTERVAL,
            fleets: None,
            may_see: Arc::new(|fleet: &FleetId| !fleet.as_str().is_empty()),
        }
    };
    boxes.iter().map(request).collect()
}

fn subscribe(engine: &mut RegionEngine, boxes: &[(Position, f64)], now: &mut Instant) {
    let requests = requests(boxes, 0.0);
    let (mut assets, mut bytes) = (0, 0);
    let started = Cpu::now();
    for (viewer, request) in (0..).zip(requests) {
        let region = request.region.clone();
        engine.subscribe(ViewerKey(viewer), request, *now);
        let texts = engine.snapshot(ViewerKey(viewer), region.as_str()).expect("it was just subscribed");
        assets += texts.len();
        let mut parts = encode::SnapshotParts::new(&region, texts);
        while let Some(part) = parts.peek() {
            bytes += part.len();
            parts.advance();
        }
        // Viewers do not come all at once, so their ticks are spread over the interval.
        *now += INTERVAL / 1000;
    }
    per(
        &format!("subscribe: {} assets, {} bytes", assets / boxes.len(), bytes / boxes.len()),
        boxes.len(),
        started,
    );
}

fn watch(engine: &mut RegionEngine, traffic: &mut Traffic, now: &mut Instant) {
    let (mut updating, mut telling, mut worst) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let (mut messages, mut told, mut bytes) = (0, 0, 0);
    for step in 0..SECONDS as usize * 100 {
        let (first, last) = (step % 100 * ASSETS as usize / 100, (step % 100 + 1) * ASSETS as usize / 100);
        let updates: Vec<_> = (first..last).map(|asset| traffic.drive(asset)).collect();
        let started = Cpu::now();
        for (fleet, state) in &updates {
            engine.on_update(fleet, state);
        }
        updating += started.elapsed();
        *now += Duration::from_millis(10);
        let started = Cpu::now();
        engine.tick(
            *now,
            usize::MAX,
            |_, _| true,
            |_, region, delta| {
                told += delta.entered.len() + delta.moved.len() + delta.left.len();
                for message in encode::region_updates(region, delta) {
                    messages += 1;
                    bytes += message.len();
                }
            },
        );
        let took = started.elapsed();
        worst = worst.max(took);
        telling += took;
    }
    let seconds = f64::from(SECONDS);
    println!("one core, 50,000 updates/s, 1,000 regions of about 500 assets, 250 ms:");
    println!(
        "  updates {:.1} % ({:.0} ns each), ticks with encoding {:.1} %, longest tick {:.1} ms",
        updating.as_secs_f64() / seconds * 100.0,
        updating.as_nanos() as f64 / f64::from(ASSETS * SECONDS),
        telling.as_secs_f64() / seconds * 100.0,
        worst.as_secs_f64() * 1e3
    );
    println!(
        "  {:.0} messages/s with {:.0} assets/s, {:.1} MB/s",
        f64::from(messages) / seconds,
        told as f64 / seconds,
        bytes as f64 / 1e6 / seconds
    );
}

fn pan(engine: &mut RegionEngine, boxes: &[(Position, f64)], now: Instant) {
    let requests = requests(boxes, 0.2);
    let mut told = 0;
    let started = Cpu::now();
    for (viewer, request) in (0..).zip(requests) {
        engine.subscribe(ViewerKey(viewer), request, now);
    }
    engine.tick(
        now,
        usize::MAX,
        |_, _| true,
        |_, region, delta| {
            told += delta.entered.len() + delta.left.len();
            black_box(encode::region_updates(region, delta));
        },
    );
    per(&format!("move of a region: {} assets entered or left", told / boxes.len()), boxes.len(), started);
}

fn engine(traffic: &mut Traffic, boxes: &[(Position, f64)]) {
    let mut engine = RegionEngine::default();
    let mut now = Instant::now();
    for asset in 0..ASSETS as usize {
        let (fleet, state) = traffic.drive(asset);
        engine.on_update(&fleet, &state);
    }
    subscribe(&mut engine, boxes, &mut now);
    watch(&mut engine, traffic, &mut now);
    pan(&mut engine, boxes, now + INTERVAL);
}

fn main() {
    let mut traffic = Traffic::new();
    let mut places = AssetIndex::default();
    for (key, at) in (0..).zip(&traffic.at) {
        places.place(AssetKey(key), Some(*at));
    }
    let mut rng = SmallRng::seed_from_u64(11);
    let boxes: Vec<(Position, f64)> = (0..REGIONS).map(|_| region(&places, &mut rng)).collect();
    shapes(&places);
    index(&mut traffic, &mut places, &boxes);
    engine(&mut traffic, &boxes);
}
