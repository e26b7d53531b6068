//! `auth_refresh` (contract, section 3): a new token for a connection that stays.
//!
//! Invariant: once it is acknowledged, nothing arrives of what the new token does not grant.

use std::sync::{Arc, PoisonError};

use serde_json::Value;

use super::{
    Connected,
    subscribe::{Ack, answer, read},
};
use crate::{
    auth::{Denied, Grants},
    clock::epoch_ms,
    fleet::FleetId,
    protocol::{AuthRefresh, AuthRefreshed, ErrorCode, FleetSnapshot, ProtocolError as Refusal},
    transport::event_frame,
};

pub(super) async fn token(connected: &Arc<Connected>, request: &Value, ack: Ack) {
    let outcome = refresh(connected, request).await;
    answer(connected, ack, outcome);
}

async fn refresh(connected: &Arc<Connected>, request: &Value) -> Result<AuthRefreshed, Refusal> {
    let AuthRefresh { token } = read(request)?;
    let forbidden = |message: String| Refusal::new(ErrorCode::Forbidden, message);
    let grants = connected.hub.auth.admit(Some(&token)).await.map_err(|denied| match denied {
        Denied::Unavailable => Refusal::new(ErrorCode::Unavailable, denied.to_string()),
        denied => forbidden(denied.to_string()),
    })?;
    if grants.subject != connected.grants().subject {
        return Err(forbidden("the token is somebody else's".to_owned()));
    }
    let expires_ms = grants.expires_ms;
    change(connected, grants).await;
    connected.hub.metrics.tokens_refreshed.inc();
    Ok(AuthRefreshed { expires_in_ms: expires_ms.map(|expires_ms| expires_ms - epoch_ms()) })
}

async fn change(connected: &Arc<Connected>, grants: Grants) {
    *connected.grants.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(grants);
    connected.hub.expiries.note(connected);
    let may_see = connected.may_see();
    let lost: Vec<_> = connected.memberships().extract_if(.., |known| !may_see(&known.fleet)).collect();
    for membership in lost {
        let fleet = membership.fleet.clone();
        connected.hub.audience.leave(connected.viewer.id, &connected.room(&fleet));
        membership.end().await;
        show_nothing(connected, &fleet);
    }
    if !connected.regions().cells.is_empty() {
        connected.hub.regions.set_grants(connected.viewer.id, may_see).await;
    }
}

/// What a dashboard shows of a fleet is what its snapshot said: an empty one takes it off the map.
fn show_nothing(connected: &Connected, fleet: &FleetId) {
    let (fleet, cursor, assets) = (fleet.to_string(), String::new(), Vec::new());
    let snapshot = FleetSnapshot { fleet, cursor, part: 1, parts: 1, assets };
    if let Ok(text) = serde_json::to_vec(&snapshot) {
        connected.viewer.session.send(&event_frame("fleet_snapshot", &text));
    }
}
