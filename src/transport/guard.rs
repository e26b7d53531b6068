//! What a client may say to socketioxide: the grammar of Socket.IO packets as `socket.io-parser` 4 reads it, and
//! what may be said when. Node ends the session of whoever breaks it; socketioxide lets much of it pass.
//!
//! Pure, and the only place of the transport that reads what clients say in Socket.IO. Invariants: the work is
//! linear in the packet, and a session's guard is three bytes; what a stock client says passes.

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;

use super::Protocol;

/// Attachments of one packet, as in Node.
const ATTACHMENTS_MAX: u8 = 10;

/// How often one session may ask to be let in. Each time costs a look at a token and a line in the log; a stock
/// client that was refused comes back with a connection of its own.
const CONNECTS_MAX: u8 = 100;

/// Names that mean something to Node's sockets themselves.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// Something that no client of the protocol says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Breach(pub(super) &'static str);

/// Whether the client is in the main namespace. It can be in no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Main {
    Out,
    Asked,
    In,
}

/// What one session may say next.
#[derive(Debug)]
pub(super) struct Guard {
    main: Main,
    connects: u8,
    attachments_due: u8,
}

impl Guard {
    pub(super) fn new(protocol: Protocol) -> Self {
        // Clients of protocol 3 are connected without asking.
        let main = if protocol == Protocol::V3 { Main::Asked } else { Main::Out };
        Self { main, connects: 0, attachments_due: 0 }
    }

    /// The client has been let in.
    pub(super) fn let_in(&mut self) {
        self.main = Main::In;
    }

    /// The client has been refused, or put out.
    pub(super) fn put_out(&mut self) {
        self.main = Main::Out;
    }

    /// A Socket.IO packet, without Engine.IO's digit.
    pub(super) fn text(&mut self, protocol: Protocol, packet: &[u8]) -> Result<(), Breach> {
        if self.attachments_due > 0 {
            return Err(Breach("a packet among attachments"));
        }
        let packet = Packet::read(packet)?;
        packet.check()?;
        self.take_turn(protocol, &packet)?;
        self.attachments_due = packet.attachments;
        Ok(())
    }

    /// An attachment.
    pub(super) fn binary(&mut self) -> Result<(), Breach> {
        self.attachments_due =
            self.attachments_due.checked_sub(1).ok_or(Breach("an attachment of nothing"))?;
        Ok(())
    }

    fn take_turn(&mut self, protocol: Protocol, packet: &Packet<'_>) -> Result<(), Breach> {
        let is_main = packet.is_of_main(protocol);
        match (packet.kind, self.main) {
            (Kind::Connect, _) if !is_main => Ok(()), // It is told that there is none.
            (Kind::Connect, Main::Out) if self.connects >= CONNECTS_MAX => Err(Breach("CONNECT without end")),
            (Kind::Connect, Main::Out) => {
                self.connects += 1;
                self.main = Main::Asked;
                Ok(())
            }
            (Kind::Connect, Main::Asked | Main::In) => Err(Breach("CONNECT twice")),
            (Kind::ConnectError, _) => Err(Breach("a packet of the server's")),
            _ if !is_main => Err(Breach("a namespace that was not joined")),
            (_, Main::Out) => Err(Breach("a packet before CONNECT")),
            (Kind::Disconnect, Main::Asked) => Err(Breach("DISCONNECT before CONNECT is answered")),
            (Kind::Disconnect, Main::In) => {
                self.main = Main::Out;
                Ok(())
            }
            (Kind::Event | Kind::Ack, _) => Ok(()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Connect,
    Disconnect,
    Event,
    Ack,
    ConnectError,
}

#[derive(Debug)]
struct Packet<'a> {
    kind: Kind,
    attachments: u8,
    /// Empty: the main one.
    namespace: &'a [u8],
    /// JSON, or nothing.
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    fn read(packet: &'a [u8]) -> Result<Self, Breach> {
        let (&digit, mut rest) = packet.split_first().ok_or(Breach("an empty packet"))?;
        let kind = match digit {
            b'0' => Kind::Connect,
            b'1' => Kind::Disconnect,
            b'2' | b'5' => Kind::Event,
            b'3' | b'6' => Kind::Ack,
            b'4' => Kind::ConnectError,
            _ => return Err(Breach("an unknown type of packet")),
        };
        let mut attachments = 0;
        if matches!(digit, b'5' | b'6') {
            let dash = rest.iter().position(|&byte| byte == b'-').ok_or(Breach("no count of attachments"))?;
            attachments = count(&rest[..dash])?;
            rest = &rest[dash + 1..];
        }
        let mut namespace = &b""[..];
        if rest.first() == Some(&b'/') {
            let comma = rest.iter().position(|&byte| byte == b',').unwrap_or(rest.len());
            namespace = &rest[..comma];
            rest = rest.get(comma + 1..).unwrap_or_default();
        }
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        Ok(Self { kind, attachments, namespace, payload: &rest[digits..] })
    }

    fn is_of_main(&self, protocol: Protocol) -> bool {
        match self.namespace {
            b"" | b"/" => true,
            // Clients of protocol 3 may put a query behind the name.
            [b'/', b'?', ..] => protocol == Protocol::V3,
            _ => false,
        }
    }

    fn check(&self) -> Result<(), Breach> {
        let fits = match self.kind {
            _ if self.payload.is_empty() => self.attachments == 0,
            Kind::Disconnect => false,
            Kind::Connect | Kind::ConnectError => is(self.payload, b'{'),
            Kind::Ack => is(self.payload, b'['),
            Kind::Event => serde_json::from_slice::<Event>(self.payload).is_ok(),
        };
        if !fits {
            return Err(Breach("a payload that does not fit its packet"));
        }
        if self.attachments > 0 {
            let payload = serde_json::from_slice(self.payload).map_err(|_| Breach("a payload too deep"))?;
            if !holds_only(&payload, f64::from(self.attachments)) {
                return Err(Breach("a placeholder of nothing"));
            }
        }
        Ok(())
    }
}

fn count(digits: &[u8]) -> Result<u8, Breach> {
    let count =
        std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match count.and_then(|text| text.parse().ok()) {
        Some(count @ 1..=ATTACHMENTS_MAX) => Ok(count),
        _ => Err(Breach("a bad count of attachments")),
    }
}

/// Whether it is JSON, and an object or an array as the bracket says.
fn is(json: &[u8], bracket: u8) -> bool {
    let first = json.iter().find(|byte| !byte.is_ascii_whitespace());
    first == Some(&bracket) && serde_json::from_slice::<IgnoredAny>(json).is_ok()
}

/// Whether each placeholder names an attachment.
fn holds_only(value: &Value, attachments: f64) -> bool {
    match value {
        Value::Array(values) => values.iter().all(|value| holds_only(value, attachments)),
        Value::Object(members) if members.get("_placeholder") == Some(&Value::Bool(true)) => {
            members.get("num").and_then(Value::as_f64).is_some_and(|num| (0.0..attachments).contains(&num))
        }
        Value::Object(members) => members.values().all(|value| holds_only(value, attachments)),
        _ => true,
    }
}

/// The payload of an event: its name, and what nobody looks at here.
struct Event;

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(EventVisitor)
    }
}

struct EventVisitor;

impl<'de> Visitor<'de> for EventVisitor {
    type Value = Event;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an event")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Event, A::Error> {
        members.next_element::<Name>()?.ok_or_else(|| A::Error::custom("no name"))?;
        while members.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Event)
    }
}

/// A name that an event may have: a number, or a text that is not reserved.
struct Name;

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameVisitor)
    }
}

struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = Name;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the name of an event")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Name, E> {
        if RESERVED.contains(&name) { Err(E::custom("a reserved name")) } else { Ok(Name) }
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Name, E> {
        Ok(Name)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Name, E> {
        Ok(Name)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Name, E> {
        Ok(Name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected() -> Guard {
        let mut guard = Guard::new(Protocol::V4);
        guard.text(Protocol::V4, b"0").unwrap();
        guard.let_in();
        guard
    }

    fn says(guard: &mut Guard, packet: &str) -> bool {
        guard.text(Protocol::V4, packet.as_bytes()).is_ok()
    }

    #[test]
    fn what_stock_clients_say_passes() {
        for packet in [
            r#"2["fleet_subscribe",{"fleet":"a"}]"#,
            r#"217["asset_history",{"asset":"é😀\ud800"}]"#,
            r#"2/,["x"]"#,
            "2[7]",
            r#"2["error",[[[[]]]],1e999]"#,
            "31[]",
            "3/,1[{}]",
            "0/admin,",
            r#"0/admin,{"token":"x"}"#,
            r#"52-1["x",{"_placeholder":true,"num":1},{"_placeholder":false,"num":9}]"#,
            "1",
        ] {
            assert!(says(&mut connected(), packet), "{packet}");
        }
        assert!(says(&mut Guard::new(Protocol::V4), r#"0{"token":"x"}"#));
    }

    #[test]
    fn what_node_closes_the_session_for_does_not_pass() {
        let deep = format!("2[{}", "[".repeat(100_000));
        for packet in [
            "",
            "7",
            "x",
            "2{}",
            "2[]",
            "2[null]",
            r#"2[{"toString":"x"}]"#,
            r#"2["connect"]"#,
            r#"2["\u0063onnect"]"#,
            r#"2["removeListener",1]"#,
            r#"2["x""#,
            r#"2["x"]x"#,
            r#"2-1["x"]"#,
            r#"2/admin,["x"]"#,
            "3/admin,1[]",
            "31{}",
            "1{}",
            "1/admin,",
            "0",
            "0[]",
            "0null",
            r#"4{"message":"x"}"#,
            r#"5["x"]"#,
            r#"50-["x"]"#,
            r#"5+1-["x"]"#,
            r#"511-["x"]"#,
            r#"59999999999999999999999-["x"]"#,
            "51-",
            r#"51-["x",{"_placeholder":true,"num":1}]"#,
            r#"51-["x",{"_placeholder":true,"num":-1}]"#,
            r#"51-["x",{"_placeholder":true,"num":"splice"}]"#,
            r#"51-["x",{"_placeholder":true}]"#,
            deep.as_str(),
        ] {
            assert!(!says(&mut connected(), packet), "{packet:.80}");
        }
    }

    #[test]
    fn who_is_not_in_may_only_ask() {
        let mut guard = Guard::new(Protocol::V4);
        assert!(!says(&mut guard, r#"2["x"]"#));
        assert!(says(&mut guard, "0/admin,"));
        assert!(says(&mut guard, "0"));
        assert!(!says(&mut guard, "0"), "one question at a time");
        guard.put_out();
        assert!(says(&mut guard, "0"), "whoever was refused may ask again");
        assert!(!says(&mut guard, "1"), "nothing to leave yet");
        guard.let_in();
        assert!(says(&mut guard, "1"));
        assert!(!says(&mut guard, r#"2["x"]"#));
        assert!(says(&mut guard, "0"));
        let mut old = Guard::new(Protocol::V3);
        assert_eq!(old.text(Protocol::V3, br#"2/?a=b,["x"]"#), Ok(()));
        assert!(old.text(Protocol::V3, b"0").is_err());
    }

    #[test]
    fn nobody_asks_for_ever() {
        let mut guard = Guard::new(Protocol::V4);
        for _ in 0..CONNECTS_MAX {
            assert!(says(&mut guard, "0"));
            guard.put_out();
        }
        assert!(!says(&mut guard, "0"));
    }

    #[test]
    fn attachments_come_behind_their_packet_and_nothing_else_does() {
        let mut guard = connected();
        assert!(guard.binary().is_err());
        assert!(says(&mut guard, r#"52-["x"]"#));
        assert_eq!(guard.binary(), Ok(()));
        assert!(!says(&mut guard, r#"2["x"]"#));
        assert_eq!(guard.binary(), Ok(()));
        assert!(guard.binary().is_err());
        assert!(says(&mut guard, r#"2["x"]"#));
    }
}
