//! This replica's dashboards as the cluster sees them: rooms from the audience, frames into sessions,
//! and what one socket must be asked or told through socketioxide.
//!
//! Invariant: what peers send is bounded by the same queue as everything else. A viewer whose queue has no
//! room for a peer's event is closed, since nobody could tell it later what it missed.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::handshake;
use crate::{
    cluster::{Acks, ClusterState, Delivery, EncodedEvent, Io, LocalSockets, SocketInfo, wire::Target},
    dispatch::{Audience, Present},
    observe::Metrics,
    transport::{CloseReason, Protocol, Sent, Session, packet_frames},
};

/// socketioxide's ids; the public ones begin with them.
const SID_LEN: usize = 16;
/// How long a client gets to read what was sent before its transport is closed.
const GOODBYE_MAX: Duration = Duration::from_secs(2);
const GOODBYE_POLL: Duration = Duration::from_millis(20);
/// A peer's event leaves nothing unread: what follows the DISCONNECT packet may still be in socketioxide's
/// queue when the session's own is empty.
const GOODBYE_MIN: Duration = Duration::from_millis(100);

/// The dashboards of this replica.
pub struct LocalViewers {
    audience: Arc<Audience>,
    io: Io,
    state: ClusterState,
    metrics: Arc<Metrics>,
}

impl LocalViewers {
    /// The viewers in `audience`, whose sockets `io` keeps and whose adapter has `state`.
    #[must_use]
    pub fn new(audience: Arc<Audience>, io: Io, state: ClusterState, metrics: Arc<Metrics>) -> Self {
        Self { audience, io, state, metrics }
    }

    fn send(&self, session: &Session, frames: &bytes::Bytes) {
        match session.send(frames) {
            Sent::Yes => drop(self.metrics.deliveries.inc()),
            Sent::Closed => {}
            Sent::Full => {
                self.metrics.adapter_viewers_overrun.inc();
                session.close(CloseReason::Slow);
            }
        }
    }

    fn socket(&self, socket_id: &str) -> Option<super::Socket> {
        self.io.get_socket(socket_id.get(..SID_LEN)?.parse().ok()?)
    }
}

impl LocalSockets for LocalViewers {
    fn has_room(&self, room: &str) -> bool {
        self.audience.has_room(room)
    }

    fn rooms(&self) -> Vec<String> {
        self.audience.rooms()
    }

    fn sockets(&self, target: &Target) -> Vec<SocketInfo> {
        let info = |(present, rooms): (Present, Vec<String>)| {
            let Present { viewer, identity } = present;
            SocketInfo {
                id: identity.socket_id.to_string(),
                handshake: handshake::json(&viewer.session, identity.auth.as_deref()),
                rooms,
                data: "{}".into(),
            }
        };
        self.audience.matching_with_rooms(target).into_iter().map(info).collect()
    }

    fn deliver(&self, target: &Target, event: &EncodedEvent, delivery: Delivery) -> usize {
        let present = self.audience.matching(target);
        let frames = |protocol| packet_frames(protocol, event.packet(), event.attachments());
        let mut by_protocol = (None, None);
        for Present { viewer, .. } in &present {
            let session = &viewer.session;
            if delivery.volatile && session.backlog_bytes() > 0 {
                continue;
            }
            let frames = match session.protocol() {
                Protocol::V3 => by_protocol.0.get_or_insert_with(|| frames(Protocol::V3)),
                Protocol::V4 => by_protocol.1.get_or_insert_with(|| frames(Protocol::V4)),
            };
            self.send(session, frames);
        }
        present.len()
    }

    fn deliver_with_ack(&self, target: &Target, event: &EncodedEvent, timeout: Duration) -> (usize, Acks) {
        let present = self.audience.matching(target);
        let sids = present
            .iter()
            .filter_map(|present| present.identity.socket_id.get(..SID_LEN).and_then(|sid| sid.parse().ok()));
        self.state.ask(sids, event, timeout)
    }

    fn join(&self, target: &Target, rooms: &[String]) {
        self.audience.join_matching(target, rooms);
    }

    fn leave(&self, target: &Target, rooms: &[String]) {
        self.audience.leave_matching(target, rooms);
    }

    fn public_id(&self, sid: &str) -> Option<String> {
        let socket = self.socket(sid)?;
        let session = socket.req_parts().extensions.get::<Arc<Session>>()?;
        Some(session.public_socket_id(sid))
    }

    fn disconnect(&self, target: &Target, close: bool) {
        // From here on nothing is sent to them, although their handlers still run.
        let mut leaving = Vec::new();
        for Present { viewer, identity } in self.audience.remove_matching(target) {
            let told = self.socket(&identity.socket_id).is_some_and(|socket| socket.disconnect().is_ok());
            if !told {
                viewer.session.close(CloseReason::ServerClose);
            } else if close {
                leaving.push(viewer.session.clone());
            }
        }
        if !leaving.is_empty() {
            tokio::spawn(say_goodbye(leaving));
        }
    }
}

/// Closes transports once their clients have taken what was queued, the DISCONNECT packet last.
async fn say_goodbye(mut sessions: Vec<Arc<Session>>) {
    let began = Instant::now();
    sleep(GOODBYE_MIN).await;
    while !sessions.is_empty() {
        let late = began.elapsed() >= GOODBYE_MAX;
        sessions.retain(|session| {
            let ends = late || session.backlog_bytes() == 0;
            if ends {
                session.close(CloseReason::ServerClose);
            }
            !ends
        });
        sleep(GOODBYE_POLL).await;
    }
}

impl fmt::Debug for LocalViewers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalViewers").finish_non_exhaustive()
    }
}
