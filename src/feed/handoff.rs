//! What was received and not yet taken over by the consumer. Pure.
//!
//! Invariant: bounded in bytes. The reader never waits for the consumer, since Redis would then buffer,
//! and kick this replica out; so what does not fit is dropped, and the fleet's [`FeedEvent::Gap`] stands
//! in its place: one hole per fleet and hand-over, everything before it and after it in order.

use bytes::Bytes;
use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};

use super::{FeedEvent, GapReason};
use crate::fleet::{Epoch, FleetBatch, FleetId, Update};

/// What an update costs beside its text.
const UPDATE_BYTES: usize = size_of::<Update>();

/// Events in order, with one open batch per fleet that further updates are added to.
#[derive(Debug)]
pub(super) struct Handoff {
    events: Vec<FeedEvent>,
    open: HashMap<FleetId, usize>,
    /// Fleets whose newest event is a gap.
    gapped: HashSet<FleetId>,
    overflown: HashSet<FleetId>,
    /// A message of other channels was dropped since the last hand-over.
    others_missed: bool,
    bytes: usize,
    bytes_max: usize,
}

impl Handoff {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            events: Vec::new(),
            open: HashMap::new(),
            gapped: HashSet::new(),
            overflown: HashSet::new(),
            others_missed: false,
            bytes: 0,
            bytes_max,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Everything so far, for the consumer. Fleets that overflowed flow again after it.
    pub(super) fn take(&mut self) -> Vec<FeedEvent> {
        self.open.clear();
        self.gapped.clear();
        self.overflown.clear();
        self.others_missed = false;
        self.bytes = 0;
        std::mem::take(&mut self.events)
    }

    /// Adds a batch, to the fleet's open one if it continues it. Returns how many updates did not fit.
    pub(super) fn push(&mut self, batch: FleetBatch, epoch: Option<Epoch>) -> usize {
        if batch.updates.is_empty() || self.overflown.contains(&batch.fleet) {
            return batch.updates.len();
        }
        let bytes: usize = batch.updates.iter().map(|update| update.raw.len() + UPDATE_BYTES).sum();
        if self.bytes + bytes > self.bytes_max {
            self.gap(&batch.fleet, GapReason::Overflow);
            self.overflown.insert(batch.fleet);
            return batch.updates.len();
        }
        self.bytes += bytes;
        if let Some(&at) = self.open.get(&batch.fleet)
            && let FeedEvent::Batch { batch: open, epoch: open_epoch } = &mut self.events[at]
            && *open_epoch == epoch
            && open.is_continued_by(&batch)
        {
            open.updates.extend(batch.updates);
            return 0;
        }
        self.gapped.remove(&batch.fleet);
        self.open.insert(batch.fleet.clone(), self.events.len());
        self.events.push(FeedEvent::Batch { batch, epoch });
        0
    }

    /// Adds a message of a channel that is no fleet's; whether it fitted.
    pub(super) fn push_other(&mut self, payload: Bytes) -> bool {
        if self.others_missed {
            return false;
        }
        if self.bytes + payload.len() > self.bytes_max {
            self.other_missed();
            return false;
        }
        self.bytes += payload.len();
        self.events.push(FeedEvent::Other(payload));
        true
    }

    /// Messages of other channels are missing from here on, until the next hand-over.
    pub(super) fn other_missed(&mut self) {
        if !std::mem::replace(&mut self.others_missed, true) {
            self.events.push(FeedEvent::OtherMissed);
        }
    }

    /// Some of the fleet's updates are missing from here on. Says whether that is news: gaps that follow
    /// each other are one.
    pub(super) fn gap(&mut self, fleet: &FleetId, reason: GapReason) -> bool {
        if !self.gapped.insert(fleet.clone()) {
            return false;
        }
        self.open.remove(fleet);
        self.events.push(FeedEvent::Gap { fleet: fleet.clone(), reason });
        true
    }

    /// The connection was lost or is back. Only the newest pair is kept, so a consumer that stands
    /// still while the connection flaps costs nothing.
    pub(super) fn link(&mut self, event: FeedEvent) {
        self.open.clear();
        self.gapped.clear();
        if matches!(event, FeedEvent::Lost)
            && matches!(self.events.as_slice(), [.., FeedEvent::Lost, FeedEvent::Restored])
        {
            self.events.pop();
            return;
        }
        self.events.push(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(fleet: &str, first_seq: Option<u64>, texts: &[&'static str]) -> FleetBatch {
        let update = |text: &&'static str| Update {
            asset: None,
            ts_ms: 0,
            position: None,
            raw: Bytes::from_static(text.as_bytes()),
        };
        let updates = texts.iter().map(update).collect();
        FleetBatch { fleet: FleetId::parse(fleet).unwrap(), first_seq, updates, received_ms: 0 }
    }

    fn told(handoff: &mut Handoff) -> Vec<String> {
        let tell = |event| match event {
            FeedEvent::Batch { batch, .. } => {
                let texts = batch.updates.iter().map(|update| std::str::from_utf8(&update.raw).unwrap());
                format!("{} {}", batch.fleet, texts.collect::<Vec<_>>().join(","))
            }
            FeedEvent::Gap { fleet, reason } => format!("{fleet} gap {reason:?}"),
            FeedEvent::Other(text) => format!("other {}", String::from_utf8_lossy(&text)),
            FeedEvent::OtherMissed => "other missed".to_owned(),
            FeedEvent::Lost => "lost".to_owned(),
            FeedEvent::Restored => "restored".to_owned(),
        };
        handoff.take().into_iter().map(tell).collect()
    }

    #[test]
    fn a_burst_becomes_one_batch_per_fleet_in_order() {
        let mut handoff = Handoff::new(1 << 20);
        for (fleet, text) in [("a", "1"), ("b", "2"), ("a", "3")] {
            assert_eq!(handoff.push(batch(fleet, None, &[text]), None), 0);
        }
        assert_eq!(told(&mut handoff), ["a 1,3", "b 2"]);
        handoff.push(batch("a", None, &["4"]), None);
        assert_eq!(told(&mut handoff), ["a 4"], "nothing is added to what was taken");
    }

    #[test]
    fn numbered_batches_join_only_without_a_hole_and_never_across_a_gap() {
        let mut handoff = Handoff::new(1 << 20);
        handoff.push(batch("a", Some(1), &["1", "2"]), None);
        handoff.push(batch("a", Some(3), &["3"]), None);
        let fleet = FleetId::parse("a").unwrap();
        assert!(handoff.gap(&fleet, GapReason::Sequence));
        assert!(!handoff.gap(&fleet, GapReason::Unreadable), "one gap is enough");
        handoff.push(batch("a", Some(9), &["9"]), None);
        handoff.link(FeedEvent::Lost);
        handoff.push(batch("a", Some(10), &["10"]), None);
        assert_eq!(told(&mut handoff), ["a 1,2,3", "a gap Sequence", "a 9", "lost", "a 10"]);
    }

    #[test]
    fn what_does_not_fit_is_one_hole_per_fleet_until_it_is_taken() {
        let mut handoff = Handoff::new(2 * (UPDATE_BYTES + 1));
        assert_eq!(handoff.push(batch("a", None, &["1"]), None), 0);
        assert_eq!(handoff.push(batch("b", None, &["2", "3"]), None), 2);
        assert_eq!(handoff.push(batch("b", None, &["4"]), None), 1, "it would fit, but out of order");
        assert_eq!(handoff.push(batch("a", None, &["5"]), None), 0);
        assert_eq!(handoff.push(batch("a", None, &["6"]), None), 1);
        assert_eq!(told(&mut handoff), ["a 1,5", "b gap Overflow", "a gap Overflow"]);
        assert_eq!(handoff.push(batch("b", None, &["7"]), None), 0);
        assert_eq!(told(&mut handoff), ["b 7"]);
    }

    #[test]
    fn a_flapping_connection_takes_no_room() {
        let mut handoff = Handoff::new(1 << 20);
        for _ in 0..1000 {
            handoff.link(FeedEvent::Lost);
            handoff.link(FeedEvent::Restored);
        }
        assert_eq!(told(&mut handoff), ["lost", "restored"]);
        handoff.link(FeedEvent::Lost);
        handoff.link(FeedEvent::Lost);
        assert!(told(&mut handoff).starts_with(&["lost".to_owned()]));
    }

    #[test]
    fn messages_of_other_channels_are_bounded_too_and_a_hole_is_told_once() {
        let mut handoff = Handoff::new(10);
        assert!(handoff.push_other(Bytes::from_static(b"12345678")));
        assert!(!handoff.push_other(Bytes::from_static(b"123")));
        assert!(!handoff.push_other(Bytes::from_static(b"1")), "nothing behind a hole");
        let events = handoff.take();
        assert!(matches!(&events[..], [FeedEvent::Other(_), FeedEvent::OtherMissed]), "{events:?}");
        assert!(handoff.push_other(Bytes::from_static(b"1")), "it flows again");
    }
}
