//! What tests of a shard stand on: one shard over a memory store whose answers may fail or come late, and
//! updates that are known by a number.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{DispatchOptions, Dispatcher, Heads, Loader, Membership, Mode, Payload, Viewer};
use crate::{
    feed::Feed,
    fleet::{AssetId, Epoch, FleetBatch, FleetId, Record, Update},
    observe::Metrics,
    store::{MemoryStore, Snapshot, Store, TrackRule},
    tasks::Tasks,
    transport::TestClient,
};

/// How the store answers from now on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Answers {
    pub(super) fail: bool,
    /// Before the store is read, and after.
    pub(super) wait: [Duration; 2],
}

pub(super) struct World {
    pub(super) dispatcher: Dispatcher,
    pub(super) metrics: Arc<Metrics>,
    pub(super) answers: Arc<Mutex<Answers>>,
    /// How many reads are under way, and how many there were at most.
    pub(super) reading: Arc<[AtomicUsize; 2]>,
    pub(super) store: Arc<Mutex<MemoryStore>>,
    stop: CancellationToken,
    tasks: Tasks,
}

impl World {
    pub(super) fn new(frame_bytes_max: usize) -> Self {
        let (metrics, tasks, stop) = (Arc::default(), Tasks::default(), CancellationToken::new());
        let store = Arc::new(Mutex::new(MemoryStore::new(TrackRule::default())));
        let (answers, reading) = (Arc::<Mutex<Answers>>::default(), Arc::<[AtomicUsize; 2]>::default());
        let options =
            DispatchOptions { shards: 1, payload: Payload::String, frame_bytes_max, relay_only: false };
        let loader = loader(&store, &answers, &reading);
        let heads = heads(&store, &answers);
        let dispatcher = Dispatcher::start(&options, &loader, &heads, &metrics, &tasks, &stop);
        Self { dispatcher, metrics, answers, reading, store, stop, tasks }
    }

    /// Applies messages to the store; what it makes of them is not dispatched.
    pub(super) fn apply(&self, fleet: &FleetId, updates: Vec<Update>) -> (Vec<FleetBatch>, Epoch) {
        let store = self.store.lock().unwrap();
        let record = |update| Record { fleet: fleet.clone(), update, origin: None };
        let applied = store.apply(updates.into_iter().map(record).collect(), 0);
        (applied.fresh, store.epoch())
    }

    pub(super) async fn dispatch(&self, fleet: &FleetId, updates: Vec<Update>) {
        let (batches, epoch) = self.apply(fleet, updates);
        for batch in batches {
            self.dispatcher.dispatch(batch, Some(epoch)).await;
        }
    }

    /// What the look for silent losses does.
    pub(super) async fn audit(&self) {
        for (fleet, _) in self.dispatcher.fleets().await {
            let head = head(&self.store.lock().unwrap(), &fleet);
            if let Some((epoch, seq)) = head {
                self.dispatcher.expect(fleet, epoch, seq).await;
            }
        }
        settle().await;
    }

    /// The same states in another life of the counters.
    pub(super) fn fail_over(&self, fleets: &[FleetId]) {
        let next = MemoryStore::new(TrackRule::default());
        let mut store = self.store.lock().unwrap();
        for fleet in fleets {
            let record = |state: &Arc<crate::fleet::AssetState>| Record {
                fleet: fleet.clone(),
                update: Update {
                    asset: Some(state.id.clone()),
                    ts_ms: state.ts_ms,
                    position: state.position,
                    raw: state.data.clone(),
                },
                origin: None,
            };
            drop(next.apply(read(&store, fleet).assets.iter().map(record).collect(), 0));
        }
        *store = next;
    }

    pub(super) fn membership(&self, fleet: &FleetId, viewer: &Viewer) -> Membership {
        Membership::new(fleet.clone(), viewer.clone(), self.dispatcher.clone(), Feed::Memory.watch(fleet))
    }

    /// A member of the fleet that has been let in and, if it wanted one, gets its snapshot.
    pub(super) async fn join(&self, fleet: &FleetId, viewer: &Viewer, mode: Mode) -> Membership {
        let membership = self.membership(fleet, viewer);
        assert!(membership.join(mode, Duration::from_secs(60)).await.is_some());
        membership.open().await;
        membership
    }

    /// Ends the shard, which must not have failed.
    pub(super) async fn end(self) {
        self.stop.cancel();
        self.tasks.all_ended().await.unwrap();
    }
}

fn loader(
    store: &Arc<Mutex<MemoryStore>>,
    answers: &Arc<Mutex<Answers>>,
    reading: &Arc<[AtomicUsize; 2]>,
) -> Loader {
    let (store, answers, reading) = (store.clone(), answers.clone(), reading.clone());
    Arc::new(move |fleet| {
        let (store, reading, answers) = (store.clone(), reading.clone(), *answers.lock().unwrap());
        Box::pin(async move {
            let now = reading[0].fetch_add(1, Ordering::SeqCst) + 1;
            reading[1].fetch_max(now, Ordering::SeqCst);
            let wait = async |time: Duration| {
                if !time.is_zero() {
                    tokio::time::sleep(time).await;
                }
            };
            wait(answers.wait[0]).await;
            let snapshot = read(&store.lock().unwrap(), &fleet);
            wait(answers.wait[1]).await;
            reading[0].fetch_sub(1, Ordering::SeqCst);
            (!answers.fail).then_some(snapshot)
        })
    })
}

fn heads(store: &Arc<Mutex<MemoryStore>>, answers: &Arc<Mutex<Answers>>) -> Heads {
    let (store, answers) = (store.clone(), answers.clone());
    Arc::new(move |fleet| {
        let (store, answers) = (store.clone(), *answers.lock().unwrap());
        Box::pin(async move {
            tokio::time::sleep(answers.wait[0]).await;
            let head = head(&store.lock().unwrap(), &fleet);
            tokio::time::sleep(answers.wait[1]).await;
            (!answers.fail).then_some(head)
        })
    })
}

/// The fields of every asset of a fleet.
pub(super) fn states(store: &Mutex<MemoryStore>, fleet: &FleetId) -> Vec<(String, Value)> {
    let snapshot = read(&store.lock().unwrap(), fleet);
    let fields = |data: &Bytes| serde_json::from_slice(data).unwrap();
    snapshot.assets.iter().map(|state| (state.id.to_string(), fields(&state.data))).collect()
}

fn head(store: &MemoryStore, fleet: &FleetId) -> Option<(Epoch, u64)> {
    Store::Memory(store.clone()).head(fleet).now_or_never().unwrap().unwrap()
}

fn read(store: &MemoryStore, fleet: &FleetId) -> Snapshot {
    Store::Memory(store.clone()).snapshot(fleet).now_or_never().unwrap().unwrap()
}

pub(super) fn fleet(name: &str) -> FleetId {
    FleetId::parse(name).unwrap()
}

/// A viewer and the client at its other end.
pub(super) fn viewer(queue_bytes: usize) -> (TestClient, Viewer) {
    let client = TestClient::connect(queue_bytes);
    let viewer = Viewer::new(client.session.clone());
    (client, viewer)
}

/// A message of an asset: its number is its time, and one of three fields carries it too.
pub(super) fn update(fleet: &FleetId, asset: &str, n: i64, pad: usize) -> Update {
    let part = n % 3;
    let raw = format!(r#"{{"f":"{fleet}","assetId":"{asset}","n":{n},"p{part}":{n},"pad":"{:pad$}"}}"#, "");
    Update { asset: Some(AssetId::parse(asset).unwrap()), ts_ms: n, position: None, raw: raw.into() }
}

/// Name and argument of an event packet.
pub(super) fn event(text: &str) -> (String, Value) {
    let (name, argument) = serde_json::from_str(text.strip_prefix("42").unwrap()).unwrap();
    (name, argument)
}

/// Lets the shard do everything that it can do now; joins and leaves gather for a moment.
pub(super) async fn settle() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}
