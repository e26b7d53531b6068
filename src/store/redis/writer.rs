//! Feeds the lanes of all fleets into one connection, and gets back on its feet when Redis was away.
//!
//! Invariant: nothing that was pushed is dropped. While Redis is away everything waits here, and
//! `has_room` tells the pipeline to wait as well.

use std::{collections::VecDeque, fmt, time::Duration};

use foldhash::{HashMap, HashMapExt};
use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, OptionFuture},
    stream::FuturesUnordered,
};
use redis::{Cmd, RedisResult, Value};
use tokio::time::sleep;

use super::{
    RedisStore, is_lost, is_no_script,
    lane::{Lane, Settled},
    merged::Queued,
    script::APPLY,
};
use crate::{
    backoff::Backoff,
    fleet::{FleetId, Record},
    store::{Applied, Link, Step},
};

/// Records that may wait for Redis.
const RECORDS_MAX: usize = 8_192;
/// Their bytes.
const BYTES_MAX: usize = 32 << 20;
/// Assets whose state is known without asking. Any number works: what is forgotten costs its next batch
/// a second round trip.
const KNOWN_MAX: usize = 1_000_000;
/// Between attempts to reach Redis.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Applies records of many fleets: pipelined over one connection, in order within a fleet.
pub struct RedisWriter {
    store: RedisStore,
    lanes: HashMap<FleetId, Lane>,
    link: Connection,
    calls: FuturesUnordered<BoxFuture<'static, Event>>,
    books: Books,
    settled: Settled,
    backoff: Backoff,
    /// What Redis said last, if it was bad; at first, that nothing is known.
    trouble: Option<String>,
    /// Whether the log says already that Redis is away.
    is_told: bool,
    /// Whether it says that messages of cells are refused.
    is_refusal_told: bool,
    known: usize,
}

enum Connection {
    Up(Link),
    Dialing(BoxFuture<'static, RedisResult<Link>>),
}

enum Event {
    Answer(FleetId, RedisResult<Value>),
    /// A fleet whose command was refused may try again.
    Again(FleetId),
}

impl RedisWriter {
    pub(in crate::store) fn new(store: RedisStore) -> Self {
        let link = Connection::Dialing(dial(store.clone(), Duration::ZERO));
        Self {
            store,
            lanes: HashMap::new(),
            link,
            calls: FuturesUnordered::new(),
            books: Books::default(),
            settled: Settled::default(),
            backoff: Backoff::new(RETRY_MIN, RETRY_MAX),
            trouble: Some("connecting".to_owned()),
            is_told: false,
            is_refusal_told: false,
            known: 0,
        }
    }

    /// Takes records over; the number names them in [`Step::done`].
    pub(in crate::store) fn push(&mut self, records: Vec<Record>, received_ms: i64) -> u64 {
        let batch = self.books.open(records.len());
        let mut fleets = Vec::new();
        for record in records {
            let lane = if let Some(lane) = self.lanes.get_mut(&record.fleet) {
                lane
            } else {
                let lane = self.store.lane(&record.fleet);
                self.lanes.entry(record.fleet.clone()).or_insert(lane)
            };
            if lane.is_idle() {
                fleets.push(record.fleet.clone());
            }
            let queued = Queued { record, batch, received_ms };
            self.books.bytes += queued.bytes();
            lane.push(queued);
        }
        for fleet in fleets {
            self.start(&fleet);
        }
        batch
    }

    pub(in crate::store) fn has_room(&self) -> bool {
        self.books.records < RECORDS_MAX && self.books.bytes < BYTES_MAX
    }

    pub(in crate::store) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// What happened next. Never returns while there is nothing to do. Cancel-safe: everything is kept
    /// in `self`.
    pub(in crate::store) async fn step(&mut self) -> Step {
        loop {
            if let Some(step) = self.take_step() {
                return step;
            }
            let dialing: OptionFuture<_> = match &mut self.link {
                Connection::Up(_) => None.into(),
                Connection::Dialing(attempt) => Some(attempt).into(),
            };
            tokio::select! {
                Some(outcome) = dialing => self.dialed(outcome),
                Some(event) = self.calls.next() => self.happened(event),
                else => std::future::pending().await,
            }
            // Take what else is ready: one look at the books then serves many answers.
            while let Some(Some(event)) = self.calls.next().now_or_never() {
                self.happened(event);
            }
        }
    }

    fn take_step(&mut self) -> Option<Step> {
        let settled = std::mem::take(&mut self.settled);
        self.books.settle(&settled);
        if let Some(error) = &settled.refusal
            && !std::mem::replace(&mut self.is_refusal_told, true)
        {
            tracing::error!(%error, "the Redis user may not publish on {}: regions miss updates", self.store.0.keyspace.cell_channels());
        }
        let done = self.books.close();
        let counted =
            settled.fresh + settled.stale + settled.duplicate + settled.conflicts + settled.restored;
        (done.is_some() || counted > 0).then(|| Step {
            applied: Applied {
                fresh: Vec::new(),
                fresh_count: settled.fresh,
                stale_count: settled.stale,
                duplicate_count: settled.duplicate,
            },
            conflicts: settled.conflicts,
            restored: settled.restored,
            cells_refused: u64::from(settled.refusal.is_some()),
            done,
        })
    }

    fn start(&mut self, fleet: &FleetId) {
        let Connection::Up(link) = &self.link else { return };
        let rules = self.store.0.rules;
        let Some(lane) = self.lanes.get_mut(fleet) else { return };
        if let Some(command) = lane.next(rules, &mut self.settled) {
            self.calls.push(call(fleet.clone(), link.clone(), command));
        }
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::Again(fleet) => self.start(&fleet),
            Event::Answer(fleet, Ok(value)) => self.answered(&fleet, value),
            Event::Answer(_, Err(error)) if is_lost(&error) => self.lost(&error),
            Event::Answer(fleet, Err(error)) => self.refused(fleet, error.to_string()),
        }
    }

    fn answered(&mut self, fleet: &FleetId, value: Value) {
        let rules = self.store.0.rules;
        let Some(lane) = self.lanes.get_mut(fleet) else { return };
        let known = lane.known_len();
        match lane.answer(value, rules, &mut self.settled) {
            Ok(command) => {
                self.known = self.known + lane.known_len() - known;
                self.trouble = None;
                self.backoff.reset();
                match (command, &self.link) {
                    (Some(command), Connection::Up(link)) => {
                        self.calls.push(call(fleet.clone(), link.clone(), command));
                    }
                    _ => self.start(fleet),
                }
                if self.known > KNOWN_MAX {
                    self.forget();
                }
            }
            Err(bad) => self.refused(fleet.clone(), bad.to_string()),
        }
    }

    /// The server is there but does not do it: out of memory, say, or without permission. Only this
    /// fleet waits.
    fn refused(&mut self, fleet: FleetId, error: String) {
        tracing::warn!(%fleet, error, "redis refused a batch, it is kept and tried again");
        if let Some(lane) = self.lanes.get_mut(&fleet) {
            lane.failed();
        }
        let wait = self.backoff.next_wait(rand::random());
        self.trouble = Some(error);
        self.calls.push(
            async move {
                sleep(wait).await;
                Event::Again(fleet)
            }
            .boxed(),
        );
    }

    fn lost(&mut self, error: &redis::RedisError) {
        tracing::warn!(%error, "lost the connection to redis, ingestion waits");
        self.is_told = true;
        self.trouble = Some(error.to_string());
        // What is in flight has no answer any more. If it is executed later nevertheless, it meets other
        // versions than it expects, and changes nothing.
        self.calls = FuturesUnordered::new();
        for lane in self.lanes.values_mut() {
            lane.failed();
            lane.reconnected();
        }
        self.dial();
    }

    fn dial(&mut self) {
        let wait = self.backoff.next_wait(rand::random());
        self.link = Connection::Dialing(dial(self.store.clone(), wait));
    }

    fn dialed(&mut self, outcome: RedisResult<Link>) {
        match outcome {
            Ok(link) => {
                tracing::info!(redis = %self.store.0.redis, "connected, applying updates");
                self.link = Connection::Up(link);
                self.trouble = None;
                self.is_told = false;
                let fleets: Vec<_> = self.lanes.keys().cloned().collect();
                for fleet in fleets {
                    self.start(&fleet);
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_told, true) {
                    tracing::warn!(%error, redis = %self.store.0.redis, "can not reach redis, ingestion waits");
                }
                self.trouble = Some(error.to_string());
                self.dial();
            }
        }
    }

    /// Makes room among the known assets: idle fleets go first, then everything that is not in flight.
    fn forget(&mut self) {
        self.lanes.retain(|_, lane| !lane.is_idle());
        let count = |lanes: &HashMap<FleetId, Lane>| lanes.values().map(Lane::known_len).sum();
        self.known = count(&self.lanes);
        if self.known > KNOWN_MAX {
            self.lanes.values_mut().for_each(Lane::forget);
            self.known = count(&self.lanes);
        }
    }
}

impl fmt::Debug for RedisWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisWriter")
            .field("lanes", &self.lanes.len())
            .field("waiting", &self.books.records)
            .field("trouble", &self.trouble)
            .finish_non_exhaustive()
    }
}

fn dial(store: RedisStore, wait: Duration) -> BoxFuture<'static, RedisResult<Link>> {
    async move {
        sleep(wait).await;
        store.0.redis.connect().await
    }
    .boxed()
}

fn call(fleet: FleetId, mut link: Link, command: Cmd) -> BoxFuture<'static, Event> {
    async move {
        let answer = match command.query_async(&mut link).await {
            Err(error) if is_no_script(&error) => APPLY.with_text(&command).query_async(&mut link).await,
            other => other,
        };
        Event::Answer(fleet, answer)
    }
    .boxed()
}

/// Which batches are complete, and how much is waiting.
#[derive(Debug, Default)]
struct Books {
    /// Records of each open batch that are not settled, oldest batch first.
    open: VecDeque<usize>,
    first_open: u64,
    records: usize,
    bytes: usize,
}

impl Books {
    fn open(&mut self, records: usize) -> u64 {
        self.open.push_back(records);
        self.records += records;
        self.first_open + self.open.len() as u64 - 1
    }

    fn settle(&mut self, settled: &Settled) {
        for batch in &settled.batches {
            let place = usize::try_from(batch - self.first_open).unwrap_or(usize::MAX);
            if let Some(left) = self.open.get_mut(place) {
                *left -= 1;
            }
        }
        self.records -= settled.batches.len();
        self.bytes -= settled.bytes;
    }

    /// The last batch of an unbroken row of complete ones, if the row got longer.
    fn close(&mut self) -> Option<u64> {
        let mut done = None;
        while self.open.front() == Some(&0) {
            self.open.pop_front();
            done = Some(self.first_open);
            self.first_open += 1;
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_close_in_order() {
        let mut books = Books::default();
        assert_eq!((books.open(2), books.open(0), books.open(1)), (0, 1, 2));
        let mut settle = |batches: &[u64]| {
            books.settle(&Settled { batches: batches.to_vec(), ..Settled::default() });
            books.close()
        };
        assert_eq!(settle(&[2, 0]), None);
        assert_eq!(settle(&[0]), Some(2));
        assert_eq!(settle(&[]), None);
        assert_eq!((books.open(0), books.close()), (3, Some(3)));
        assert_eq!(books.records, 0);
    }
}
