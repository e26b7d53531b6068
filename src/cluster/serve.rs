//! What peers say: the task that reads the bus, serves their broadcasts and answers their requests.
//!
//! Invariants: messages are served in the order in which they arrive; every counted request is answered
//! exactly once, even one that can not be read; nothing that arrives ends the task.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::{
    StreamExt,
    stream::{BoxStream, SelectAll},
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Delivery, Member,
    bus::{BusError, Event, Events, Message},
    member::Inner,
    wire::{
        Address, Answer, Argument, Body, Dialect, Flags, Incoming, Request, RequestFrame, ResponseFrame,
        Selection, ShardedMessage, Target,
    },
};
use crate::{cluster::EncodedEvent, observe::Condition};

/// Acknowledged broadcasts of peers whose acknowledgements are collected at the same time.
const ACKED_BROADCASTS_MAX: usize = 1024;
/// For requests that name no deadline. Node forgets such a request after a millisecond.
const ACK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
const ACK_TIMEOUT_MAX: Duration = Duration::from_secs(120);
/// At the end, what had been asked before Redis stopped counting this member is still answered.
const RESIGN_MAX: Duration = Duration::from_secs(1);
const RESIGN_POLL: Duration = Duration::from_millis(5);
/// How often a member that is down looks whether it is up again, whatever it was told.
const RETELL: Duration = Duration::from_secs(1);

/// Asked of servers, and answered with who this is.
pub(super) const PING: &str = "cluster_ping";

/// Serves peers. Spawn [`Service::run`].
pub struct Service {
    member: Member,
    events: Box<dyn Events>,
    acks: SelectAll<BoxStream<'static, PeerAck>>,
    condition: Option<Condition>,
}

/// A dashboard's acknowledgement, to be told to the peer that asked.
struct PeerAck {
    to: Arc<Asker>,
    argument: Option<Argument>,
}

/// Who asked, and which question.
struct Asker {
    uid: Option<String>,
    request_id: String,
}

impl Service {
    /// Serves what `events` has for `member`; `condition` follows the connection.
    #[must_use]
    pub fn new(member: Member, events: impl Events, condition: Option<Condition>) -> Self {
        Self { member, events: Box::new(events), acks: SelectAll::new(), condition }
    }

    /// Serves until `stop`. After that this replica is no member any more; what was asked before that
    /// is answered first.
    pub async fn run(mut self, stop: CancellationToken) {
        while stop.run_until_cancelled(self.step()).await.is_some() {}
        let bus = self.member.0.bus.clone();
        bus.end_lingering();
        self.member.0.resign();
        let request = self.member.0.names.clone();
        let counted = async {
            while bus.is_up() && bus.knows(request.request()) {
                // Whether Redis has confirmed it is no event.
                timeout(RESIGN_POLL, self.step()).await.ok();
            }
            // What Redis sent before it confirmed may be read after the confirmation.
            while bus.is_up() && timeout(RESIGN_POLL, self.step()).await.is_ok() {}
        };
        timeout(RESIGN_MAX, counted).await.ok();
    }

    async fn step(&mut self) {
        tokio::select! {
            event = self.events.next() => self.event(event),
            Some(ack) = self.acks.next() => self.acknowledge(ack),
            // One of the two connections may come back after the other, and nothing tells of that.
            () = sleep(RETELL), if self.is_down() => self.tell_state(),
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Messages(messages) => {
                messages.iter().for_each(|message| self.message(message));
                if self.is_down() {
                    self.tell_state();
                }
            }
            Event::Restored => self.tell_state(),
            // What Redis refused at first may have been allowed since.
            Event::Changed if self.is_down() => self.tell_state(),
            Event::Changed => {}
            Event::Lost => {
                self.member.0.metrics.adapter_up.set(0);
                self.condition.iter().for_each(|condition| condition.set_unready("the bus is lost"));
                drop(self.member.0.pending().end_all());
            }
        }
    }

    fn is_down(&self) -> bool {
        self.inner().metrics.adapter_up.get() == 0
    }

    fn tell_state(&self) {
        let state = match self.inner().state() {
            Err(BusError::Disconnected) => return, // Told when it was lost, or not told to be up yet.
            state => state,
        };
        self.inner().metrics.adapter_up.set(i64::from(state.is_ok()));
        if let Some(condition) = &self.condition {
            match &state {
                Ok(()) => condition.set_ready(),
                Err(error) => condition.set_unready(error.to_string()),
            }
        }
    }

    fn message(&mut self, message: &Message) {
        let names = self.member.0.names.clone();
        match (names.dialect(), names.address(message.channel())) {
            (Dialect::Sharded, Some(Address::Namespace)) => self.sharded(None, message.payload()),
            (Dialect::Sharded, Some(Address::Room(name))) => self.sharded(Some(name), message.payload()),
            (_, Some(Address::Namespace)) => self.broadcast(None, message.payload()),
            (_, Some(Address::Room(room))) => self.broadcast(Some(room), message.payload()),
            (_, Some(Address::Request)) => self.request(message.payload()),
            (_, Some(Address::Response)) => self.response(message.payload()),
            (_, None) => {}
        }
    }

    /// A message of the sharded adapter, on the channel of a room or of this member.
    fn sharded(&mut self, channel_of: Option<&str>, payload: &[u8]) {
        let Inner { sockets, uid: own, .. } = self.inner();
        if channel_of.is_some_and(|name| name != own && !sockets.has_room(name)) {
            return;
        }
        match ShardedMessage::decode(payload) {
            Ok(ShardedMessage { uid, .. }) if uid == *own => {}
            Ok(ShardedMessage { body: Body::Emit { event, target, flags }, .. }) => {
                self.deliver(&event, &target, &flags);
            }
            Ok(ShardedMessage { uid, body: Body::Request(request) }) => self.serve(Some(uid), request),
            Ok(ShardedMessage { body: Body::Response(ResponseFrame { request_id, answer }), .. }) => {
                self.member.answered(&request_id, answer);
            }
            Err(error) => {
                self.malformed("message", &error);
                if let Some((uid, response)) = ShardedMessage::answer_to_unreadable(payload) {
                    self.answer(&Asker { uid: Some(uid), request_id: response.request_id }, response.answer);
                }
            }
        }
    }

    fn deliver(&self, event: &EncodedEvent, target: &Target, flags: &Flags) {
        self.inner().sockets.deliver(target, event, Delivery { volatile: flags.is_volatile() });
        self.inner().metrics.adapter_broadcasts.inc();
    }

    fn inner(&self) -> &Inner {
        &self.member.0
    }

    /// Drops what is not for local sockets as early as possible: for most members most frames end here.
    fn broadcast(&self, room: Option<&str>, payload: &[u8]) {
        let Inner { sockets, uid, names, .. } = self.inner();
        if room.is_some_and(|room| !sockets.has_room(room)) {
            return;
        }
        let read = Incoming::open(payload).and_then(|incoming| {
            let is_own = incoming.uid.as_deref() == Some(uid);
            let rooms = &incoming.target.rooms;
            let is_for_us = rooms.is_empty() || rooms.iter().any(|room| sockets.has_room(room));
            if is_own || incoming.nsp != names.path() || !is_for_us {
                return Ok(None);
            }
            Ok(Some((incoming.event()?, incoming)))
        });
        match read {
            Ok(Some((event, Incoming { target, flags, .. }))) => {
                self.deliver(&event, &target, &flags);
            }
            Ok(None) => {}
            Err(error) => self.malformed("broadcast", &error),
        }
    }

    fn malformed(&self, what: &str, error: &dyn fmt::Display) {
        self.inner().metrics.adapter_malformed.inc();
        // Not louder: whoever can publish could fill the log.
        tracing::debug!(what, %error, "cluster: ignored a malformed message");
    }

    fn request(&mut self, payload: &[u8]) {
        match RequestFrame::decode(payload) {
            Ok(RequestFrame { uid, .. }) if uid.as_deref() == Some(&self.inner().uid) => {}
            Ok(RequestFrame { uid, request }) => self.serve(uid, request),
            Err(error) => {
                self.malformed("request", &error);
                if let Some((uid, response)) = RequestFrame::answer_to_unreadable(payload) {
                    self.answer(&Asker { uid, request_id: response.request_id }, response.answer);
                }
            }
        }
    }

    fn serve(&mut self, uid: Option<String>, request: Request) {
        let sockets = self.inner().sockets.clone();
        let asker = |request_id| Asker { uid: uid.clone(), request_id };
        match request {
            Request::Sockets { request_id, rooms } => {
                let target = Target { rooms, except: Vec::new() };
                let ids = sockets.sockets(&target).into_iter().map(|socket| socket.id).collect();
                self.answer(&asker(request_id), Answer::SocketIds(ids));
            }
            Request::AllRooms { request_id } => {
                self.answer(&asker(request_id), Answer::Rooms(sockets.rooms()));
            }
            Request::Fetch { request_id, target } => {
                self.answer(&asker(request_id), Answer::Sockets(sockets.sockets(&target)));
            }
            Request::Join { selection, rooms } => {
                self.on_selection(uid, selection, |target| sockets.join(target, &rooms));
            }
            Request::Leave { selection, rooms } => {
                self.on_selection(uid, selection, |target| sockets.leave(target, &rooms));
            }
            Request::Disconnect { selection, close } => {
                self.on_selection(uid, selection, |target| sockets.disconnect(target, close));
            }
            // Without an answer wanted there is nothing that this server has to do.
            Request::ServerSideEmit { request_id: None, .. } => {}
            Request::ServerSideEmit { request_id: Some(request_id), data } => {
                let answer = Answer::ServerSide(Some(self.server_side(&data)));
                self.answer(&asker(request_id), answer);
            }
            Request::Broadcast { request_id, event, target, flags } => {
                self.broadcast_with_ack(asker(request_id), &event, &target, &flags);
            }
        }
    }

    /// Requests about one socket are answered by its owner; those about many by nobody.
    fn on_selection(&self, uid: Option<String>, selection: Selection, act: impl FnOnce(&Target)) {
        match selection {
            Selection::Matching(target) => act(&target),
            Selection::One { request_id, socket } => {
                let target = Target::room(&socket);
                if self.inner().sockets.sockets(&target).iter().any(|info| info.id == socket) {
                    act(&target);
                    self.answer(&Asker { uid, request_id }, Answer::Done);
                }
            }
        }
    }

    /// Every acknowledged event gets one answer: a Node server that has no handler for it keeps all
    /// others waiting, and this one must not.
    fn server_side(&self, data: &Argument) -> Argument {
        let name = serde_json::from_str::<Vec<serde_json::Value>>(&data.json)
            .ok()
            .and_then(|event| event.first().and_then(|name| name.as_str().map(str::to_owned)));
        if name.as_deref() != Some(PING) {
            return Argument::json("null");
        }
        Argument::json(self.member.who().to_string())
    }

    fn broadcast_with_ack(&mut self, asker: Asker, event: &EncodedEvent, target: &Target, flags: &Flags) {
        let sockets = &self.inner().sockets;
        if self.acks.len() >= ACKED_BROADCASTS_MAX {
            let count = sockets.deliver(target, event, Delivery::default());
            self.inner().metrics.adapter_acks_skipped.inc();
            return self.answer(&asker, Answer::ClientCount(count as u64));
        }
        let within =
            flags.timeout_ms().map_or(ACK_TIMEOUT_DEFAULT, Duration::from_millis).min(ACK_TIMEOUT_MAX);
        let (count, acks) = sockets.deliver_with_ack(target, event, within);
        self.answer(&asker, Answer::ClientCount(count as u64));
        if count > 0 {
            let to = Arc::new(asker);
            self.acks.push(acks.map(move |argument| PeerAck { to: to.clone(), argument }).boxed());
        }
    }

    fn acknowledge(&self, PeerAck { to, argument }: PeerAck) {
        self.respond(&to, Answer::Ack(argument));
    }

    fn answer(&self, to: &Asker, answer: Answer) {
        self.inner().metrics.adapter_requests_answered.inc();
        self.respond(to, answer);
    }

    fn respond(&self, to: &Asker, answer: Answer) {
        let Inner { settings, names, uid, .. } = self.inner();
        // Answers to servers' events go to everybody, as Node sends them.
        let own_channel = names.dialect() == Dialect::Sharded
            || (settings.answer_on_own_channel && !matches!(answer, Answer::ServerSide(_)));
        let asker = to.uid.as_deref().filter(|_| own_channel);
        let response = ResponseFrame { request_id: to.request_id.clone(), answer };
        self.inner().publish(names.response_frame(uid, asker, response));
    }

    fn response(&self, payload: &[u8]) {
        if self.inner().pending().is_empty() {
            return; // Everybody hears the answers to everybody; only who asked need read them.
        }
        match ResponseFrame::decode(payload) {
            Ok(ResponseFrame { request_id, answer }) => self.member.answered(&request_id, answer),
            Err(error) => self.malformed("response", &error),
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("member", &self.member).finish_non_exhaustive()
    }
}
