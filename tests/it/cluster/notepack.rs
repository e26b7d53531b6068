//! Our frames under the decoder of Node's own package: what we publish, Node reads, and as we meant it.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use fleetcast::cluster::{
    EncodedEvent,
    wire::{
        Answer, Argument, Broadcast, Dialect, Flag, Flags, Frame, Names, Request, RequestFrame, ResponseFrame,
    },
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
type Made = (Vec<Value>, Vec<u8>, [Frame; 3]);

/// With values of all kinds, and a binary one.
fn arguments() -> Vec<(Vec<Value>, Vec<u8>, EncodedEvent)> {
    let strategy = (vec(value(), 0..4), vec(any::<u8>(), 0..400));
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let mut made = Vec::new();
    for _ in 0..FRAMES {
        let (args, binary) = strategy.new_tree(&mut runner).unwrap().current();
        let placeholder = json!({"_placeholder": true, "num": 0});
        let data: Vec<Value> = [json!("ev")].into_iter().chain(args.clone()).chain([placeholder]).collect();
        let data = Value::from(data).to_string();
        let event = EncodedEvent::from_json(&data, vec![Bytes::from(binary.clone())]).unwrap();
        made.push((args, binary, event));
    }
    made
}

fn frames() -> Vec<Made> {
    let names = Names::new("socket.io", "/").unwrap();
    let frames = |(args, binary, event): (Vec<Value>, Vec<u8>, EncodedEvent)| {
        let (target, flags) = (room("r"), Flags::default().with(Flag::Volatile));
        let broadcast = Broadcast { event: &event, target: &target, flags: &flags }.frame(&names, "abcdef");
        let request = Request::Broadcast { request_id: "123456".to_owned(), event, target, flags };
        let request = RequestFrame { uid: Some("abcdef".to_owned()), request }.frame(&names);
        let argument = Argument::json(Value::from(args.clone()).to_string());
        let answer = Answer::Ack(Some(argument));
        let response = ResponseFrame { request_id: "123456".to_owned(), answer }.frame(&names, None);
        (args, binary, [broadcast.unwrap(), request.unwrap(), response.unwrap()])
    };
    arguments().into_iter().map(frames).collect()
}

/// The same of the sharded adapter: an event without and one with a binary value, and an answer.
fn sharded_frames() -> Vec<Made> {
    let names = Names::new("socket.io", "/").unwrap().of(Dialect::Sharded);
    let frames = |(args, binary, event): (Vec<Value>, Vec<u8>, EncodedEvent)| {
        let (target, flags) = (room("r"), Flags::default().with(Flag::Volatile));
        let data: Vec<Value> = [json!("ev")].into_iter().chain(args.clone()).collect();
        let plain = EncodedEvent::from_json(&Value::from(data).to_string(), Vec::new()).unwrap();
        let plain = names.emit_frame("0123456789abcdef", &plain, &target, &flags);
        let request = Request::Broadcast { request_id: "fedcba9876543210".to_owned(), event, target, flags };
        let asking = names.request_frame("0123456789abcdef", request);
        let argument = Argument::json(Value::from(args.clone()).to_string());
        let answer = Answer::Ack(Some(argument));
        let response = ResponseFrame { request_id: "fedcba9876543210".to_owned(), answer };
        let response = names.response_frame("0123456789abcdef", Some("aaaaaaaaaaaaaaaa"), response);
        (args, binary, [plain.unwrap(), asking.unwrap(), response.unwrap()])
    };
    arguments().into_iter().map(frames).collect()
}

/// What Node makes of the frames' bytes with this expression.
async fn read_by_node(made: &[Made], decode: &str) -> Vec<Vec<Value>> {
    let redis = RedisServer::start().await;
    let node = NodeReplica::start(&redis, "node-redis").await;
    let input: Vec<Vec<String>> = made
        .iter()
        .map(|(.., frames)| frames.each_ref().map(|frame| STANDARD.encode(frame.payload())).into())
        .collect();
    let body = format!(
        "const decode = (bytes) => {decode}; \
         return input.map((frames) => frames.map((frame) => decode(Buffer.from(frame, 'base64'))))"
    );
    let decoded = node.try_run(&body, &json!(input)).await.unwrap();
    serde_json::from_value(decoded).unwrap()
}

fn assert_same(expected: &[Value], decoded: &[Value]) {
    for (expected, decoded) in expected.iter().zip(decoded) {
        assert!(same(expected, decoded), "meant {expected}\nread  {decoded}");
    }
    assert_eq!(expected.len(), decoded.len());
}

fn hex(binary: &[u8]) -> Value {
    json!({"$hex": binary.iter().map(|byte| format!("{byte:02x}")).collect::<String>()})
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
    let made = frames();
    let decoded = read_by_node(&made, "notepack.decode(bytes)").await;
    for ((args, binary, _), decoded) in made.iter().zip(&decoded) {
        let data: Vec<Value> = [json!("ev")].into_iter().chain(args.clone()).chain([hex(binary)]).collect();
        let packet = json!({"type": 2, "data": data, "nsp": "/"});
        let opts = json!({"rooms": ["r"], "except": [], "flags": {"volatile": true}});
        let broadcast = json!(["abcdef", packet, opts]);
        let request =
            json!({"uid": "abcdef", "requestId": "123456", "type": 7, "packet": packet, "opts": opts});
        let response = json!({"type": 9, "requestId": "123456", "packet": args});
        assert_same(&[broadcast, request, response], decoded);
    }
    assert_eq!(decoded.len(), FRAMES);
}

#[tokio::test]
async fn nodes_sharded_adapter_reads_every_message_as_it_was_meant() {
    let made = sharded_frames();
    // As its `onRawMessage` does.
    let decode = "bytes[0] === 0x7b ? JSON.parse(bytes.toString()) : notepack.decode(bytes)";
    let decoded = read_by_node(&made, decode).await;
    let message =
        |kind: u64, data: Value| json!({"type": kind, "data": data, "uid": "0123456789abcdef", "nsp": "/"});
    for ((args, binary, _), decoded) in made.iter().zip(&decoded) {
        let data: Vec<Value> = [json!("ev")].into_iter().chain(args.clone()).collect();
        let with_binary: Vec<Value> = data.iter().cloned().chain([hex(binary)]).collect();
        let opts = json!({"rooms": ["r"], "except": [], "flags": {"volatile": true}});
        let plain = json!({"packet": {"type": 2, "data": data}, "opts": opts});
        let id = "fedcba9876543210";
        let asking = json!({"packet": {"type": 2, "data": with_binary}, "requestId": id, "opts": opts});
        let answer = json!({"requestId": id, "packet": args});
        assert_same(&[message(3, plain), message(3, asking), message(12, answer)], decoded);
    }
    assert_eq!(decoded.len(), FRAMES);
}
