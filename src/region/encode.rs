//! The region events of the contract as JSON text, put together from shared asset texts.
//!
//! Invariant: one pass of copying, no tree; a message is cut before it gets long, never an asset in it.

use std::ops::Range;

use bytes::Bytes;

use super::{RegionDelta, RegionName};
use crate::fleet::encode::{part_ranges, put_string, snapshot_part};

/// A delta longer than this goes out as several messages, so that one viewer's burst does not hold up
/// the next one's.
pub const UPDATES_BYTES_MAX: usize = 64 * 1024;

/// `region_snapshot` objects, at least one, each made when it is asked for: while a slow viewer takes one,
/// the rest costs no text of its own. `part` counts from 1.
#[derive(Debug)]
pub struct SnapshotParts {
    head: Vec<u8>,
    assets: Vec<Bytes>,
    ranges: Vec<Range<usize>>,
    next: usize,
}

impl SnapshotParts {
    /// A snapshot of these assets.
    #[must_use]
    pub fn new(region: &RegionName, assets: Vec<Bytes>) -> Self {
        let mut head = br#"{"region":"#.to_vec();
        put_string(&mut head, region.as_str());
        let ranges = part_ranges(head.len(), &assets);
        Self { head, assets, ranges, next: 0 }
    }

    /// The next part, if one is left.
    #[must_use]
    pub fn peek(&self) -> Option<Bytes> {
        let range = self.ranges.get(self.next)?.clone();
        Some(snapshot_part(&self.head, self.next + 1, self.ranges.len(), &self.assets[range]))
    }

    /// The part was taken.
    pub fn advance(&mut self) {
        self.next += 1;
    }
}

/// `region_updates` objects: `entered`, `moved` and `left` in each, in this order over all of them. None
/// for an empty delta.
#[must_use]
pub fn region_updates(region: &RegionName, delta: &RegionDelta<'_>) -> Vec<Bytes> {
    let mut head = br#"{"region":"#.to_vec();
    put_string(&mut head, region.as_str());
    let texts = || {
        let entered = delta.entered.iter().map(|text| (0, *text));
        let moved = delta.moved.iter().map(|text| (1, *text));
        entered.chain(moved).chain(delta.left.iter().map(|text| (2, text)))
    };
    let total: usize = texts().map(|(_, text)| text.len() + 1).sum();
    let mut messages = Vec::with_capacity(1 + total / UPDATES_BYTES_MAX);
    let mut open: Option<Message> = None;
    for (list, text) in texts() {
        if open.as_ref().is_some_and(|message| message.len_with(text) > UPDATES_BYTES_MAX) {
            messages.extend(open.take().map(Message::close));
        }
        open.get_or_insert_with(|| Message::open(&head, total.min(UPDATES_BYTES_MAX))).put(list, text);
    }
    messages.extend(open.map(Message::close));
    messages
}

/// What comes before each list.
const LISTS: [&[u8]; 3] = [br#","entered":["#, br#"],"moved":["#, br#"],"left":["#];
const END: &[u8] = b"]}";

/// A `region_updates` object being written, list after list.
struct Message {
    text: Vec<u8>,
    list: usize,
    empty: bool,
}

impl Message {
    fn open(head: &[u8], capacity: usize) -> Self {
        let mut text = Vec::with_capacity(head.len() + LISTS.concat().len() + END.len() + capacity);
        text.extend_from_slice(head);
        text.extend_from_slice(LISTS[0]);
        Self { text, list: 0, empty: true }
    }

    fn len_with(&self, text: &[u8]) -> usize {
        self.text.len() + 1 + text.len() + LISTS[1].len() + LISTS[2].len() + END.len()
    }

    fn put(&mut self, list: usize, text: &[u8]) {
        self.go_to(list);
        if !self.empty {
            self.text.push(b',');
        }
        self.text.extend_from_slice(text);
        self.empty = false;
    }

    fn go_to(&mut self, list: usize) {
        while self.list < list {
            self.list += 1;
            self.text.extend_from_slice(LISTS[self.list]);
            self.empty = true;
        }
    }

    fn close(mut self) -> Bytes {
        self.go_to(LISTS.len() - 1);
        self.text.extend_from_slice(END);
        self.text.into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn region() -> RegionName {
        RegionName::parse("map \"1\"").unwrap()
    }

    fn texts(texts: &[&str]) -> Vec<Bytes> {
        texts.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect()
    }

    #[test]
    fn every_message_has_all_three_lists() {
        let check = |entered: &[&str], moved: &[&str], left: &[&str], expected: &str| {
            let (entered, moved) = (texts(entered), texts(moved));
            let delta = RegionDelta {
                entered: entered.iter().collect(),
                moved: moved.iter().collect(),
                left: texts(left),
                ..RegionDelta::default()
            };
            assert_eq!(region_updates(&region(), &delta), [expected]);
        };
        check(&["1"], &[], &[], r#"{"region":"map \"1\"","entered":[1],"moved":[],"left":[]}"#);
        check(&[], &["1", "2"], &[], r#"{"region":"map \"1\"","entered":[],"moved":[1,2],"left":[]}"#);
        check(&[], &[], &["3"], r#"{"region":"map \"1\"","entered":[],"moved":[],"left":[3]}"#);
        check(
            &["1"],
            &["2"],
            &["3", "4"],
            r#"{"region":"map \"1\"","entered":[1],"moved":[2],"left":[3,4]}"#,
        );
        assert!(region_updates(&region(), &RegionDelta::default()).is_empty());
    }

    #[test]
    fn a_long_delta_is_cut_and_loses_nothing() {
        let long = |from: usize, count: usize| -> Vec<Bytes> {
            (from..from + count).map(|i| format!("\"{i:0500}\"").into()).collect()
        };
        let (entered, mut moved, left) = (long(0, 300), long(300, 7), long(307, 400));
        moved.push(Bytes::from(format!("\"{}\"", "x".repeat(2 * UPDATES_BYTES_MAX))));
        let delta = RegionDelta {
            entered: entered.iter().collect(),
            moved: moved.iter().collect(),
            left: left.clone(),
            ..RegionDelta::default()
        };
        let (mut seen, mut oversized) = ([vec![], vec![], vec![]], 0);
        for message in region_updates(&region(), &delta) {
            oversized += usize::from(message.len() > UPDATES_BYTES_MAX);
            let message: Value = serde_json::from_slice(&message).unwrap();
            for (list, name) in ["entered", "moved", "left"].into_iter().enumerate() {
                seen[list].extend(
                    message[name].as_array().unwrap().iter().map(|text| Bytes::from(text.to_string())),
                );
            }
        }
        assert_eq!(oversized, 1);
        assert_eq!(seen, [entered, moved, left]);
    }

    #[test]
    fn a_snapshot_names_its_region_and_parts() {
        let mut parts = SnapshotParts::new(&region(), texts(&["1", "2"]));
        let part: Value = serde_json::from_slice(&parts.peek().unwrap()).unwrap();
        assert_eq!(part, json!({"region": "map \"1\"", "part": 1, "parts": 1, "assets": [1, 2]}));
        parts.advance();
        assert_eq!(parts.peek(), None);
    }
}
