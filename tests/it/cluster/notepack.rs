//! Our frames under the decoder of Node's own package: what we publish, Node reads, and as we meant it.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use fleetcast::cluster::{
    EncodedEvent,
    wire::{Answer, Argument, Broadcast, Flag, Flags, Frame, Names, Request, RequestFrame, ResponseFrame},
};
use proptest::{
    collection::vec,
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};

use super::{node::NodeReplica, replica::room};
use crate::support::RedisServer;

/// Frames in one batch; some hundred kilobytes.
const FRAMES: usize = 400;

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i8>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no others", |float| float.is_finite()).prop_map(Value::from),
        any::<i32>().prop_map(|whole| Value::from(f64::from(whole))),
        any::<String>().prop_map(Value::from),
        "[a-z]{250,300}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 18, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..18).prop_map(Value::from),
            vec(("[a-zA-Z0-9é ]{1,40}", inner), 0..18).prop_map(|entries| entries.into_iter().collect()),
        ]
    })
}

/// What went in, and the frames that came out.
fn frames() -> Vec<(Vec<Value>, Vec<u8>, [Frame; 3])> {
    let names = Names::new("socket.io", "/").unwrap();
    let strategy = (vec(value(), 0..4), vec(any::<u8>(), 0..400));
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let mut made = Vec::new();
    for _ in 0..FRAMES {
        let (args, binary) = strategy.new_tree(&mut runner).unwrap().current();
        let placeholder = json!({"_placeholder": true, "num": 0});
        let data: Vec<Value> = [json!("ev")].into_iter().chain(args.clone()).chain([placeholder]).collect();
        let data = Value::from(data).to_string();
        let event = EncodedEvent::from_json(&data, vec![Bytes::from(binary.clone())]).unwrap();
        let (target, flags) = (room("r"), Flags::default().with(Flag::Volatile));
        let broadcast = Broadcast { event: &event, target: &target, flags: &flags }.frame(&names, "abcdef");
        let request = Request::Broadcast { request_id: "123456".to_owned(), event, target, flags };
        let request = RequestFrame { uid: Some("abcdef".to_owned()), request }.frame(&names);
        let argument = Argument::json(Value::from(args.clone()).to_string());
        let answer = Answer::Ack(Some(argument));
        let response = ResponseFrame { request_id: "123456".to_owned(), answer }.frame(&names, None);
        made.push((args, binary, [broadcast.unwrap(), request.unwrap(), response.unwrap()]));
    }
    made
}

/// Numbers are JavaScript's, so they compare as floats.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, left)| right.get(key).is_some_and(|right| same(left, right)))
        }
        _ => left == right,
    }
}

#[tokio::test]
async fn nodes_decoder_reads_every_frame_as_it_was_meant() {
    let redis = RedisServer::start().await;
    let node = NodeReplica::start(&redis, "node-redis").await;
    let made = frames();
    let input: Vec<Vec<String>> = made
        .iter()
        .map(|(.., frames)| frames.each_ref().map(|frame| STANDARD.encode(frame.payload())).into())
        .collect();
    let decode =
        "return input.map((frames) => frames.map((frame) => notepack.decode(Buffer.from(frame, 'base64'))))";
    let decoded = node.try_run(decode, &json!(input)).await.unwrap();
    for ((args, binary, _), decoded) in made.iter().zip(decoded.as_array().unwrap()) {
        let hex: String = binary.iter().map(|byte| format!("{byte:02x}")).collect();
        let data: Vec<Value> =
            [json!("ev")].into_iter().chain(args.clone()).chain([json!({"$hex": hex})]).collect();
        let packet = json!({"type": 2, "data": data, "nsp": "/"});
        let opts = json!({"rooms": ["r"], "except": [], "flags": {"volatile": true}});
        let broadcast = json!(["abcdef", packet, opts]);
        let request =
            json!({"uid": "abcdef", "requestId": "123456", "type": 7, "packet": packet, "opts": opts});
        let response = json!({"type": 9, "requestId": "123456", "packet": args});
        for (expected, decoded) in [broadcast, request, response].iter().zip(decoded.as_array().unwrap()) {
            assert!(same(expected, decoded), "meant {expected}\nread  {decoded}");
        }
    }
    assert_eq!(decoded.as_array().unwrap().len(), FRAMES);
}
