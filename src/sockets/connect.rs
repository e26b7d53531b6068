//! The handshake: from a request's query to a viewer of fleets, or to the refusal that Node would send.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::Value;
use socketioxide::socket::DisconnectReason;

use super::{Connected, Hub, Socket, canary, event, users::UserSeat};
use crate::{
    auth::{Denied, Grants, bearer_token},
    dispatch::{Identity, Membership, Mode},
    fleet::{FleetId, InvalidId},
    transport::{CloseReason, Session},
};

/// How long a busy shard may take to see a new member; it asks nobody.
pub(super) const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a connection was refused; its text is the client's `connect_error` message.
#[derive(Debug)]
pub(super) struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<InvalidId> for Refused {
    fn from(error: InvalidId) -> Self {
        Self(error.to_string())
    }
}

/// The token that a viewer brought: with CONNECT, or in the header or the query of its handshake.
fn token_of(session: &Session, auth: Option<&Value>) -> Option<String> {
    let of_connect = auth.and_then(|auth| auth.get("token")).and_then(Value::as_str).map(str::to_owned);
    let of_header = || session.handshake().header("authorization").and_then(bearer_token).map(str::to_owned);
    let of_query = || session.handshake().query().filter(|(key, _)| key == "token").last();
    let given = |token: &String| !token.is_empty();
    of_connect.filter(given).or_else(of_header).or_else(|| of_query().map(|(_, token)| token).filter(given))
}

async fn authenticate(hub: &Hub, session: &Session, auth: Option<&Value>) -> Result<Grants, Refused> {
    let token = token_of(session, auth);
    hub.auth.admit(token.as_deref()).await.map_err(|denied| {
        if denied == Denied::Unavailable {
            // A refusal would keep a stock client away for good, for what is no fault of its token.
            session.close(CloseReason::ServerClose);
        }
        Refused(format!("unauthorized: {denied}"))
    })
}

/// Its place among the connections of its user, if the token names one.
fn user_seat(hub: &Hub, session: &Session, grants: &Grants) -> Result<Option<UserSeat>, Refused> {
    let Some(subject) = &grants.subject else { return Ok(None) };
    let seat = hub.users.take(subject);
    if seat.is_none() {
        hub.metrics.connect_refused("connections of the user");
        // A refusal would keep a stock client away for good, though a place may be free in a moment.
        session.close(CloseReason::Busy);
        return Err(Refused("too many connections of this user".to_owned()));
    }
    Ok(seat)
}

/// Runs before CONNECT is sent. When it returns, nothing published to the handshake's fleets is missed.
pub(super) async fn admit(hub: Arc<Hub>, socket: Socket, auth: Option<Value>) -> Result<(), Refused> {
    let session = socket.req_parts().extensions.get::<Arc<Session>>().cloned();
    let Some(session) = session else { return Err(Refused("no session".to_owned())) };
    if session.is_own() {
        canary::admit(&hub, &socket, &session).await;
        return Ok(());
    }
    match join(&hub, &socket, &session, auth).await {
        Ok((fleets, subject)) => {
            let handshake = session.handshake();
            tracing::info!(
                socket = %socket.id,
                ip = %handshake.address,
                origin = handshake.header("origin"),
                eio = session.protocol().number(),
                transport = session.transport(),
                subject = subject.as_deref(),
                fleets,
                "connected"
            );
            Ok(())
        }
        Err(refused) => {
            hub.metrics.handshakes_refused.inc();
            tracing::info!(ip = %session.handshake().address, reason = %refused, "connection refused");
            Err(refused)
        }
    }
}

async fn join(
    hub: &Arc<Hub>,
    socket: &Socket,
    session: &Arc<Session>,
    auth: Option<Value>,
) -> Result<(usize, Option<Arc<str>>), Refused> {
    let mut fleets: Vec<FleetId> = Vec::new();
    for (key, value) in session.handshake().query() {
        if key == "fleetId" {
            let fleet = FleetId::parse(&value)?;
            if !fleets.contains(&fleet) {
                fleets.push(fleet);
            }
        }
    }
    if fleets.len() > hub.options.subscriptions_max {
        return Err(Refused(format!("more than {} fleetId values", hub.options.subscriptions_max)));
    }
    let grants = authenticate(hub, session, auth.as_ref()).await?;
    if let Some(fleet) = fleets.iter().find(|fleet| !grants.may_see(fleet)) {
        // Whether it exists makes no difference: the answer depends on the token alone.
        hub.metrics.fleets_denied.inc();
        return Err(Refused(format!("forbidden: fleetId `{fleet}` is not granted")));
    }
    let seat = user_seat(hub, session, &grants)?;
    let identity = Identity {
        socket_id: session.public_socket_id(socket.id.as_str()).into(),
        auth: auth.filter(|auth| !auth.is_null()).map(|auth| auth.to_string().into()),
    };
    let connected = Arc::new(Connected::new(hub.clone(), session.clone(), identity, grants, seat));
    connected.is_modern.store(fleets.is_empty(), Ordering::Relaxed);
    hub.expiries.note(&connected);
    for fleet in &fleets {
        hub.audience.join(connected.viewer.id, &connected.room(fleet));
    }
    let watches: Vec<_> = fleets.iter().map(|fleet| hub.feed.watch(fleet)).collect();
    let deadline = tokio::time::Instant::now() + hub.options.confirm_timeout;
    let mut memberships = Vec::with_capacity(fleets.len());
    for (fleet, watch) in fleets.iter().zip(watches) {
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        // While Redis is away viewers are let in: they get what is published once it is back.
        if watch.confirmed(left).await.is_err() {
            hub.metrics.unconfirmed_connects.inc();
        }
        let viewer = connected.viewer.clone();
        memberships.push(Membership::new(fleet.clone(), viewer, hub.dispatcher.clone(), watch));
    }
    join_all(memberships.iter().map(|membership| membership.join(Mode::Legacy, JOIN_TIMEOUT))).await;
    memberships.into_iter().for_each(|membership| connected.keep(membership));
    let rest = deadline.saturating_duration_since(tokio::time::Instant::now());
    if hub.audience.confirmed(connected.viewer.id, rest).await.is_err() {
        hub.metrics.unconfirmed_connects.inc();
    }
    let subject = connected.grants().subject.clone();
    socket.extensions.insert(connected);
    socket.on_fallback(event);
    socket.on_disconnect(left);
    Ok((fleets.len(), subject))
}

/// Logs the end; what the connection held ends with the socket's extensions.
async fn left(socket: Socket, reason: DisconnectReason) {
    let connected = socket.extensions.remove::<Arc<Connected>>();
    let Some(connected) = connected else { return };
    let session = &connected.viewer.session;
    let reason = session.close_reason().map_or_else(|| name(reason), |reason| reason.as_str());
    let handshake = session.handshake();
    let connected_ms = crate::clock::epoch_ms() - handshake.issued_ms;
    tracing::info!(socket = %socket.id, ip = %handshake.address, reason, connected_ms, "disconnected");
}

/// Node's names for ends that are not the transport's.
fn name(reason: DisconnectReason) -> &'static str {
    match reason {
        DisconnectReason::TransportClose => "transport close",
        DisconnectReason::MultipleHttpPollingError | DisconnectReason::TransportError => "transport error",
        DisconnectReason::PacketParsingError => "parse error",
        DisconnectReason::HeartbeatTimeout => "ping timeout",
        DisconnectReason::ClientNSDisconnect => "client namespace disconnect",
        DisconnectReason::ServerNSDisconnect => "server namespace disconnect",
        DisconnectReason::ClosingServer => "server shutting down",
    }
}
