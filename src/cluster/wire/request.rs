//! Requests between members, types 0 to 7: JSON, apart from broadcasts that ask for acknowledgement.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Answer, Argument, Flags, Frame, Kind, Malformed, Names, ResponseFrame, Target,
    broadcast::{put_options, put_packet},
    message::{self, Options, quoted, room_names},
    msgpack,
};
use crate::cluster::EncodedEvent;

const SOCKETS: u64 = 0;
const ALL_ROOMS: u64 = 1;
const REMOTE_JOIN: u64 = 2;
const REMOTE_LEAVE: u64 = 3;
const REMOTE_DISCONNECT: u64 = 4;
const REMOTE_FETCH: u64 = 5;
pub(super) const SERVER_SIDE_EMIT: u64 = 6;
const BROADCAST: u64 = 7;

/// Which sockets a join, leave or disconnect is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All that match; nobody answers.
    Matching(Target),
    /// One socket, as members up to 7.x ask; only its owner answers.
    One {
        /// Names the answer.
        request_id: String,
        /// The socket's id.
        socket: String,
    },
}

/// What a member asks all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Ids of the sockets in any of `rooms`; members up to 7.x ask it.
    Sockets {
        /// Names the answer.
        request_id: String,
        /// Empty means everyone.
        rooms: Vec<String>,
    },
    /// The names of all rooms.
    AllRooms {
        /// Names the answer.
        request_id: String,
    },
    /// Put sockets into `rooms`.
    Join {
        /// Which.
        selection: Selection,
        /// Where.
        rooms: Vec<String>,
    },
    /// Take sockets out of `rooms`.
    Leave {
        /// Which.
        selection: Selection,
        /// Where from.
        rooms: Vec<String>,
    },
    /// Disconnect sockets.
    Disconnect {
        /// Which.
        selection: Selection,
        /// Whether the transport is closed, too.
        close: bool,
    },
    /// Sockets with their handshake, rooms and data.
    Fetch {
        /// Names the answer.
        request_id: String,
        /// Which.
        target: Target,
    },
    /// An event for the servers themselves.
    ServerSideEmit {
        /// Names the answer, if one is wanted.
        request_id: Option<String>,
        /// The JSON array `["event", …]`.
        data: Argument,
    },
    /// An event whose receivers shall acknowledge it.
    Broadcast {
        /// Names the answers.
        request_id: String,
        /// What to send.
        event: EncodedEvent,
        /// To whom.
        target: Target,
        /// How; holds the deadline.
        flags: Flags,
    },
}

/// A request and who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestFrame {
    /// The asking member; missing in what the emitter publishes.
    pub uid: Option<String>,
    /// The question.
    pub request: Request,
}

#[derive(Deserialize)]
struct Raw<'a> {
    uid: Option<String>,
    #[serde(rename = "requestId")]
    request_id: Option<String>,
    #[serde(rename = "type")]
    kind: u64,
    opts: Option<Options>,
    #[serde(default, deserialize_with = "room_names")]
    rooms: Vec<String>,
    sid: Option<String>,
    #[serde(default, deserialize_with = "room_names_of_one")]
    room: Vec<String>,
    close: Option<bool>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    packet: Option<RawPacket<'a>>,
}

#[derive(Deserialize)]
struct RawPacket<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// One room is read as leniently as a list of them.
fn room_names_of_one<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let one = serde_json::Value::deserialize(deserializer)?;
    room_names(serde_json::Value::Array(vec![one])).map_err(serde::de::Error::custom)
}

impl RequestFrame {
    /// Reads a request of any type and encoding.
    ///
    /// # Errors
    /// Not a request.
    pub fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let (text, attachments) = message::text_of(payload)?;
        let raw: Raw<'_> = serde_json::from_str(&text).map_err(|error| Malformed::json(&error))?;
        let uid = raw.uid.clone();
        Ok(Self { uid, request: raw.request(attachments)? })
    }

    /// The empty answer to a request that could not be read, if it can be told which answer is awaited.
    ///
    /// Members count answers, and silence costs each of them a timeout; so even nonsense is answered.
    #[must_use]
    pub fn answer_to_unreadable(payload: &[u8]) -> Option<(Option<String>, ResponseFrame)> {
        #[derive(Deserialize)]
        struct Head {
            uid: Option<String>,
            #[serde(rename = "requestId")]
            request_id: String,
            #[serde(rename = "type")]
            kind: u64,
        }
        let (text, _) = message::text_of(payload).ok()?;
        let head: Head = serde_json::from_str(&text).ok()?;
        let answer = match head.kind {
            SOCKETS => Answer::SocketIds(Vec::new()),
            REMOTE_FETCH => Answer::Sockets(Vec::new()),
            SERVER_SIDE_EMIT => Answer::ServerSide(None),
            BROADCAST => Answer::ClientCount(0),
            _ => return None,
        };
        Some((head.uid, ResponseFrame { request_id: head.request_id, answer }))
    }

    /// The frame that puts the question to all members.
    ///
    /// # Errors
    /// Something in it does not fit into a frame.
    pub fn frame(&self, names: &Names) -> Result<Frame, Malformed> {
        let payload = match &self.request {
            Request::Broadcast { request_id, event, target, flags } => {
                self.msgpack(names, request_id, event, target, flags)?
            }
            request => self.json(request)?.into_bytes(),
        };
        Frame::checked(Kind::Request, names.request().to_owned(), payload)
    }

    fn msgpack(
        &self,
        names: &Names,
        request_id: &str,
        event: &EncodedEvent,
        target: &Target,
        flags: &Flags,
    ) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::with_capacity(event.packet().len() + 160);
        msgpack::put_map(&mut out, 4 + usize::from(self.uid.is_some()));
        if let Some(uid) = &self.uid {
            msgpack::put_text(&mut out, "uid");
            msgpack::put_text(&mut out, uid);
        }
        msgpack::put_text(&mut out, "requestId");
        msgpack::put_text(&mut out, request_id);
        msgpack::put_text(&mut out, "type");
        msgpack::put_unsigned(&mut out, BROADCAST);
        msgpack::put_text(&mut out, "packet");
        put_packet(&mut out, names, event)?;
        msgpack::put_text(&mut out, "opts");
        put_options(&mut out, target, flags);
        Ok(out)
    }

    fn json(&self, request: &Request) -> Result<String, Malformed> {
        let mut out = Object::default();
        if let Some(uid) = &self.uid {
            out.put("uid", &quoted(uid));
        }
        match request {
            Request::Sockets { request_id, rooms } => {
                out.put("requestId", &quoted(request_id))
                    .put_number("type", SOCKETS)
                    .put_list("rooms", rooms);
            }
            Request::AllRooms { request_id } => {
                out.put("requestId", &quoted(request_id)).put_number("type", ALL_ROOMS);
            }
            Request::Join { selection, rooms } => out.put_move(REMOTE_JOIN, selection, rooms),
            Request::Leave { selection, rooms } => out.put_move(REMOTE_LEAVE, selection, rooms),
            Request::Disconnect { selection, close } => {
                out.put_selection(REMOTE_DISCONNECT, selection);
                out.put("close", if *close { "true" } else { "false" });
            }
            Request::Fetch { request_id, target } => {
                out.put("requestId", &quoted(request_id)).put_number("type", REMOTE_FETCH);
                out.put_target(target);
            }
            Request::ServerSideEmit { request_id, data } => {
                if let Some(request_id) = request_id {
                    out.put("requestId", &quoted(request_id));
                }
                if !data.attachments.is_empty() {
                    return Err(Malformed::Unexpected("binary values in a server-side emit"));
                }
                out.put_number("type", SERVER_SIDE_EMIT).put("data", &data.json);
            }
            Request::Broadcast { .. } => return Err(Malformed::Unexpected("a broadcast as json")),
        }
        Ok(out.finish())
    }
}

impl Raw<'_> {
    fn request(self, attachments: Vec<Bytes>) -> Result<Request, Malformed> {
        Ok(match self.kind {
            SOCKETS => Request::Sockets { request_id: self.id()?, rooms: self.rooms },
            ALL_ROOMS => Request::AllRooms { request_id: self.id()? },
            REMOTE_JOIN => {
                let (selection, rooms) = self.moved()?;
                Request::Join { selection, rooms }
            }
            REMOTE_LEAVE => {
                let (selection, rooms) = self.moved()?;
                Request::Leave { selection, rooms }
            }
            REMOTE_DISCONNECT => {
                let close = self.close.unwrap_or(false);
                Request::Disconnect { selection: self.selection()?, close }
            }
            REMOTE_FETCH => {
                let request_id = self.id()?;
                let (target, _) = self.options()?.split();
                Request::Fetch { request_id, target }
            }
            SERVER_SIDE_EMIT => {
                let data = self.data.ok_or(Malformed::Unexpected("a server-side emit without data"))?;
                if !data.get().starts_with('[') {
                    return Err(Malformed::Unexpected("a server-side emit that is no array"));
                }
                let data = Argument::cut(data.get(), attachments)?;
                Request::ServerSideEmit { request_id: self.request_id, data }
            }
            BROADCAST => self.broadcast(attachments)?,
            unknown => return Err(Malformed::UnknownType(unknown)),
        })
    }

    fn id(&self) -> Result<String, Malformed> {
        self.request_id.clone().ok_or(Malformed::Unexpected("a request without id"))
    }

    fn options(self) -> Result<Options, Malformed> {
        self.opts.ok_or(Malformed::Unexpected("a request without opts"))
    }

    fn selection(self) -> Result<Selection, Malformed> {
        if let Some(options) = self.opts {
            return Ok(Selection::Matching(options.split().0));
        }
        let request_id = self.id()?;
        let socket = self.sid.ok_or(Malformed::Unexpected("a request with neither opts nor sid"))?;
        Ok(Selection::One { request_id, socket })
    }

    fn moved(mut self) -> Result<(Selection, Vec<String>), Malformed> {
        let rooms = if self.opts.is_some() { &mut self.rooms } else { &mut self.room };
        let rooms = std::mem::take(rooms);
        Ok((self.selection()?, rooms))
    }

    fn broadcast(self, attachments: Vec<Bytes>) -> Result<Request, Malformed> {
        let data = self.packet.as_ref().and_then(|packet| packet.data);
        let data = data.ok_or(Malformed::Unexpected("a packet without data"))?;
        let event = EncodedEvent::from_json(data.get(), attachments)?;
        let request_id = self.id()?;
        let (target, flags) = self.options()?.split();
        Ok(Request::Broadcast { request_id, event, target, flags })
    }
}

/// A JSON object in the order in which Node writes it.
#[derive(Default)]
pub(super) struct Object(String);

impl Object {
    pub(super) fn put(&mut self, name: &str, json: &str) -> &mut Self {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(&quoted(name));
        self.0.push(':');
        self.0.push_str(json);
        self
    }

    pub(super) fn put_number(&mut self, name: &str, number: u64) -> &mut Self {
        self.put(name, &number.to_string())
    }

    pub(super) fn put_list(&mut self, name: &str, texts: &[String]) -> &mut Self {
        let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
        self.put(name, &format!("[{}]", texts.join(",")))
    }

    pub(super) fn finish(self) -> String {
        if self.0.is_empty() { "{}".to_owned() } else { self.0 + "}" }
    }

    fn put_target(&mut self, target: &Target) {
        let mut options = Self::default();
        options.put_list("rooms", &target.rooms).put_list("except", &target.except);
        self.put("opts", &options.finish());
    }

    fn put_selection(&mut self, kind: u64, selection: &Selection) {
        match selection {
            Selection::Matching(target) => self.put_number("type", kind).put_target(target),
            Selection::One { request_id, socket } => {
                self.put("requestId", &quoted(request_id)).put_number("type", kind);
                self.put("sid", &quoted(socket));
            }
        }
    }

    fn put_move(&mut self, kind: u64, selection: &Selection, rooms: &[String]) {
        self.put_selection(kind, selection);
        match (selection, rooms) {
            (Selection::Matching(_), rooms) => self.put_list("rooms", rooms),
            (Selection::One { .. }, rooms) => {
                self.put("room", &quoted(rooms.first().map_or("", |room| room)))
            }
        };
    }
}
