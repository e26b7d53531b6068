//! `region_subscribe` and `region_unsubscribe` (contract, section 3).

use std::{sync::Arc, time::Instant};

use serde_json::Value;

use super::{
    Connected, Socket,
    allowance::Allowance,
    subscribe::{Ack, answer, behind_ack, interval, read},
};
use crate::{
    dispatch::regions::Watched,
    fleet::FleetId,
    protocol::{ErrorCode, ProtocolError as Refusal, RegionSubscribe, RegionSubscribed, RegionUnsubscribe},
    region::{RegionName, RegionRequest, Shape, ShapeSpec},
};

/// A panned map asks for every frame at worst; more than this is a fault, and costs only its viewer.
const REQUESTS_PER_SECOND: f64 = 30.0;
/// Requests at once after a pause.
const REQUESTS_BURST: f64 = 60.0;
/// Most fleets that a region may be limited to.
const FLEETS_MAX: usize = 1000;

/// Cells between replicas under all regions of a viewer: four times the world. Each may hold the assets of all
/// fleets, and each region remembers which of them its viewer has.
const CELLS_MAX: usize = 4 * 4096;

/// One viewer's regions with the number of cells under each, and how often it may ask.
#[derive(Debug)]
pub(super) struct OwnRegions {
    pub(super) cells: foldhash::HashMap<RegionName, usize>,
    requests: Allowance,
}

impl Default for OwnRegions {
    fn default() -> Self {
        let requests = Allowance::new(REQUESTS_PER_SECOND, REQUESTS_BURST);
        Self { cells: foldhash::HashMap::default(), requests }
    }
}

impl OwnRegions {
    /// Takes note of a region, new or moved, unless all together would be too large.
    fn note(&mut self, region: &RegionName, cells: usize) -> Result<(), Refusal> {
        let others: usize =
            self.cells.iter().filter(|(name, _)| *name != region).map(|(_, cells)| cells).sum();
        if others + cells > CELLS_MAX {
            let message =
                format!("the regions together are larger than {} times the world", CELLS_MAX / 4096);
            return Err(Refusal::new(ErrorCode::TooMany, message));
        }
        self.cells.insert(region.clone(), cells);
        Ok(())
    }
}

/// Acknowledgement, then snapshot, then deltas; or the difference, where the region was moved.
pub(super) async fn watch(socket: &Socket, connected: &Arc<Connected>, request: Value, ack: Ack) {
    let (region, watched) = match subscribe(connected, &request).await {
        Ok(subscribed) => subscribed,
        Err(refusal) => return answer(connected, ack, Err::<(), _>(refusal)),
    };
    let resumed = watched == Watched::Moved;
    answer(connected, ack, Ok(RegionSubscribed { region: region.as_str().to_owned(), resumed }));
    behind_ack(socket, connected).await;
    connected.hub.regions.open(connected.viewer.id, region).await;
}

async fn subscribe(connected: &Arc<Connected>, request: &Value) -> Result<(RegionName, Watched), Refusal> {
    let hub = &connected.hub;
    if !connected.regions().requests.take(Instant::now()) {
        let message = format!("more than {REQUESTS_PER_SECOND} region requests a second");
        return Err(Refusal::new(ErrorCode::TooMany, message));
    }
    let RegionSubscribe { region, interval_ms, fleets } = read(request)?;
    let region = region_name(&region)?;
    let is_known = connected.regions().cells.contains_key(&region);
    if !is_known && connected.subscriptions() >= hub.options.subscriptions_max {
        let message = format!("more than {} subscriptions", hub.options.subscriptions_max);
        return Err(Refusal::new(ErrorCode::TooMany, message));
    }
    let request = RegionRequest {
        region: region.clone(),
        shape: Arc::new(shape_of(connected, request)?),
        interval: interval(interval_ms)?,
        fleets: fleets.map(fleet_ids).transpose()?,
        may_see: connected.may_see(),
    };
    // Known from here on, so that whatever comes of it ends with the connection.
    connected.regions().note(&region, request.shape.cover().between_replicas().count())?;
    let Some(watched) = hub.regions.watch(&connected.viewer, request).await else {
        connected.regions().cells.remove(&region);
        hub.regions.unwatch(connected.viewer.id, region).await;
        let message = "the assets of the region can not be read at the moment";
        return Err(Refusal::new(ErrorCode::Unavailable, message));
    };
    Ok((region, watched))
}

pub(super) async fn unwatch(connected: &Arc<Connected>, request: &Value, ack: Ack) {
    let region = read(request).and_then(|RegionUnsubscribe { region }| region_name(&region));
    let outcome = match region {
        Ok(region) => {
            let known = connected.regions().cells.remove(&region);
            if known.is_some() {
                connected.hub.regions.unwatch(connected.viewer.id, region).await;
            }
            Ok(())
        }
        Err(refusal) => Err(refusal),
    };
    answer(connected, ack, outcome);
}

fn region_name(name: &str) -> Result<RegionName, Refusal> {
    RegionName::parse(name).map_err(|error| Refusal::bad(error.to_string()))
}

fn shape_of(connected: &Connected, request: &Value) -> Result<Shape, Refusal> {
    let spec: ShapeSpec = read(request)?;
    Shape::parse(&spec, connected.hub.options.shapes).map_err(|error| Refusal::bad(error.to_string()))
}

fn fleet_ids(fleets: Vec<String>) -> Result<foldhash::HashSet<FleetId>, Refusal> {
    if fleets.len() > FLEETS_MAX {
        let message = format!("fleets names {}, at most {FLEETS_MAX} are allowed", fleets.len());
        return Err(Refusal::new(ErrorCode::TooLarge, message));
    }
    let parse = |(index, fleet): (usize, String)| {
        FleetId::parse(&fleet).map_err(|error| Refusal::bad(format!("fleets[{index}]: {error}")))
    };
    fleets.into_iter().enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_regions_of_a_viewer_are_bounded_together_and_one_can_always_be_moved() {
        let mut regions = OwnRegions::default();
        let name = |n: usize| RegionName::parse(&format!("r{n}")).unwrap();
        for n in 0..4 {
            regions.note(&name(n), 4096).unwrap();
        }
        assert_eq!(regions.note(&name(4), 1).unwrap_err().code, ErrorCode::TooMany);
        regions.note(&name(2), 4096).unwrap();
        regions.note(&name(2), 1).unwrap();
        regions.note(&name(4), 4095).unwrap();
        assert!(regions.note(&name(2), 2).is_err());
        assert_eq!(regions.cells[&name(2)], 1, "a move that is refused changes nothing");
    }
}
