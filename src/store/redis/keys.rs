//! The names of a fleet's keys and channels in Redis.
//! Invariant: all keys of a fleet share one hash tag, so that one script may touch them in a cluster.

use std::sync::Arc;

use super::cells;
use crate::{fleet::FleetId, region::CellId};

/// Where fleets live in Redis.
#[derive(Debug, Clone)]
pub(super) struct Keyspace {
    prefix: Arc<str>,
}

impl Keyspace {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    pub(super) fn cell_channel(&self, cell: CellId) -> String {
        cell_channel(&self.prefix, cell)
    }

    /// Pattern of all channels of cells.
    pub(super) fn cell_channels(&self) -> String {
        format!("{}:cell:*", self.prefix)
    }

    /// Set: all fleets that have state. In a slot of its own.
    pub(super) fn fleets(&self) -> String {
        format!("{}:fleets", self.prefix)
    }

    pub(super) fn of(&self, fleet: &FleetId) -> FleetKeys {
        FleetKeys {
            base: format!("{}:{{{}}}:", self.prefix, tag(fleet.as_str())),
            keyspace: self.clone(),
            cell_head: cells::head(fleet),
        }
    }
}

/// The channel of a fleet on which batches are published with their numbers.
#[must_use]
pub fn updates_channel(prefix: &str, fleet: &FleetId) -> String {
    Keyspace::new(prefix).of(fleet).channel()
}

/// The legacy channel of a fleet: one message per update.
#[must_use]
pub fn legacy_channel(fleet: &FleetId) -> String {
    format!("updates:{fleet}")
}

/// The channel of a cell, for assets of all fleets that are in it, come into it or leave it.
#[must_use]
pub fn cell_channel(prefix: &str, cell: CellId) -> String {
    format!("{prefix}:cell:{cell}")
}

/// An id that starts with `}` would make an empty hash tag, and its keys would be spread.
fn tag(fleet: &str) -> String {
    match fleet.chars().next() {
        Some('}') => format!("%7D{}", &fleet[1..]),
        Some('%') => format!("%25{}", &fleet[1..]),
        _ => fleet.to_owned(),
    }
}

#[derive(Debug, Clone)]
pub(super) struct FleetKeys {
    base: String,
    keyspace: Keyspace,
    /// What the messages of cells begin with.
    pub(super) cell_head: String,
}

impl FleetKeys {
    fn key(&self, name: &str) -> String {
        [&self.base, name].concat()
    }

    /// Number of the newest change.
    pub(super) fn seq(&self) -> String {
        self.key("seq")
    }

    /// Which life of the counter it is.
    pub(super) fn epoch(&self) -> String {
        self.key("epoch")
    }

    /// Hash: asset → state.
    pub(super) fn state(&self) -> String {
        self.key("state")
    }

    /// Sorted set: asset by the number of its last change.
    pub(super) fn changes(&self) -> String {
        self.key("changes")
    }

    /// Geo set of assets. Redis knows no latitude beyond 85.05°; assets near the poles stand there.
    pub(super) fn positions(&self) -> String {
        self.key("positions")
    }

    /// Sorted set: asset by the number of the cell that it is in.
    pub(super) fn cells(&self) -> String {
        self.key("cells")
    }

    /// List: the recent track of an asset, newest last.
    pub(super) fn track(&self, asset: &str) -> String {
        [&self.base, "track:", asset].concat()
    }

    pub(super) fn cell_channel(&self, cell: CellId) -> String {
        self.keyspace.cell_channel(cell)
    }

    pub(super) fn channel(&self) -> String {
        self.key("updates")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_contract() {
        let keys = |fleet| Keyspace::new("fleetcast").of(&FleetId::parse(fleet).unwrap());
        assert_eq!(keys("north").state(), "fleetcast:{north}:state");
        assert_eq!(keys("a}b").track("truck 7"), "fleetcast:{a}b}:track:truck 7");
        assert_eq!(keys("}x").seq(), "fleetcast:{%7Dx}:seq");
        assert_ne!(keys("%7Dx").seq(), keys("}x").seq());
        assert_eq!(updates_channel("p", &FleetId::parse("f").unwrap()), "p:{f}:updates");
        assert_eq!(legacy_channel(&FleetId::parse("f").unwrap()), "updates:f");
    }
}
