//! Assets by where they are: what one cell's channel carries, and how the assets of cells are read.
//!
//! Invariant: an update is published on the channel of the cell that its asset is in and, if it came from
//! another one, on that one's, too: so whoever listens to a cell sees everything that leaves it.
//!
//! ```text
//! C1 <fleet> (<asset> <state>)…      each a netstring: length, colon, bytes
//! ```

use std::{collections::BTreeMap, sync::Arc};

use redis::Cmd;

use super::{keys::FleetKeys, merged::Changed, script::CELLS, text};
use crate::{
    fleet::{AssetId, AssetState, FleetId, Position},
    region::CellId,
};

const VERSION: &str = "C1 ";

/// What the messages of a fleet begin with.
pub(super) fn head(fleet: &FleetId) -> String {
    format!("{VERSION}{}:{fleet}", fleet.as_str().len())
}

/// Reads a message of a cell's channel. `None` if it is not ours.
#[must_use]
pub fn read_cell_message(message: &[u8]) -> Option<(FleetId, Vec<Arc<AssetState>>)> {
    let (fleet, mut rest) = netstring(message.strip_prefix(VERSION.as_bytes())?)?;
    let fleet = FleetId::parse(std::str::from_utf8(fleet).ok()?).ok()?;
    let mut states = Vec::new();
    while !rest.is_empty() {
        let (asset, after) = netstring(rest)?;
        let (state, after) = netstring(after)?;
        rest = after;
        let asset = AssetId::parse(std::str::from_utf8(asset).ok()?).ok()?;
        states.push(Arc::new(text::read(asset, state)?));
    }
    Some((fleet, states))
}

fn netstring(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = text.iter().take(10).position(|byte| *byte == b':')?;
    let len: usize = std::str::from_utf8(&text[..colon]).ok()?.parse().ok()?;
    text[colon + 1..].split_at_checked(len)
}

/// The cell of a position, of the level that is watched.
pub(super) fn cell_of(position: Option<Position>) -> Option<CellId> {
    position.and_then(CellId::at).map(CellId::between_replicas)
}

/// Which states of a batch concern which cell, by their places from 1 on, as Lua counts.
pub(super) fn by_cell(changed: &[Changed]) -> BTreeMap<CellId, Vec<usize>> {
    let mut cells: BTreeMap<CellId, Vec<usize>> = BTreeMap::new();
    for (place, changed) in changed.iter().enumerate() {
        let now = cell_of(changed.state.position);
        for cell in now.into_iter().chain(changed.base_cell.filter(|base| now != Some(*base))) {
            cells.entry(cell).or_default().push(place + 1);
        }
    }
    cells
}

/// Asks for the states of a fleet's assets in cells.
pub(super) fn load(keys: &FleetKeys, cells: &[CellId]) -> Cmd {
    let mut call = redis::cmd("EVALSHA");
    call.arg(&CELLS.sha).arg(2).arg(keys.state()).arg(keys.cells());
    for (first, last) in ranges(cells) {
        call.arg(first).arg(last);
    }
    call
}

/// Runs of consecutive numbers: the whole world is one.
fn ranges(cells: &[CellId]) -> Vec<(u32, u32)> {
    let mut numbers: Vec<u32> = cells.iter().map(|cell| cell.number()).collect();
    numbers.sort_unstable();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if number <= *last + 1 => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_put_together() {
        let fleet = FleetId::parse("nörd:1").unwrap();
        let state = r#"{"ts":5,"seq":7,"at":"","lat":1.5,"lon":2,"data":{"a":"1:2"}}"#;
        let message = format!("{}1:x{}:{state}3:a:b{}:{state}", head(&fleet), state.len(), state.len());
        let (read, states) = read_cell_message(message.as_bytes()).unwrap();
        assert_eq!(read, fleet);
        assert_eq!(states.iter().map(|state| state.id.as_str()).collect::<Vec<_>>(), ["x", "a:b"]);
        assert_eq!((states[0].seq, states[0].ts_ms), (7, 5));
        let whole = [head(&fleet).len(), message.len() - state.len() - "3:a:b61:".len(), message.len()];
        for cut in 0..=message.len() {
            let is_read = read_cell_message(&message.as_bytes()[..cut]).is_some();
            assert_eq!(is_read, whole.contains(&cut), "cut at {cut}");
        }
    }

    #[test]
    fn consecutive_cells_are_one_range() {
        let mut world: Vec<CellId> = (0..64)
            .flat_map(|row| (0..64).map(move |column| (row, column)))
            .map(|(row, column)| Position {
                lat: f64::from(row) * 2.8125 - 89.0,
                lon: f64::from(column) * 5.625 - 179.0,
            })
            .filter_map(|position| cell_of(Some(position)))
            .collect();
        world.reverse();
        assert_eq!(ranges(&world), [(4096, 8191)]);
        world.retain(|cell| cell.number() != 5000);
        assert_eq!(ranges(&world), [(4096, 4999), (5001, 8191)]);
        assert!(ranges(&[]).is_empty());
    }
}
