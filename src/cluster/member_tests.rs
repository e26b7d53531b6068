//! Several members on a bus in memory.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    AskError, EncodedEvent, LocalSockets, Member, Rooms, Service, Settings, SubscribeMode,
    bus::{Bus, BusError},
    memory_bus::Network,
    memory_sockets::MemorySockets,
    wire::{Answer, Argument, Flag, Flags, Frame, Names, ResponseFrame, Target},
};
use crate::observe::Metrics;

/// Channels of a member without sockets: requests, responses, its own, the namespace.
const CHANNELS_OF_ITS_OWN: usize = 4;

struct Replica {
    member: Member,
    sockets: MemorySockets,
    metrics: Arc<Metrics>,
    index: usize,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

struct Cluster {
    network: Network,
    replicas: Vec<Replica>,
}

impl Cluster {
    fn start(members: usize) -> Self {
        Self::start_with(members, &Settings::default())
    }

    fn start_with(members: usize, settings: &Settings) -> Self {
        let network = Network::default();
        let replicas = (0..members).map(|index| replica(&network, index, settings)).collect();
        Self { network, replicas }
    }

    /// Lets everything happen that can.
    async fn settle(&self) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
}

impl std::ops::Index<usize> for Cluster {
    type Output = Replica;
    fn index(&self, index: usize) -> &Replica {
        &self.replicas[index]
    }
}

fn names() -> Arc<Names> {
    Arc::new(Names::new("socket.io", "/").unwrap())
}

fn replica(network: &Network, index: usize, settings: &Settings) -> Replica {
    let prefix = (settings.subscribe == SubscribeMode::Pattern).then(|| names().namespace().to_owned());
    let (bus, events) = network.connect(prefix);
    let bus: Arc<dyn Bus> = Arc::new(bus);
    let sockets = MemorySockets::default();
    sockets.hold_in(Rooms::new(bus.clone(), names(), settings.subscribe));
    let metrics = Arc::new(Metrics::default());
    let settings = Settings { replica: format!("replica-{index}"), ..settings.clone() };
    let member = Member::new(names(), settings, bus, Arc::new(sockets.clone()), metrics.clone());
    let stop = CancellationToken::new();
    let task = tokio::spawn(Service::new(member.clone(), events, None).run(stop.clone()));
    Replica { member, sockets, metrics, index, stop, task }
}

fn event(data: &str) -> EncodedEvent {
    EncodedEvent::from_json(data, Vec::new()).unwrap()
}

fn target(rooms: &[&str], except: &[&str]) -> Target {
    let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    Target { rooms: owned(rooms), except: owned(except) }
}

fn room(name: &str) -> Target {
    target(&[name], &[])
}

#[tokio::test]
async fn an_emit_reaches_the_sockets_of_all_members_once() {
    let cluster = Cluster::start(3);
    for (index, id) in ["a", "b", "c"].into_iter().enumerate() {
        cluster[index].sockets.connect(id, &["one", "two"]).await;
    }
    cluster[1].sockets.connect("b2", &["one", "muted"]).await;
    let local =
        cluster[0].member.emit(&event(r#"["e",1]"#), &target(&["one", "two"], &["muted"]), &Flags::default());
    cluster.settle().await;
    assert_eq!(local, 1);
    for (index, id) in ["a", "b", "c"].into_iter().enumerate() {
        assert_eq!(cluster[index].sockets.packets(id), [r#"2["e",1]"#], "{id}");
    }
    assert!(cluster[1].sockets.packets("b2").is_empty());
}

#[tokio::test]
async fn a_socket_answers_to_its_own_id_in_every_list_of_rooms() {
    let cluster = Cluster::start(2);
    cluster[1].sockets.connect("b1", &["one"]).await;
    cluster[1].sockets.connect("b2", &["one"]).await;
    cluster[0].member.emit(&event(r#"["to id"]"#), &room("b1"), &Flags::default());
    cluster[0].member.emit(&event(r#"["but id"]"#), &target(&["one"], &["b1"]), &Flags::default());
    cluster.settle().await;
    assert_eq!(cluster[1].sockets.packets("b1"), [r#"2["to id"]"#]);
    assert_eq!(cluster[1].sockets.packets("b2"), [r#"2["but id"]"#]);
    let found = cluster[0].member.fetch_sockets(&room("b2")).await.unwrap();
    assert_eq!(found.iter().map(|socket| &*socket.id).collect::<Vec<_>>(), ["b2"]);
}

#[tokio::test]
async fn binary_values_and_flags_cross_the_cluster() {
    let cluster = Cluster::start(2);
    cluster[1].sockets.connect("b", &["one"]).await;
    let data = r#"["e",{"_placeholder":true,"num":0}]"#;
    let binary = EncodedEvent::from_json(data, vec![Bytes::from_static(b"\x00\xff")]).unwrap();
    cluster[0].member.emit(&binary, &room("one"), &Flags::default().with(Flag::Volatile));
    cluster.settle().await;
    let received = cluster[1].sockets.received("b");
    assert_eq!(received[0].packet, format!("51-{data}"));
    assert_eq!(received[0].attachments, [Bytes::from_static(b"\x00\xff")]);
    assert!(received[0].volatile);
}

#[tokio::test]
async fn joins_leaves_and_disconnects_take_effect_everywhere() {
    let cluster = Cluster::start(2);
    cluster[0].sockets.connect("a", &["one"]).await;
    cluster[1].sockets.connect("b", &["one"]).await;
    cluster[1].sockets.connect("b2", &["two"]).await;
    cluster[0].member.join(&room("one"), &["new".to_owned()]);
    assert_eq!(cluster[0].sockets.rooms_of("a"), ["new", "one"], "local sockets at once");
    cluster.settle().await;
    assert_eq!(cluster[1].sockets.rooms_of("b"), ["new", "one"]);
    assert_eq!(cluster[1].sockets.rooms_of("b2"), ["two"]);
    cluster[0].member.emit(&event(r#"["e"]"#), &room("new"), &Flags::default());
    cluster.settle().await;
    assert_eq!(cluster[1].sockets.packets("b"), [r#"2["e"]"#]);
    cluster[0].member.leave(&target(&[], &[]), &["new".to_owned()]);
    cluster[0].member.disconnect(&room("two"), true);
    cluster.settle().await;
    assert_eq!(cluster[1].sockets.rooms_of("b"), ["one"]);
    assert_eq!(cluster[1].sockets.disconnected(), [("b2".to_owned(), true)]);
    assert!(cluster[0].sockets.disconnected().is_empty());
}

#[tokio::test]
async fn questions_get_the_answers_of_all_members() {
    let cluster = Cluster::start(3);
    cluster[0].sockets.connect("a", &["one"]).await;
    cluster[1].sockets.connect("b", &["two"]).await;
    let member = &cluster[0].member;
    assert_eq!(member.server_count().await.unwrap(), 3);
    let rooms: Vec<String> = member.all_rooms().await.unwrap().into_iter().collect();
    assert_eq!(rooms, ["a", "b", "one", "two"]);
    let sockets = member.fetch_sockets(&Target::default()).await.unwrap();
    assert_eq!(sockets.len(), 2);
    assert_eq!(sockets[1], cluster[1].sockets.sockets(&room("b"))[0], "everything arrives as it is");
    let answers = member.server_side_emit_with_ack(Argument::json(r#"["cluster_ping"]"#)).await.unwrap();
    let ids: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().json).collect();
    assert_eq!(ids.len(), 2);
    assert!(ids.iter().any(|id| id.contains("\"replica-1\"") && id.contains(env!("CARGO_PKG_VERSION"))));
    let (others, count) = member.others_by_name().await;
    assert_eq!((others.len(), count), (2, 2));
    assert_eq!((&others[0]["server"], &others[0]["viewers"]), (&"fleetcast".into(), &0.into()));
    let others = member.server_side_emit_with_ack(Argument::json(r#"["unknown",1]"#)).await.unwrap();
    assert_eq!(others, [Some(Argument::json("null")), Some(Argument::json("null"))]);
}

#[tokio::test]
async fn acknowledgements_of_all_members_come_back() {
    let cluster = Cluster::start(3);
    cluster[0].sockets.connect("a", &["one"]).await;
    cluster[1].sockets.connect("b", &["one"]).await;
    cluster[1].sockets.connect("b2", &["one"]).await;
    cluster[0].sockets.reply("a", Some("1"));
    cluster[1].sockets.reply("b", Some(r#"{"x":2}"#));
    cluster[1].sockets.reply("b2", None);
    let within = Duration::from_secs(5);
    let mut answers =
        cluster[0].member.emit_with_ack(&event(r#"["ask"]"#), &room("one"), within).await.unwrap();
    answers.sort_by_key(|answer| answer.as_ref().map(|answer| answer.json.clone()));
    assert_eq!(answers, [None, Some(Argument::json("1")), Some(Argument::json(r#"{"x":2}"#))]);
    assert_eq!(cluster[1].sockets.packets("b"), [r#"20["ask"]"#]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_dashboard_costs_the_deadline_and_no_more() {
    let cluster = Cluster::start(2);
    cluster[1].sockets.connect("b", &["one"]).await;
    cluster[1].sockets.connect("silent", &["one"]).await;
    cluster[1].sockets.reply("b", Some("7"));
    let within = Duration::from_secs(2);
    let started = tokio::time::Instant::now();
    let failed = cluster[0].member.emit_with_ack(&event(r#"["ask"]"#), &room("one"), within).await;
    let answers = vec![Some(Argument::json("7"))];
    assert_eq!(failed, Err(AskError::TimedOut { missing: 1, after: within, answers }));
    assert_eq!(started.elapsed(), within);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_does_not_answer_costs_the_deadline_and_no_more() {
    let cluster = Cluster::start(1);
    // Counted, and deaf.
    let (deaf, _events) = cluster.network.connect(None);
    let _hold = deaf.hold(names().request().to_owned());
    let failed = cluster[0].member.all_rooms().await;
    let after = Settings::default().request_timeout;
    assert_eq!(failed, Err(AskError::TimedOut { missing: 1, after, answers: Vec::new() }));
    assert_eq!(cluster[0].metrics.adapter_requests_timed_out.get(), 1);
}

#[tokio::test]
async fn without_redis_local_sockets_are_served_and_questions_fail_at_once() {
    let cluster = Cluster::start(2);
    cluster[0].sockets.connect("a", &["one"]).await;
    cluster[1].sockets.connect("b", &["one"]).await;
    cluster.network.set_away(true);
    cluster[0].member.emit(&event(r#"["e"]"#), &room("one"), &Flags::default());
    cluster[0].member.join(&room("one"), &["new".to_owned()]);
    assert_eq!(cluster[0].sockets.packets("a"), [r#"2["e"]"#]);
    assert_eq!(cluster[0].sockets.rooms_of("a"), ["new", "one"]);
    assert_eq!(cluster[0].member.all_rooms().await, Err(AskError::Bus(BusError::Disconnected)));
    cluster.network.set_away(false);
    cluster.settle().await;
    assert!(cluster[0].member.all_rooms().await.is_ok());
    assert!(cluster[1].sockets.packets("b").is_empty(), "what was said meanwhile is not said again");
}

#[tokio::test(start_paused = true)]
async fn a_question_that_waits_when_redis_is_lost_fails_then() {
    let cluster = Cluster::start(1);
    let (deaf, _events) = cluster.network.connect(None);
    let _hold = deaf.hold(names().request().to_owned());
    let member = cluster[0].member.clone();
    let asking = tokio::spawn(async move { member.all_rooms().await });
    cluster.settle().await;
    let started = tokio::time::Instant::now();
    cluster.network.set_away(true);
    assert_eq!(asking.await.unwrap(), Err(AskError::Lost));
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn interest_follows_the_sockets() {
    let cluster = Cluster::start(1);
    let replica = &cluster[0];
    let channels = || cluster.network.channels(replica.index);
    assert_eq!(channels(), CHANNELS_OF_ITS_OWN);
    replica.sockets.connect("a", &["one", "two"]).await;
    replica.sockets.connect("b", &["one"]).await;
    assert_eq!(channels(), CHANNELS_OF_ITS_OWN + 4);
    replica.sockets.drop_socket("a");
    assert_eq!(channels(), CHANNELS_OF_ITS_OWN + 2);
    replica.sockets.drop_socket("b");
    assert_eq!(channels(), CHANNELS_OF_ITS_OWN);
}

#[tokio::test]
async fn a_pattern_hears_rooms_that_were_joined_a_moment_ago() {
    let settings = Settings { subscribe: SubscribeMode::Pattern, ..Settings::default() };
    let cluster = Cluster::start_with(2, &settings);
    cluster[1].sockets.connect("b", &["one"]).await;
    assert_eq!(cluster.network.channels(1), CHANNELS_OF_ITS_OWN - 1, "the pattern has the namespace's");
    cluster[0].member.join(&room("one"), &["new".to_owned()]);
    cluster[0].member.emit(&event(r#"["e"]"#), &room("new"), &Flags::default());
    cluster.settle().await;
    assert_eq!(cluster[1].sockets.packets("b"), [r#"2["e"]"#]);
}

#[tokio::test]
async fn nonsense_is_counted_and_ignored_and_counted_requests_are_answered() {
    let cluster = Cluster::start(2);
    let replica = &cluster[0];
    replica.sockets.connect("a", &["one"]).await;
    let names = names();
    let channels = [names.namespace().to_owned(), names.room("one"), names.request().to_owned()];
    let nonsense: [&[u8]; 6] = [b"", b"{", b"\xc1", b"\xc0", b"\x93\xc0\xc0\xc0", b"{\"type\":99}"];
    for channel in &channels {
        for payload in nonsense {
            cluster.network.inject(&Frame::unchecked(channel, payload));
        }
    }
    cluster.network.inject(&Frame::unchecked(names.request(), br#"{"type":5,"requestId":"x"}"#));
    // A reserved event would make dashboards disconnect.
    let reserved = b"\x93\xa1u\x82\xa4type\x02\xa4data\x91\xaadisconnect\x81\xa5rooms\x90";
    cluster.network.inject(&Frame::unchecked(names.namespace(), reserved));
    cluster.settle().await;
    let expected = channels.len() * nonsense.len() + 2;
    assert_eq!(replica.metrics.adapter_malformed.get(), expected as u64);
    assert_eq!(replica.metrics.adapter_requests_answered.get(), 1);
    assert!(replica.sockets.packets("a").is_empty());
    assert!(!replica.task.is_finished());
    assert!(replica.member.all_rooms().await.is_ok());
}

#[tokio::test]
async fn answers_that_nobody_asked_for_are_ignored() {
    let cluster = Cluster::start(2);
    let stranger = ResponseFrame { request_id: "nobody".to_owned(), answer: Answer::ClientCount(3) };
    cluster.network.inject(&stranger.frame(&names(), None).unwrap());
    cluster.network.inject(&Frame::unchecked(names().response(), b"\xc1"));
    cluster.settle().await;
    assert_eq!(cluster[0].metrics.adapter_malformed.get(), 0, "not even read while nothing is asked");
    assert!(cluster[0].member.all_rooms().await.is_ok());
}

#[tokio::test]
async fn whoever_stops_is_not_counted_any_more() {
    let mut cluster = Cluster::start(2);
    let replica = cluster.replicas.pop().unwrap();
    replica.stop.cancel();
    replica.task.await.unwrap();
    assert_eq!(cluster.network.channels(1), 0);
    assert_eq!(cluster[0].member.server_count().await.unwrap(), 1);
    assert!(cluster[0].member.all_rooms().await.is_ok());
}
