//! What a client says, whatever transport brings it: Engine.IO packets are taken here, messages go on to
//! socketioxide once they have passed the guard.
//!
//! Invariant: what a client says costs it at most its own session, and is answered within its own queue.

use bytes::{Bytes, BytesMut};

use super::{
    CloseReason, Protocol, Session,
    frame::{self, Opcode},
    incoming::Event,
    payload::Packet,
    session::{Link, State},
    wire::{End, Read},
};

impl Session {
    /// Takes one Engine.IO packet of the client, whatever transport brought it.
    pub(super) fn receive(&self, state: &mut State, packet: Packet) {
        if matches!(state.link, Link::Closed(_)) {
            return;
        }
        match packet {
            Packet::Message(data) => {
                if state.guard.text(self.protocol, &data).is_err() {
                    return self.breach(state);
                }
                // The type digit belongs to the packet that socketioxide reads.
                let mut text = BytesMut::with_capacity(data.len() + 1);
                text.extend_from_slice(b"4");
                text.extend_from_slice(&data);
                frame::put_client_frame(&mut state.inbox, Opcode::Text, &text);
            }
            Packet::Binary(data) => {
                if state.guard.binary().is_err() {
                    return self.breach(state);
                }
                match self.protocol {
                    Protocol::V3 => {
                        frame::put_client_frame(
                            &mut state.inbox,
                            Opcode::Binary,
                            &[&[4], &data[..]].concat(),
                        );
                    }
                    Protocol::V4 => frame::put_client_frame(&mut state.inbox, Opcode::Binary, &data),
                }
            }
            Packet::Ping if self.protocol == Protocol::V3 => {
                state.heartbeat.heard(self.protocol, self.shared.now_ms(), &self.shared.options);
                self.answer(state, frame::server_frame(Opcode::Text, b"3"));
            }
            Packet::Pong if self.protocol == Protocol::V4 => {
                state.heartbeat.heard(self.protocol, self.shared.now_ms(), &self.shared.options);
            }
            // Node calls both an invalid heartbeat direction.
            Packet::Ping | Packet::Pong => self.close_locked(state, CloseReason::TransportError, None),
            Packet::Close => self.close_locked(state, CloseReason::TransportClose, None),
            Packet::Open | Packet::Upgrade | Packet::Noop => {}
        }
    }

    /// Ends a session whose client does not keep to the protocols.
    pub(super) fn breach(&self, state: &mut State) {
        self.shared.metrics.protocol_errors.inc();
        self.close_locked(state, CloseReason::ParseError, None);
    }

    /// Answers a ping, of which only the last needs an answer (RFC 6455, 5.5.3); whoever brings it writes it,
    /// once for all that came together. A client whose queue is full already is cut off.
    fn answer(&self, state: &mut State, pong: Bytes) {
        if state.outbox.bytes() >= self.shared.options.viewer_queue_bytes {
            return self.close_locked(state, CloseReason::Slow, None);
        }
        state.outbox.push_pong(pong);
    }

    /// Takes what one read of a websocket brought.
    pub(super) fn received(&self, state: &mut State, read: Read) {
        for event in read.events {
            if matches!(state.link, Link::Closed(_)) {
                return;
            }
            match event {
                Event::Text(text) => match Packet::parse_text(self.protocol, &text) {
                    Ok(packet) => self.receive(state, packet),
                    Err(_) => self.breach(state),
                },
                // The type in front; a stock client sends messages only.
                Event::Binary(data) if self.protocol == Protocol::V3 => {
                    if data.first() == Some(&4) {
                        self.receive(state, Packet::Binary(data.slice(1..)));
                    }
                }
                Event::Binary(data) => self.receive(state, Packet::Binary(data)),
                Event::Ping(data) => {
                    self.answer(state, frame::server_frame(Opcode::Pong, &data));
                }
                Event::Close(code) => {
                    self.close_locked(state, CloseReason::TransportClose, code.or(Some(1005)))
                }
            }
        }
        if !state.outbox.is_empty() {
            self.flush(state);
        }
        match read.end {
            None => {}
            Some(End::Eof) => self.close_locked(state, CloseReason::TransportClose, None),
            Some(End::Error) => self.close_locked(state, CloseReason::TransportError, None),
            Some(End::Violation(code)) => {
                self.shared.metrics.protocol_errors.inc();
                self.close_locked(state, CloseReason::TransportError, Some(code));
            }
        }
    }
}
