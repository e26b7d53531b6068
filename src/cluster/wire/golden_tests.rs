//! The frames that real Node servers published, both ways: what dashboards got of them, and the same
//! bytes made here.

use std::{fs, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::*;

/// One captured frame.
struct Captured {
    /// File and channel, for messages.
    name: String,
    channel: String,
    payload: Vec<u8>,
    file: Value,
}

fn captured() -> Vec<Captured> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut frames = Vec::new();
    for path in paths {
        let file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for frame in file["frames"].as_array().into_iter().flatten() {
            if frame["command"] != "PUBLISH" {
                continue; // The sharded adapter's.
            }
            let channel = frame["channel"].as_str().unwrap().to_owned();
            frames.push(Captured {
                name: format!("{} on {channel}", path.file_stem().unwrap().display()),
                payload: STANDARD.decode(frame["payload_base64"].as_str().unwrap()).unwrap(),
                channel,
                file: file.clone(),
            });
        }
    }
    assert!(frames.len() > 80, "only {} golden frames", frames.len());
    frames
}

impl Captured {
    fn names(&self) -> Names {
        let key = if self.channel.starts_with("fleet") { "fleet" } else { "socket.io" };
        let path = if self.channel.contains("#/admin#") { "/admin" } else { "/" };
        Names::new(key, path).unwrap()
    }

    fn is_of(&self, file: &str) -> bool {
        self.name.starts_with(file)
    }

    /// What the dashboards of the other member received.
    fn delivered(&self) -> Vec<Vec<Value>> {
        let clients = self.file["delivered_engine_io_payloads"].as_object().unwrap();
        let remote = clients.iter().filter(|(client, _)| client.starts_with('b'));
        remote.map(|(_, packets)| packets.as_array().unwrap().clone()).filter(|got| !got.is_empty()).collect()
    }
}

/// The event as `delivered` lists it.
fn as_delivered(event: &EncodedEvent, names: &Names) -> Vec<Value> {
    let packet = std::str::from_utf8(event.packet()).unwrap();
    let (header, data) = packet.split_at(packet.len() - event.data().len());
    let namespace = if names.path() == "/" { String::new() } else { format!("{},", names.path()) };
    let attachments = event.attachments().iter().map(|bytes| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        serde_json::json!({ "binary_hex": hex })
    });
    [Value::String(format!("{header}{namespace}{data}"))].into_iter().chain(attachments).collect()
}

#[test]
fn dashboards_read_what_those_behind_node_read() {
    let mut compared = 0;
    for frame in captured() {
        let names = frame.names();
        if !matches!(names.address(&frame.channel), Some(Address::Namespace | Address::Room(_))) {
            continue;
        }
        let incoming =
            Incoming::open(&frame.payload).unwrap_or_else(|error| panic!("{}: {error}", frame.name));
        assert_eq!(incoming.nsp, names.path(), "{}", frame.name);
        let event = incoming.event().unwrap_or_else(|error| panic!("{}: {error}", frame.name));
        for delivered in frame.delivered() {
            assert_eq!(as_delivered(&event, &names), delivered, "{}", frame.name);
            compared += 1;
        }
    }
    assert!(compared > 25, "compared {compared} only");
}

#[test]
fn our_frames_are_nodes_frames_byte_for_byte() {
    // Other writers' field order or number forms, and values that JSON does not have (dates, NaN).
    const OTHER_BYTES: [&str; 12] =
        ["17-", "19-", "60-", "61-", "62-", "63-", "64-", "65-", "93-", "95-", "96-", "s1-17-"];
    let mut compared = 0;
    for frame in captured() {
        if OTHER_BYTES.iter().any(|file| frame.is_of(file)) {
            continue;
        }
        let ours = again(&frame);
        assert_eq!(ours.channel(), frame.channel, "{}", frame.name);
        let (left, right) =
            (String::from_utf8_lossy(ours.payload()), String::from_utf8_lossy(&frame.payload));
        assert_eq!(left, right, "{}", frame.name);
        assert_eq!(ours.payload()[..], frame.payload[..], "{}", frame.name);
        compared += 1;
    }
    assert!(compared > 60, "compared {compared} only");
}

/// Decodes a frame and encodes it again.
fn again(frame: &Captured) -> Frame {
    let names = frame.names();
    let failed = |error: Malformed| -> ! { panic!("{}: {error}", frame.name) };
    match names.address(&frame.channel).unwrap_or_else(|| panic!("{}: no address", frame.name)) {
        Address::Namespace | Address::Room(_) => {
            let incoming = Incoming::open(&frame.payload).unwrap_or_else(|error| failed(error));
            let event = incoming.event().unwrap_or_else(|error| failed(error));
            let broadcast = Broadcast { event: &event, target: &incoming.target, flags: &incoming.flags };
            broadcast.frame(&names, incoming.uid.as_deref().unwrap()).unwrap_or_else(|error| failed(error))
        }
        Address::Request => {
            let request = RequestFrame::decode(&frame.payload).unwrap_or_else(|error| failed(error));
            request.frame(&names).unwrap_or_else(|error| failed(error))
        }
        Address::Response => {
            let response = ResponseFrame::decode(&frame.payload).unwrap_or_else(|error| failed(error));
            let uid = frame.channel.strip_prefix(names.response()).and_then(|rest| rest.strip_suffix('#'));
            response.frame(&names, uid).unwrap_or_else(|error| failed(error))
        }
    }
}

fn the(file: &str) -> Captured {
    captured().into_iter().find(|frame| frame.is_of(file)).unwrap()
}

#[test]
fn rooms_that_are_numbers_become_text() {
    let frame = the("17-");
    assert_eq!(Incoming::open(&frame.payload).unwrap().target.rooms, ["42"]);
}

#[test]
fn the_emitter_has_no_uid_in_requests_and_a_fixed_one_in_broadcasts() {
    assert_eq!(RequestFrame::decode(&the("66-").payload).unwrap().uid, None);
    assert_eq!(Incoming::open(&the("60-").payload).unwrap().uid.as_deref(), Some("emitter"));
}

#[test]
fn other_messagepack_writers_are_read() {
    let frame = the("96-");
    let RequestFrame { request: Request::Broadcast { event, flags, .. }, .. } =
        RequestFrame::decode(&frame.payload).unwrap()
    else {
        panic!("not a broadcast");
    };
    assert!(event.data().starts_with("[\""));
    assert!(flags.timeout_ms().is_some());
}

#[test]
fn what_kills_a_node_replica_is_an_error_here() {
    let frame = the("02-").payload;
    let trailing = [&frame[..], b"\xc0"].concat();
    let bad: [&[u8]; 8] = [
        b"",
        b"{}",
        b"\"text\"",
        b"\xc0",
        b"\x93\xa1a\xc0\x80",
        &frame[..40],
        &trailing,
        b"\x92\xa1a\x81\xa4data\x90",
    ];
    for payload in bad {
        assert!(Incoming::open(payload).is_err(), "{payload:x?}");
    }
    for payload in [&b"\xc0"[..], b"{}", b"{\"type\":5,\"requestId\":\"a\"}", b"{\"type\":99}", b"\xc1"] {
        assert!(RequestFrame::decode(payload).is_err(), "{payload:x?}");
        assert!(ResponseFrame::decode(payload).is_err(), "{payload:x?}");
    }
}

#[test]
fn unreadable_requests_still_get_their_answer() {
    let answer = |payload: &[u8]| RequestFrame::answer_to_unreadable(payload).map(|(_, frame)| frame.answer);
    assert_eq!(answer(br#"{"type":5,"requestId":"a"}"#), Some(Answer::Sockets(Vec::new())));
    assert_eq!(answer(br#"{"type":7,"requestId":"a"}"#), Some(Answer::ClientCount(0)));
    assert_eq!(answer(br#"{"type":6,"requestId":"a"}"#), Some(Answer::ServerSide(None)));
    assert_eq!(answer(br#"{"type":6}"#), None);
    assert_eq!(answer(b"\xc0"), None);
}
