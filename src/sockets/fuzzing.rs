//! What viewers ask for.

use serde_json::Value;

use super::subscribe::{fleet_id, interval, read};
use crate::{
    protocol::{
        AssetHistory, AuthRefresh, FleetMode, FleetSubscribe, FleetUnsubscribe, RegionSubscribe,
        RegionUnsubscribe,
    },
    region::{RegionName, Shape, ShapeLimits, ShapeSpec},
};

/// The object of any request, read as each of them. A refusal says something, in a few words.
pub(crate) fn requests(data: &[u8]) {
    let Ok(request) = serde_json::from_slice::<Value>(data) else { return };
    let refusals = [
        read::<FleetSubscribe>(&request).and_then(|FleetSubscribe { fleet, mode, interval_ms, .. }| {
            fleet_id(&fleet)?;
            if mode != Some(FleetMode::Each) {
                interval(interval_ms)?;
            }
            Ok(())
        }),
        read::<FleetUnsubscribe>(&request).and_then(|FleetUnsubscribe { fleet }| fleet_id(&fleet).map(drop)),
        read::<RegionSubscribe>(&request)
            .map(|RegionSubscribe { region, .. }| drop(RegionName::parse(&region))),
        read::<RegionUnsubscribe>(&request).map(drop),
        read::<AssetHistory>(&request).map(drop),
        read::<AuthRefresh>(&request).map(drop),
        read::<ShapeSpec>(&request).map(|spec| drop(Shape::parse(&spec, ShapeLimits::default()))),
    ];
    for refusal in refusals.into_iter().filter_map(Result::err) {
        assert!(
            !refusal.message.is_empty() && refusal.message.len() <= 400 + data.len(),
            "{}",
            refusal.message
        );
    }
}
