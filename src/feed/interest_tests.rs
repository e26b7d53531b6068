//! The pure core against a model of a Redis server: random interest, answers in any order, lost connections.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const LINGER: Duration = Duration::from_millis(2000);
const RETRY: Duration = Duration::from_millis(700);

type Core = Interest<&'static str, u8>;

fn start() -> (Core, Instant) {
    let mut core = Core::new(LINGER);
    core.connected();
    (core, Instant::now())
}

fn take(core: &mut Core, now: Instant) -> (Verb, Vec<&'static str>, Command<&'static str>) {
    let command = core.next_command(now, 100).expect("a command is due");
    (command.verb, command.channels.clone(), command)
}

#[test]
fn the_first_holder_subscribes_and_the_last_unsubscribes_after_the_linger() {
    let (mut core, now) = start();
    core.hold(&"a");
    core.hold(&"a");
    let (verb, channels, command) = take(&mut core, now);
    assert_eq!((verb, channels), (Verb::Subscribe, vec!["a"]));
    assert!(!core.is_confirmed(&"a"), "not before the answer");
    let change = Change { channel: "a", subscribed: true, late: false };
    assert_eq!(core.confirmed(&command), [change]);
    assert!(core.is_confirmed(&"a"));

    core.release(&"a", now);
    assert_eq!(core.deadline(), None, "one holder is left");
    core.release(&"a", now);
    assert_eq!(core.deadline(), Some(now + LINGER));
    assert_eq!(core.next_command(now + LINGER - Duration::from_millis(1), 100), None);
    let (verb, channels, command) = take(&mut core, now + LINGER);
    assert_eq!((verb, channels), (Verb::Unsubscribe, vec!["a"]));
    core.confirmed(&command);
    assert!(core.is_empty());
}

#[test]
fn a_new_holder_within_the_linger_keeps_the_subscription() {
    let (mut core, now) = start();
    core.hold(&"a");
    let (.., command) = take(&mut core, now);
    core.confirmed(&command);
    core.release(&"a", now);
    core.hold(&"a");
    assert!(core.is_confirmed(&"a"));
    assert_eq!(core.next_command(now + 2 * LINGER, 100), None);
}

#[test]
fn while_unsubscribing_a_channel_is_not_confirmed_and_is_subscribed_again_after() {
    let (mut core, now) = start();
    core.hold(&"a");
    let (.., command) = take(&mut core, now);
    core.confirmed(&command);
    core.release(&"a", now);
    let (_, _, unsubscribe) = take(&mut core, now + LINGER);

    core.hold(&"a");
    assert!(!core.is_confirmed(&"a"));
    assert_eq!(core.next_command(now + LINGER, 100), None, "one command in flight per channel");
    core.confirmed(&unsubscribe);
    let (verb, ..) = take(&mut core, now + LINGER);
    assert_eq!(verb, Verb::Subscribe);
}

#[test]
fn answers_of_an_older_connection_do_not_count() {
    let (mut core, now) = start();
    core.hold(&"a");
    let (.., old) = take(&mut core, now);
    core.disconnected();
    assert!(core.confirmed(&old).is_empty());
    core.connected();
    assert!(core.confirmed(&old).is_empty());
    assert!(!core.is_confirmed(&"a"));
    assert!(!core.is_restored());
    let (verb, channels, again) = take(&mut core, now);
    assert_eq!((verb, channels), (Verb::Subscribe, vec!["a"]));
    core.confirmed(&again);
    assert!(core.is_confirmed(&"a") && core.is_restored());
}

#[test]
fn everything_wanted_is_subscribed_again_in_chunks() {
    let names: Vec<String> = (0..25).map(|n| n.to_string()).collect();
    let mut core: Interest<String> = Interest::new(LINGER);
    let now = Instant::now();
    for name in &names {
        core.hold(name);
    }
    core.release(&names[0], now);
    assert_eq!(core.next_command(now, 10), None, "not connected");
    core.connected();
    let sizes: Vec<usize> =
        std::iter::from_fn(|| core.next_command(now, 10)).map(|command| command.channels.len()).collect();
    assert_eq!(sizes, [10, 10, 4]);
}

#[test]
fn a_refused_channel_is_tried_again_and_said_to_be_late() {
    let (mut core, now) = start();
    core.hold(&"a");
    let (.., command) = take(&mut core, now);
    core.refused(&command, now + RETRY);
    assert!(core.is_restored(), "the others are not held up");
    assert_eq!(core.next_command(now, 100), None);
    let (_, _, command) = take(&mut core, now + RETRY);
    assert_eq!(core.confirmed(&command), [Change { channel: "a", subscribed: true, late: true }]);
    core.release(&"a", now);
    let (.., command) = take(&mut core, now + LINGER);
    core.confirmed(&command);
    assert!(core.is_empty());
}

#[test]
fn the_tag_lives_as_long_as_the_channel_is_known() {
    let mut core: Interest<&'static str, std::sync::Arc<()>> = Interest::new(LINGER);
    let tag = core.hold(&"a").clone();
    assert!(std::sync::Arc::ptr_eq(&tag, core.hold(&"a")));
    core.connected();
    assert!(std::sync::Arc::ptr_eq(&tag, core.tag(&"a").unwrap()));
}

#[derive(Debug, Clone)]
enum Step {
    Hold(usize),
    Release(usize),
    /// Send the next command, of at most this many channels.
    Send(usize),
    /// The server does the oldest command and the answer arrives.
    Answer,
    /// The same, but the answer is a refusal if it was SUBSCRIBE.
    Refuse,
    /// The server does the oldest command, and the answer is still on its way when the link breaks.
    BreakLate,
    Break,
    Connect,
    /// An answer of the connection before arrives.
    Stale,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..NAMES.len()).prop_map(Step::Hold),
        6 => (0..NAMES.len()).prop_map(Step::Release),
        5 => (1..4_usize).prop_map(Step::Send),
        5 => Just(Step::Answer),
        1 => Just(Step::Refuse),
        1 => Just(Step::BreakLate),
        1 => Just(Step::Break),
        2 => Just(Step::Connect),
        2 => Just(Step::Stale),
        3 => (0..3000_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..200)
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A server and a link, as far as subscriptions are concerned.
struct Model {
    core: Core,
    now: Instant,
    holders: BTreeMap<&'static str, usize>,
    server: BTreeSet<&'static str>,
    in_flight: VecDeque<Command<&'static str>>,
    stale: Vec<Command<&'static str>>,
    is_up: bool,
}

impl Model {
    fn new() -> Self {
        Self {
            core: Core::new(LINGER),
            now: Instant::now(),
            holders: BTreeMap::new(),
            server: BTreeSet::new(),
            in_flight: VecDeque::new(),
            stale: Vec::new(),
            is_up: false,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Hold(n) => {
                self.core.hold(&NAMES[*n]);
                *self.holders.entry(NAMES[*n]).or_default() += 1;
            }
            Step::Release(n) => {
                if let Some(count @ 1..) = self.holders.get_mut(NAMES[*n]) {
                    *count -= 1;
                    self.core.release(&NAMES[*n], self.now);
                }
            }
            Step::Send(most) => self.send(*most),
            Step::Answer => {
                if let Some(command) = self.serve() {
                    self.core.confirmed(&command);
                }
            }
            Step::Refuse => match self.in_flight.front() {
                Some(command) if command.verb == Verb::Subscribe => {
                    let command = self.in_flight.pop_front().unwrap();
                    self.core.refused(&command, self.now + RETRY);
                }
                _ => {}
            },
            Step::BreakLate => {
                let done = self.serve();
                self.cut();
                self.stale.extend(done);
            }
            Step::Break => self.cut(),
            Step::Connect if !self.is_up => {
                self.core.connected();
                self.is_up = true;
            }
            Step::Connect => {}
            Step::Stale => {
                if let Some(command) = self.stale.pop() {
                    assert!(self.core.confirmed(&command).is_empty());
                    self.core.refused(&command, self.now);
                }
            }
            Step::Wait(ms) => self.now += Duration::from_millis(*ms),
        }
        self.check();
    }

    fn send(&mut self, most: usize) {
        let Some(command) = self.core.next_command(self.now, most) else { return };
        assert!(self.is_up, "a command without a connection");
        assert!((1..=most).contains(&command.channels.len()));
        for channel in &command.channels {
            let twice = self.in_flight.iter().any(|other| other.channels.contains(channel));
            assert!(!twice, "two commands in flight for {channel}");
            let useless = (command.verb == Verb::Subscribe) == self.server.contains(channel);
            assert!(!useless, "the server has done {command:?} already");
        }
        self.in_flight.push_back(command);
    }

    fn serve(&mut self) -> Option<Command<&'static str>> {
        let command = self.in_flight.pop_front()?;
        for &channel in &command.channels {
            match command.verb {
                Verb::Subscribe => self.server.insert(channel),
                Verb::Unsubscribe => self.server.remove(channel),
            };
        }
        Some(command)
    }

    fn cut(&mut self) {
        self.core.disconnected();
        self.is_up = false;
        self.server.clear();
        self.stale.extend(self.in_flight.drain(..));
    }

    fn wanted(&self) -> BTreeSet<&'static str> {
        self.holders.iter().filter(|(_, count)| **count > 0).map(|(name, _)| *name).collect()
    }

    fn check(&self) {
        let confirmed: Vec<_> = NAMES.iter().filter(|name| self.core.is_confirmed(name)).collect();
        assert_eq!(confirmed.len(), self.core.confirmed_len());
        for name in confirmed {
            assert!(self.server.contains(name), "{name} is confirmed and not subscribed");
        }
        for name in self.wanted() {
            assert!(self.core.knows(name));
        }
    }

    /// No more faults: the link is up, commands are answered, lingers and waits pass.
    fn settle(&mut self) {
        self.step(&Step::Connect);
        for _ in 0..20 {
            for step in [Step::Send(2), Step::Answer, Step::Wait(500)] {
                self.step(&step);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happened_after_quiescence_subscribed_equals_wanted(steps in steps()) {
        let mut model = Model::new();
        for step in &steps {
            model.step(step);
        }
        model.settle();
        prop_assert_eq!(&model.server, &model.wanted());
        prop_assert_eq!(model.core.len(), model.wanted().len(), "forgotten channels take no memory");
        prop_assert_eq!(model.core.confirmed_len(), model.wanted().len());
        prop_assert!(model.core.is_restored());
        prop_assert_eq!(model.core.deadline(), None);
        prop_assert!(model.core.ready.is_empty());
    }
}
