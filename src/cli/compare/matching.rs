//! Two streams of the same events, matched. Pure: no clock, no network.
//!
//! Invariant: each event is in exactly one place — matched with its equal, missing, extra, differing, or
//! too close to an end of the comparison to tell.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    time::Duration,
};

use serde::Serialize;

use super::dashboard::Arrival;

/// Equal events that are further apart than this are two events.
const APART_MAX: Duration = Duration::from_secs(10);
/// Events shown of each kind of difference.
const EXAMPLES_MAX: usize = 5;

/// What two streams have in common, and what not.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Comparison {
    /// Events that both sent.
    pub(super) matched: usize,
    /// Events that only the first sent.
    pub(super) missing: Difference,
    /// Events that only the second sent.
    pub(super) extra: Difference,
    /// Events for the same asset at the same time with another content.
    pub(super) differing: Difference,
    /// Events that the second sent behind a newer one of the same asset.
    pub(super) reordered: Difference,
    /// How much later the second's events came, in ms; negative when they came earlier.
    pub(super) delay_ms: Option<Spread>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    pub(super) count: usize,
    pub(super) examples: Vec<String>,
}

impl Difference {
    fn note(&mut self, example: &str) {
        self.count += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example.chars().take(200).collect());
        }
    }
}

/// Of a set of durations, in ms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) min: f64,
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Spread {
    /// `None` of nothing.
    pub(super) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index, rounded")]
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 events")]
        let at = |share: f64| values.get(((values.len() as f64 - 1.0) * share).round() as usize).copied();
        Some(Self { min: at(0.0)?, p50: at(0.5)?, p95: at(0.95)?, p99: at(0.99)?, max: at(1.0)? })
    }
}

/// What of an event says which asset it is about, and when.
pub(super) type KeyOf<'a> = &'a dyn Fn(&Arrival) -> Option<(String, String)>;

/// Matches the streams of two gateways. Events without their equal count only if they arrived between
/// `from` and `until`: nearer to the ends the other one may not have been listening.
pub(super) fn compare(
    first: &[Arrival],
    second: &[Arrival],
    (from, until): (Duration, Duration),
    key_of: KeyOf<'_>,
) -> Comparison {
    let pairs = pairs(first, second);
    let mut comparison = Comparison { matched: pairs.len(), ..Comparison::default() };
    let delays = pairs.iter().map(|(a, b)| (second[*b].at.as_secs_f64() - first[*a].at.as_secs_f64()) * 1e3);
    comparison.delay_ms = Spread::of(delays.collect());
    reordered(&mut comparison.reordered, second, &pairs, key_of);

    let counts = |arrival: &Arrival| (from..=until).contains(&arrival.at);
    let (in_first, in_second): (HashSet<usize>, HashSet<usize>) = pairs.into_iter().unzip();
    let alone = |arrivals: &[Arrival], matched: &HashSet<usize>| -> Vec<usize> {
        (0..arrivals.len()).filter(|index| !matched.contains(index)).collect()
    };
    let mut by_key: HashMap<(String, String), VecDeque<usize>> = HashMap::new();
    let mut extra = Vec::new();
    for index in alone(second, &in_second) {
        match key_of(&second[index]) {
            Some(key) => by_key.entry(key).or_default().push_back(index),
            None => extra.push(index),
        }
    }
    for index in alone(first, &in_first) {
        let arrival = &first[index];
        let other = key_of(arrival).and_then(|key| by_key.get_mut(&key)?.pop_front());
        match other {
            Some(other) => {
                comparison.differing.note(&format!("{} instead of {}", second[other].body, arrival.body));
            }
            None if counts(arrival) => comparison.missing.note(&arrival.body),
            None => {}
        }
    }
    extra.extend(by_key.into_values().flatten());
    extra.sort_unstable();
    for index in extra.into_iter().filter(|index| counts(&second[*index])) {
        comparison.extra.note(&second[index].body);
    }
    comparison
}

/// Indices of equal events, in the order of the second stream. Events that repeat are paired in order.
fn pairs(first: &[Arrival], second: &[Arrival]) -> Vec<(usize, usize)> {
    let mut waiting: HashMap<(&str, &str), VecDeque<usize>> = HashMap::new();
    for (index, arrival) in first.iter().enumerate() {
        waiting.entry((&arrival.name, &arrival.body)).or_default().push_back(index);
    }
    let mut pairs = Vec::new();
    for (index, arrival) in second.iter().enumerate() {
        let Some(candidates) = waiting.get_mut(&(&*arrival.name, &*arrival.body)) else { continue };
        while let Some(candidate) = candidates.front().copied() {
            let other = first[candidate].at;
            if other + APART_MAX < arrival.at {
                candidates.pop_front(); // An earlier event that says the same.
            } else {
                if other <= arrival.at + APART_MAX {
                    candidates.pop_front();
                    pairs.push((candidate, index));
                }
                break;
            }
        }
    }
    pairs
}

/// Order is promised per asset. Events that are about no asset have one order together.
fn reordered(difference: &mut Difference, second: &[Arrival], pairs: &[(usize, usize)], key_of: KeyOf<'_>) {
    let mut newest: BTreeMap<String, usize> = BTreeMap::new();
    for (a, b) in pairs {
        let arrival = &second[*b];
        let asset = key_of(arrival).map_or_else(String::new, |(asset, _)| asset);
        let newest = newest.entry(asset).or_insert(*a);
        if *a < *newest {
            difference.note(&arrival.body);
        }
        *newest = (*newest).max(*a);
    }
}

impl Comparison {
    /// Whether the second is as good as the first.
    pub(super) fn is_equal(&self) -> bool {
        let differences = [&self.missing, &self.extra, &self.differing, &self.reordered];
        self.matched > 0 && differences.iter().all(|difference| difference.count == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `asset@time:content`, arrived at index × 100 ms.
    fn stream(bodies: &[&str]) -> Vec<Arrival> {
        let arrival = |(index, body): (usize, &&str)| Arrival {
            at: Duration::from_millis(100 * index as u64),
            name: "fleet_update".to_owned(),
            body: (*body).to_owned(),
        };
        bodies.iter().enumerate().map(arrival).collect()
    }

    fn key(arrival: &Arrival) -> Option<(String, String)> {
        let (asset, rest) = arrival.body.split_once('@')?;
        Some((asset.to_owned(), rest.split_once(':')?.0.to_owned()))
    }

    fn counts(first: &[&str], second: &[&str]) -> [usize; 5] {
        let whole = (Duration::ZERO, Duration::from_secs(60));
        let found = compare(&stream(first), &stream(second), whole, &key);
        let Comparison { matched, missing, extra, differing, reordered, .. } = found;
        [matched, missing.count, extra.count, differing.count, reordered.count]
    }

    #[test]
    fn every_kind_of_difference_is_told_from_the_others() {
        assert_eq!(counts(&["a@1:x", "b@1:x"], &["a@1:x", "b@1:x"]), [2, 0, 0, 0, 0]);
        assert_eq!(counts(&["a@1:x", "b@1:x"], &["b@1:x"]), [1, 1, 0, 0, 0]);
        assert_eq!(counts(&["a@1:x"], &["a@1:x", "a@1:x"]), [1, 0, 1, 0, 0]);
        assert_eq!(counts(&["a@1:x"], &["a@1:y"]), [0, 0, 0, 1, 0]);
        assert_eq!(counts(&["a@1:x", "a@2:x"], &["a@2:x", "a@1:x"]), [2, 0, 0, 0, 1]);
        // Order between assets is not promised.
        assert_eq!(counts(&["a@1:x", "b@1:x"], &["b@1:x", "a@1:x"]), [2, 0, 0, 0, 0]);
        assert_eq!(counts(&["text", "more"], &["more", "text"]), [2, 0, 0, 0, 1]);
    }

    #[test]
    fn what_came_near_an_end_does_not_count() {
        let (first, second) = (stream(&["a@1:x", "b@1:x", "c@1:x", "d@1:x"]), stream(&["z@1:x"]));
        let middle = (Duration::from_millis(150), Duration::from_millis(250));
        let found = compare(&first, &second, middle, &key);
        assert_eq!((found.missing.count, found.extra.count), (1, 0));
        assert_eq!(found.missing.examples, ["c@1:x"]);
    }

    #[test]
    fn equal_events_that_are_far_apart_are_two() {
        let mut late = stream(&["a@1:x"]);
        late[0].at = Duration::from_secs(30);
        let whole = (Duration::ZERO, Duration::from_secs(60));
        let found = compare(&stream(&["a@1:x"]), &late, whole, &|_| None);
        assert_eq!((found.matched, found.missing.count, found.extra.count), (0, 1, 1));
    }

    #[test]
    fn nothing_compared_is_nothing_proved() {
        assert!(!compare(&[], &[], (Duration::ZERO, Duration::MAX), &key).is_equal());
        let one = stream(&["a@1:x"]);
        assert!(compare(&one, &one, (Duration::ZERO, Duration::MAX), &key).is_equal());
    }

    #[test]
    fn delays_have_percentiles() {
        let spread = Spread::of((0..=100).rev().map(f64::from).collect()).unwrap();
        assert_eq!((spread.min, spread.p50, spread.p95, spread.max), (0.0, 50.0, 95.0, 100.0));
        assert_eq!(Spread::of(Vec::new()), None);
    }
}
