//! `asset_history` (contract, section 3) and `fleets`: what a dashboard asks once, answered in the
//! acknowledgement.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    Connected,
    allowance::Allowance,
    subscribe::{Ack, Refusal, answer, fleet_of},
};
use crate::{
    fleet::{AssetId, FleetId},
    store::{Store, StoreError},
};

/// Points of a track that one answer may have.
const LIMIT_MAX: u64 = 10_000;
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
    Err(Refusal { code: "too_many", message })
}

async fn list_fleets(connected: &Arc<Connected>) -> Result<Value, Refusal> {
    let may_see = connected.may_see();
    let fleets = read(connected, Store::fleets).await?;
    let list: Vec<Value> = fleets
        .into_iter()
        .filter(|(fleet, _)| may_see(fleet))
        .map(|(fleet, assets)| json!({"fleet": fleet.as_str(), "assets": assets}))
        .collect();
    Ok(json!({"ok": true, "fleets": list}))
}

/// Asks the store, if there is one, and not for ever.
async fn read<T>(
    connected: &Connected,
    ask: impl AsyncFnOnce(&Store) -> Result<T, StoreError>,
) -> Result<T, Refusal> {
    let unavailable = |message: &str| Refusal { code: "unavailable", message: message.to_owned() };
    let Some(store) = &connected.hub.store else {
        return Err(unavailable("a relay (FLEETCAST_SOURCE=redis) keeps the state of watched fleets only"));
    };
    match timeout(READ_TIMEOUT, ask(store)).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(_)) | Err(_) => Err(unavailable("the state can not be read at the moment")),
    }
}

async fn read_track(connected: &Arc<Connected>, request: &Value) -> Result<Value, Refusal> {
    let asset = request.get("asset").ok_or_else(|| Refusal::bad("asset is missing"))?;
    let asset = asset.as_str().ok_or_else(|| Refusal::bad("asset is not a string"))?;
    let asset = AssetId::parse(asset).map_err(|error| Refusal::bad(error.to_string()))?;
    let from_ts_ms = match request.get("from_ts") {
        None | Some(Value::Null) => i64::MIN,
        Some(ts) => ts.as_f64().map(whole).ok_or_else(|| Refusal::bad("from_ts is not a number"))?,
    };
    let limit = match request.get("limit") {
        None | Some(Value::Null) => LIMIT_MAX,
        Some(limit) => limit
            .as_u64()
            .filter(|limit| (1..=LIMIT_MAX).contains(limit))
            .ok_or_else(|| Refusal::bad("limit is no whole number from 1 to 10000"))?,
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let fleet = match request.get("fleet") {
        None | Some(Value::Null) => find(connected, &asset).await?,
        Some(_) => Some(fleet_of(request)?),
    };
    // A fleet that was not granted is answered as one that does not exist.
    let fleet = fleet.filter(|fleet| connected.may_see()(fleet));
    let Some(fleet) = fleet else { return Ok(json!({"ok": true, "track": []})) };
    let track = read(connected, async |store| store.history(&fleet, &asset, from_ts_ms, limit).await).await?;
    Ok(json!({"ok": true, "fleet": fleet.as_str(), "track": track}))
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
