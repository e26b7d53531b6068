//! Whether a fleet's numbered messages arrive without a hole. Pure.
//!
//! Invariant: of each fleet and epoch every number is admitted at most once and in order; what can not
//! be in order is a gap, said once.

use foldhash::{HashMap, HashMapExt};

use crate::fleet::FleetId;

/// What to do with a run of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// All of them are new, and nothing is missing before them.
    Next,
    /// The first ones (so many) were seen before, the others are next.
    Skip(usize),
    /// All of them were seen before.
    Repeat,
    /// Some are missing before these, which are new.
    Hole,
    /// The counter was made anew: numbers of before mean nothing.
    NewEpoch,
}

/// The next expected number per fleet.
#[derive(Debug)]
pub(super) struct Sequences<E> {
    fleets: HashMap<FleetId, (E, u64)>,
}

impl<E: PartialEq> Sequences<E> {
    pub(super) fn new() -> Self {
        Self { fleets: HashMap::new() }
    }

    /// Judges `count` numbers from `first` on. A fleet's first run after [`Self::forget`] is next,
    /// whatever its number: the subscription starts there.
    pub(super) fn admit(&mut self, fleet: &FleetId, epoch: E, first: u64, count: usize) -> Admission {
        let end = first.saturating_add(count as u64);
        let Some((known, next)) = self.fleets.get_mut(fleet) else {
            self.fleets.insert(fleet.clone(), (epoch, end));
            return Admission::Next;
        };
        if *known != epoch {
            (*known, *next) = (epoch, end);
            return Admission::NewEpoch;
        }
        let expected = *next;
        *next = expected.max(end);
        if first > expected {
            Admission::Hole
        } else if first == expected {
            Admission::Next
        } else if end <= expected {
            Admission::Repeat
        } else {
            Admission::Skip(usize::try_from(expected - first).unwrap_or(count))
        }
    }

    /// The fleet is not subscribed any more, or anew.
    pub(super) fn forget(&mut self, fleet: &str) {
        self.fleets.remove(fleet);
    }

    /// The connection is gone: every fleet starts anew.
    pub(super) fn forget_all(&mut self) {
        self.fleets = HashMap::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_skipped_and_holes_are_said_once() {
        let fleet = FleetId::parse("f").unwrap();
        let mut sequences = Sequences::new();
        let mut check = |epoch, first, count, expected| {
            assert_eq!(sequences.admit(&fleet, epoch, first, count), expected, "{epoch} {first}+{count}");
        };
        check("e", 10, 5, Admission::Next); // Wherever it starts.
        check("e", 15, 1, Admission::Next);
        check("e", 10, 6, Admission::Repeat);
        check("e", 14, 4, Admission::Skip(2));
        check("e", 20, 1, Admission::Hole);
        check("e", 21, 1, Admission::Next);
        check("e", 18, 2, Admission::Repeat); // Late: its hole was told, its state is there already.
        check("new", 1, 1, Admission::NewEpoch);
        check("new", 2, 2, Admission::Next);
    }

    #[test]
    fn a_new_subscription_starts_anywhere() {
        let (a, b) = (FleetId::parse("a").unwrap(), FleetId::parse("b").unwrap());
        let mut sequences = Sequences::new();
        sequences.admit(&a, 1, 1, 1);
        sequences.admit(&b, 1, 1, 1);
        sequences.forget("a");
        assert_eq!(sequences.admit(&a, 1, 50, 1), Admission::Next);
        assert_eq!(sequences.admit(&b, 1, 50, 1), Admission::Hole);
        sequences.forget_all();
        assert_eq!(sequences.admit(&b, 1, 90, 1), Admission::Next);
    }
}
