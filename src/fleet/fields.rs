//! `FLEETCAST_FIELDS`: where a source's records keep the asset, the fleet, the time and the position.
//!
//! Invariant: every name has exactly one JSON Pointer, and no pointer leads through another one's value,
//! so one pass over a record finds them all.

use std::{fmt, str::FromStr};

use serde_json::{Map, Value};

use super::FleetId;

/// Records are read by recursion along the pointers, as far as the JSON parser goes at most: 128.
const LEVELS_MAX: usize = 64;

/// What Fleetcast needs to know of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Asset,
    Fleet,
    Ts,
    Lat,
    Lon,
}

impl Field {
    pub(super) const COUNT: usize = 5;
    const ALL: [(&'static str, Self, &'static str); Self::COUNT] = [
        ("asset", Self::Asset, "/assetId"),
        ("fleet", Self::Fleet, "/fleetId"),
        ("ts", Self::Ts, "/ts"),
        ("lat", Self::Lat, "/lat"),
        ("lon", Self::Lon, "/lon"),
    ];
}

/// Maps Fleetcast's names to JSON Pointers (RFC 6901) into a source's records.
///
/// Written `asset=/assetId,fleet=/fleetId,ts=/ts,lat=/lat,lon=/lon`, which is also the default; names
/// that are left out keep their default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldMap {
    root: Node,
    pointers: [Box<str>; Field::COUNT],
}

/// One step of the pointers: the members to look at, and the field that ends here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) members: Vec<(Box<str>, Self)>,
    pub(super) field: Option<Field>,
}

/// Why a field map was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFieldMap {
    /// An entry is not `name=/pointer`.
    #[error("`{0}` is not name=/pointer")]
    Entry(String),
    /// The name is none of Fleetcast's.
    #[error("`{0}` is none of asset, fleet, ts, lat, lon")]
    Name(String),
    /// The pointer is no JSON Pointer to a member.
    #[error("`{0}` is not a JSON Pointer, which starts with / and escapes ~ as ~0 and / as ~1")]
    Pointer(String),
    /// No record could be read that deep.
    #[error("`{0}` goes deeper than {LEVELS_MAX} levels")]
    Deep(String),
    /// Two names point at the same value, or one into another's.
    #[error("`{0}` is, or lies within, the value of another field")]
    Overlap(String),
}

impl FieldMap {
    pub(super) fn root(&self) -> &Node {
        &self.root
    }

    /// The pointer of a field, as configured: what reasons and logs call it.
    pub(super) fn pointer(&self, field: Field) -> &str {
        &self.pointers[field as usize]
    }

    /// A record without a position, as a source that is read with this map would have it.
    #[must_use]
    pub fn compose(&self, asset: &str, fleet: &FleetId, ts_ms: i64) -> Value {
        fn put(node: &Node, of: &impl Fn(Field) -> Option<Value>) -> Option<Value> {
            if let Some(field) = node.field {
                return of(field);
            }
            let members =
                node.members.iter().filter_map(|(name, node)| Some((name.to_string(), put(node, of)?)));
            let members: Map<String, Value> = members.collect();
            (!members.is_empty()).then_some(Value::Object(members))
        }
        let of = |field| match field {
            Field::Asset => Some(asset.into()),
            Field::Fleet => Some(fleet.as_str().into()),
            Field::Ts => Some(ts_ms.into()),
            Field::Lat | Field::Lon => None,
        };
        put(&self.root, &of).unwrap_or_default()
    }

    fn build(pointers: [Box<str>; Field::COUNT]) -> Result<Self, InvalidFieldMap> {
        let mut root = Node::default();
        for ((_, field, _), pointer) in Field::ALL.into_iter().zip(&pointers) {
            root.insert(pointer, field)?;
        }
        Ok(Self { root, pointers })
    }
}

impl Node {
    pub(super) fn member(&self, name: &str) -> Option<&Self> {
        self.members.iter().find(|(member, _)| **member == *name).map(|(_, node)| node)
    }

    fn insert(&mut self, pointer: &str, field: Field) -> Result<(), InvalidFieldMap> {
        let invalid = || InvalidFieldMap::Pointer(pointer.to_owned());
        let overlap = || InvalidFieldMap::Overlap(pointer.to_owned());
        let path = pointer.strip_prefix('/').ok_or_else(invalid)?;
        if path.split('/').count() > LEVELS_MAX {
            return Err(InvalidFieldMap::Deep(pointer.to_owned()));
        }
        let mut node = self;
        for token in path.split('/') {
            let name = unescape(token).ok_or_else(invalid)?;
            if node.field.is_some() {
                return Err(overlap());
            }
            let at = node.members.iter().position(|(member, _)| *member == name).unwrap_or_else(|| {
                node.members.push((name, Self::default()));
                node.members.len() - 1
            });
            node = &mut node.members[at].1;
        }
        if node.field.is_some() || !node.members.is_empty() {
            return Err(overlap());
        }
        node.field = Some(field);
        Ok(())
    }
}

/// A token of a JSON Pointer without its escapes; `None` if it has an escape that does not exist.
fn unescape(token: &str) -> Option<Box<str>> {
    let valid = token.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    valid.then(|| token.replace("~1", "/").replace("~0", "~").into())
}

impl Default for FieldMap {
    fn default() -> Self {
        Self::build(Field::ALL.map(|(_, _, pointer)| pointer.into())).expect("the defaults do not overlap")
    }
}

impl FromStr for FieldMap {
    type Err = InvalidFieldMap;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut pointers = Field::ALL.map(|(_, _, pointer)| pointer.into());
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (name, pointer) =
                entry.split_once('=').ok_or_else(|| InvalidFieldMap::Entry(entry.to_owned()))?;
            let (_, field, _) = Field::ALL
                .into_iter()
                .find(|(known, _, _)| *known == name.trim())
                .ok_or_else(|| InvalidFieldMap::Name(name.to_owned()))?;
            pointers[field as usize] = pointer.trim().into();
        }
        Self::build(pointers)
    }
}

impl fmt::Display for FieldMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, field, _)) in Field::ALL.into_iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{name}={}", self.pointer(field))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_contract_and_a_part_may_be_replaced() {
        let default = "asset=/assetId,fleet=/fleetId,ts=/ts,lat=/lat,lon=/lon";
        assert_eq!(FieldMap::default().to_string(), default);
        assert_eq!(default.parse(), Ok(FieldMap::default()));
        assert_eq!("".parse(), Ok(FieldMap::default()));
        let map: FieldMap = "lat=/pos/0, lon=/pos/1".parse().unwrap();
        assert_eq!(map.to_string(), "asset=/assetId,fleet=/fleetId,ts=/ts,lat=/pos/0,lon=/pos/1");
    }

    #[test]
    fn what_is_no_map_is_refused_by_name() {
        let no = |text: &str, why: &str| {
            let error = text.parse::<FieldMap>().unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        };
        no("asset", "name=/pointer");
        no("colour=/c", "colour");
        no("asset=assetId", "assetId");
        no("asset=", "JSON Pointer");
        no("asset=/a~2b", "~0");
        no("lat=/pos,lon=/pos/lon", "/pos");
        no("lat=/pos/lat,lon=/pos", "/pos");
        no("lat=/lon", "/lon");
        no(&format!("lat={}", "/a".repeat(LEVELS_MAX + 1)), "deeper than 64");
        assert!(format!("lat={}", "/a".repeat(LEVELS_MAX)).parse::<FieldMap>().is_ok());
    }
}
