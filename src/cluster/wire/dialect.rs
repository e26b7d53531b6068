//! The two adapters of `@socket.io/redis-adapter` as one vocabulary: which channels a member has, and the
//! frame for what it wants to say.
//!
//! Invariant: whoever publishes asks here, so that no member speaks both.

use super::{
    Body, Broadcast, Flags, Frame, Malformed, Names, Request, RequestFrame, ResponseFrame, ShardedMessage,
    Target,
};
use crate::cluster::EncodedEvent;

/// Which of Node's adapters is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// `createAdapter`: ordinary pub/sub.
    #[default]
    Classic,
    /// `createShardedAdapter`: the shard channels of Redis 7.
    Sharded,
}

/// Which rooms have shard channels of their own: the option `subscriptionMode` of Node's sharded adapter, the
/// same in all members of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShardMode {
    /// None.
    Static,
    /// All but the sockets' own.
    #[default]
    Dynamic,
    /// All.
    DynamicPrivate,
}

/// Node's sharded adapter takes a room of this many UTF-16 units for a socket's id, which has no channel.
const SOCKET_ID_UNITS: usize = 20;

impl Names {
    /// The channels that the member `uid` listens to, rooms apart.
    #[must_use]
    pub fn member_channels(&self, uid: &str) -> Vec<String> {
        let mut channels = vec![self.namespace().to_owned(), self.response_to(uid)];
        if self.dialect() == Dialect::Classic {
            channels.extend([self.request().to_owned(), self.response().to_owned()]);
        }
        channels
    }

    /// Where peers publish what is for one room alone; `None` if that is the namespace's channel.
    #[must_use]
    pub fn room_channel(&self, room: &str) -> Option<String> {
        let is_private = || room.encode_utf16().count() == SOCKET_ID_UNITS;
        let has_channel = match (self.dialect(), self.shard_mode()) {
            (Dialect::Classic, _) | (Dialect::Sharded, ShardMode::DynamicPrivate) => true,
            (Dialect::Sharded, ShardMode::Dynamic) => !is_private(),
            (Dialect::Sharded, ShardMode::Static) => false,
        };
        has_channel.then(|| self.room(room))
    }

    /// An event that nobody acknowledges, from the member `uid`.
    ///
    /// # Errors
    /// Something in it does not fit into a frame.
    pub fn emit_frame(
        &self,
        uid: &str,
        event: &EncodedEvent,
        target: &Target,
        flags: &Flags,
    ) -> Result<Frame, Malformed> {
        match self.dialect() {
            Dialect::Classic => Broadcast { event, target, flags }.frame(self, uid),
            Dialect::Sharded => {
                let body = Body::Emit { event: event.clone(), target: target.clone(), flags: flags.clone() };
                ShardedMessage { uid: uid.to_owned(), body }.frame(self)
            }
        }
    }

    /// A question to all members, from the member `uid`.
    ///
    /// # Errors
    /// Something in it does not fit into a frame, or this adapter has no such question.
    pub fn request_frame(&self, uid: &str, request: Request) -> Result<Frame, Malformed> {
        let uid = uid.to_owned();
        match self.dialect() {
            Dialect::Classic => RequestFrame { uid: Some(uid), request }.frame(self),
            Dialect::Sharded => ShardedMessage { uid, body: Body::Request(request) }.frame(self),
        }
    }

    /// An answer of the member `uid` to everybody or to the member `to`; the sharded adapter answers
    /// only to the one that asked.
    ///
    /// # Errors
    /// Something in it does not fit into a frame, or this adapter has no such answer.
    pub fn response_frame(
        &self,
        uid: &str,
        to: Option<&str>,
        response: ResponseFrame,
    ) -> Result<Frame, Malformed> {
        match (self.dialect(), to) {
            (Dialect::Classic, to) => response.frame(self, to),
            (Dialect::Sharded, Some(to)) => {
                ShardedMessage { uid: uid.to_owned(), body: Body::Response(response) }
                    .response_frame(self, to)
            }
            (Dialect::Sharded, None) => Err(Malformed::Unexpected("a response to everybody")),
        }
    }
}
