//! `fleet_subscribe` and `fleet_unsubscribe` (contract, section 3).

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use socketioxide::extract::AckSender;

use super::{Connected, Socket};
use crate::{
    cluster::ClusterAdapter,
    dispatch::{Membership, Mode},
    fleet::FleetId,
    transport::BARRIER_EVENT,
};

const INTERVAL_MS_MIN: u64 = 50;
const INTERVAL_MS_MAX: u64 = 10_000;
const INTERVAL_MS_DEFAULT: u64 = 250;
/// How long a fleet's state may take to be loaded.
const LOAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an acknowledgement may take to be queued before the snapshot goes out regardless.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);

/// A refused request: one of the contract's codes and what is wrong, by name.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self { code: "bad_request", message: message.into() }
    }
}

pub(super) type Ack = AckSender<ClusterAdapter>;

/// Answers a request; a client that asked for no answer gets none.
pub(super) fn answer(connected: &Connected, ack: Ack, outcome: Result<Value, Refusal>) {
    let body = outcome.unwrap_or_else(|refusal| {
        connected.hub.metrics.subscriptions_refused.inc();
        json!({"ok": false, "error": {"code": refusal.code, "message": refusal.message}})
    });
    // A viewer that left meanwhile has no use for the answer.
    ack.send(&body).ok();
}

pub(super) fn fleet_of(request: &Value) -> Result<FleetId, Refusal> {
    let fleet = request.get("fleet").ok_or_else(|| Refusal::bad("fleet is missing"))?;
    let fleet = fleet.as_str().ok_or_else(|| Refusal::bad("fleet is not a string"))?;
    FleetId::parse(fleet).map_err(|error| Refusal::bad(error.to_string()))
}

fn mode_of(request: &Value) -> Result<Mode, Refusal> {
    let since = match request.get("since") {
        None | Some(Value::Null) => None,
        Some(Value::String(cursor)) => Some(cursor.clone()),
        Some(_) => return Err(Refusal::bad("since is not a string")),
    };
    match request.get("mode").map(Value::as_str) {
        None | Some(Some("latest")) => {
            let interval = interval_of(request)?;
            Ok(Mode::Latest { interval, since })
        }
        Some(Some("each")) => Ok(Mode::Each { since }),
        Some(_) => Err(Refusal::bad("mode is neither \"each\" nor \"latest\"")),
    }
}

pub(super) fn interval_of(request: &Value) -> Result<Duration, Refusal> {
    let interval_ms = match request.get("interval_ms") {
        None | Some(Value::Null) => INTERVAL_MS_DEFAULT,
        Some(value) => value
            .as_u64()
            .filter(|interval_ms| (INTERVAL_MS_MIN..=INTERVAL_MS_MAX).contains(interval_ms))
            .ok_or_else(|| Refusal::bad("interval_ms is no whole number from 50 to 10000"))?,
    };
    Ok(Duration::from_millis(interval_ms))
}

/// Acknowledgement, then snapshot, then updates, with nothing missed and nothing twice between them.
pub(super) async fn fleet(socket: &Socket, connected: &Arc<Connected>, request: Value, ack: Ack) {
    let fleet = match subscribe(connected, &request).await {
        Ok((fleet, body)) => {
            answer(connected, ack, Ok(body));
            fleet
        }
        Err(refusal) => return answer(connected, ack, Err(refusal)),
    };
    behind_ack(socket, connected).await;
    connected.open(&fleet).await;
}

/// Returns when the acknowledgement that was sent before is queued for the client.
pub(super) async fn behind_ack(socket: &Socket, connected: &Connected) {
    let (number, passed) = connected.viewer.session.barrier();
    if socket.emit(BARRIER_EVENT, &number).is_ok() {
        // Whatever becomes of the barrier, a viewer that is still there gets its snapshot.
        tokio::time::timeout(ACK_TIMEOUT, passed).await.ok();
    }
}

async fn subscribe(connected: &Arc<Connected>, request: &Value) -> Result<(FleetId, Value), Refusal> {
    let hub = &connected.hub;
    let (fleet, mode) = (fleet_of(request)?, mode_of(request)?);
    connected.granted(&fleet)?;
    let others = connected.memberships().iter().filter(|known| known.fleet != fleet).count();
    if others + connected.regions().cells.len() >= hub.options.subscriptions_max {
        let message = format!("more than {} subscriptions", hub.options.subscriptions_max);
        return Err(Refusal { code: "too_many", message });
    }
    let unavailable = |message: &str| Refusal { code: "unavailable", message: message.to_owned() };
    let watch = hub.feed.watch(&fleet);
    if watch.confirmed(hub.options.confirm_timeout).await.is_err() {
        return Err(unavailable("updates can not be subscribed to at the moment"));
    }
    // Only a membership that works takes the place of an earlier one.
    let membership = Membership::new(fleet.clone(), connected.viewer.clone(), hub.dispatcher.clone(), watch);
    let Some(joined) = membership.join(mode, LOAD_TIMEOUT).await else {
        return Err(unavailable("the fleet's state can not be read at the moment"));
    };
    connected.keep(membership);
    hub.audience.join(connected.viewer.id, &connected.room(&fleet));
    // Peers' events are another matter than updates: without them the subscription is still of use.
    hub.audience.confirmed(connected.viewer.id, hub.options.confirm_timeout).await.ok();
    let body =
        json!({"ok": true, "fleet": fleet.as_str(), "cursor": joined.cursor, "resumed": joined.resumed});
    Ok((fleet, body))
}

pub(super) fn leave(connected: &Arc<Connected>, request: &Value, ack: Ack) {
    let outcome = fleet_of(request).map(|fleet| {
        connected.forget(&fleet);
        json!({"ok": true})
    });
    answer(connected, ack, outcome);
}
