//! Any interleaving of joins, openings, leaves, updates, losses, slow readers and a store that fails or
//! answers late: no viewer sees an asset go back in time, and all end with the fleet's state.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use proptest::prelude::*;
use serde_json::{Map, Value};
use tokio::task::JoinHandle;

use super::{
    Joined, Membership, Mode, Viewer,
    test_world::{Answers, World, event, fleet, settle, states, update, viewer},
};
use crate::{fleet::FleetId, transport::TestClient};

const FLEETS: usize = 2;
const VIEWERS: usize = 4;
const ASSETS: usize = 6;
/// Small enough to be full after a few messages, large enough for the largest asset.
const QUEUES: [usize; VIEWERS] = [2_000, 4_000, 1_000_000, 1_000_000];
const JOIN_LIMIT: Duration = Duration::from_millis(300);

#[derive(Debug, Clone)]
enum Step {
    Join { viewer: usize, fleet: usize, mode: u8, resume: bool },
    Open { viewer: usize },
    Leave { viewer: usize, fleet: usize },
    Update { fleet: usize, assets: Vec<usize>, pad: usize },
    Lose { fleet: usize, asset: usize },
    Gap { fleet: usize },
    FailOver,
    Read { viewer: usize, bytes: usize },
    Wait { ms: u64 },
    Answer { fail: bool, wait_ms: [u64; 2] },
}

fn step() -> impl Strategy<Value = Step> {
    let (viewer, fleet, asset) = (0..VIEWERS, 0..FLEETS, 0..ASSETS);
    let join = (viewer.clone(), fleet.clone(), 0..3_u8, any::<bool>());
    let assets = proptest::collection::vec(asset.clone(), 1..8);
    let wait_ms = prop_oneof![2 => Just(0), 1 => 0..400_u64];
    let wait_ms = [wait_ms.clone(), wait_ms];
    prop_oneof![
        4 => join.prop_map(|(viewer, fleet, mode, resume)| Step::Join { viewer, fleet, mode, resume }),
        4 => viewer.clone().prop_map(|viewer| Step::Open { viewer }),
        2 => (viewer.clone(), fleet.clone()).prop_map(|(viewer, fleet)| Step::Leave { viewer, fleet }),
        10 => (fleet.clone(), assets, 0..600_usize)
            .prop_map(|(fleet, assets, pad)| Step::Update { fleet, assets, pad }),
        1 => (fleet.clone(), asset).prop_map(|(fleet, asset)| Step::Lose { fleet, asset }),
        1 => fleet.prop_map(|fleet| Step::Gap { fleet }),
        1 => Just(Step::FailOver),
        4 => (viewer, 1..5_000_usize).prop_map(|(viewer, bytes)| Step::Read { viewer, bytes }),
        6 => (0..120_u64).prop_map(|ms| Step::Wait { ms }),
        1 => (any::<bool>(), wait_ms).prop_map(|(fail, wait_ms)| Step::Answer { fail, wait_ms }),
    ]
}

/// Fields of an asset as a viewer knows them.
type Fields = Map<String, Value>;

fn number(fields: &Fields) -> i64 {
    fields["n"].as_i64().unwrap()
}

struct Subscribed {
    membership: Membership,
    legacy: bool,
    opened: bool,
    /// What each asset's number was before.
    before: HashMap<String, i64>,
}

type Pending = JoinHandle<(Membership, Option<Joined>, HashMap<String, i64>)>;

struct Dashboard {
    client: TestClient,
    viewer: Viewer,
    known: HashMap<(String, String), Fields>,
    cursors: HashMap<String, String>,
    subscribed: BTreeMap<usize, Subscribed>,
    /// The one request under way: its fleet, and whether it is a legacy join.
    pending: Option<(usize, bool, Pending)>,
}

impl Dashboard {
    fn read(&mut self, bytes: usize, is_faultless: bool) -> Result<(), TestCaseError> {
        for text in self.client.take(bytes) {
            let (name, data) = event(&text);
            match name.as_str() {
                "fleet_update" => {
                    let fields: Fields = serde_json::from_str(data.as_str().unwrap()).unwrap();
                    let key = (text_of(&fields["f"]), text_of(&fields["assetId"]));
                    let (now, known) = (number(&fields), self.known.entry(key).or_default());
                    let before = known.get("n").map_or(0, |n| n.as_i64().unwrap());
                    prop_assert!(now >= before, "{} before {text}", before);
                    prop_assert!(!is_faultless || now > before, "{text} is repeated");
                    known.extend(fields);
                }
                "fleet_snapshot" | "fleet_updates" => self.take_assets(&data)?,
                "resync" => prop_assert!(!is_faultless || data["reason"] == "slow", "{text}"),
                other => prop_assert!(false, "{other}"),
            }
        }
        Ok(())
    }

    fn take_assets(&mut self, data: &Value) -> Result<(), TestCaseError> {
        let fleet = text_of(&data["fleet"]);
        for asset in data["assets"].as_array().unwrap() {
            let fields = asset["data"].as_object().unwrap().clone();
            let key = (fleet.clone(), text_of(&asset["id"]));
            let now = number(&fields);
            if let Some(before) = self.known.insert(key, fields) {
                prop_assert!(now >= number(&before), "{} before {asset}", number(&before));
            }
        }
        let is_last = data["part"].as_u64().is_none_or(|part| part == data["parts"].as_u64().unwrap());
        if is_last {
            self.cursors.insert(fleet, text_of(&data["cursor"]));
        }
        Ok(())
    }

    async fn open(&mut self) {
        for subscribed in self.subscribed.values_mut() {
            subscribed.opened = true;
            subscribed.membership.open().await;
        }
    }

    /// Takes the answer of the request under way, if it has come.
    async fn answered(&mut self) {
        if !self.pending.as_ref().is_some_and(|(.., task)| task.is_finished()) {
            return;
        }
        let Some((fleet, legacy, task)) = self.pending.take() else { return };
        let (membership, joined, before) = task.await.unwrap();
        if joined.is_some() {
            self.subscribed.insert(fleet, Subscribed { membership, legacy, opened: legacy, before });
        }
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

struct Run {
    world: World,
    fleets: Vec<FleetId>,
    dashboards: Vec<Dashboard>,
    numbers: HashMap<(usize, usize), i64>,
    is_faultless: bool,
}

impl Run {
    fn new() -> Self {
        let dashboard = |queue| {
            let (client, viewer) = viewer(queue);
            let (known, cursors) = (HashMap::new(), HashMap::new());
            Dashboard { client, viewer, known, cursors, subscribed: BTreeMap::new(), pending: None }
        };
        Self {
            world: World::new(1_000),
            fleets: (0..FLEETS).map(|index| fleet(&format!("f{index}"))).collect(),
            dashboards: QUEUES.into_iter().map(dashboard).collect(),
            numbers: HashMap::new(),
            is_faultless: true,
        }
    }

    fn next_update(&mut self, fleet: usize, asset: usize, pad: usize) -> crate::fleet::Update {
        let n = self.numbers.entry((fleet, asset)).or_default();
        *n += 1;
        update(&self.fleets[fleet], &format!("a{asset}"), *n, pad)
    }

    fn join(&mut self, viewer: usize, fleet: usize, mode: u8, resume: bool) {
        let id = self.fleets[fleet].clone();
        let dashboard = &mut self.dashboards[viewer];
        if dashboard.pending.is_some() || (mode == 0 && dashboard.subscribed.contains_key(&fleet)) {
            return; // Requests come one after the other, and legacy ones with the handshake.
        }
        let since = dashboard.cursors.get(id.as_str()).filter(|_| resume).cloned();
        let mode = match mode {
            0 => Mode::Legacy,
            1 => Mode::Each { since },
            _ => Mode::Latest { interval: Duration::from_millis(50), since },
        };
        let (legacy, membership) = (mode == Mode::Legacy, self.world.membership(&id, &dashboard.viewer));
        let store = self.world.store.clone();
        let task = tokio::spawn(async move {
            let joined = membership.join(mode, JOIN_LIMIT).await;
            // What is applied from here on is owed even to those who get no snapshot.
            let before =
                states(&store, &id).into_iter().map(|(asset, fields)| (asset, fields["n"].as_i64().unwrap()));
            (membership, joined, before.collect())
        });
        dashboard.pending = Some((fleet, legacy, task));
    }

    async fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Join { viewer, fleet, mode, resume } => self.join(viewer, fleet, mode, resume),
            Step::Open { viewer } => self.dashboards[viewer].open().await,
            Step::Leave { viewer, fleet } => {
                let dashboard = &mut self.dashboards[viewer];
                if dashboard.pending.is_none() {
                    dashboard.subscribed.remove(&fleet);
                }
            }
            Step::Update { fleet, assets, pad } => {
                let updates = assets.into_iter().map(|asset| self.next_update(fleet, asset, pad)).collect();
                self.world.dispatch(&self.fleets[fleet], updates).await;
            }
            Step::Lose { fleet, asset } => {
                self.is_faultless = false;
                let lost = self.next_update(fleet, asset, 0);
                drop(self.world.apply(&self.fleets[fleet], vec![lost]));
            }
            Step::Gap { fleet } => {
                self.is_faultless = false;
                self.world.dispatcher.gap(self.fleets[fleet].clone()).await;
            }
            Step::FailOver => {
                self.is_faultless = false;
                self.world.fail_over(&self.fleets);
                self.world.dispatcher.gap_everywhere().await;
            }
            Step::Read { viewer, bytes } => self.dashboards[viewer].read(bytes, self.is_faultless)?,
            Step::Wait { ms } => tokio::time::sleep(Duration::from_millis(ms)).await,
            Step::Answer { fail, wait_ms } => {
                let wait = wait_ms.map(Duration::from_millis);
                *self.world.answers.lock().unwrap() = Answers { fail, wait };
            }
        }
        for (dashboard, queue) in self.dashboards.iter_mut().zip(QUEUES) {
            dashboard.answered().await;
            // A burst of updates is whole, so it may exceed the bound by itself.
            let backlog = dashboard.client.session.backlog_bytes();
            prop_assert!(backlog <= queue + 10_000, "{backlog} bytes wait in a queue of {queue}");
        }
        Ok(())
    }

    /// The last fault heals, and everybody reads.
    async fn come_to_rest(&mut self) -> Result<(), TestCaseError> {
        *self.world.answers.lock().unwrap() = Answers::default();
        tokio::time::sleep(Duration::from_secs(2)).await;
        if !self.is_faultless {
            self.world.dispatcher.gap_everywhere().await;
        }
        for _ in 0..200 {
            for dashboard in &mut self.dashboards {
                dashboard.answered().await;
                dashboard.open().await;
                dashboard.read(usize::MAX, self.is_faultless)?;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        Ok(())
    }

    /// Everybody knows what the store knows.
    fn check(&self) -> Result<(), TestCaseError> {
        for (viewer, dashboard) in self.dashboards.iter().enumerate() {
            prop_assert!(dashboard.pending.is_none());
            for (&fleet, subscribed) in &dashboard.subscribed {
                for (asset, fields) in states(&self.world.store, &self.fleets[fleet]) {
                    let key = (self.fleets[fleet].to_string(), asset.clone());
                    let known = dashboard.known.get(&key).cloned().unwrap_or_default();
                    let before = subscribed.before.get(&asset).copied().unwrap_or(0);
                    let fields = fields.as_object().unwrap();
                    for (name, value) in fields {
                        // Who only follows is owed what came since.
                        let is_owed = !subscribed.legacy
                            || if name.starts_with('p') && name != "pad" {
                                value.as_i64().unwrap() > before
                            } else {
                                number(fields) > before
                            };
                        prop_assert!(
                            !is_owed || known.get(name) == Some(value),
                            "viewer {viewer}, {key:?}.{name}: {:?} instead of {value}",
                            known.get(name)
                        );
                    }
                }
            }
        }
        Ok(())
    }

    async fn end(mut self) -> Result<(), TestCaseError> {
        self.dashboards.clear();
        tokio::time::sleep(Duration::from_secs(30)).await;
        let metrics = &self.world.metrics;
        prop_assert_eq!((metrics.memberships.get(), metrics.watched_fleets.get()), (0, 0));
        self.world.end().await;
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_viewer_converges_and_nothing_is_left(steps in proptest::collection::vec(step(), 1..80)) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut run = Run::new();
            for step in steps {
                run.step(step).await?;
            }
            settle().await;
            run.come_to_rest().await?;
            run.check()?;
            run.end().await
        })?;
    }
}
