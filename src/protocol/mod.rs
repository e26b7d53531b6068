//! What crosses the wire beyond the legacy contract, as types: requests as they are read, answers and events as
//! they are written. The types of the TypeScript client are made from these (`make bless`).
//!
//! Invariant: nothing is done here. What is written by hand for speed (assets, snapshots, updates) is read back
//! as these types by the tests.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

#[cfg(test)]
use ts_rs::TS;

/// The newest known state of one tracked vehicle or container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(TS), ts(optional_fields))]
#[serde(deny_unknown_fields)]
pub struct Asset {
    /// Unique within its fleet.
    pub id: String,
    /// Whose it is.
    pub fleet: String,
    /// Epoch milliseconds, as the source said.
    #[cfg_attr(test, ts(type = "number"))]
    pub ts: i64,
    /// Degrees north; only together with `lon`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lat: Option<f64>,
    /// Degrees east.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lon: Option<f64>,
    /// The source's own fields, newest value of each.
    #[cfg_attr(test, ts(type = "Record<string, unknown>"))]
    pub data: Map<String, Value>,
}

/// Names an asset that left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(TS))]
#[serde(deny_unknown_fields)]
pub struct AssetRef {
    /// Unique within its fleet.
    pub id: String,
    /// Whose it is.
    pub fleet: String,
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(TS))]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request is none; asking again does not help.
    BadRequest,
    /// Not granted, or not there: the answer is the same.
    Forbidden,
    /// More than is allowed to one viewer.
    TooMany,
    /// Larger than is allowed.
    TooLarge,
    /// Not now; ask again later.
    Unavailable,
}

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(TS))]
#[serde(deny_unknown_fields)]
pub struct ProtocolError {
    /// What to do about it.
    pub code: ErrorCode,
    /// What is wrong, by name.
    pub message: String,
}

impl ProtocolError {
    /// A refusal under its code.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Asking again does not help.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadRequest, message)
    }
}

/// How a fleet's updates are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(TS))]
#[serde(rename_all = "snake_case")]
pub enum FleetMode {
    /// `fleet_updates` with the newest state of what changed, once an interval.
    #[default]
    Latest,
    /// `fleet_update` per update, as legacy dashboards get it.
    Each,
}

/// `fleet_subscribe`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(TS), ts(optional_fields))]
pub struct FleetSubscribe {
    /// Which fleet.
    pub fleet: String,
    /// `latest` by default.
    pub mode: Option<FleetMode>,
    /// From 50 to 10,000, 250 by default.
    pub interval_ms: Option<u32>,
    /// A cursor: only what changed after it is sent.
    pub since: Option<String>,
}

/// `fleet_unsubscribe`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(TS))]
pub struct FleetUnsubscribe {
    /// Which fleet.
    pub fleet: String,
}

/// `region_subscribe`; its shape is beside these members.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(TS), ts(optional_fields, rename = "RegionMembers"))]
pub struct RegionSubscribe {
    /// The region's name on this connection. The same name again moves the region.
    pub region: String,
    /// From 50 to 10,000, 250 by default.
    pub interval_ms: Option<u32>,
    /// Only assets of these fleets.
    pub fleets: Option<Vec<String>>,
}

/// `region_unsubscribe`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(TS))]
pub struct RegionUnsubscribe {
    /// The region's name.
    pub region: String,
}

/// `asset_history`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(TS), ts(optional_fields))]
pub struct AssetHistory {
    /// Which asset.
    pub asset: String,
    /// Whose; ids are unique within a fleet only.
    pub fleet: Option<String>,
    /// Nothing before this time, epoch milliseconds.
    pub from_ts: Option<f64>,
    /// At most so many points, the newest; from 1 to 10,000.
    pub limit: Option<u32>,
}

/// `auth_refresh`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(TS))]
pub struct AuthRefresh {
    /// A new token of the same subject.
    pub token: String,
}

impl std::fmt::Debug for AuthRefresh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuthRefresh")
    }
}

/// Acknowledges `fleet_subscribe`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(TS))]
#[serde(deny_unknown_fields)]
pub struct FleetSubscribed {
    /// Which fleet.
    pub fleet: String,
    /// What the viewer is complete up to, if it is.
    pub cursor: Option<String>,
    /// Whether only what changed since the cursor follows.
    pub resumed: bool,
}

/// Acknowledges `region_subscribe`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(TS))]
#[serde(deny_unknown_fields)]
pub struct RegionSubscribed {
    /// The region's name.
    pub region: String,
    /// Whether it was moved, so that the difference follows.
    pub resumed: bool,
}

/// Acknowledges `asset_history`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(TS), ts(optional_fields))]
#[serde(deny_unknown_fields)]
pub struct Track {
    /// Whose asset it is, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet: Option<String>,
    /// Newest last.
    pub track: Vec<TrackPoint>,
}

/// Where an asset was at one time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(TS))]
#[serde(deny_unknown_fields)]
pub struct TrackPoint {
    /// Epoch milliseconds.
    #[cfg_attr(test, ts(type = "number"))]
    pub ts: i64,
    /// Degrees north.
    pub lat: f64,
    /// Degrees east.
    pub lon: f64,
}

/// Acknowledges `fleets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(TS))]
#[serde(deny_unknown_fields)]
pub struct Fleets {
    /// Those that the viewer may see.
    pub fleets: Vec<FleetSummary>,
}

/// A fleet in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(TS))]
#[serde(deny_unknown_fields)]
pub struct FleetSummary {
    /// Which fleet.
    pub fleet: String,
    /// How many assets it has.
    #[cfg_attr(test, ts(type = "number"))]
    pub assets: usize,
}

/// Acknowledges `auth_refresh`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(TS))]
#[serde(deny_unknown_fields)]
pub struct AuthRefreshed {
    /// How long the new token lasts, if not for ever.
    #[cfg_attr(test, ts(type = "number | null"))]
    pub expires_in_ms: Option<i64>,
}

/// `fleet_snapshot`: the newest state of a fleet, in parts of at most 16 KiB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(TS))]
#[serde(deny_unknown_fields)]
pub struct FleetSnapshot {
    /// Which fleet.
    pub fleet: String,
    /// To come back with, once all parts are here.
    pub cursor: String,
    /// From 1.
    pub part: u32,
    /// How many there are.
    pub parts: u32,
    /// The assets of this part.
    pub assets: Vec<Asset>,
}

/// `fleet_updates`: each changed asset once, newest state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(TS))]
#[serde(deny_unknown_fields)]
pub struct FleetUpdates {
    /// Which fleet.
    pub fleet: String,
    /// To come back with.
    pub cursor: String,
    /// What changed.
    pub assets: Vec<Asset>,
}

/// `region_snapshot`: the newest state of what is in a region, in parts of at most 16 KiB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(TS))]
#[serde(deny_unknown_fields)]
pub struct RegionSnapshot {
    /// The region's name.
    pub region: String,
    /// From 1.
    pub part: u32,
    /// How many there are.
    pub parts: u32,
    /// The assets of this part.
    pub assets: Vec<Asset>,
}

/// `region_updates`: the difference to what was sent before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(TS))]
#[serde(deny_unknown_fields)]
pub struct RegionUpdates {
    /// The region's name.
    pub region: String,
    /// Came into the region.
    pub entered: Vec<Asset>,
    /// Changed in the region.
    pub moved: Vec<Asset>,
    /// Are not in the region any more.
    pub left: Vec<AssetRef>,
}

/// `resync` of a fleet or a region: a fresh snapshot follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(TS), ts(optional_fields))]
#[serde(deny_unknown_fields)]
pub struct Resync {
    /// Which fleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet: Option<String>,
    /// The region's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Why.
    pub reason: ResyncReason,
}

/// Why single updates were not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(TS))]
#[serde(rename_all = "snake_case")]
pub enum ResyncReason {
    /// The viewer did not keep up.
    Slow,
    /// Updates did not reach the gateway.
    Gap,
    /// Redis lost what it had, or another one took over.
    Failover,
}

/// `auth_expiring`: answer with `auth_refresh`, or the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(TS))]
#[serde(deny_unknown_fields)]
pub struct AuthExpiring {
    /// When the token ends.
    #[cfg_attr(test, ts(type = "number"))]
    pub in_ms: i64,
}

/// Reads an event of the gateway as what it should be.
///
/// # Errors
/// It is none of these, or has other members.
pub fn check_event(name: &str, data: &Value) -> Result<(), String> {
    match name {
        "fleet_snapshot" => check::<FleetSnapshot>(data),
        "fleet_updates" => check::<FleetUpdates>(data),
        "region_snapshot" => check::<RegionSnapshot>(data),
        "region_updates" => check::<RegionUpdates>(data),
        "resync" => check::<Resync>(data),
        "auth_expiring" => check::<AuthExpiring>(data),
        _ => Err("an event of another kind".to_owned()),
    }
}

/// Reads the answer to a request as what it should be.
///
/// # Errors
/// It is none, or has other members.
pub fn check_answer(request: &str, answer: &Value) -> Result<(), String> {
    let mut body = answer.as_object().cloned().ok_or("no object")?;
    match body.remove("ok") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) => return check::<ProtocolError>(&body.remove("error").unwrap_or_default()),
        _ => return Err("neither ok nor not".to_owned()),
    }
    let body = Value::Object(body);
    match request {
        "fleet_subscribe" => check::<FleetSubscribed>(&body),
        "region_subscribe" => check::<RegionSubscribed>(&body),
        "asset_history" => check::<Track>(&body),
        "fleets" => check::<Fleets>(&body),
        "auth_refresh" => check::<AuthRefreshed>(&body),
        _ if body == Value::Object(Map::new()) => Ok(()),
        _ => Err(format!("{body} beside ok")),
    }
}

fn check<T: serde::de::DeserializeOwned>(data: &Value) -> Result<(), String> {
    T::deserialize(data).map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod typescript_tests;
