//! The seam to socketioxide: its adapter trait, so that a handler's own emits reach the cluster.
//!
//! Invariant: socketioxide's own rooms are not the truth. Rooms live in [`super::LocalSockets`], and what
//! is addressed to rooms goes through the [`Member`]; only what concerns one socket stays in
//! socketioxide. Its `fetch_sockets` and acknowledged broadcasts are local, because its types can not
//! hold a Node socket: [`Member::fetch_sockets`] and [`Member::emit_with_ack`] see the cluster.

use std::{
    fmt,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use socketioxide::adapter::Emitter;
use socketioxide_core::{
    Sid, Value,
    adapter::{
        BroadcastFlags, BroadcastOptions, CoreAdapter, CoreLocalAdapter, DefinedAdapter, Room, RoomParam,
        SocketEmitter,
        errors::{AdapterError, BroadcastError},
    },
    packet::{Packet, PacketData},
};

use super::{
    Acks, AskError, Delivery, EncodedEvent, Member,
    wire::{Argument, Flag, Flags, Malformed, Target},
};

/// What every namespace's adapter shares. Clones are the same one.
///
/// The server is built before the sockets it serves are known, and those before the member: so the
/// member comes last.
#[derive(Debug, Clone, Default)]
pub struct ClusterState(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    member: OnceLock<Member>,
    /// Of the one namespace that there is.
    adapter: OnceLock<Weak<ClusterAdapter>>,
}

impl ClusterState {
    /// From now on, what is addressed to rooms goes through `member`. The first one stays.
    pub fn join(&self, member: Member) {
        self.0.member.set(member).ok();
    }

    fn member(&self) -> Option<&Member> {
        self.0.member.get()
    }

    /// Sends an event to sockets of this process and asks each for its acknowledgement. Returns how many
    /// there are, and what they answer within `timeout`.
    ///
    /// socketioxide numbers acknowledgements, so these events go through its own queue, and a plain event
    /// that is sent right behind may overtake one.
    #[must_use]
    pub fn ask(
        &self,
        sockets: impl Iterator<Item = Sid>,
        event: &EncodedEvent,
        timeout: Duration,
    ) -> (usize, Acks) {
        let Some(adapter) = self.0.adapter.get().and_then(Weak::upgrade) else {
            return (0, stream::empty().boxed());
        };
        let attachments = event.attachments().iter().cloned().collect();
        let value = Value::Str(event.data().to_owned().into(), Some(attachments));
        let packet = Packet::event("/", value);
        let mut count = 0;
        let asked = sockets.map(|sid| {
            let options = BroadcastOptions::new(sid);
            let (answers, asked) = adapter.local.broadcast_with_ack(packet.clone(), options, Some(timeout));
            count += asked as usize;
            answers.boxed()
        });
        let answers = stream::select_all(asked.collect::<Vec<_>>());
        // Silence is not told; nor is an answer that the cluster has no words for.
        let acks = answers.filter_map(async |(_, answer)| first_argument(answer.ok()?).ok());
        (count, acks.boxed())
    }
}

/// The first argument of an acknowledgement, if it has any.
fn first_argument(answer: Value) -> Result<Option<Argument>, Malformed> {
    let Value::Str(data, attachments) = answer else {
        return Err(Malformed::Unexpected("an acknowledgement that is no text"));
    };
    Argument::first_of(&data, attachments.into_iter().flatten().collect())
}

/// The adapter of one namespace.
pub struct ClusterAdapter {
    local: CoreLocalAdapter<Emitter>,
    state: ClusterState,
}

/// Why an operation of socketioxide did not reach the cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A question to the cluster failed.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The event can not be told to dashboards.
    #[error("event: {0}")]
    Event(#[from] Malformed),
}

impl From<ClusterError> for AdapterError {
    fn from(error: ClusterError) -> Self {
        Self(Box::new(error))
    }
}

impl ClusterAdapter {
    /// The member, unless the operation is about one socket of this replica only.
    fn member(&self, options: &BroadcastOptions) -> Option<&Member> {
        let is_for_one = options.sid.is_some() && !options.has_flag(BroadcastFlags::Broadcast);
        if is_for_one { None } else { self.state.member() }
    }

    fn target(member: &Member, options: &BroadcastOptions) -> Target {
        let names = |rooms: &[Room]| rooms.iter().map(ToString::to_string).collect();
        let mut target = Target { rooms: names(&options.rooms), except: names(&options.except) };
        // Here it is the sender, who is left out.
        let sender = options.sid.map(|sid| sid.to_string());
        target.except.extend(sender.and_then(|sid| member.sockets().public_id(&sid)));
        target
    }
}

impl CoreAdapter<Emitter> for ClusterAdapter {
    type Error = ClusterError;
    type State = ClusterState;
    type AckStream = <Emitter as SocketEmitter>::AckStream;
    type InitRes = ();

    fn new(state: &Self::State, local: CoreLocalAdapter<Emitter>) -> Self {
        Self { local, state: state.clone() }
    }

    fn init(self: Arc<Self>, on_success: impl FnOnce() + Send + 'static) {
        self.state.0.adapter.set(Arc::downgrade(&self)).ok();
        // Never waits for Redis: local dashboards are served while it is away.
        on_success();
    }

    async fn server_count(&self) -> Result<u16, Self::Error> {
        let Some(member) = self.state.member() else { return Ok(1) };
        Ok(u16::try_from(member.server_count().await?).unwrap_or(u16::MAX))
    }

    async fn broadcast(&self, packet: Packet, options: BroadcastOptions) -> Result<(), BroadcastError> {
        let Some(member) = self.member(&options) else {
            return self.local.broadcast(packet, options).map_err(BroadcastError::from);
        };
        let event = event(packet).map_err(AdapterError::from)?;
        let target = Self::target(member, &options);
        let volatile = options.has_flag(BroadcastFlags::Volatile);
        if options.has_flag(BroadcastFlags::Local) {
            member.sockets().deliver(&target, &event, Delivery { volatile });
        } else {
            let flags = if volatile { Flags::default().with(Flag::Volatile) } else { Flags::default() };
            member.emit(&event, &target, &flags);
        }
        Ok(())
    }

    async fn broadcast_with_ack(
        &self,
        packet: Packet,
        options: BroadcastOptions,
        timeout: Option<Duration>,
    ) -> Result<Self::AckStream, Self::Error> {
        Ok(self.local.broadcast_with_ack(packet, options, timeout).0)
    }

    async fn add_sockets(&self, options: BroadcastOptions, rooms: impl RoomParam) -> Result<(), Self::Error> {
        match self.member(&options) {
            Some(member) => member.join(&Self::target(member, &options), &names(rooms)),
            None => self.local.add_sockets(options, rooms),
        }
        Ok(())
    }

    async fn del_sockets(&self, options: BroadcastOptions, rooms: impl RoomParam) -> Result<(), Self::Error> {
        match self.member(&options) {
            Some(member) => member.leave(&Self::target(member, &options), &names(rooms)),
            None => self.local.del_sockets(options, rooms),
        }
        Ok(())
    }

    async fn disconnect_socket(&self, options: BroadcastOptions) -> Result<(), BroadcastError> {
        match self.member(&options) {
            Some(member) => {
                member.disconnect(&Self::target(member, &options), false);
                Ok(())
            }
            None => self.local.disconnect_socket(options).map_err(BroadcastError::Socket),
        }
    }

    async fn rooms(&self, options: BroadcastOptions) -> Result<Vec<Room>, Self::Error> {
        match self.member(&options) {
            Some(member) => Ok(member.all_rooms().await?.into_iter().map(Room::Owned).collect()),
            None => Ok(self.local.rooms(options).into_iter().collect()),
        }
    }

    fn get_local(&self) -> &CoreLocalAdapter<Emitter> {
        &self.local
    }
}

fn names(rooms: impl RoomParam) -> Vec<String> {
    rooms.into_room_iter().map(Room::into_owned).collect()
}

fn event(packet: Packet) -> Result<EncodedEvent, ClusterError> {
    let (PacketData::Event(value, _) | PacketData::BinaryEvent(value, _)) = packet.inner else {
        return Err(Malformed::Unexpected("a packet that is no event").into());
    };
    let Value::Str(data, attachments) = value else {
        return Err(Malformed::Unexpected("an event that is no text").into());
    };
    let attachments: Vec<Bytes> = attachments.into_iter().flatten().collect();
    Ok(EncodedEvent::from_json(&data, attachments)?)
}

impl DefinedAdapter for ClusterAdapter {}

impl fmt::Debug for ClusterAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterAdapter").field("member", &self.state.member()).finish_non_exhaustive()
    }
}
