//! The client's half of Engine.IO 4 over a raw websocket: one upgrade request, two constant frames out,
//! server frames parsed where they lie.
//!
//! Invariant: parsing copies nothing and allocates nothing; a frame is only returned when it is whole.

use anyhow::{Result, bail};

/// The key of the RFC's own example, so that the accept value is a constant too.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Masked text frames with one or two bytes of payload, and a close frame with code 1001 (going away).
pub(crate) const CONNECT: &[u8] = &[0x81, 0x82, 1, 2, 3, 4, b'4' ^ 1, b'0' ^ 2];
pub(crate) const PONG: &[u8] = &[0x81, 0x81, 1, 2, 3, 4, b'3' ^ 1];
pub(crate) const GOODBYE: &[u8] = &[0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xe9 ^ 2];

/// The opcodes that a gateway may send to a viewer without attachments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    Text(&'a [u8]),
    Ping,
    Close,
}

/// What the answer to the upgrade request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Not all there yet.
    Partial,
    /// 101; the websocket starts after so many bytes.
    Upgraded(usize),
    /// 503: come back later.
    Busy,
}

/// A browser's upgrade request. The headers matter: servers that keep them keep these bytes.
pub(crate) fn upgrade_request(port: u16, fleet: Option<&str>) -> Vec<u8> {
    let fleet = fleet.map(|fleet| format!("fleetId={fleet}&")).unwrap_or_default();
    format!(
        "GET /socket.io/?{fleet}EIO=4&transport=websocket HTTP/1.1\r\n\
         Host: 127.0.0.1:{port}\r\n\
         Connection: Upgrade\r\n\
         Pragma: no-cache\r\n\
         Cache-Control: no-cache\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 \
         Safari/537.36\r\n\
         Upgrade: websocket\r\n\
         Origin: http://127.0.0.1:{port}\r\n\
         Sec-WebSocket-Version: 13\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\n\
         Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
         Sec-WebSocket-Key: {KEY}\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    )
    .into_bytes()
}

/// A client's text frame; its mask is zero, so its text is legible.
pub(crate) fn masked_text(text: &[u8]) -> Vec<u8> {
    let len = u16::try_from(text.len()).expect("requests are short");
    let mut frame = match u8::try_from(len) {
        Ok(len) if len < 126 => vec![0x81, 0x80 | len],
        _ => [&[0x81, 0xfe][..], &len.to_be_bytes()].concat(),
    };
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text);
    frame
}

/// Reads the answer to [`upgrade_request`].
pub(crate) fn read_answer(bytes: &[u8]) -> Result<Answer> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        anyhow::ensure!(bytes.len() < 16 * 1024, "answer to the upgrade has no end");
        return Ok(Answer::Partial);
    };
    let head = &bytes[..end];
    if head.starts_with(b"HTTP/1.1 503") {
        return Ok(Answer::Busy);
    }
    if !head.starts_with(b"HTTP/1.1 101") || find(head, ACCEPT).is_none() {
        bail!("upgrade refused: {}", String::from_utf8_lossy(&head[..head.len().min(120)]));
    }
    Ok(Answer::Upgraded(end + 4))
}

/// The first whole frame in `bytes` and its length with the header.
pub(crate) fn next_frame(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    let (header, len) = match second {
        0..=125 => (2, usize::from(second)),
        126 if bytes.len() >= 4 => (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
        127 if bytes.len() >= 10 => {
            let len = u64::from_be_bytes(bytes[2..10].try_into()?);
            anyhow::ensure!(len < 1 << 20, "frame of {len} bytes");
            (10, usize::try_from(len)?)
        }
        126 | 127 => return Ok(None),
        _ => bail!("masked frame from the server"),
    };
    let Some(payload) = bytes.get(header..header + len) else { return Ok(None) };
    let frame = match first {
        0x81 => Frame::Text(payload),
        0x89 => Frame::Ping,
        0x88 => Frame::Close,
        _ => bail!("frame with first byte {first:#04x}"),
    };
    Ok(Some((frame, header + len)))
}

/// Position of `needle` in `haystack`.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
