//! Messages of the sharded adapter (`createShardedAdapter`): one map `type, data, uid, nsp` for all.
//!
//! Invariant: JSON unless a value is binary, MessagePack then, with the keys in Node's order; the same
//! questions and answers as the classic adapter's, in other words. Acknowledged broadcasts always take
//! the namespace's channel, because every member is counted for them.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Answer, Argument, Flags, Frame, Kind, Malformed, Names, Request, ResponseFrame, Selection, Target,
    message::{self, Options, quoted, room_names},
    request::Object,
    response::{RawSocket, list, present},
    to_msgpack,
};
use crate::cluster::EncodedEvent;

const BROADCAST: u64 = 3;
const JOIN: u64 = 4;
const LEAVE: u64 = 5;
const DISCONNECT: u64 = 6;
const FETCH: u64 = 7;
const FETCH_RESPONSE: u64 = 8;
const SERVER_SIDE_EMIT: u64 = 9;
const SERVER_SIDE_EMIT_RESPONSE: u64 = 10;
const CLIENT_COUNT: u64 = 11;
const ACK: u64 = 12;

/// Socket.IO's packet type for events, binary ones included.
const EVENT: u64 = 2;

/// A message and its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardedMessage {
    /// The sending member; its own messages come back to it.
    pub uid: String,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// An event that nobody acknowledges.
    Emit {
        /// What to send.
        event: EncodedEvent,
        /// To whom.
        target: Target,
        /// How.
        flags: Flags,
    },
    /// A question; questions about one socket and for all rooms do not exist here.
    Request(Request),
    /// An answer; only those to the questions that exist.
    Response(ResponseFrame),
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(rename = "type")]
    kind: u64,
    uid: String,
    #[serde(borrow, default)]
    data: RawData<'a>,
}

#[derive(Default, Deserialize)]
struct RawData<'a> {
    #[serde(rename = "requestId")]
    request_id: Option<String>,
    opts: Option<Options>,
    #[serde(default, deserialize_with = "room_names")]
    rooms: Vec<String>,
    close: Option<bool>,
    sockets: Option<Vec<RawSocket>>,
    #[serde(rename = "clientCount")]
    client_count: Option<u64>,
    #[serde(borrow, default, deserialize_with = "present")]
    packet: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawPacket<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

impl ShardedMessage {
    /// Reads a message of any type and encoding.
    ///
    /// # Errors
    /// Not a message, or one of a type that this adapter has no use for.
    pub fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let (text, attachments) = message::text_of(payload)?;
        let raw: Raw<'_> = serde_json::from_str(&text).map_err(|error| Malformed::json(&error))?;
        Ok(Self { uid: raw.uid, body: raw.data.body(raw.kind, attachments)? })
    }

    /// What to say to a member that counts on an answer to a question that can not be read, and who
    /// that is.
    #[must_use]
    pub fn answer_to_unreadable(payload: &[u8]) -> Option<(String, ResponseFrame)> {
        #[derive(Deserialize)]
        struct Head {
            uid: String,
            #[serde(rename = "type")]
            kind: u64,
            data: HeadData,
        }
        #[derive(Deserialize)]
        struct HeadData {
            #[serde(rename = "requestId")]
            request_id: String,
        }
        let (text, _) = message::text_of(payload).ok()?;
        let head: Head = serde_json::from_str(&text).ok()?;
        let answer = match head.kind {
            FETCH => Answer::Sockets(Vec::new()),
            SERVER_SIDE_EMIT => Answer::ServerSide(None),
            BROADCAST => Answer::ClientCount(0),
            _ => return None,
        };
        Some((head.uid, ResponseFrame { request_id: head.data.request_id, answer }))
    }

    /// The frame for all members, or for those that have the room.
    ///
    /// # Errors
    /// It is a response, or something in it does not fit into a frame.
    pub fn frame(&self, names: &Names) -> Result<Frame, Malformed> {
        let channel = match &self.body {
            Body::Emit { target, .. } => {
                let one = if let [room] = &target.rooms[..] { names.room_channel(room) } else { None };
                one.unwrap_or_else(|| names.namespace().to_owned())
            }
            Body::Request(_) => names.namespace().to_owned(),
            Body::Response(_) => return Err(Malformed::Unexpected("a response to everybody")),
        };
        Frame::checked(Kind::Sharded, channel, self.payload(names)?)
    }

    /// The frame for the member `to`, which asked.
    ///
    /// # Errors
    /// It is no response, or something in it does not fit into a frame.
    pub fn response_frame(&self, names: &Names, to: &str) -> Result<Frame, Malformed> {
        if !matches!(self.body, Body::Response(_)) {
            return Err(Malformed::Unexpected("a question to one member"));
        }
        Frame::checked(Kind::Sharded, names.response_to(to), self.payload(names)?)
    }

    fn payload(&self, names: &Names) -> Result<Vec<u8>, Malformed> {
        let (kind, data, attachments) = match &self.body {
            Body::Emit { event, target, flags } => {
                (BROADCAST, broadcast(event, None, target, flags)?, event.attachments())
            }
            Body::Request(request) => request_data(request)?,
            Body::Response(response) => response_data(response)?,
        };
        let mut out = Object::default();
        out.put_number("type", kind).put("data", &data);
        out.put("uid", &quoted(&self.uid)).put("nsp", &quoted(names.path()));
        let json = out.finish();
        if attachments.is_empty() {
            return Ok(json.into_bytes());
        }
        let mut payload = Vec::with_capacity(json.len());
        to_msgpack::put_json(&mut payload, &json, attachments)?;
        Ok(payload)
    }
}

fn options(target: &Target, flags: &Flags) -> Result<String, Malformed> {
    let flags = serde_json::to_string(flags).map_err(|error| Malformed::json(&error))?;
    let mut out = Object::default();
    out.put_list("rooms", &target.rooms).put_list("except", &target.except).put("flags", &flags);
    Ok(out.finish())
}

fn broadcast(
    event: &EncodedEvent,
    request_id: Option<&str>,
    target: &Target,
    flags: &Flags,
) -> Result<String, Malformed> {
    let mut packet = Object::default();
    packet.put_number("type", EVENT).put("data", event.data());
    let mut out = Object::default();
    out.put("packet", &packet.finish());
    if let Some(id) = request_id {
        out.put("requestId", &quoted(id));
    }
    out.put("opts", &options(target, flags)?);
    Ok(out.finish())
}

type Data<'a> = (u64, String, &'a [Bytes]);

fn request_data(request: &Request) -> Result<Data<'_>, Malformed> {
    let matching = |selection: &Selection| match selection {
        Selection::Matching(target) => options(target, &Flags::default()),
        Selection::One { .. } => Err(Malformed::Unexpected("a question about one socket")),
    };
    let mut out = Object::default();
    let mut attachments: &[Bytes] = &[];
    let kind = match request {
        Request::Join { selection, rooms } => {
            out.put("opts", &matching(selection)?).put_list("rooms", rooms);
            JOIN
        }
        Request::Leave { selection, rooms } => {
            out.put("opts", &matching(selection)?).put_list("rooms", rooms);
            LEAVE
        }
        Request::Disconnect { selection, close } => {
            out.put("opts", &matching(selection)?).put("close", if *close { "true" } else { "false" });
            DISCONNECT
        }
        Request::Fetch { request_id, target } => {
            out.put("opts", &options(target, &Flags::default())?).put("requestId", &quoted(request_id));
            FETCH
        }
        Request::ServerSideEmit { request_id, data } => {
            if let Some(id) = request_id {
                out.put("requestId", &quoted(id));
            }
            out.put("packet", &data.json);
            attachments = &data.attachments;
            SERVER_SIDE_EMIT
        }
        Request::Broadcast { request_id, event, target, flags } => {
            let data = broadcast(event, Some(request_id), target, flags)?;
            return Ok((BROADCAST, data, event.attachments()));
        }
        Request::Sockets { .. } | Request::AllRooms { .. } => {
            return Err(Malformed::Unexpected("a question that the sharded adapter does not have"));
        }
    };
    Ok((kind, out.finish(), attachments))
}

fn response_data(response: &ResponseFrame) -> Result<Data<'_>, Malformed> {
    let mut out = Object::default();
    out.put("requestId", &quoted(&response.request_id));
    let (kind, packet) = match &response.answer {
        Answer::Sockets(sockets) => {
            out.put("sockets", &list(sockets));
            (FETCH_RESPONSE, None)
        }
        Answer::ServerSide(packet) => (SERVER_SIDE_EMIT_RESPONSE, packet.as_ref()),
        Answer::ClientCount(count) => {
            out.put_number("clientCount", *count);
            (CLIENT_COUNT, None)
        }
        Answer::Ack(packet) => (ACK, packet.as_ref()),
        Answer::Done | Answer::SocketIds(_) | Answer::Rooms(_) => {
            return Err(Malformed::Unexpected("an answer that the sharded adapter does not have"));
        }
    };
    let Some(packet) = packet else { return Ok((kind, out.finish(), &[])) };
    out.put("packet", &packet.json);
    Ok((kind, out.finish(), &packet.attachments))
}

impl RawData<'_> {
    fn body(self, kind: u64, attachments: Vec<Bytes>) -> Result<Body, Malformed> {
        match kind {
            BROADCAST => self.broadcast(attachments),
            JOIN | LEAVE | DISCONNECT | FETCH | SERVER_SIDE_EMIT => {
                self.request(kind, attachments).map(Body::Request)
            }
            FETCH_RESPONSE | SERVER_SIDE_EMIT_RESPONSE | CLIENT_COUNT | ACK => {
                self.response(kind, attachments).map(Body::Response)
            }
            unknown => Err(Malformed::UnknownType(unknown)),
        }
    }

    fn broadcast(self, attachments: Vec<Bytes>) -> Result<Body, Malformed> {
        let packet = self.packet.ok_or(Malformed::Unexpected("a broadcast without packet"))?;
        let packet: RawPacket<'_> =
            serde_json::from_str(packet.get()).map_err(|error| Malformed::json(&error))?;
        let event = EncodedEvent::from_json(packet.data.get(), attachments)?;
        let (target, flags) = self.opts.ok_or(Malformed::Unexpected("a broadcast without opts"))?.split();
        Ok(match self.request_id {
            Some(request_id) => Body::Request(Request::Broadcast { request_id, event, target, flags }),
            None => Body::Emit { event, target, flags },
        })
    }

    fn request(self, kind: u64, attachments: Vec<Bytes>) -> Result<Request, Malformed> {
        if kind == SERVER_SIDE_EMIT {
            let packet = self.packet.ok_or(Malformed::Unexpected("a server-side emit without packet"))?;
            if !packet.get().starts_with('[') {
                return Err(Malformed::Unexpected("a server-side emit that is no array"));
            }
            let data = Argument::cut(packet.get(), attachments)?;
            return Ok(Request::ServerSideEmit { request_id: self.request_id, data });
        }
        let (target, _) = self.opts.ok_or(Malformed::Unexpected("a request without opts"))?.split();
        if kind == FETCH {
            let request_id = self.request_id.ok_or(Malformed::Unexpected("a request without id"))?;
            return Ok(Request::Fetch { request_id, target });
        }
        let selection = Selection::Matching(target);
        Ok(match kind {
            JOIN => Request::Join { selection, rooms: self.rooms },
            LEAVE => Request::Leave { selection, rooms: self.rooms },
            _ => Request::Disconnect { selection, close: self.close.unwrap_or(false) },
        })
    }

    fn response(self, kind: u64, attachments: Vec<Bytes>) -> Result<ResponseFrame, Malformed> {
        let request_id = self.request_id.ok_or(Malformed::Unexpected("a response without id"))?;
        let packet = self.packet.map(|packet| Argument::cut(packet.get(), attachments)).transpose()?;
        let answer = match kind {
            FETCH_RESPONSE => {
                let sockets = self.sockets.ok_or(Malformed::Unexpected("a response without sockets"))?;
                Answer::Sockets(sockets.into_iter().map(RawSocket::info).collect())
            }
            SERVER_SIDE_EMIT_RESPONSE => Answer::ServerSide(packet),
            CLIENT_COUNT => {
                let count = self.client_count.ok_or(Malformed::Unexpected("no client count"))?;
                Answer::ClientCount(count)
            }
            _ => Answer::Ack(packet),
        };
        Ok(ResponseFrame { request_id, answer })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde_json::Value;

    use super::{
        super::{Dialect, ShardMode},
        *,
    };

    /// What Node published in one mode, as file, channel and payload.
    fn captured(group: &str) -> Vec<(String, String, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let mut frames = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if !name.starts_with(group) {
                continue;
            }
            let file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            for frame in file["frames"].as_array().unwrap() {
                if frame["command"] == "SPUBLISH" {
                    let payload = STANDARD.decode(frame["payload_base64"].as_str().unwrap()).unwrap();
                    frames.push((name.clone(), frame["channel"].as_str().unwrap().to_owned(), payload));
                }
            }
        }
        frames
    }

    #[test]
    fn node_s_messages_are_read_and_made_again_byte_for_byte() {
        let modes = [
            ("s1-", ShardMode::Dynamic, 19),
            ("s2-", ShardMode::Static, 4),
            ("s3-", ShardMode::DynamicPrivate, 4),
        ];
        for (group, mode, count) in modes {
            let names = Names::new("socket.io", "/").unwrap().of(Dialect::Sharded).in_shard_mode(mode);
            let frames = captured(group);
            assert_eq!(frames.len(), count, "{group}");
            frames.iter().for_each(|frame| made_again(&names, frame));
        }
    }

    fn made_again(names: &Names, (name, channel, payload): &(String, String, Vec<u8>)) {
        let message = ShardedMessage::decode(payload).unwrap_or_else(|error| panic!("{name}: {error}"));
        let frame = if matches!(message.body, Body::Response(_)) {
            let asker = channel.strip_prefix(names.namespace()).unwrap().trim_end_matches('#');
            message.response_frame(names, asker)
        } else {
            message.frame(names)
        };
        let frame = frame.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(frame.channel(), channel, "{name}");
        let texts = [String::from_utf8_lossy(frame.payload()), String::from_utf8_lossy(payload)];
        assert_eq!(frame.payload()[..], payload[..], "{name}: {texts:?}");
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for payload in [
            &b""[..],
            b"{",
            b"\xc0",
            b"{}",
            br#"{"type":1,"uid":"u","nsp":"/"}"#,
            br#"{"type":3,"uid":"u","data":{"packet":{"type":2,"data":["a"]}}}"#,
            br#"{"type":7,"uid":"u","data":{"opts":{}}}"#,
            br#"{"type":9,"uid":"u","data":{"packet":1}}"#,
            br#"{"type":11,"uid":"u","data":{"requestId":"r"}}"#,
        ] {
            assert!(ShardedMessage::decode(payload).is_err(), "{}", String::from_utf8_lossy(payload));
        }
    }
}
