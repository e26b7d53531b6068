//! Websocket frames from a client: an incremental parser with the limits and close codes of a strict
//! server (RFC 6455; the codes are those of the `ws` package that Node's server uses).
//!
//! Invariant: memory is bounded by one message of `max_bytes`, and an idle connection holds none.

use bytes::{Bytes, BytesMut};

use super::frame::Opcode;

/// How many fragments one message may have; more is an attack, not a message.
const FRAGMENTS_MAX: u32 = 1024;

/// One thing that a client said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A whole text message, valid UTF-8.
    Text(Bytes),
    /// A whole binary message.
    Binary(Bytes),
    /// A websocket ping with its payload, to be echoed.
    Ping(Bytes),
    /// The closing handshake, with the code to echo.
    Close(Option<u16>),
}

/// A breach of the protocol: the connection is closed with this code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) code: u16,
    pub(crate) why: &'static str,
}

const fn violation<T>(code: u16, why: &'static str) -> Result<T, Violation> {
    Err(Violation { code, why })
}

/// The parser's state between reads.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    /// Bytes of a frame that has not arrived whole.
    partial: BytesMut,
    /// The fragments so far of a message that is not finished.
    message: Option<Box<Fragments>>,
}

#[derive(Debug)]
struct Fragments {
    opcode: Opcode,
    count: u32,
    data: BytesMut,
}

struct Header {
    fin: bool,
    opcode: Opcode,
    mask: [u8; 4],
    len: usize,
    payload_len: usize,
}

impl Incoming {
    /// Takes what was read from the socket and appends what it means to `events`. Events before a
    /// violation are delivered.
    pub(crate) fn feed(
        &mut self,
        read: &mut [u8],
        max_bytes: usize,
        events: &mut impl Extend<Event>,
    ) -> Result<(), Violation> {
        if self.partial.is_empty() {
            let used = self.frames(read, max_bytes, events)?;
            self.partial.extend_from_slice(&read[used..]);
        } else {
            let mut buffer = std::mem::take(&mut self.partial);
            buffer.extend_from_slice(read);
            let used = self.frames(&mut buffer, max_bytes, events)?;
            if used < buffer.len() {
                self.partial = buffer.split_off(used);
            }
        }
        Ok(())
    }

    /// Handles the whole frames at the start of `buffer`; returns how many bytes they were.
    fn frames(
        &mut self,
        buffer: &mut [u8],
        max_bytes: usize,
        events: &mut impl Extend<Event>,
    ) -> Result<usize, Violation> {
        let mut used = 0;
        while let Some(header) = parse_header(&buffer[used..])? {
            let so_far = self.message.as_ref().map_or(0, |message| message.data.len());
            if !header.opcode.is_control() && header.payload_len > max_bytes.saturating_sub(so_far) {
                return violation(1009, "message too big");
            }
            let start = used + header.len;
            let Some(payload) = buffer.get_mut(start..start + header.payload_len) else { break };
            unmask(payload, header.mask);
            let event = self.frame(&header, payload)?;
            used = start + header.payload_len;
            let closing = matches!(event, Some(Event::Close(_)));
            events.extend(event);
            if closing {
                return Ok(buffer.len()); // Nothing after a close frame counts.
            }
        }
        Ok(used)
    }

    fn frame(&mut self, header: &Header, payload: &[u8]) -> Result<Option<Event>, Violation> {
        match header.opcode {
            Opcode::Ping => Ok(Some(Event::Ping(Bytes::copy_from_slice(payload)))),
            Opcode::Pong => Ok(None),
            Opcode::Close => close(payload).map(Some),
            Opcode::Continuation => match self.message.take() {
                None => violation(1002, "continuation of nothing"),
                Some(message) => self.fragment(message, header.fin, payload),
            },
            opcode if self.message.is_some() => {
                debug_assert!(matches!(opcode, Opcode::Text | Opcode::Binary));
                violation(1002, "new message inside a fragmented one")
            }
            opcode if header.fin => whole(opcode, Bytes::copy_from_slice(payload)).map(Some),
            opcode => {
                let message = Box::new(Fragments { opcode, count: 0, data: BytesMut::new() });
                self.fragment(message, false, payload)
            }
        }
    }

    /// What it holds of what is not finished.
    #[cfg(any(test, fuzzing))]
    pub(super) fn bytes(&self) -> usize {
        self.partial.len() + self.message.as_ref().map_or(0, |message| message.data.len())
    }

    fn fragment(
        &mut self,
        mut message: Box<Fragments>,
        fin: bool,
        payload: &[u8],
    ) -> Result<Option<Event>, Violation> {
        message.count += 1;
        if message.count > FRAGMENTS_MAX {
            return violation(1008, "too many fragments");
        }
        message.data.extend_from_slice(payload);
        if fin {
            return whole(message.opcode, message.data.freeze()).map(Some);
        }
        self.message = Some(message);
        Ok(None)
    }
}

fn whole(opcode: Opcode, data: Bytes) -> Result<Event, Violation> {
    if opcode == Opcode::Binary {
        return Ok(Event::Binary(data));
    }
    match std::str::from_utf8(&data) {
        Ok(_) => Ok(Event::Text(data)),
        Err(_) => violation(1007, "invalid UTF-8"),
    }
}

fn close(payload: &[u8]) -> Result<Event, Violation> {
    let code = match payload {
        [] => return Ok(Event::Close(None)),
        [_] => return violation(1002, "close frame of one byte"),
        [high, low, reason @ ..] => {
            if std::str::from_utf8(reason).is_err() {
                return violation(1007, "invalid UTF-8");
            }
            u16::from_be_bytes([*high, *low])
        }
    };
    match code {
        1000..=1003 | 1007..=1014 | 3000..=4999 => Ok(Event::Close(Some(code))),
        _ => violation(1002, "invalid close code"),
    }
}

fn parse_header(buf: &[u8]) -> Result<Option<Header>, Violation> {
    let (Some(&first), Some(&second)) = (buf.first(), buf.get(1)) else { return Ok(None) };
    let (fin, opcode) = (first & 0x80 != 0, Opcode::from_bits(first));
    if first & 0x70 != 0 {
        return violation(1002, "reserved bits set");
    }
    if opcode == Opcode::Reserved {
        return violation(1002, "reserved opcode");
    }
    if second & 0x80 == 0 {
        return violation(1002, "unmasked frame");
    }
    let short = usize::from(second & 0x7f);
    if opcode.is_control() && (!fin || short > 125) {
        return violation(1002, "fragmented or oversized control frame");
    }
    let (len_bytes, payload_len) = match short {
        126 => match buf.get(2..4) {
            Some(bytes) => (2, usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))),
            None => return Ok(None),
        },
        127 => match buf.get(2..10) {
            Some(bytes) => {
                let len = u64::from_be_bytes(bytes.try_into().expect("eight bytes"));
                (8, usize::try_from(len).unwrap_or(usize::MAX))
            }
            None => return Ok(None),
        },
        len => (0, len),
    };
    let at = 2 + len_bytes;
    let Some(mask) = buf.get(at..at + 4) else {
        // The length is known before the mask is: a huge one must not wait for it.
        return Ok(None);
    };
    let mask = mask.try_into().expect("four bytes");
    Ok(Some(Header { fin, opcode, mask, len: at + 4, payload_len }))
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let (chunks, tail) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(mask) {
        *byte ^= key;
    }
    if let Some(rest) = tail.get_mut(4..) {
        for (byte, key) in rest.iter_mut().zip(mask) {
            *byte ^= key;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1000;

    fn client(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let mut out = vec![first];
        match payload.len() {
            len @ 0..=125 => out.push(0x80 | len as u8),
            len @ 126..=0xffff => {
                out.push(0x80 | 126);
                out.extend((len as u16).to_be_bytes());
            }
            len => {
                out.push(0x80 | 127);
                out.extend((len as u64).to_be_bytes());
            }
        }
        out.extend(mask);
        out.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
        out
    }

    fn read(chunks: &[&[u8]]) -> (Vec<Event>, Result<(), Violation>) {
        let (mut incoming, mut events) = (Incoming::default(), Vec::new());
        for chunk in chunks {
            if let Err(violation) = incoming.feed(&mut chunk.to_vec(), MAX, &mut events) {
                return (events, Err(violation));
            }
        }
        (events, Ok(()))
    }

    #[test]
    fn messages_survive_any_cut() {
        let mut bytes = client(0x81, "4h€llo".as_bytes());
        bytes.extend(client(0x02, &[1; 200]));
        bytes.extend(client(0x89, b"p"));
        bytes.extend(client(0x80, &[2; 13]));
        bytes.extend(client(0x81, b""));
        let mut blob = vec![1; 200];
        blob.extend([2; 13]);
        let expected = vec![
            Event::Text(Bytes::from("4h€llo")),
            Event::Ping(Bytes::from("p")),
            Event::Binary(Bytes::from(blob)),
            Event::Text(Bytes::new()),
        ];
        for cut in 0..bytes.len() {
            let (events, result) = read(&[&bytes[..cut], &bytes[cut..]]);
            assert_eq!((events, result), (expected.clone(), Ok(())), "cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&single), (expected, Ok(())));
    }

    #[test]
    fn violations_close_with_the_code_of_ws() {
        let code = |bytes: &[u8], code: u16| {
            assert_eq!(read(&[bytes]).1.map_err(|violation| violation.code), Err(code), "{bytes:x?}");
        };
        code(&client(0xc1, b"x"), 1002);
        code(&client(0x83, b"x"), 1002);
        code(&[0x81, 0x01, b'x'], 1002);
        code(&client(0x09, b"x"), 1002);
        code(&client(0x89, &[0; 126]), 1002);
        code(&client(0x80, b"x"), 1002);
        code(&[client(0x01, b"x"), client(0x81, b"y")].concat(), 1002);
        code(&client(0x88, &[3]), 1002);
        code(&client(0x88, &1005_u16.to_be_bytes()), 1002);
        code(&client(0x88, &[3, 232, 0xff]), 1007);
        code(&client(0x81, &[0xff]), 1007);
        code(&client(0x81, &[b'x'; MAX + 1]), 1009);
        code(&[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], 1009);
        let mut half = client(0x01, &[b'x'; MAX / 2 + 1]);
        half.extend(client(0x80, &[b'x'; MAX / 2 + 1]));
        code(&half, 1009);
        let mut tiny = client(0x01, b"");
        for _ in 0..FRAGMENTS_MAX {
            tiny.extend(client(0x00, b""));
        }
        code(&tiny, 1008);
    }

    #[test]
    fn nothing_after_a_close_counts_and_idle_holds_nothing() {
        let mut incoming = Incoming::default();
        let mut events = Vec::new();
        let mut bytes = client(0x88, &1000_u16.to_be_bytes());
        bytes.extend(client(0x81, b"4late"));
        incoming.feed(&mut bytes, MAX, &mut events).unwrap();
        assert_eq!(events, [Event::Close(Some(1000))]);
        assert_eq!(incoming.partial.capacity(), 0);
    }
}
