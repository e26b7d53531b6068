//! An event in the form in which dashboards get it. Pure.
//!
//! Invariant: the text is valid JSON of an array that starts with an event's name, and its placeholders
//! number its attachments from 0. Whoever holds an [`EncodedEvent`] may send it without a look inside.

use bytes::Bytes;

use super::wire::{self, Malformed};

/// Events that Socket.IO keeps for itself: stock clients drop the connection when one arrives.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// One event of namespace `/`, encoded once for all its receivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedEvent {
    packet: Bytes,
    /// Where the JSON array starts in `packet`.
    data_at: usize,
    attachments: Vec<Bytes>,
}

impl EncodedEvent {
    /// The event with these JSON arguments: `data` is the array `["name", …]`, in which
    /// `{"_placeholder":true,"num":0}` stands for the first attachment.
    ///
    /// # Errors
    /// `data` is not such an array, or attachments and placeholders do not fit.
    pub fn from_json(data: &str, attachments: Vec<Bytes>) -> Result<Self, Malformed> {
        wire::check_event(data, &attachments)?;
        Ok(Self::assemble(data, attachments))
    }

    /// `data` is known to keep the invariant.
    pub(super) fn assemble(data: &str, attachments: Vec<Bytes>) -> Self {
        let header = header(attachments.len());
        let mut packet = String::with_capacity(header.len() + data.len());
        packet.push_str(&header);
        packet.push_str(data);
        Self { packet: packet.into(), data_at: header.len(), attachments }
    }

    /// The Socket.IO packet: `2["ev",…]`, or `5<n>-["ev",…]` with `n` attachments to follow it.
    #[must_use]
    pub fn packet(&self) -> &Bytes {
        &self.packet
    }

    /// The JSON array.
    #[must_use]
    pub fn data(&self) -> &str {
        std::str::from_utf8(&self.packet[self.data_at..]).expect("it was made of a string")
    }

    /// What the placeholders stand for, in their order.
    #[must_use]
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }

    /// The packet of an event that asks for an acknowledgement: `2<id>["ev",…]`.
    #[must_use]
    pub fn packet_with_ack(&self, id: u64) -> String {
        format!("{}{id}{}", header(self.attachments.len()), self.data())
    }
}

fn header(attachments: usize) -> String {
    if attachments == 0 { "2".to_owned() } else { format!("5{attachments}-") }
}

pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(data: &str) -> bool {
        EncodedEvent::from_json(data, Vec::new()).is_err()
    }

    #[test]
    fn packets_carry_the_event_and_its_ack_id() {
        let event = EncodedEvent::from_json(r#"["a",{"b":1}]"#, Vec::new()).unwrap();
        assert_eq!(event.packet(), r#"2["a",{"b":1}]"#);
        assert_eq!(event.packet_with_ack(7), r#"27["a",{"b":1}]"#);
        let binary = r#"["a",{"_placeholder":true,"num":0}]"#;
        let event = EncodedEvent::from_json(binary, vec![Bytes::from_static(b"x")]).unwrap();
        assert_eq!(event.packet(), &format!("51-{binary}"));
        assert_eq!(event.packet_with_ack(7), format!("51-7{binary}"));
        assert_eq!(event.data(), binary);
    }

    #[test]
    fn what_would_break_a_dashboard_is_no_event() {
        for data in ["", "[]", "{}", "[null]", "[[\"a\"]]", r#"["disconnect"]"#, r#"["a"]]"#, r#"["a""#] {
            assert!(refused(data), "{data}");
        }
        assert!(!refused(r#"["a"]"#));
        assert!(!refused("[42]"), "event names may be numbers");
    }

    #[test]
    fn placeholders_and_attachments_must_fit() {
        let one = || vec![Bytes::from_static(b"x")];
        for data in [r#"["a"]"#, r#"["a",{"_placeholder":true,"num":1}]"#, r#"["a",{"_placeholder":true}]"#] {
            assert!(EncodedEvent::from_json(data, one()).is_err(), "{data}");
        }
        assert!(EncodedEvent::from_json(r#"["a",{"_placeholder":true,"num":0}]"#, one()).is_ok());
        // Without attachments it is an ordinary object that happens to look like one.
        assert!(!refused(r#"["a",{"_placeholder":true,"num":0}]"#));
    }
}
