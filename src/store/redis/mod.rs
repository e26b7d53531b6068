//! State in Redis, shared by all replicas: latest per asset, positions, tracks, and a counter per fleet.
//!
//! Invariant: state, counter and publication of a batch change together, in one script; so whoever has
//! read the state with its counter misses nothing by following the channel from there.

mod cells;
mod keys;
mod lane;
mod merged;
mod script;
mod text;
mod writer;

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};
use redis::{Cmd, FromRedisValue, RedisError, Value};
use tokio::{sync::Mutex, time::timeout};

pub use cells::read_cell_message;
pub use keys::{cell_channel, legacy_channel, updates_channel};
pub use writer::RedisWriter;

use self::{
    keys::{FleetKeys, Keyspace},
    lane::{Lane, Rules},
};
use super::{Link, Redis, Snapshot, StoreError, TrackPoint, TrackRule};
use crate::{
    fleet::{AssetId, AssetState, Epoch, FleetId},
    region::CellId,
};

/// A reader waits this long for an answer, a new connection included.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Fleets that are asked about at a time.
const ASKED_MAX: usize = 64;

/// The newest state of every asset, in Redis. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RedisStore(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    redis: Redis,
    keyspace: Keyspace,
    rules: Rules,
    /// The connection for reads. The writer has one of its own, so that neither waits for the other.
    link: Mutex<Option<Link>>,
}

impl RedisStore {
    /// A store at `redis` under `prefix`. Connects when it is needed.
    #[must_use]
    pub fn new(redis: Redis, prefix: &str, legacy_publish: bool, tracks: TrackRule) -> Self {
        let rules = Rules { legacy_publish, tracks };
        Self(Arc::new(Shared { redis, keyspace: Keyspace::new(prefix), rules, link: Mutex::new(None) }))
    }

    /// The same store over a connection of its own, which is driven by the runtime that first asks it.
    #[must_use]
    pub fn apart(&self) -> Self {
        let Shared { redis, keyspace, rules, .. } = &*self.0;
        let (redis, keyspace, rules) = (redis.clone(), keyspace.clone(), *rules);
        Self(Arc::new(Shared { redis, keyspace, rules, link: Mutex::new(None) }))
    }

    /// Whether it is spread over the nodes of a Redis Cluster.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        self.0.redis.is_cluster()
    }

    pub(super) async fn snapshot(&self, fleet: &FleetId) -> Result<Snapshot, StoreError> {
        let keys = self.keys(fleet);
        let mut both = redis::pipe();
        both.atomic();
        both.add_command(script::look(&keys));
        both.cmd("HGETALL").arg(keys.state());
        let mut parts = self.read(Read::Pipeline(&both)).await?.into_iter();
        let (counter, states) = (parts.next().unwrap_or(Value::Nil), parts.next().unwrap_or(Value::Nil));
        let (epoch, seq) = script::read_look(counter)?;
        let mut assets = Vec::new();
        let mut members = script::array(states)?.into_iter();
        while let (Some(id), Some(text)) = (members.next(), members.next()) {
            assets.extend(read_state(id, text)?);
        }
        assets.sort_unstable_by_key(|state| state.seq);
        // A fleet nobody has written yet: whatever life its counter will have, it is not this one.
        Ok(Snapshot { epoch: epoch.unwrap_or_else(Epoch::random), seq, assets })
    }

    pub(super) async fn changed_since(
        &self,
        fleet: &FleetId,
        known_epoch: Epoch,
        seq: u64,
    ) -> Result<Option<Snapshot>, StoreError> {
        let call = script::changed(&self.keys(fleet), known_epoch, seq);
        let value = self.run(&script::CHANGED, &call).await?;
        let mut parts = value.into_iter();
        let epoch = script::epoch(parts.next())?;
        let newest = script::bytes(parts.next())?.map_or(Ok(0), |text| script::decimal(&text))?;
        if epoch != Some(known_epoch) || newest < seq {
            return Ok(None);
        }
        let mut assets = Vec::with_capacity(parts.len());
        for text in parts {
            // The id is a member of `data` only if the field map says so; the script lists it beside.
            let [id, text] = <[Value; 2]>::try_from(script::array(text)?)
                .map_err(|_| StoreError::Unexpected("a state without its asset".to_owned()))?;
            assets.extend(read_state(id, text)?);
        }
        Ok(Some(Snapshot { epoch: known_epoch, seq: newest, assets }))
    }

    pub(super) async fn history(
        &self,
        fleet: &FleetId,
        asset: &AssetId,
        from_ts_ms: i64,
        limit: usize,
    ) -> Result<Vec<TrackPoint>, StoreError> {
        let points_max = self.0.rules.tracks.points_max;
        let newest = limit.min(points_max);
        if newest == 0 {
            return Ok(Vec::new());
        }
        let mut command = redis::cmd("LRANGE");
        command.arg(self.keys(fleet).track(asset.as_str())).arg(format!("-{newest}")).arg(-1);
        let points = self.read(Read::Command(&command)).await?.into_iter();
        let points = points.filter_map(|point| {
            let text = script::bytes(Some(point)).ok()??;
            serde_json::from_slice::<TrackPoint>(&text).ok()
        });
        Ok(points.filter(|point| point.ts_ms >= from_ts_ms).collect())
    }

    pub(super) async fn head(&self, fleet: &FleetId) -> Result<Option<(Epoch, u64)>, StoreError> {
        let look = script::look(&self.keys(fleet));
        let (epoch, seq) = script::read_look(Value::Array(self.read(Read::Command(&look)).await?))?;
        Ok(epoch.map(|epoch| (epoch, seq)))
    }

    /// The newest number of each fleet that has one, in no order.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn heads(&self, fleets: Vec<FleetId>) -> Result<Vec<(FleetId, Epoch, u64)>, StoreError> {
        let head = |fleet: FleetId| async move {
            let head = self.head(&fleet).await?;
            Ok::<_, StoreError>(head.map(|(epoch, seq)| (fleet, epoch, seq)))
        };
        let heads = stream::iter(fleets).map(head).buffer_unordered(ASKED_MAX);
        heads.try_filter_map(async |head| Ok(head)).try_collect().await
    }

    /// The counter has been up to `seq` in this `epoch`, but a server that did not know took over, and a writer
    /// that did not either goes on below it: numbers of this epoch would mean two things. Begins a new one.
    /// Whether that was so.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn begin_anew(&self, fleet: &FleetId, epoch: Epoch, seq: u64) -> Result<bool, StoreError> {
        let call = script::begin_anew(&self.keys(fleet), epoch, seq);
        let answer = self.read(Read::Command(&call)).await?;
        Ok(answer.first() == Some(&Value::Int(1)))
    }

    pub(super) async fn fleets(&self) -> Result<Vec<(FleetId, usize)>, StoreError> {
        let size = |fleet: FleetId| async move {
            let mut command = redis::cmd("HLEN");
            command.arg(self.keys(&fleet).state());
            let answer = self.read(Read::Command(&command)).await?;
            let size = answer.first().and_then(|size| usize::from_redis_value_ref(size).ok()).unwrap_or(0);
            Ok((fleet, size))
        };
        self.for_each_fleet(size).await
    }

    pub(super) async fn fleets_of(&self, asset: &AssetId) -> Result<Vec<FleetId>, StoreError> {
        let has = |fleet: FleetId| async move {
            let mut command = redis::cmd("HEXISTS");
            command.arg(self.keys(&fleet).state()).arg(asset.as_str());
            let answer = self.read(Read::Command(&command)).await?;
            Ok((fleet, answer.first() == Some(&Value::Int(1))))
        };
        let fleets = self.for_each_fleet(has).await?;
        Ok(fleets.into_iter().filter(|(_, has)| *has).map(|(fleet, _)| fleet).collect())
    }

    /// The newest states of all assets in cells of the level between replicas.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn in_cells(
        &self,
        cells: &[CellId],
    ) -> Result<Vec<(FleetId, Vec<Arc<AssetState>>)>, StoreError> {
        let load = |fleet: FleetId| async move {
            let call = cells::load(&self.keys(&fleet), cells);
            let value = self.run(&script::CELLS, &call).await?;
            let (mut parts, mut states) = (value.into_iter(), Vec::new());
            while let (Some(id), Some(text)) = (parts.next(), parts.next()) {
                states.extend(read_state(id, text)?);
            }
            Ok((fleet, states))
        };
        self.for_each_fleet(load).await
    }

    /// Asks something about every fleet, some at a time. Fleets may live in different slots, so a pipeline
    /// could not hold the questions.
    async fn for_each_fleet<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        ask: impl Fn(FleetId) -> F,
    ) -> Result<Vec<T>, StoreError> {
        let mut command = redis::cmd("SMEMBERS");
        command.arg(self.0.keyspace.fleets());
        let names = self.read(Read::Command(&command)).await?.into_iter();
        let fleets = names.filter_map(|name| String::from_redis_value(name).ok());
        let fleets = fleets.filter_map(|name| FleetId::parse(&name).ok());
        stream::iter(fleets).map(ask).buffer_unordered(ASKED_MAX).try_collect().await
    }

    fn lane(&self, fleet: &FleetId) -> Lane {
        let mut registration = redis::cmd("SADD");
        registration.arg(self.0.keyspace.fleets()).arg(fleet.as_str());
        Lane::new(self.keys(fleet), registration, legacy_channel(fleet))
    }

    fn keys(&self, fleet: &FleetId) -> FleetKeys {
        self.0.keyspace.of(fleet)
    }

    /// Runs a script that reads; sends its text to a server that does not know it.
    async fn run(&self, script: &script::Script, call: &Cmd) -> Result<Vec<Value>, StoreError> {
        match self.read(Read::Command(call)).await {
            Err(StoreError::Redis(error)) if is_no_script(&error) => {
                self.read(Read::Command(&script.with_text(call))).await
            }
            other => other,
        }
    }

    /// Reads over the shared connection; makes it anew, once, if it turns out to be lost.
    async fn read(&self, what: Read<'_>) -> Result<Vec<Value>, StoreError> {
        match timeout(READ_TIMEOUT, self.read_or_retry(what)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(StoreError::Timeout(READ_TIMEOUT)),
        }
    }

    async fn read_or_retry(&self, what: Read<'_>) -> Result<Vec<Value>, RedisError> {
        let mut link = self.link(None).await?;
        match what.send(&mut link).await {
            Err(error) if is_lost(&error) => what.send(&mut self.link(Some(&link)).await?).await,
            other => other,
        }
    }

    /// The shared connection; not the `lost` one, whoever made it.
    async fn link(&self, lost: Option<&Link>) -> Result<Link, RedisError> {
        let mut shared = self.0.link.lock().await;
        if let Some(link) = &*shared
            && !lost.is_some_and(|lost| lost.is_same(link))
        {
            return Ok(link.clone());
        }
        *shared = None;
        let link = self.0.redis.connect().await?;
        *shared = Some(link.clone());
        Ok(link)
    }
}

#[derive(Clone, Copy)]
enum Read<'c> {
    Command(&'c Cmd),
    Pipeline(&'c redis::Pipeline),
}

impl Read<'_> {
    async fn send(self, link: &mut Link) -> Result<Vec<Value>, RedisError> {
        match self {
            Self::Command(command) => match command.query_async(link).await? {
                Value::Array(parts) => Ok(parts),
                other => Ok(vec![other]),
            },
            Self::Pipeline(pipeline) => pipeline.query_async(link).await,
        }
    }
}

fn read_state(id: Value, text: Value) -> Result<Option<Arc<AssetState>>, StoreError> {
    let (Some(id), Some(text)) = (script::bytes(Some(id))?, script::bytes(Some(text))?) else {
        return Ok(None);
    };
    let id = std::str::from_utf8(&id).ok().and_then(|id| AssetId::parse(id).ok());
    // Text that is not ours is no state, and no reason to refuse the fleet.
    Ok(id.and_then(|id| text::read(id, &text)).map(Arc::new))
}

impl From<lane::BadAnswer> for StoreError {
    fn from(bad: lane::BadAnswer) -> Self {
        Self::Unexpected(bad.0)
    }
}

fn is_no_script(error: &RedisError) -> bool {
    error.code() == Some("NOSCRIPT")
}

/// Whether the connection that gave this error is of no use any more. A server that refuses writes
/// because it is no primary any more, or not yet one, has to be looked for again, too.
fn is_lost(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || error.is_unrecoverable_error()
        || matches!(error.code(), Some("READONLY" | "MASTERDOWN" | "LOADING" | "CLUSTERDOWN"))
}
