//! `region_subscribe` and `region_unsubscribe` (contract, section 3).

use std::{sync::Arc, time::Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Connected, Socket,
    subscribe::{Ack, Refusal, answer, behind_ack, interval_of},
};
use crate::{
    dispatch::regions::Watched,
    fleet::FleetId,
    region::{RegionName, RegionRequest, Shape, ShapeSpec},
};

/// A panned map asks for every frame at worst; more than this is a fault, and costs only its viewer.
const REQUESTS_PER_SECOND: f64 = 30.0;
/// Requests at once after a pause.
const REQUESTS_BURST: f64 = 60.0;
/// Most fleets that a region may be limited to.
const FLEETS_MAX: usize = 1000;

/// One viewer's regions, and how many requests it has left.
#[derive(Debug)]
pub(super) struct OwnRegions {
    pub(super) names: foldhash::HashSet<RegionName>,
    requests_left: f64,
    counted: Instant,
}

impl Default for OwnRegions {
    fn default() -> Self {
        Self { names: foldhash::HashSet::default(), requests_left: REQUESTS_BURST, counted: Instant::now() }
    }
}

impl OwnRegions {
    fn may_ask(&mut self, now: Instant) -> bool {
        let refilled = now.duration_since(self.counted).as_secs_f64() * REQUESTS_PER_SECOND;
        self.requests_left = (self.requests_left + refilled).min(REQUESTS_BURST);
        self.counted = now;
        if self.requests_left < 1.0 {
            return false;
        }
        self.requests_left -= 1.0;
        true
    }
}

/// Acknowledgement, then snapshot, then deltas; or the difference, where the region was moved.
pub(super) async fn watch(socket: &Socket, connected: &Arc<Connected>, request: Value, ack: Ack) {
    let (region, watched) = match subscribe(connected, &request).await {
        Ok(subscribed) => subscribed,
        Err(refusal) => return answer(connected, ack, Err(refusal)),
    };
    let resumed = watched == Watched::Moved;
    let body = json!({"ok": true, "region": region.as_str(), "resumed": resumed});
    answer(connected, ack, Ok(body));
    behind_ack(socket, connected).await;
    connected.hub.regions.open(connected.viewer.id, region).await;
}

async fn subscribe(connected: &Arc<Connected>, request: &Value) -> Result<(RegionName, Watched), Refusal> {
    let hub = &connected.hub;
    if !connected.regions().may_ask(Instant::now()) {
        let message = format!("more than {REQUESTS_PER_SECOND} region requests a second");
        return Err(Refusal { code: "too_many", message });
    }
    let region = name_of(request)?;
    let is_known = connected.regions().names.contains(&region);
    if !is_known && connected.subscriptions() >= hub.options.subscriptions_max {
        let message = format!("more than {} subscriptions", hub.options.subscriptions_max);
        return Err(Refusal { code: "too_many", message });
    }
    let request = RegionRequest {
        region: region.clone(),
        shape: Arc::new(shape_of(connected, request)?),
        interval: interval_of(request)?,
        fleets: fleets_of(request)?,
        may_see: connected.may_see(),
    };
    // Known from here on, so that whatever comes of it ends with the connection.
    connected.regions().names.insert(region.clone());
    let Some(watched) = hub.regions.watch(&connected.viewer, request).await else {
        connected.regions().names.remove(&region);
        hub.regions.unwatch(connected.viewer.id, region).await;
        let message = "the assets of the region can not be read at the moment".to_owned();
        return Err(Refusal { code: "unavailable", message });
    };
    Ok((region, watched))
}

pub(super) async fn unwatch(connected: &Arc<Connected>, request: &Value, ack: Ack) {
    let outcome = match name_of(request) {
        Ok(region) => {
            if connected.regions().names.remove(&region) {
                connected.hub.regions.unwatch(connected.viewer.id, region).await;
            }
            Ok(json!({"ok": true}))
        }
        Err(refusal) => Err(refusal),
    };
    answer(connected, ack, outcome);
}

fn name_of(request: &Value) -> Result<RegionName, Refusal> {
    let name = request.get("region").ok_or_else(|| Refusal::bad("region is missing"))?;
    let name = name.as_str().ok_or_else(|| Refusal::bad("region is not a string"))?;
    RegionName::parse(name).map_err(|error| Refusal::bad(error.to_string()))
}

fn shape_of(connected: &Connected, request: &Value) -> Result<Shape, Refusal> {
    let spec = ShapeSpec::deserialize(request).map_err(|error| Refusal::bad(error.to_string()))?;
    Shape::parse(&spec, connected.hub.options.shapes).map_err(|error| Refusal::bad(error.to_string()))
}

fn fleets_of(request: &Value) -> Result<Option<foldhash::HashSet<FleetId>>, Refusal> {
    let fleets = match request.get("fleets") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(fleets)) => fleets,
        Some(_) => return Err(Refusal::bad("fleets is not an array")),
    };
    if fleets.len() > FLEETS_MAX {
        let message = format!("fleets names {}, at most {FLEETS_MAX} are allowed", fleets.len());
        return Err(Refusal { code: "too_large", message });
    }
    let parse = |(index, fleet): (usize, &Value)| {
        let fleet = fleet.as_str().ok_or_else(|| Refusal::bad(format!("fleets[{index}] is not a string")))?;
        FleetId::parse(fleet).map_err(|error| Refusal::bad(format!("fleets[{index}]: {error}")))
    };
    fleets.iter().enumerate().map(parse).collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_storm_of_moves_is_refused_and_a_panned_map_is_not() {
        let (mut regions, start) = (OwnRegions::default(), Instant::now());
        let granted = (0..300).filter(|n| regions.may_ask(start + Duration::from_millis(10 * n))).count();
        assert!((140..=152).contains(&granted), "{granted} of 300 in 3 s");
        let later = start + Duration::from_secs(60);
        assert!((0..200).all(|n| regions.may_ask(later + Duration::from_millis(50 * n))));
    }
}
