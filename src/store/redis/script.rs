//! The commands of a lane and their answers: arguments in the order of `apply.lua`, replies by their kind.
//! Invariant: latitudes are clamped for the geo set, whose command would otherwise fail in mid-script.

use std::sync::LazyLock;

use bytes::Bytes;
use redis::{Cmd, Value};

use super::{
    cells,
    keys::FleetKeys,
    lane::BadAnswer,
    merged::{Changed, Merged},
    text,
};
use crate::{
    fleet::{AssetId, ChannelMessage, Epoch, Position},
    store::TrackRule,
};

/// The northernmost and southernmost degrees of a Redis geo set.
const GEO_LAT_MAX: f64 = 85.051_128_78;

pub(super) struct Script {
    pub(super) text: &'static str,
    pub(super) sha: String,
}

pub(super) static APPLY: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("apply.lua")));
pub(super) static CHANGED: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("changed.lua")));
pub(super) static CELLS: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("cells.lua")));

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, sha: redis::Script::new(text).get_hash().to_owned() }
    }

    /// The same call with the text of the script, for a server that does not know it.
    pub(super) fn with_text(&self, call: &Cmd) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(self.text);
        for arg in call.args_iter().skip(2) {
            if let redis::Arg::Simple(arg) = arg {
                command.arg(arg);
            }
        }
        command
    }
}

/// A fleet's counter as a writer saw it last.
#[derive(Debug, Default)]
pub(super) struct Counter {
    pub(super) epoch: Option<Epoch>,
    pub(super) seq: u64,
}

/// What `apply.lua` answered.
pub(super) enum Answer {
    Applied {
        epoch: Epoch,
        first_seq: u64,
        /// Why the message of a cell was not published.
        refusal: Option<Bytes>,
    },
    /// Other versions are there, by place in the batch.
    Conflict {
        states: Vec<(usize, Option<Bytes>)>,
    },
    BeganAnew {
        epoch: Option<Epoch>,
        seq: u64,
    },
}

pub(super) fn apply(
    keys: &FleetKeys,
    legacy_channel: Option<&str>,
    counter: &Counter,
    merged: &Merged,
    tracks: TrackRule,
) -> Cmd {
    let positions = merged.changed.iter().filter(|changed| changed.moved && changed.state.position.is_some());
    let body = ChannelMessage::encode_body(merged.received_ms(), merged.updates.iter());
    let relocated = merged.changed.iter().filter_map(|changed| {
        let cell = cells::cell_of(changed.state.position)?;
        (merged.restores || changed.base_cell != Some(cell)).then_some((cell, &changed.state.id))
    });
    let by_cell = cells::by_cell(&merged.changed);
    let arguments =
        32 + by_cell.len() * 2 + merged.changed.len() * 8 + merged.points.len() * 2 + merged.updates.len();
    let mut call = Cmd::with_capacity(arguments, body.len() * 3 + merged.changed.len() * 200);
    call.arg("EVALSHA").arg(&APPLY.sha).arg(6 + merged.points.len());
    call.arg(keys.seq()).arg(keys.epoch()).arg(keys.state()).arg(keys.changes()).arg(keys.positions());
    call.arg(keys.cells());
    for (asset, _) in &merged.points {
        call.arg(keys.track(asset.as_str()));
    }
    call.arg(Epoch::random().to_string());
    call.arg(counter.epoch.map(|epoch| epoch.to_string()).unwrap_or_default()).arg(counter.seq);
    call.arg(merged.numbers()).arg(keys.channel()).arg(&body).arg(legacy_channel.unwrap_or_default());
    call.arg(merged.changed.len())
        .arg(positions.clone().count())
        .arg(merged.points.len())
        .arg(tracks.points_max)
        .arg(relocated.clone().count())
        .arg(by_cell.len())
        .arg(&keys.cell_head);
    let mut scratch = Vec::with_capacity(512);
    let mut arg = |call: &mut Cmd, write: &dyn Fn(&mut Vec<u8>)| {
        scratch.clear();
        write(&mut scratch);
        call.arg(scratch.as_slice());
    };
    for Changed { state, base, number, .. } in &merged.changed {
        call.arg(state.id.as_str());
        arg(&mut call, &|out| base.write_expected(out));
        call.arg(*number);
        arg(&mut call, &|out| text::write_head(state.ts_ms, out));
        arg(&mut call, &|out| text::write_tail(state, out));
    }
    for Changed { state, .. } in positions {
        if let Some(Position { lat, lon }) = state.position {
            call.arg(lon).arg(lat.clamp(-GEO_LAT_MAX, GEO_LAT_MAX)).arg(state.id.as_str());
        }
    }
    for (_, point) in &merged.points {
        arg(&mut call, &|out| serde_json::to_writer(out, point).expect("numbers have a text"));
    }
    for (cell, asset) in relocated {
        call.arg(cell.number()).arg(asset.as_str());
    }
    for (cell, places) in &by_cell {
        let places: Vec<String> = places.iter().map(ToString::to_string).collect();
        call.arg(keys.cell_channel(*cell)).arg(places.join(" "));
    }
    if legacy_channel.is_some() {
        for update in &merged.updates {
            call.arg(update.raw.as_ref());
        }
    }
    call
}

pub(super) fn read_apply(value: Value) -> Result<Answer, BadAnswer> {
    let mut parts = array(value)?.into_iter();
    let kind = int(parts.next())?;
    let epoch = epoch(parts.next())?;
    let seq = int(parts.next())?;
    match (kind, epoch) {
        (1, Some(epoch)) => {
            let refusal = parts.next().map_or(Ok(None), |refusal| bytes(Some(refusal)))?;
            Ok(Answer::Applied { epoch, first_seq: seq, refusal })
        }
        (0, _) => {
            let mut states = Vec::new();
            while let Some(place) = parts.next() {
                let place = usize::try_from(int(Some(place))?).unwrap_or_default().wrapping_sub(1);
                states.push((place, bytes(parts.next())?));
            }
            Ok(Answer::Conflict { states })
        }
        (2, epoch) => Ok(Answer::BeganAnew { epoch, seq }),
        (kind, _) => Err(BadAnswer(format!("kind {kind}"))),
    }
}

/// Asks for the counter alone.
pub(super) fn look(keys: &FleetKeys) -> Cmd {
    let mut command = redis::cmd("MGET");
    command.arg(keys.epoch()).arg(keys.seq());
    command
}

pub(super) fn read_look(value: Value) -> Result<(Option<Epoch>, u64), BadAnswer> {
    let mut parts = array(value)?.into_iter();
    let epoch = epoch(parts.next())?;
    let seq = bytes(parts.next())?.map_or(Ok(0), |text| decimal(&text))?;
    Ok((epoch, seq))
}

/// Keys: counter, epoch. Arguments: the epoch in doubt, the number it has been up to, the next epoch.
const BEGIN_ANEW: &str = "
local counter = redis.call('MGET', KEYS[1], KEYS[2])
if counter[2] ~= ARGV[1] or tonumber(counter[1] or 0) >= tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('SET', KEYS[2], ARGV[3])
return 1";

/// Ends a life of the counter that went back below a number it had.
pub(super) fn begin_anew(keys: &FleetKeys, epoch: Epoch, seq: u64) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(BEGIN_ANEW).arg(2).arg(keys.seq()).arg(keys.epoch());
    command.arg(epoch.to_string()).arg(seq).arg(Epoch::random().to_string());
    command
}

/// Asks for the texts of some assets.
pub(super) fn compare(keys: &FleetKeys, assets: &[AssetId]) -> Cmd {
    let mut command = redis::cmd("HMGET");
    command.arg(keys.state());
    for asset in assets {
        command.arg(asset.as_str());
    }
    command
}

pub(super) fn read_compare(value: Value) -> Result<Vec<Option<Bytes>>, BadAnswer> {
    array(value)?.into_iter().map(|text| bytes(Some(text))).collect()
}

/// Asks for everything that changed after `seq`.
pub(super) fn changed(keys: &FleetKeys, epoch: Epoch, seq: u64) -> Cmd {
    let mut call = redis::cmd("EVALSHA");
    call.arg(&CHANGED.sha).arg(4);
    call.arg(keys.seq()).arg(keys.epoch()).arg(keys.state()).arg(keys.changes());
    call.arg(epoch.to_string()).arg(seq);
    call
}

pub(super) fn array(value: Value) -> Result<Vec<Value>, BadAnswer> {
    match value {
        Value::Array(parts) => Ok(parts),
        other => Err(BadAnswer(format!("{other:?}, not an array"))),
    }
}

pub(super) fn bytes(value: Option<Value>) -> Result<Option<Bytes>, BadAnswer> {
    match value {
        Some(Value::BulkString(text)) => Ok(Some(text.into())),
        Some(Value::Nil) => Ok(None),
        other => Err(BadAnswer(format!("{other:?}, not text"))),
    }
}

pub(super) fn epoch(value: Option<Value>) -> Result<Option<Epoch>, BadAnswer> {
    // An epoch that is not ours counts as none: the scripts then see another one, and a new life begins.
    Ok(bytes(value)?.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok()))
}

pub(super) fn decimal(text: &[u8]) -> Result<u64, BadAnswer> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| BadAnswer(format!("{:?}, not a number", String::from_utf8_lossy(text))))
}

fn int(value: Option<Value>) -> Result<u64, BadAnswer> {
    match value {
        Some(Value::Int(number)) => {
            u64::try_from(number).map_err(|_| BadAnswer(format!("{number} is negative")))
        }
        other => Err(BadAnswer(format!("{other:?}, not a number"))),
    }
}
