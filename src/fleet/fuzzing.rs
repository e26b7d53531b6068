//! What sources send, and what the store publishes.

use std::hint::black_box;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{AssetId, ChannelMessage, FieldMap, FleetId, FleetState, encode};

const NOW_MS: i64 = 1_790_000_000_000;
const SKEW_MS: i64 = 300_000;

fn is_json(text: &[u8]) -> bool {
    // Reads no value, so that depth costs nothing.
    serde_json::from_slice::<&RawValue>(text).is_ok()
}

/// A mapping of fields and two records, a line each: one after the other they become the state of an asset.
pub(crate) fn telemetry(data: &[u8]) {
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let fields = lines.next().and_then(|line| std::str::from_utf8(line).ok());
    let fields: FieldMap = fields.and_then(|text| text.parse().ok()).unwrap_or_default();
    let mut state = FleetState::starting_after(0);
    for line in lines {
        let raw = Bytes::copy_from_slice(line);
        let relayed = fields.parse_relayed(raw.clone(), NOW_MS, SKEW_MS);
        assert!(std::str::from_utf8(&relayed.raw).is_ok(), "what is relayed is text");
        let Ok(record) = fields.parse(raw) else { continue };
        let update = &record.update;
        assert_eq!(
            (&relayed.asset, relayed.position),
            (&update.asset, update.position),
            "one reader, two uses"
        );
        assert!(update.position.is_none_or(|position| position.is_valid()), "{:?}", update.position);
        assert!((0..9_000_000_000_000_001).contains(&update.ts_ms), "{}", update.ts_ms);
        drop(record.check_skew(NOW_MS, SKEW_MS));
        let Some(asset) = update.asset.clone() else { unreachable!("a record names its asset") };
        state.apply_from(update, None);
        let Some(known) = state.get(asset.as_str()) else {
            unreachable!("an asset that was heard of is known")
        };
        assert!(is_json(&known.data), "merged: {:?}", known.data);
        assert!(is_json(&encode::asset(&record.fleet, known)), "told: {:?}", known.data);
    }
}

/// A message of a fleet's numbered channel. What is read is written and read again.
pub(crate) fn channel(data: &[u8]) {
    let fleet = FleetId::parse("fleet").expect("an id");
    let Ok(ChannelMessage { epoch, batch }) = ChannelMessage::decode(&fleet, data) else { return };
    let first_seq = batch.first_seq.expect("a numbered channel has numbers");
    assert!(first_seq.checked_add(batch.updates.len() as u64).is_some(), "numbers go on");
    let written = |batch: &super::FleetBatch| {
        let mut text = ChannelMessage::encode_head(epoch, first_seq).into_bytes();
        text.extend(ChannelMessage::encode_body(batch.received_ms, batch.updates.iter()));
        text
    };
    let text = written(&batch);
    let again = ChannelMessage::decode(&fleet, &text).expect("what was written can be read");
    assert_eq!((again.epoch, written(&again.batch)), (epoch, text));
    let mut state = FleetState::starting_after(0);
    for (at, update) in batch.updates.iter().enumerate() {
        state.apply_numbered(update, first_seq + at as u64);
    }
    black_box(state.changed_since(first_seq).count());
    for state in state.changed_since(0) {
        drop(encode::asset(&fleet, state));
    }
}

/// A mapping of fields. A record that is composed by it can be read by it.
pub(crate) fn fields(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(fields) = text.parse::<FieldMap>() else { return };
    let (asset, fleet) = (AssetId::parse("asset").expect("an id"), FleetId::parse("fleet").expect("an id"));
    let text = fields.compose(asset.as_str(), &fleet, NOW_MS).to_string();
    let record = fields.parse(Bytes::from(text)).expect("a record of this map");
    assert_eq!((record.fleet, record.update.asset, record.update.ts_ms), (fleet, Some(asset), NOW_MS));
}
