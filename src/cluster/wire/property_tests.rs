//! What holds for all frames: they come back as they went, and no bytes break the decoder.

use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use super::*;
use crate::cluster::SocketInfo;

/// Any JSON value, with the numbers that JavaScript can hold.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-(1_i64 << 53)..(1_i64 << 53)).prop_map(Value::from),
        any::<i16>().prop_map(Value::from),
        // Larger whole numbers have several decimal forms that JavaScript reads as one.
        any::<f64>()
            .prop_filter("JSON has no others", |float| float.is_finite()
                && (float.fract() != 0.0 || float.abs() < 2_f64.powi(53)))
            .prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 20, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..20).prop_map(Value::from),
            vec((any::<String>(), inner), 0..20).prop_map(|entries| entries.into_iter().collect()),
        ]
    })
}

fn event() -> impl Strategy<Value = EncodedEvent> {
    let attachments = vec(vec(any::<u8>(), 0..300), 0..4);
    ("[a-z]{1,20}", vec(value(), 0..4), attachments).prop_map(|(name, args, attachments)| {
        let placeholders = (0..attachments.len()).map(|num| json!({"_placeholder": true, "num": num}));
        let data: Vec<Value> =
            [format!("ev-{name}").into()].into_iter().chain(args).chain(placeholders).collect();
        let attachments = attachments.into_iter().map(Bytes::from).collect();
        EncodedEvent::from_json(&Value::from(data).to_string(), attachments).unwrap()
    })
}

fn target() -> impl Strategy<Value = Target> {
    (vec(any::<String>(), 0..4), vec(any::<String>(), 0..4))
        .prop_map(|(rooms, except)| Target { rooms, except })
}

fn flags() -> impl Strategy<Value = Flags> {
    let flag = prop_oneof![
        Just(Flag::Volatile),
        any::<bool>().prop_map(Flag::Compress),
        any::<u32>().prop_map(|ms| Flag::TimeoutMs(ms.into())),
    ];
    proptest::option::of(flag)
        .prop_map(|flag| flag.into_iter().fold(Flags::default(), |flags, flag| flags.with(flag)))
}

/// The text of numbers may change (`1.0` and `1`), their value may not.
fn same(left: &str, right: &str) -> bool {
    fn eq(left: &Value, right: &Value) -> bool {
        match (left, right) {
            (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
            (Value::Array(left), Value::Array(right)) => {
                left.len() == right.len() && left.iter().zip(right).all(|(left, right)| eq(left, right))
            }
            (Value::Object(left), Value::Object(right)) => {
                left.len() == right.len()
                    && left.iter().all(|(key, left)| right.get(key).is_some_and(|right| eq(left, right)))
            }
            _ => left == right,
        }
    }
    let parse = |text| serde_json::from_str::<Value>(text).unwrap();
    eq(&parse(left), &parse(right))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn broadcasts_come_back_as_they_went(event in event(), target in target(), flags in flags()) {
        let names = Names::new("socket.io", "/").unwrap();
        let frame = Broadcast { event: &event, target: &target, flags: &flags }.frame(&names, "abc_-9").unwrap();
        let incoming = Incoming::open(frame.payload()).unwrap();
        prop_assert_eq!(incoming.uid.as_deref(), Some("abc_-9"));
        prop_assert_eq!(&incoming.target, &target);
        prop_assert_eq!(&incoming.flags, &flags);
        let again = incoming.event().unwrap();
        prop_assert!(same(again.data(), event.data()), "{} {}", again.data(), event.data());
        prop_assert_eq!(again.attachments(), event.attachments());
    }

    #[test]
    fn requests_come_back_as_they_went(
        event in event(), target in target(), flags in flags(), rooms in vec(any::<String>(), 0..3), id: String,
    ) {
        let names = Names::new("socket.io", "/").unwrap();
        let one = || Selection::One { request_id: id.clone(), socket: "sid".to_owned() };
        let matching = || Selection::Matching(target.clone());
        let request_id = || id.clone();
        for request in [
            Request::Sockets { request_id: request_id(), rooms: rooms.clone() },
            Request::AllRooms { request_id: request_id() },
            Request::Join { selection: matching(), rooms: rooms.clone() },
            Request::Leave { selection: one(), rooms: vec!["room".to_owned()] },
            Request::Disconnect { selection: matching(), close: true },
            Request::Disconnect { selection: one(), close: false },
            Request::Fetch { request_id: request_id(), target: target.clone() },
            Request::ServerSideEmit { request_id: Some(request_id()), data: Argument::json("[\"a\",1]") },
            Request::ServerSideEmit { request_id: None, data: Argument::json("[]") },
        ] {
            let frame = RequestFrame { uid: Some("uid".to_owned()), request };
            prop_assert_eq!(&RequestFrame::decode(frame.frame(&names).unwrap().payload()).unwrap(), &frame);
        }
        let request = Request::Broadcast {
            request_id: request_id(), event: event.clone(), target: target.clone(), flags: flags.clone(),
        };
        let frame = RequestFrame { uid: None, request }.frame(&names).unwrap();
        let again = RequestFrame::decode(frame.payload()).unwrap();
        let Request::Broadcast { event: event_again, .. } = &again.request else { panic!("{again:?}") };
        prop_assert!(same(event_again.data(), event.data()));
        let expected = Request::Broadcast { request_id: id, event: event_again.clone(), target, flags };
        prop_assert_eq!(&again.request, &expected);
    }

    #[test]
    fn responses_come_back_as_they_went(id: String, rooms in vec(any::<String>(), 0..3), value in value(), count: u32) {
        let names = Names::new("socket.io", "/").unwrap();
        let json = value.to_string();
        let socket = SocketInfo {
            id: "s".to_owned(), handshake: format!("{{\"v\":{json}}}").into(), rooms: rooms.clone(), data: "{}".into(),
        };
        for answer in [
            Answer::Done,
            Answer::SocketIds(vec!["a".to_owned()]),
            Answer::Sockets(vec![socket]),
            Answer::Rooms(rooms.clone()),
            Answer::ServerSide(Some(Argument::json(json.clone()))),
            Answer::ServerSide(None),
            Answer::ClientCount(count.into()),
            Answer::Ack(None),
        ] {
            let frame = ResponseFrame { request_id: id.clone(), answer };
            let again = ResponseFrame::decode(frame.frame(&names, Some("uid")).unwrap().payload()).unwrap();
            prop_assert_eq!(&again, &frame);
        }
        let ack = ResponseFrame { request_id: id, answer: Answer::Ack(Some(Argument::json(json.clone()))) };
        let again = ResponseFrame::decode(ack.frame(&names, None).unwrap().payload()).unwrap();
        let Answer::Ack(Some(again)) = again.answer else { panic!("{again:?}") };
        prop_assert!(same(&again.json, &json));
    }

    #[test]
    fn no_bytes_break_the_decoders(bytes in vec(any::<u8>(), 0..200)) {
        fuzzing::adapter(&bytes);
    }

    #[test]
    fn no_damage_to_a_frame_breaks_the_decoders(
        event in event(), damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut: prop::sample::Index,
    ) {
        let names = Names::new("socket.io", "/").unwrap();
        let (target, flags) = (Target::room("r"), Flags::default());
        let request = Request::Broadcast {
            request_id: "id".to_owned(), event: event.clone(), target: target.clone(), flags: flags.clone(),
        };
        for frame in [
            Broadcast { event: &event, target: &target, flags: &flags }.frame(&names, "uid").unwrap(),
            RequestFrame { uid: None, request }.frame(&names).unwrap(),
        ] {
            let mut bytes = frame.payload().to_vec();
            for (at, byte) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            fuzzing::adapter(&bytes);
            fuzzing::adapter(&bytes[..cut.index(bytes.len())]);
        }
    }
}
