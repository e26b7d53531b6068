//! Updates as frames that viewers share.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::{
    fleet::{
        AssetState, FleetId, Update,
        encode::{self, PART_BYTES_MAX},
    },
    transport::{event_frame, put_event_frame},
};

/// What `fleet_update` carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Payload {
    /// The source's message as one string argument, as the Node gateway sends it.
    #[default]
    String,
    /// The message parsed, for dashboards that expect an object.
    Object,
}

/// Room for most messages with their escapes.
const SCRATCH_BYTES: usize = 512;

/// About how long a burst becomes; characters that need an escape make it longer.
pub(super) fn burst_bytes(updates: &[Update]) -> usize {
    updates.iter().map(|update| update.raw.len() + 48).sum()
}

/// One burst: a `fleet_update` per message, in order, as one buffer of whole frames.
pub(super) fn burst(payload: Payload, updates: &[Update]) -> Bytes {
    let mut out = BytesMut::with_capacity(burst_bytes(updates));
    let mut scratch = Vec::with_capacity(SCRATCH_BYTES);
    for update in updates {
        put_message(&mut out, &mut scratch, payload, &update.raw);
    }
    out.freeze()
}

/// The newest state of one asset as a `fleet_update`.
pub(super) fn put_state(out: &mut BytesMut, payload: Payload, state: &AssetState) {
    // A message that is only a part of what is known would hide the rest from a viewer that missed it.
    put_message(out, &mut Vec::new(), payload, &state.data);
}

fn put_message(out: &mut BytesMut, scratch: &mut Vec<u8>, payload: Payload, raw: &[u8]) {
    if payload == Payload::Object && serde_json::from_slice::<serde::de::IgnoredAny>(raw).is_ok() {
        return put_event_frame(out, "fleet_update", raw);
    }
    scratch.clear();
    let written = match std::str::from_utf8(raw) {
        Ok(text) => serde_json::to_writer(&mut *scratch, text),
        Err(_) => serde_json::to_writer(&mut *scratch, &String::from_utf8_lossy(raw)),
    };
    if written.is_ok() {
        put_event_frame(out, "fleet_update", scratch);
    }
}

/// `fleet_updates` with the given assets.
pub(super) fn fleet_updates<'a>(
    fleet: &FleetId,
    cursor: &str,
    states: impl Iterator<Item = &'a AssetState>,
) -> Bytes {
    let mut out = head(fleet, cursor);
    out.extend_from_slice(br#","assets":["#);
    encode::put_list(&mut out, &texts(fleet, states));
    out.extend_from_slice(b"]}");
    event_frame("fleet_updates", &out)
}

/// The beginning of an event that continues a cursor: an open object.
fn head(fleet: &FleetId, cursor: &str) -> Vec<u8> {
    let mut out = br#"{"fleet":"#.to_vec();
    encode::put_string(&mut out, fleet.as_str());
    out.extend_from_slice(br#","cursor":"#);
    encode::put_string(&mut out, cursor);
    out
}

fn texts<'a>(fleet: &FleetId, states: impl Iterator<Item = &'a AssetState>) -> Vec<Bytes> {
    states.map(|state| encode::asset(fleet, state)).collect()
}

/// At most how long the contract's `Asset` of this state is.
pub(super) fn asset_bytes(fleet: &FleetId, state: &AssetState) -> usize {
    state.data.len() + 2 * state.id.as_str().len() + fleet.as_str().len() + 112
}

/// Splits states into parts of bounded size; at least one part, even of nothing.
pub(super) fn parts(
    fleet: &FleetId,
    states: impl Iterator<Item = Arc<AssetState>>,
) -> Vec<Vec<Arc<AssetState>>> {
    let envelope = 2 * fleet.as_str().len() + 160;
    let mut parts = vec![Vec::new()];
    let mut bytes = envelope;
    for state in states {
        let asset = asset_bytes(fleet, &state);
        if bytes + asset > PART_BYTES_MAX && bytes > envelope {
            parts.push(Vec::new());
            bytes = envelope;
        }
        bytes += asset;
        if let Some(part) = parts.last_mut() {
            part.push(state);
        }
    }
    parts
}

/// One part of a `fleet_snapshot`, counted from 1.
pub(super) fn snapshot_part<'a>(
    fleet: &FleetId,
    cursor: &str,
    part: usize,
    parts: usize,
    states: impl Iterator<Item = &'a AssetState>,
) -> Bytes {
    let object = encode::snapshot_part(&head(fleet, cursor), part, parts, &texts(fleet, states));
    event_frame("fleet_snapshot", &object)
}

/// `resync` of a `fleet` or a `region`: a fresh snapshot follows.
pub(super) fn resync(kind: &str, name: &str, reason: &str) -> Bytes {
    let mut out = format!("{{\"{kind}\":").into_bytes();
    encode::put_string(&mut out, name);
    out.extend_from_slice(br#","reason":"#);
    encode::put_string(&mut out, reason);
    out.push(b'}');
    event_frame("resync", &out)
}
