//! `asset_history` (contract, section 3) and `fleets`: what a dashboard asks once, answered in the
//! acknowledgement.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::time::timeout;

use super::{
    Connected,
    allowance::Allowance,
    subscribe::{Ack, answer, fleet_id, read as read_request},
};
use crate::{
    fleet::{AssetId, FleetId},
    protocol::{AssetHistory, ErrorCode, FleetSummary, Fleets, ProtocolError as Refusal, Track, TrackPoint},
    store::{self, Store, StoreError},
};

/// Points of a track that one answer may have.
const LIMIT_MAX: u32 = 10_000;
/// Questions a second, and at once after a pause: each may have to look into every fleet.
const READS_PER_SECOND: f64 = 5.0;
const READS_BURST: f64 = 20.0;
/// How long the store may take.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a viewer may ask.
pub(super) fn allowance() -> Allowance {
    Allowance::new(READS_PER_SECOND, READS_BURST)
}

pub(super) async fn track(connected: &Arc<Connected>, request: Value, ack: Ack) {
    let outcome = match may_read(connected) {
        Ok(()) => read_track(connected, &request).await,
        Err(refusal) => Err(refusal),
    };
    answer(connected, ack, outcome);
}

pub(super) async fn fleets(connected: &Arc<Connected>, ack: Ack) {
    let outcome = match may_read(connected) {
        Ok(()) => list_fleets(connected).await,
        Err(refusal) => Err(refusal),
    };
    answer(connected, ack, outcome);
}

fn may_read(connected: &Connected) -> Result<(), Refusal> {
    let mut reads = connected.reads.lock().unwrap_or_else(PoisonError::into_inner);
    if reads.take(Instant::now()) {
        return Ok(());
    }
    let message = format!("more than {READS_PER_SECOND} questions a second");
    Err(Refusal::new(ErrorCode::TooMany, message))
}

async fn list_fleets(connected: &Arc<Connected>) -> Result<Fleets, Refusal> {
    let may_see = connected.may_see();
    let fleets = read(connected, Store::fleets).await?;
    let fleets = fleets.into_iter().filter(|(fleet, _)| may_see(fleet));
    let summary = |(fleet, assets): (FleetId, usize)| FleetSummary { fleet: fleet.to_string(), assets };
    Ok(Fleets { fleets: fleets.map(summary).collect() })
}

/// Asks the store, if there is one, and not for ever.
async fn read<T>(
    connected: &Connected,
    ask: impl AsyncFnOnce(&Store) -> Result<T, StoreError>,
) -> Result<T, Refusal> {
    let unavailable = |message: &str| Refusal::new(ErrorCode::Unavailable, message);
    let Some(store) = &connected.hub.store else {
        return Err(unavailable("a relay (FLEETCAST_SOURCE=redis) keeps the state of watched fleets only"));
    };
    match timeout(READ_TIMEOUT, ask(store)).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(_)) | Err(_) => Err(unavailable("the state can not be read at the moment")),
    }
}

async fn read_track(connected: &Arc<Connected>, request: &Value) -> Result<Track, Refusal> {
    let AssetHistory { asset, fleet, from_ts, limit } = read_request(request)?;
    let asset = AssetId::parse(&asset).map_err(|error| Refusal::bad(error.to_string()))?;
    let limit = limit.unwrap_or(LIMIT_MAX);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Refusal::bad(format!("limit: {limit} is not from 1 to {LIMIT_MAX}")));
    }
    let fleet = match fleet {
        None => find(connected, &asset).await?,
        Some(fleet) => Some(fleet_id(&fleet)?),
    };
    // A fleet that was not granted is answered as one that does not exist.
    let fleet = fleet.filter(|fleet| connected.may_see()(fleet));
    let Some(fleet) = fleet else { return Ok(Track { fleet: None, track: Vec::new() }) };
    let (from_ts_ms, limit) = (from_ts.map_or(i64::MIN, whole), limit as usize);
    let points =
        read(connected, async |store| store.history(&fleet, &asset, from_ts_ms, limit).await).await?;
    let point = |store::TrackPoint { ts_ms, position }: store::TrackPoint| TrackPoint {
        ts: ts_ms,
        lat: position.lat,
        lon: position.lon,
    };
    Ok(Track { fleet: Some(fleet.to_string()), track: points.into_iter().map(point).collect() })
}

/// The asset's fleet, among those that the viewer may see; ids are unique within their fleet only.
async fn find(connected: &Arc<Connected>, asset: &AssetId) -> Result<Option<FleetId>, Refusal> {
    let may_see = connected.may_see();
    let fleets = read(connected, async |store| store.fleets_of(asset).await).await?;
    Ok(fleets.into_iter().find(|fleet| may_see(fleet)))
}

#[expect(clippy::cast_possible_truncation, reason = "saturates, which is what a bound should do")]
fn whole(number: f64) -> i64 {
    number as i64
}
