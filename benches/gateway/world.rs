//! Assets that drive about: where each is when it speaks for the nth time, what it says, and how a viewer
//! recognises that in the gateway's `Asset`.
//!
//! Invariant: place and text follow from the asset and `n` alone, so a delivery is checked without a list of
//! what was sent; every field that is checked has a fixed width.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::telemetry::fleet_name;

/// Where they are: a country of 4.9° by 5.9°, in millionths of a degree.
const SOUTH: i64 = 40_050_000;
const WEST: i64 = 110_050_000;
const HEIGHT: i64 = 4_900_000;
const WIDTH: i64 = 5_900_000;
/// How far an asset strays from its place, and by how much at a time: some 200 m.
const STRAY: i64 = 50_000;
const STEP: i64 = 2_000;

const N_BASE: u64 = 1_000_000_000;
const T_BASE: u64 = 1_000_000_000_000_000;

/// What is known of an asset from one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sighting {
    pub(crate) asset: u32,
    pub(crate) n: u32,
    pub(crate) at: Place,
    /// When it was handed to Redis, in nanoseconds of the generator's clock.
    pub(crate) sent_ns: u64,
}

/// Millionths of a degree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) lat: i64,
    pub(crate) lon: i64,
}

/// A box, its edges included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Area {
    south_west: Place,
    north_east: Place,
}

/// All assets, and how often each has spoken.
#[derive(Debug)]
pub(crate) struct World {
    fleets: u32,
    said: Box<[AtomicU32]>,
}

impl World {
    pub(crate) fn new(assets: u32, fleets: u32) -> Arc<Self> {
        Arc::new(Self { fleets, said: (0..assets).map(|_| AtomicU32::new(0)).collect() })
    }

    pub(crate) fn assets(&self) -> u32 {
        u32::try_from(self.said.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn fleet_of(&self, asset: u32) -> u32 {
        asset % self.fleets
    }

    /// How often the asset has spoken.
    pub(crate) fn said(&self, asset: u32) -> u32 {
        self.said[asset as usize].load(Ordering::Acquire)
    }

    /// The assets of a fleet that have spoken, and how often.
    pub(crate) fn newest_of(&self, fleet: u32) -> impl Iterator<Item = (u32, u32)> {
        let assets = (fleet..self.assets()).step_by(self.fleets as usize);
        assets.map(|asset| (asset, self.said(asset))).filter(|(_, n)| *n > 0)
    }

    /// What the publisher sends at its turn: the assets speak one after the other.
    pub(crate) fn speak(&self, turn: u64, now_ns: u64, ts_ms: u64, json: &mut Vec<u8>) -> u32 {
        let asset = u32::try_from(turn % u64::from(self.assets())).unwrap_or(0);
        let n = self.said[asset as usize].fetch_add(1, Ordering::AcqRel) + 1;
        let sighting = Sighting { asset, n, at: place(asset, n), sent_ns: now_ns };
        self.write(json, sighting, ts_ms);
        self.fleet_of(asset)
    }

    /// About 200 bytes of JSON.
    fn write(&self, out: &mut Vec<u8>, sighting: Sighting, ts_ms: u64) {
        let Sighting { asset, n, at, sent_ns } = sighting;
        let (fleet, wiggle) = (fleet_name(self.fleet_of(asset)), n % 1000);
        let (n, t) = (N_BASE + u64::from(n), T_BASE + sent_ns);
        let ((lat, lat_rest), (lon, lon_rest)) = (parts(at.lat), parts(at.lon));
        write!(
            out,
            "{{\"assetId\":\"truck-{asset:07}\",\"fleetId\":\"{fleet}\",\"ts\":{ts_ms},\
             \"lat\":{lat}.{lat_rest:06},\"lon\":{lon}.{lon_rest:06},\"speed_kmh\":72.{wiggle:03},\
             \"heading_deg\":183.{wiggle:03},\"temperature_c\":4.{wiggle:03},\"fuel_pct\":63.{wiggle:03},\
             \"n\":{n},\"t\":{t}}}"
        )
        .expect("a Vec takes every write");
    }

    /// Reads the gateway's text of an asset; `None` when it is not what that asset said at that time.
    pub(crate) fn read_asset(&self, text: &[u8]) -> Option<Sighting> {
        let mut rest = Rest(text);
        rest.skip(br#"{"id":"truck-"#)?;
        let asset = u32::try_from(rest.number(7)?).ok()?;
        rest.skip(br#"","fleet":"fleet-"#)?;
        let fleet = rest.number(5)?;
        rest.skip(br#"","ts":"#)?;
        rest.number(13)?;
        rest.skip(br#","lat":"#)?;
        let lat = rest.degrees(2)?;
        rest.skip(br#","lon":"#)?;
        let lon = rest.degrees(3)?;
        rest.skip(br#","data":{"#)?;
        let (n, sent_ns) = read_end(text.strip_suffix(b"}")?)?;
        let is_right = fleet == u64::from(self.fleet_of(asset)) && place(asset, n) == Place { lat, lon };
        is_right.then_some(Sighting { asset, n, at: Place { lat, lon }, sent_ns })
    }

    /// Reads what a source said, as it stands within the string of a `fleet_update`.
    pub(crate) fn read_update(&self, escaped: &[u8], scratch: &mut Vec<u8>) -> Option<Sighting> {
        scratch.clear();
        scratch.extend(escaped.iter().filter(|byte| **byte != b'\\'));
        let mut rest = Rest(scratch);
        rest.skip(br#"{"assetId":"truck-"#)?;
        let asset = u32::try_from(rest.number(7)?).ok()?;
        rest.skip(br#"","fleetId":"fleet-"#)?;
        let fleet = rest.number(5)?;
        let (n, sent_ns) = read_end(scratch)?;
        let is_right = fleet == u64::from(self.fleet_of(asset));
        is_right.then_some(Sighting { asset, n, at: place(asset, n), sent_ns })
    }
}

/// `…,"n":…,"t":…}`.
fn read_end(text: &[u8]) -> Option<(u32, u64)> {
    const LEN: usize = r#","n":1000000001,"t":1000000000000000}"#.len();
    let mut rest = Rest(text.get(text.len().checked_sub(LEN)?..)?);
    rest.skip(br#","n":"#)?;
    let n = u32::try_from(rest.number(10)?.checked_sub(N_BASE)?).ok()?;
    rest.skip(br#","t":"#)?;
    let sent_ns = rest.number(16)?.checked_sub(T_BASE)?;
    rest.skip(b"}")?;
    Some((n, sent_ns))
}

/// Where an asset is that speaks for the nth time: to and fro around its place.
pub(crate) fn place(asset: u32, n: u32) -> Place {
    let mut seed = u64::from(asset).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut draw = |below: i64| {
        seed = (seed ^ (seed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (seed >> 33).cast_signed() % below
    };
    let stray = |phase: i64| {
        let along = (phase + i64::from(n) * STEP) % (4 * STRAY);
        if along < 2 * STRAY { along - STRAY } else { 3 * STRAY - along }
    };
    let (lat, lon) = (SOUTH + draw(HEIGHT), WEST + draw(WIDTH));
    let (phase_lat, phase_lon) = (draw(4 * STRAY), draw(4 * STRAY));
    // A last digit of 0 would not be written, and widths are fixed.
    let digit = |micro: i64| micro + i64::from(micro % 10 == 0);
    Place { lat: digit(lat + stray(phase_lat)), lon: digit(lon + stray(phase_lon)) }
}

impl Area {
    /// The nth of many boxes with sides of `side`, spread evenly over the country.
    pub(crate) fn nth(n: usize, side: i64) -> Self {
        let mut seed = (n as u64 + 1).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let mut draw = |below: i64| {
            seed = (seed ^ (seed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
            (seed >> 33).cast_signed() % below
        };
        // Room for one move to the east.
        let south_west = Place { lat: SOUTH + draw(HEIGHT - side), lon: WEST + draw(WIDTH - 2 * side) };
        let north_east = Place { lat: south_west.lat + side, lon: south_west.lon + side };
        Self { south_west, north_east }
    }

    /// The same, further east.
    pub(crate) fn shifted(self, by: i64) -> Self {
        let shift = |place: Place| Place { lon: place.lon + by, ..place };
        Self { south_west: shift(self.south_west), north_east: shift(self.north_east) }
    }

    /// Larger by `margin` on every side; smaller, if it is negative.
    pub(crate) fn grown(self, margin: i64) -> Self {
        let grow = |place: Place, by: i64| Place { lat: place.lat + by, lon: place.lon + by };
        Self { south_west: grow(self.south_west, -margin), north_east: grow(self.north_east, margin) }
    }

    pub(crate) fn latitudes(self) -> (i64, i64) {
        (self.south_west.lat, self.north_east.lat)
    }

    pub(crate) fn holds(self, place: Place) -> bool {
        (self.south_west.lat..=self.north_east.lat).contains(&place.lat)
            && (self.south_west.lon..=self.north_east.lon).contains(&place.lon)
    }

    /// `[west,south,east,north]`.
    pub(crate) fn bbox(self) -> String {
        let degrees = |micro: i64| {
            let (whole, rest) = parts(micro);
            format!("{whole}.{rest:06}")
        };
        let Self { south_west, north_east } = self;
        let edges = [south_west.lon, south_west.lat, north_east.lon, north_east.lat];
        format!("[{}]", edges.map(degrees).join(","))
    }
}

/// How far an asset gets while it speaks so often.
pub(crate) fn reach(times: u32) -> i64 {
    (i64::from(times) * STEP).min(2 * STRAY)
}

fn parts(micro: i64) -> (i64, i64) {
    (micro / 1_000_000, micro % 1_000_000)
}

/// What is left to read.
struct Rest<'t>(&'t [u8]);

impl Rest<'_> {
    fn skip(&mut self, text: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    fn number(&mut self, digits: usize) -> Option<u64> {
        let (head, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        head.iter()
            .try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0')))
    }

    fn degrees(&mut self, digits: usize) -> Option<i64> {
        let whole = self.number(digits)?;
        self.skip(b".")?;
        Some((whole * 1_000_000 + self.number(6)?).cast_signed())
    }
}

/// Proves at start that what is published is what is recognised, and nothing else.
pub(crate) fn self_check() -> anyhow::Result<()> {
    let world = World::new(50_000, 100);
    for (asset, n) in [(0, 1), (7, 1), (49_999, 77), (1234, 4_000_000)] {
        let sighting = Sighting { asset, n, at: place(asset, n), sent_ns: 123_456_789 };
        let mut json = Vec::new();
        world.write(&mut json, sighting, 1_763_865_600_000);
        let json = String::from_utf8(json)?;
        anyhow::ensure!((180..260).contains(&json.len()), "telemetry is {} bytes", json.len());
        let value: serde_json::Value = serde_json::from_str(&json)?;
        let text = format!(
            r#"{{"id":{},"fleet":{},"ts":{},"lat":{},"lon":{},"data":{json}}}"#,
            value["assetId"], value["fleetId"], value["ts"], value["lat"], value["lon"]
        );
        anyhow::ensure!(world.read_asset(text.as_bytes()) == Some(sighting), "does not read back: {text}");
        let elsewhere = text.replacen(r#""lat":4"#, r#""lat":3"#, 1);
        anyhow::ensure!(world.read_asset(elsewhere.as_bytes()).is_none(), "a wrong place passes");
        let escaped = serde_json::to_string(&json)?;
        let inner = &escaped.as_bytes()[1..escaped.len() - 1];
        let read = world.read_update(inner, &mut Vec::new());
        anyhow::ensure!(read == Some(sighting), "does not read back: {escaped}");
    }
    Ok(())
}
