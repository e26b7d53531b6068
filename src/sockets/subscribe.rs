//! `fleet_subscribe` and `fleet_unsubscribe` (contract, section 3).

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use socketioxide::extract::AckSender;

use super::{Connected, Socket};
use crate::{
    cluster::ClusterAdapter,
    dispatch::{Membership, Mode},
    fleet::FleetId,
    protocol::{
        ErrorCode, FleetMode, FleetSubscribe, FleetSubscribed, FleetUnsubscribe, ProtocolError as Refusal,
    },
    transport::BARRIER_EVENT,
};

const INTERVAL_MS_MIN: u32 = 50;
const INTERVAL_MS_MAX: u32 = 10_000;
const INTERVAL_MS_DEFAULT: u32 = 250;
/// How long a fleet's state may take to be loaded.
const LOAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an acknowledgement may take to be queued before the snapshot goes out regardless.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) type Ack = AckSender<ClusterAdapter>;

/// Reads a request. The refusal names the member that is wrong.
pub(super) fn read<'r, T: Deserialize<'r>>(request: &'r Value) -> Result<T, Refusal> {
    // Other values would be repeated in the refusal, and might be a token.
    if !request.is_object() {
        return Err(Refusal::bad("the request is not an object"));
    }
    serde_path_to_error::deserialize(request).map_err(|error| {
        let path = error.path().to_string();
        let why = error.into_inner();
        Refusal::bad(if path == "." { why.to_string() } else { format!("{path}: {why}") })
    })
}

/// Answers a request; a client that asked for no answer gets none.
pub(super) fn answer(connected: &Connected, ack: Ack, outcome: Result<impl Serialize, Refusal>) {
    let body = match outcome.map(serde_json::to_value) {
        Ok(Ok(Value::Object(body))) => {
            let ok = ("ok".to_owned(), Value::Bool(true));
            Value::Object(std::iter::once(ok).chain(body).collect())
        }
        // There is nothing to say but that it is done.
        Ok(_) => json!({"ok": true}),
        Err(refusal) => {
            connected.hub.metrics.subscriptions_refused.inc();
            json!({"ok": false, "error": refusal})
        }
    };
    // A viewer that left meanwhile has no use for the answer.
    ack.send(&body).ok();
}

pub(super) fn fleet_id(fleet: &str) -> Result<FleetId, Refusal> {
    FleetId::parse(fleet).map_err(|error| Refusal::bad(error.to_string()))
}

pub(super) fn interval(interval_ms: Option<u32>) -> Result<Duration, Refusal> {
    let interval_ms = interval_ms.unwrap_or(INTERVAL_MS_DEFAULT);
    if !(INTERVAL_MS_MIN..=INTERVAL_MS_MAX).contains(&interval_ms) {
        return Err(Refusal::bad(format!("interval_ms: {interval_ms} is not from 50 to 10000")));
    }
    Ok(Duration::from_millis(interval_ms.into()))
}

/// Acknowledgement, then snapshot, then updates, with nothing missed and nothing twice between them.
pub(super) async fn fleet(socket: &Socket, connected: &Arc<Connected>, request: Value, ack: Ack) {
    let fleet = match subscribe(connected, &request).await {
        Ok((fleet, body)) => {
            answer(connected, ack, Ok(body));
            fleet
        }
        Err(refusal) => return answer(connected, ack, Err::<(), _>(refusal)),
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

async fn subscribe(
    connected: &Arc<Connected>,
    request: &Value,
) -> Result<(FleetId, FleetSubscribed), Refusal> {
    let hub = &connected.hub;
    let FleetSubscribe { fleet, mode, interval_ms, since } = read(request)?;
    let fleet = fleet_id(&fleet)?;
    let mode = match mode.unwrap_or_default() {
        FleetMode::Latest => Mode::Latest { interval: interval(interval_ms)?, since },
        FleetMode::Each => Mode::Each { since },
    };
    connected.granted(&fleet)?;
    let others = connected.memberships().iter().filter(|known| known.fleet != fleet).count();
    if others + connected.regions().cells.len() >= hub.options.subscriptions_max {
        let message = format!("more than {} subscriptions", hub.options.subscriptions_max);
        return Err(Refusal::new(ErrorCode::TooMany, message));
    }
    let unavailable = |message: &str| Refusal::new(ErrorCode::Unavailable, message);
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
    let name = fleet.as_str().to_owned();
    Ok((fleet, FleetSubscribed { fleet: name, cursor: joined.cursor, resumed: joined.resumed }))
}

pub(super) fn leave(connected: &Arc<Connected>, request: &Value, ack: Ack) {
    let fleet = read(request).and_then(|FleetUnsubscribe { fleet }| fleet_id(&fleet));
    answer(connected, ack, fleet.map(|fleet| connected.forget(&fleet)));
}
