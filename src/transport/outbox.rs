//! The outgoing queue of one session.
//!
//! Invariants: every entry is one or more *whole* server frames, so whatever order entries are in, the
//! byte stream parses; only the front entry may be partly written, and nothing is ever put before the
//! rest of it; while a binary event's attachments are owed, shared entries wait behind them.

use std::{collections::VecDeque, io::IoSlice};

use bytes::Bytes;

/// How many entries one `writev` takes.
const SLICES_MAX: usize = 32;

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    entries: VecDeque<Bytes>,
    /// How much of the front entry the kernel has.
    written: usize,
    /// Bytes in `entries` and `waiting` that the kernel does not have.
    bytes: usize,
    /// Shared entries that must not precede CONNECT or fall between a binary event's header and its
    /// attachments.
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
    attachments_due: usize,
    /// The client has been told CONNECT; shared entries wait for it, so that no event precedes it.
    connected: bool,
}

impl Outbox {
    /// Bytes not yet written.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that can be written without anything else happening first. What bounds the session's own
    /// packets: they must get through even when the shared entries that wait for them fill the queue.
    pub(crate) fn drainable_bytes(&self) -> usize {
        self.bytes - self.waiting_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether shared frames may go to the socket past the queue: nothing is queued, nothing is owed.
    pub(crate) fn is_passable(&self) -> bool {
        self.entries.is_empty() && self.attachments_due == 0 && self.connected
    }

    /// Queues frames of the session's own packets. `attachments` are owed after a binary event's header.
    pub(crate) fn push_packet(&mut self, frame: Bytes, attachments: usize) {
        self.bytes += frame.len();
        self.entries.push_back(frame);
        self.attachments_due += attachments;
    }

    /// Queues one attachment of the binary event before it.
    pub(crate) fn push_attachment(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.entries.push_back(frame);
        self.attachments_due = self.attachments_due.saturating_sub(1);
        self.release();
    }

    /// The CONNECT packet is queued: shared entries may follow.
    pub(crate) fn set_connected(&mut self) {
        self.connected = true;
        self.release();
    }

    fn release(&mut self) {
        if self.attachments_due == 0 && self.connected {
            self.entries.append(&mut self.waiting);
            self.waiting_bytes = 0;
            if self.waiting.capacity() > 0 {
                self.waiting = VecDeque::new();
            }
        }
    }

    /// Queues frames that many viewers share.
    pub(crate) fn push_shared(&mut self, frames: Bytes) {
        self.bytes += frames.len();
        if self.attachments_due == 0 && self.connected {
            self.entries.push_back(frames);
        } else {
            self.waiting_bytes += frames.len();
            self.waiting.push_back(frames);
        }
    }

    /// Queues a heartbeat before everything that is not partly written: behind a backlog it would come
    /// too late to be answered. No Socket.IO packet is split by it. Before CONNECT it takes its turn: the
    /// first entry opens the session, and may hold the answer to the handshake.
    pub(crate) fn push_urgent(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        let at = if self.connected { usize::from(self.written > 0) } else { self.entries.len() };
        self.entries.insert(at, frame);
    }

    /// Queues the answer to a ping like any heartbeat, in the place of one that nobody has got yet: however
    /// often a client asks that does not read, one answer waits for it.
    pub(crate) fn push_pong(&mut self, pong: Bytes) {
        let from = if self.connected { usize::from(self.written > 0) } else { 0 };
        // Nothing but heartbeats stands before it; before CONNECT there are few entries at all.
        let places = if self.connected { 2 } else { usize::MAX };
        let unsent = self.entries.iter_mut().skip(from).take(places).find(|entry| is_pong(entry));
        match unsent {
            Some(unsent) => {
                self.bytes = self.bytes - unsent.len() + pong.len();
                *unsent = pong;
            }
            None => self.push_urgent(pong),
        }
    }

    /// The unwritten bytes, in order, as far as one `writev` goes.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES_MAX]) -> usize {
        let mut count = 0;
        for (slot, entry) in slices.iter_mut().zip(&self.entries) {
            let skip = if count == 0 { self.written } else { 0 };
            *slot = IoSlice::new(&entry[skip..]);
            count += 1;
        }
        count
    }

    pub(crate) fn empty_slices<'a>() -> [IoSlice<'a>; SLICES_MAX] {
        [IoSlice::new(&[]); SLICES_MAX]
    }

    /// Takes note that the kernel took `written` bytes more.
    pub(crate) fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(front) = self.entries.front() {
            let left = front.len() - self.written;
            if written < left {
                self.written += written;
                return;
            }
            written -= left;
            self.written = 0;
            self.entries.pop_front();
        }
        if self.entries.capacity() > SLICES_MAX {
            self.entries = VecDeque::new(); // A backlog of the past must not be paid for ever.
        }
    }

    /// Takes the front entry, for transports that do not write in parts.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.len();
        Some(entry)
    }

    pub(crate) fn front(&self) -> Option<&Bytes> {
        self.entries.front()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.entries.iter()
    }
}

/// A websocket's pong, or protocol 3's.
fn is_pong(frame: &[u8]) -> bool {
    frame.first() == Some(&0x8a) || frame == [0x81, 1, b'3']
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transport::frame::{Opcode, parse_server_frame, server_frame};

    /// What may happen to an outbox, in any order.
    #[derive(Debug, Clone)]
    enum Step {
        Packet(u8),
        BinaryEvent(u8, u8),
        Shared(u8),
        Urgent,
        Write(u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            any::<u8>().prop_map(Step::Packet),
            (any::<u8>(), 1..4_u8).prop_map(|(id, due)| Step::BinaryEvent(id, due)),
            any::<u8>().prop_map(Step::Shared),
            Just(Step::Urgent),
            (0..600_u16).prop_map(Step::Write),
        ]
    }

    fn write(outbox: &mut Outbox, stream: &mut Vec<u8>, bytes: usize) {
        let chunk: Vec<u8> = {
            let mut slices = Outbox::empty_slices();
            let count = outbox.slices(&mut slices);
            slices[..count].iter().flat_map(|slice| slice.iter().copied()).take(bytes).collect()
        };
        outbox.advance(chunk.len());
        stream.extend(chunk);
    }

    #[test]
    fn one_pong_waits_however_often_a_client_asks_and_takes_the_place_of_the_last() {
        let mut outbox = Outbox::default();
        outbox.push_packet(server_frame(Opcode::Text, b"0{}"), 0);
        outbox.set_connected();
        (0..3).for_each(|_| outbox.push_shared(server_frame(Opcode::Text, b"42[]")));
        let mut stream = Vec::new();
        write(&mut outbox, &mut stream, 2);
        for asked in 0..1000_u16 {
            outbox.push_pong(server_frame(Opcode::Pong, &asked.to_be_bytes()));
        }
        outbox.push_urgent(server_frame(Opcode::Text, b"2"));
        outbox.push_pong(server_frame(Opcode::Pong, b"last"));
        assert_eq!(outbox.entries.len(), 6);
        let bytes: usize = outbox.entries.iter().map(Bytes::len).sum();
        assert_eq!(outbox.bytes(), bytes - 2);
        assert!(outbox.iter().any(|entry| entry.ends_with(b"last")));
    }

    proptest! {
        /// Any interleaving, written in any pieces, parses as whole frames; attachments follow their
        /// event with nothing but heartbeats between; each kind keeps its order; nothing is lost.
        #[test]
        fn any_interleaving_is_a_valid_stream(steps in proptest::collection::vec(step(), 1..80)) {
            let (mut outbox, mut stream) = (Outbox::default(), Vec::new());
            outbox.set_connected();
            let (mut shared, mut packets, mut attachments_open) = (Vec::new(), Vec::new(), 0_u8);
            for step in steps {
                match step {
                    Step::Packet(id) if attachments_open == 0 => {
                        let text = format!("42[\"packet\",{id}]");
                        outbox.push_packet(server_frame(Opcode::Text, text.as_bytes()), 0);
                        packets.push(text);
                    }
                    Step::BinaryEvent(id, due) if attachments_open == 0 => {
                        let text = format!("45{due}-[\"binary\",{id}]");
                        outbox.push_packet(server_frame(Opcode::Text, text.as_bytes()), usize::from(due));
                        packets.push(text);
                        attachments_open = due;
                    }
                    Step::Packet(_) | Step::BinaryEvent(..) => {
                        outbox.push_attachment(server_frame(Opcode::Binary, &[attachments_open]));
                        attachments_open -= 1;
                    }
                    Step::Shared(id) => {
                        let text = format!("42[\"shared\",{id}]");
                        outbox.push_shared(server_frame(Opcode::Text, text.repeat(usize::from(id) + 1).as_bytes()));
                        shared.push(text.repeat(usize::from(id) + 1));
                    }
                    Step::Urgent => outbox.push_urgent(server_frame(Opcode::Text, b"2")),
                    Step::Write(bytes) => write(&mut outbox, &mut stream, usize::from(bytes)),
                }
            }
            while attachments_open > 0 {
                outbox.push_attachment(server_frame(Opcode::Binary, &[attachments_open]));
                attachments_open -= 1;
            }
            while !outbox.is_empty() {
                write(&mut outbox, &mut stream, usize::MAX);
            }
            prop_assert_eq!(outbox.bytes(), 0);

            let (mut seen_shared, mut seen_packets, mut due, mut rest) = (Vec::new(), Vec::new(), 0, &stream[..]);
            while !rest.is_empty() {
                let frame = parse_server_frame(rest).expect("whole frames only");
                let payload = frame.payload(rest);
                match frame.opcode {
                    Opcode::Binary => due -= 1,
                    _ if payload == b"2" => {}
                    _ => {
                        prop_assert_eq!(due, 0, "a packet between an event and its attachments");
                        let text = std::str::from_utf8(payload).unwrap().to_owned();
                        if text.starts_with("42[\"shared") {
                            seen_shared.push(text);
                        } else {
                            due = text.strip_prefix("45").map_or(0, |text| i32::from(text.as_bytes()[0] - b'0'));
                            seen_packets.push(text);
                        }
                    }
                }
                rest = &rest[frame.len()..];
            }
            prop_assert_eq!(seen_shared, shared);
            prop_assert_eq!(seen_packets, packets);
        }
    }
}
