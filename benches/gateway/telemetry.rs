//! The telemetry that the benchmark publishes, and how a viewer recognises it again.
//!
//! Invariant: every field that a viewer checks has a fixed width and a fixed distance from one end of the
//! text, so that checking a delivery is a handful of comparisons and the generator stays cheap.

use std::io::Write;

/// Every fleet has this many assets, which take turns.
pub(crate) const ASSETS_PER_FLEET: u64 = 10;

/// Sequence numbers and times start here, so that their decimal width never changes.
const N_BASE: u64 = 1_000_000_000;
const T_BASE: u64 = 1_000_000_000_000_000;

const HEAD: &[u8] = br#"42["fleet_update","{\"assetId\":\"truck-"#;
const FLEET: &[u8] = br#"\",\"fleetId\":\"fleet-"#;
const N_KEY: &[u8] = br#",\"n\":"#;
const T_KEY: &[u8] = br#",\"t\":"#;
const TAIL: &[u8] = br#"}"]"#;
const ASSET_DIGITS: usize = 7;
const FLEET_DIGITS: usize = 5;
const N_DIGITS: usize = 10;
const T_DIGITS: usize = 16;

/// What a delivery says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) fleet: u32,
    pub(crate) asset: u64,
    /// Position in the fleet's sequence, from 1, without holes.
    pub(crate) n: u64,
    /// When it was handed to Redis, in nanoseconds of the generator's clock.
    pub(crate) sent_ns: u64,
}

/// The fleet's name, as in the handshake and the channel.
pub(crate) fn fleet_name(fleet: u32) -> String {
    format!("fleet-{fleet:05}")
}

/// The asset whose turn it is at position `n` of `fleet`.
pub(crate) fn asset_at(fleet: u32, n: u64) -> u64 {
    u64::from(fleet) * ASSETS_PER_FLEET + n % ASSETS_PER_FLEET
}

/// Appends about 200 bytes of JSON: a vehicle on its way.
pub(crate) fn write_update(out: &mut Vec<u8>, stamp: Stamp, ts_ms: u64) {
    let Stamp { fleet, asset, n, sent_ns } = stamp;
    let (wiggle, n, t) = (n % 1000, N_BASE + n, T_BASE + sent_ns);
    write!(
        out,
        "{{\"assetId\":\"truck-{asset:07}\",\"fleetId\":\"fleet-{fleet:05}\",\"ts\":{ts_ms},\
         \"lat\":52.{wiggle:03}417,\"lon\":13.{wiggle:03}904,\"speed_kmh\":72.{wiggle:03},\
         \"heading_deg\":183.{wiggle:03},\"temperature_c\":4.{wiggle:03},\"fuel_pct\":63.{wiggle:03},\
         \"n\":{n},\"t\":{t}}}"
    )
    .expect("a Vec takes every write");
}

/// Reads a `fleet_update` event back; `None` when it is anything but what `write_update` wrote.
pub(crate) fn read_event(text: &[u8]) -> Option<Stamp> {
    let rest = text.strip_prefix(HEAD)?;
    let (asset, rest) = number(rest, ASSET_DIGITS)?;
    let (fleet, rest) = number(rest.strip_prefix(FLEET)?, FLEET_DIGITS)?;
    let end = rest.strip_suffix(TAIL)?;
    let end = end.get(end.len().checked_sub(N_KEY.len() + N_DIGITS + T_KEY.len() + T_DIGITS)?..)?;
    let (n, end) = number(end.strip_prefix(N_KEY)?, N_DIGITS)?;
    let (t, _) = number(end.strip_prefix(T_KEY)?, T_DIGITS)?;
    Some(Stamp {
        fleet: u32::try_from(fleet).ok()?,
        asset,
        n: n.checked_sub(N_BASE)?,
        sent_ns: t.checked_sub(T_BASE)?,
    })
}

fn number(text: &[u8], digits: usize) -> Option<(u64, &[u8])> {
    let (head, rest) = text.split_at_checked(digits)?;
    let mut value = 0;
    for byte in head {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u64::from(byte - b'0');
    }
    Some((value, rest))
}

/// Proves at start that what is published is what is recognised; a benchmark that fooled itself would
/// count nothing as lost.
pub(crate) fn self_check() -> anyhow::Result<()> {
    let stamp = Stamp { fleet: 42, asset: asset_at(42, 7), n: 7, sent_ns: 123_456_789 };
    let mut json = Vec::new();
    write_update(&mut json, stamp, 1_763_865_600_000);
    let json = String::from_utf8(json)?;
    let event = format!("42{}", serde_json::to_string(&("fleet_update", &json))?);
    anyhow::ensure!(read_event(event.as_bytes()) == Some(stamp), "telemetry does not read back: {event}");
    anyhow::ensure!(
        read_event(event.replace("truck", "trucc").as_bytes()).is_none(),
        "a damaged event passes"
    );
    anyhow::ensure!((180..260).contains(&json.len()), "telemetry is {} bytes, not about 200", json.len());
    Ok(())
}
