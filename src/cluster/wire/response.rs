//! Responses to requests. Matched by the request's id alone.

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{
    Argument, Frame, Kind, Malformed, Names,
    message::{self, quoted, room_names},
    msgpack,
    request::{Object, SERVER_SIDE_EMIT},
};
use crate::cluster::SocketInfo;

const BROADCAST_CLIENT_COUNT: u64 = 8;
const BROADCAST_ACK: u64 = 9;

/// What a member answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Done: to the requests about one socket of members up to 7.x.
    Done,
    /// Ids of sockets.
    SocketIds(Vec<String>),
    /// Sockets with everything that is known of them.
    Sockets(Vec<SocketInfo>),
    /// Names of rooms.
    Rooms(Vec<String>),
    /// What the server's handler answered, if anything.
    ServerSide(Option<Argument>),
    /// How many sockets were asked for an acknowledgement.
    ClientCount(u64),
    /// One dashboard's acknowledgement: its first argument, if any.
    Ack(Option<Argument>),
}

/// An answer and its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseFrame {
    /// Names the request.
    pub request_id: String,
    /// The answer.
    pub answer: Answer,
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(rename = "requestId")]
    request_id: String,
    #[serde(rename = "type")]
    kind: Option<u64>,
    #[serde(borrow)]
    sockets: Option<&'a RawValue>,
    #[serde(borrow)]
    rooms: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(rename = "clientCount")]
    client_count: Option<u64>,
    #[serde(borrow, default, deserialize_with = "present")]
    packet: Option<&'a RawValue>,
}

/// An answer of `null` is an answer, as opposed to none.
pub(super) fn present<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
pub(super) struct RawSocket {
    id: String,
    handshake: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "room_names")]
    rooms: Vec<String>,
    data: Option<Box<RawValue>>,
}

impl ResponseFrame {
    /// Reads a response of any type and encoding.
    ///
    /// # Errors
    /// Not a response.
    pub fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let (text, attachments) = message::text_of(payload)?;
        let raw: Raw<'_> = serde_json::from_str(&text).map_err(|error| Malformed::json(&error))?;
        let request_id = raw.request_id.clone();
        Ok(Self { request_id, answer: raw.answer(attachments)? })
    }

    /// The frame that answers on the general channel, or on that of the member `to`.
    ///
    /// # Errors
    /// Something in it does not fit into a frame.
    pub fn frame(&self, names: &Names, to: Option<&str>) -> Result<Frame, Malformed> {
        let payload = match &self.answer {
            Answer::Ack(packet) => self.ack(packet.as_ref())?,
            answer => self.json(answer)?.into_bytes(),
        };
        let channel = to.map_or_else(|| names.response().to_owned(), |uid| names.response_to(uid));
        Frame::checked(Kind::Response, channel, payload)
    }

    fn ack(&self, packet: Option<&Argument>) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::with_capacity(packet.map_or(0, |packet| packet.json.len()) + 64);
        msgpack::put_map(&mut out, 2 + usize::from(packet.is_some()));
        msgpack::put_text(&mut out, "type");
        msgpack::put_unsigned(&mut out, BROADCAST_ACK);
        msgpack::put_text(&mut out, "requestId");
        msgpack::put_text(&mut out, &self.request_id);
        if let Some(packet) = packet {
            msgpack::put_text(&mut out, "packet");
            packet.put(&mut out)?;
        }
        Ok(out)
    }

    fn json(&self, answer: &Answer) -> Result<String, Malformed> {
        let mut out = Object::default();
        let id = quoted(&self.request_id);
        match answer {
            Answer::Done => out.put("requestId", &id),
            Answer::SocketIds(ids) => out.put("requestId", &id).put_list("sockets", ids),
            Answer::Sockets(sockets) => out.put("requestId", &id).put("sockets", &list(sockets)),
            Answer::Rooms(rooms) => out.put("requestId", &id).put_list("rooms", rooms),
            Answer::ServerSide(data) => {
                out.put_number("type", SERVER_SIDE_EMIT).put("requestId", &id);
                match data {
                    Some(data) if data.attachments.is_empty() => out.put("data", &data.json),
                    Some(_) => return Err(Malformed::Unexpected("binary values in a server's answer")),
                    None => &mut out,
                }
            }
            Answer::ClientCount(count) => out
                .put_number("type", BROADCAST_CLIENT_COUNT)
                .put("requestId", &id)
                .put_number("clientCount", *count),
            Answer::Ack(_) => return Err(Malformed::Unexpected("an acknowledgement as json")),
        };
        Ok(out.finish())
    }
}

pub(super) fn list(sockets: &[SocketInfo]) -> String {
    let mut out = String::from("[");
    for (index, socket) in sockets.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        let mut object = Object::default();
        object.put("id", &quoted(&socket.id)).put("handshake", &socket.handshake);
        object.put_list("rooms", &socket.rooms).put("data", &socket.data);
        out.push_str(&object.finish());
    }
    out.push(']');
    out
}

impl Raw<'_> {
    fn answer(self, attachments: Vec<Bytes>) -> Result<Answer, Malformed> {
        let argument =
            |raw: Option<&RawValue>| raw.map(|raw| Argument::cut(raw.get(), attachments)).transpose();
        match self.kind {
            Some(SERVER_SIDE_EMIT) => Ok(Answer::ServerSide(argument(self.data)?)),
            Some(BROADCAST_CLIENT_COUNT) => {
                let count = self.client_count.ok_or(Malformed::Unexpected("no client count"))?;
                Ok(Answer::ClientCount(count))
            }
            Some(BROADCAST_ACK) => Ok(Answer::Ack(argument(self.packet)?)),
            Some(unknown) => Err(Malformed::UnknownType(unknown)),
            None => self.listed(),
        }
    }

    fn listed(self) -> Result<Answer, Malformed> {
        let json = |error: serde_json::Error| Malformed::json(&error);
        if let Some(sockets) = self.sockets {
            // By its first entry: a raw text can not be tried as one and then as the other.
            let is_ids = sockets.get()[1..].trim_start().starts_with('"');
            if is_ids {
                return Ok(Answer::SocketIds(serde_json::from_str(sockets.get()).map_err(json)?));
            }
            let infos: Vec<RawSocket> = serde_json::from_str(sockets.get()).map_err(json)?;
            return Ok(Answer::Sockets(infos.into_iter().map(RawSocket::info).collect()));
        }
        let Some(rooms) = self.rooms else { return Ok(Answer::Done) };
        let rooms = room_names(&mut serde_json::Deserializer::from_str(rooms.get())).map_err(json)?;
        Ok(Answer::Rooms(rooms))
    }
}

impl RawSocket {
    pub(super) fn info(self) -> SocketInfo {
        let text = |raw: Option<Box<RawValue>>| raw.map_or_else(|| "{}".into(), |raw| raw.get().into());
        SocketInfo { id: self.id, handshake: text(self.handshake), rooms: self.rooms, data: text(self.data) }
    }
}
