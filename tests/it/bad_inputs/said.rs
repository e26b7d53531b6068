//! Frames, packets and requests of a connected dashboard.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::Message;

use super::{PROBE, Raw, World, assert_ends, assert_lives, frame};
use crate::support::Viewer;

#[tokio::test]
async fn row_08_frames_that_break_the_rules_are_closed_with_their_codes() {
    let world = World::start().await;
    let before = world.count("fleetcast_protocol_errors_total").await;
    let text = br#"42["x"]"#;
    let cases: [(&str, Vec<u8>, u16); 9] = [
        ("reserved bit 2", frame(0xa1, text), 1002),
        ("reserved bit 3", frame(0x91, text), 1002),
        ("a reserved opcode", frame(0x83, text), 1002),
        ("a reserved control opcode", frame(0x8b, b""), 1002),
        ("unmasked", [&[0x81, 7], text.as_slice()].concat(), 1002),
        ("no UTF-8", frame(0x81, &[b'4', b'2', 0xff]), 1007),
        ("a fragmented ping", frame(0x09, b"p"), 1002),
        ("a close of one byte", frame(0x88, b"x"), 1002),
        ("a close with a code that must not be sent", frame(0x88, &1005_u16.to_be_bytes()), 1002),
    ];
    for (name, bytes, code) in &cases {
        assert_eq!(Raw::code_of(world.addr(), bytes).await, Some(*code), "{name}");
    }
    let counted = world.count("fleetcast_protocol_errors_total").await - before;
    assert_eq!(counted, cases.len() as f64);
    world.end().await;
}

#[tokio::test]
async fn row_10_large_messages_and_a_million_fragments_cost_one_message_at_most() {
    let world = World::start().await;
    let huge = [0x81, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(Raw::code_of(world.addr(), &huge).await, Some(1009));
    let rss = world.gateway.rss_bytes();
    let tiny = [frame(0x01, b"4"), frame(0x00, b"x").repeat(1_000_000)].concat();
    let code = Raw::code_of(world.addr(), &tiny).await;
    // Cut off while it still talks, the client may see a reset before the code.
    assert!(matches!(code, None | Some(1008)), "{code:?}");
    let grown = world.gateway.rss_bytes().saturating_sub(rss);
    assert!(grown < 16 << 20, "{grown}");
    assert!(world.count("fleetcast_protocol_errors_total").await >= 2.0);
    world.end().await;
}

#[tokio::test]
async fn row_11_nothing_is_inflated() {
    let world = World::start().await;
    let offer = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    let mut socket = TcpStream::connect(world.addr()).await.unwrap();
    let head = format!("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: h\r\n{offer}\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains("\r\n\r\n") {
        assert_ne!(socket.read_buf(&mut answer).await.unwrap(), 0);
    }
    let answer = String::from_utf8_lossy(&answer).to_lowercase();
    assert!(answer.starts_with("http/1.1 101") && !answer.contains("sec-websocket-extensions"), "{answer}");
    drop(socket);
    // A compressed frame all the same.
    assert_eq!(Raw::code_of(world.addr(), &frame(0xc1, &[0x4b, 0x4c, 0x04, 0x00])).await, Some(1002));
    assert!(world.count("fleetcast_protocol_errors_total").await >= 1.0);
    world.end().await;
}

#[tokio::test]
async fn row_12_placeholders_of_nothing_end_the_session() {
    let world = World::start().await;
    let event = |num: &str| format!(r#"451-["a",{{"_placeholder":true,"num":{num}}}]"#);
    let nums = ["\"splice\"", "-1", "1", "1e9", "null", "{}"].map(event);
    let cases: Vec<[&str; 2]> = nums.iter().map(|event| [event.as_str(), "attachment"]).collect();
    assert_ends(&world, &cases.iter().map(<[&str; 2]>::as_slice).collect::<Vec<_>>()).await;
    let half = event("0.5");
    assert_lives(&world, &[&[&half, "attachment"], &[&event("0"), "attachment"]]).await;
    world.end().await;
}

#[tokio::test]
async fn row_13_attachments_are_few_and_come_behind_their_event() {
    let world = World::start().await;
    assert_ends(
        &world,
        &[
            &[r#"459999999-["x"]"#, "attachment"],
            &[r#"4511-["x"]"#],
            &[r#"450-["x"]"#],
            &[r#"452-["x"]"#, "attachment", r#"42["x"]"#],
            &["attachment"],
            &[r#"451-["x"]"#, "attachment", "attachment"],
        ],
    )
    .await;
    world.end().await;
}

#[tokio::test]
async fn row_14_events_without_a_name_of_their_own_end_the_session() {
    let world = World::start().await;
    assert_ends(
        &world,
        &[
            &[r#"42[{"toString":"foo"}]"#],
            &["42[]"],
            &["42{}"],
            &["42null"],
            &[r#"42["connect"]"#],
            &[r#"42["connect_error"]"#],
            &[r#"42["disconnect"]"#],
            &[r#"42["disconnecting"]"#],
            &[r#"42["newListener"]"#],
            &[r#"42["removeListener"]"#],
        ],
    )
    .await;
    world.end().await;
}

#[tokio::test]
async fn row_15_strange_json_is_data_or_the_end_and_never_a_crash() {
    let world = World::start().await;
    let deep = format!(r#"42["x",{}{}]"#, "[".repeat(30_000), "]".repeat(30_000));
    assert_lives(
        &world,
        &[
            &[&deep],
            &[r#"42["x",1e308,1e999,-1e999]"#],
            &[r#"42["x","\ud800","\udc00\ud800"]"#],
            &[r#"42["x",{"a":1,"a":2}]"#],
            &[r#"42["__proto__",{"__proto__":{"ok":true},"constructor":{"prototype":{}}}]"#],
        ],
    )
    .await;
    assert_ends(&world, &[&[r#"42["x",NaN]"#], &[r#"42["x",Infinity]"#], &["42[\"x\",\"\u{1}\"]"]]).await;
    // As the object of a request it is refused by name.
    let mut viewer = Viewer::connect(world.addr(), "").await;
    let nested = (0..150).fold(json!(1), |inner, _| json!([inner]));
    let odd = json!({"__proto__": {"fleet": "f"}, "constructor": 1});
    for request in [nested, odd, json!({"fleet": {"toString": "f"}}), json!({"fleet": "a\u{0}b"})] {
        let answer = viewer.request("fleet_subscribe", request).await;
        assert_eq!(answer["error"]["code"], "bad_request", "{answer}");
    }
    viewer.leave().await;
    world.end().await;
}

#[tokio::test]
async fn row_16_acknowledgements_of_any_number_are_bounded_and_answered_once() {
    let world = World::start().await;
    assert_lives(
        &world,
        &[&["4399[]"], &["431[1]", "431[1]"], &["43123456789012345[{}]"], &[r#"42123456789012345["x"]"#]],
    )
    .await;
    assert_ends(&world, &[&[r#"42-1["x"]"#], &["431{}"]]).await;
    let mut twice = Raw::connected(world.addr()).await;
    for _ in 0..2 {
        twice.say(Message::text(r#"425["fleet_unsubscribe",{"fleet":"f"}]"#)).await;
    }
    for _ in 0..2 {
        assert_eq!(twice.next().await.as_deref(), Some(r#"435[{"ok":true}]"#));
    }
    assert!(twice.lives().await);
    // One of 25 digits is not acknowledged, rather than under another number.
    let mut long = Raw::connected(world.addr()).await;
    let number = "9".repeat(25);
    long.say(Message::text(format!(r#"42{number}["fleet_unsubscribe",{{"fleet":"f"}}]"#))).await;
    long.say(Message::text(PROBE)).await;
    assert_eq!(long.next().await.as_deref(), Some(r#"43977[{"ok":true}]"#));
    drop(long);
    world.end().await;
}

#[tokio::test]
async fn row_17_namespaces_that_are_none_are_refused_and_connect_comes_first_and_once() {
    let world = World::start().await;
    let long = format!("/{}", "n".repeat(60_000));
    for name in ["/admin", "/*", "/[a]", "/{a}", "/a?query=1", "/😀", "/__proto__", &long] {
        let mut raw = Raw::connected(world.addr()).await;
        raw.say(Message::text(format!("40{name},"))).await;
        let refusal = raw.next().await.expect("an answer");
        assert!(refusal.starts_with("44/") && refusal.contains("Invalid namespace"), "{refusal:.100}");
        assert!(raw.lives().await, "{name:.100}");
    }
    assert_ends(&world, &[&["40"], &["40{}"], &[r#"42/admin,["x"]"#], &["41/admin,"]]).await;
    for early in [r#"42["x"]"#, "41", "431[]", "40[]", "40null", "44{}"] {
        let mut raw = Raw::open(world.addr(), "EIO=4").await;
        raw.say(Message::text(early)).await;
        raw.next().await; // OPEN.
        assert_eq!(raw.next().await, None, "{early}");
    }
    world.end().await;
}

#[tokio::test]
async fn row_21_fleets_by_the_thousand_and_names_that_mean_something_elsewhere() {
    let world = World::start().await;
    let refused = world.count("fleetcast_subscriptions_refused_total").await;
    let mut viewer = Viewer::connect(world.addr(), "").await;
    for (fleet, code) in [
        (json!("a#b"), Some("bad_request")),
        (json!("a*"), Some("bad_request")),
        (json!("*"), Some("bad_request")),
        (json!("a\u{0}b"), Some("bad_request")),
        (json!(""), Some("bad_request")),
        (json!(7), Some("bad_request")),
        (json!("x".repeat(129)), Some("bad_request")),
        (json!("7"), None),
        (json!("🚚"), None),
        (json!("__proto__"), None),
        (json!("x".repeat(20)), None),
    ] {
        let answer = viewer.request_quietly("fleet_subscribe", json!({ "fleet": fleet })).await;
        let error = answer["error"]["code"].as_str();
        assert_eq!(error, code, "{fleet}: {answer}");
    }
    let mut subscribed = 4;
    for n in 0..10_000 {
        let fleet = format!("fleet {n}");
        let answer = viewer.request_quietly("fleet_subscribe", json!({ "fleet": fleet })).await;
        if answer["ok"] == Value::Bool(false) {
            assert_eq!(answer["error"]["code"], "too_many", "{answer}");
            if n > 300 {
                break;
            }
        } else {
            subscribed += 1;
        }
    }
    assert_eq!(subscribed, 100, "FLEETCAST_MAX_SUBSCRIPTIONS");
    assert!(world.count("fleetcast_subscriptions_refused_total").await - refused >= 200.0);
    viewer.leave().await;
    world.end().await;
}

#[tokio::test]
async fn row_22_shapes_that_are_on_no_globe_are_refused_by_name() {
    let world = World::start().await;
    let mut viewer = Viewer::connect(world.addr(), "").await;
    for (shape, named) in [
        (json!({"bbox": [0, 0, 1, 91]}), "bbox"),
        (json!({"bbox": [0, -91, 1, 0]}), "bbox"),
        (json!({"bbox": [0, "NaN", 1, 1]}), "bbox"),
        (json!({"bbox": [0, 0, 1]}), "bbox"),
        (json!({"circle": {"lon": 0, "lat": 0, "radius_m": -1}}), "circle"),
        (json!({"circle": {"lon": 0, "lat": 91, "radius_m": 1}}), "circle"),
        (json!({"geohash": ["u4pruydqqvjzz"]}), "geohash"),
        (json!({"geohash": ["a"]}), "geohash"),
        (json!({"polygon": [[0, 0], [1, 1], [0, 1], [1, 0]]}), "polygon"),
        (json!({"polygon": [[0, 0], [1, 1]]}), "polygon"),
        (json!({}), "bbox"),
    ] {
        let mut request = shape.clone();
        request["region"] = json!("r");
        let answer = viewer.request("region_subscribe", request).await;
        assert_eq!(answer["error"]["code"], "bad_request", "{shape}: {answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(named), "{shape}: {message}");
    }
    assert!(world.count("fleetcast_subscriptions_refused_total").await >= 11.0);
    viewer.leave().await;
    world.end().await;
}
