//! Merging messages: a partial update keeps the newest values of the fields it does not name.
//!
//! Invariant: values are never re-encoded. What a merge keeps or replaces is the source's own text, so
//! numbers keep their digits, and a complete message stays byte for byte what the source wrote.

use bytes::Bytes;
use foldhash::HashMap;
use smallvec::SmallVec;

/// Objects nested deeper than this are replaced whole: the merge recurses.
const DEPTH_MAX: usize = 32;
/// A source that invents members for ever would grow its asset for ever: past this size the newest
/// message stands alone.
const MERGED_BYTES_MAX: usize = 256 * 1024;
/// Up to this many members a linear search beats a hash table.
const LINEAR_MAX: usize = 32;

/// `newer` over `older`: objects are merged member by member at every depth, everything else is
/// replaced. Text that is no JSON object replaces the whole.
///
/// Members are matched by the text of their names as written, without undoing escapes.
pub(super) fn merge(older: &Bytes, newer: &Bytes) -> Bytes {
    if walk_alike(older.trim_ascii_start(), newer.trim_ascii_start(), DEPTH_MAX).is_some() {
        return newer.clone();
    }
    let (Some(base), Some(change)) = (Members::of(older), Members::of(newer)) else {
        return newer.clone();
    };
    if base.are_covered_by(&change, DEPTH_MAX) {
        return newer.clone();
    }
    let mut merged = Vec::with_capacity(older.len() + newer.len());
    base.write_merged(&change, DEPTH_MAX, &mut merged);
    if merged.len() > MERGED_BYTES_MAX.max(newer.len()) { newer.clone() } else { merged.into() }
}

/// The members of one object: name with its quotes, and value, as written.
struct Members<'t> {
    list: SmallVec<[(&'t [u8], &'t [u8]); 16]>,
    /// Name → place in the list, once the list is too long to search.
    index: Option<HashMap<&'t [u8], usize>>,
}

impl<'t> Members<'t> {
    /// Reads text that was parsed as JSON before. Text that is not an object gives `None`; text that is
    /// broken in other ways gives `None` or too few members, never a panic.
    fn of(text: &'t [u8]) -> Option<Self> {
        let mut rest = text.trim_ascii().strip_prefix(b"{")?.trim_ascii_start();
        let mut list = SmallVec::new();
        while !rest.starts_with(b"}") {
            let (name, after) = rest.split_at_checked(value_len(rest)?)?;
            let after = after.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
            let (value, after) = after.split_at_checked(value_len(after)?)?;
            list.push((name, value));
            rest = after.trim_ascii_start();
            if let Some(next) = rest.strip_prefix(b",") {
                rest = next.trim_ascii_start();
            } else if !rest.starts_with(b"}") {
                return None;
            }
        }
        let index = (list.len() > LINEAR_MAX)
            .then(|| list.iter().enumerate().map(|(at, (name, _))| (*name, at)).collect());
        Some(Self { list, index })
    }

    /// The value of a member; of a repeated one the last, as JSON parsers have it. Messages of one
    /// source repeat their order, so the place where the name was on the other side is tried first.
    fn get(&self, name: &[u8], hint: usize) -> Option<&'t [u8]> {
        if let Some(index) = &self.index {
            return index.get(name).map(|at| self.list[*at].1);
        }
        match self.list.get(hint) {
            Some((there, value)) if *there == name => Some(value),
            _ => self.list.iter().rev().find(|(there, _)| *there == name).map(|(_, value)| *value),
        }
    }

    /// Whether `change` says everything anew, so that nothing of `self` would be left.
    fn are_covered_by(&self, change: &Members<'_>, depth: usize) -> bool {
        self.list.iter().enumerate().all(|(at, (name, old))| {
            let Some(new) = change.get(name, at) else { return false };
            match both_objects(old, new, depth) {
                Some((old, new)) => old.are_covered_by(&new, depth - 1),
                None => true,
            }
        })
    }

    fn write_merged(&self, change: &Members<'_>, depth: usize, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut comma: &[u8] = b"";
        for (at, (name, old)) in self.list.iter().enumerate() {
            out.extend_from_slice(comma);
            out.extend_from_slice(name);
            out.push(b':');
            match change.get(name, at) {
                None => out.extend_from_slice(old),
                Some(new) => match both_objects(old, new, depth) {
                    Some((old, new)) => old.write_merged(&new, depth - 1, out),
                    None => out.extend_from_slice(new),
                },
            }
            comma = b",";
        }
        for (at, (name, new)) in change.list.iter().enumerate() {
            if self.get(name, at).is_none() {
                out.extend_from_slice(comma);
                out.extend_from_slice(name);
                out.push(b':');
                out.extend_from_slice(new);
                comma = b",";
            }
        }
        out.push(b'}');
    }
}

/// Lengths of the two objects that the texts start with, if these have the same members in the same order at every
/// depth: what a source says again and again. Then nothing of the older is left, and no list had to be made.
fn walk_alike(older: &[u8], newer: &[u8], depth: usize) -> Option<(usize, usize)> {
    let (mut old, mut new) = (older.strip_prefix(b"{")?, newer.strip_prefix(b"{")?);
    loop {
        (old, new) = (old.trim_ascii_start(), new.trim_ascii_start());
        if old.starts_with(b"}") && new.starts_with(b"}") {
            return Some((older.len() - old.len() + 1, newer.len() - new.len() + 1));
        }
        let len = (old.first()? == &b'"').then(|| string_len(old)).flatten()?;
        let (name, rest) = old.split_at_checked(len)?;
        (old, new) = (rest.trim_ascii_start(), new.strip_prefix(name)?.trim_ascii_start());
        (old, new) = (old.strip_prefix(b":")?.trim_ascii_start(), new.strip_prefix(b":")?.trim_ascii_start());
        let are_objects = depth > 0 && old.starts_with(b"{") && new.starts_with(b"{");
        let (old_len, new_len) = match are_objects {
            true => walk_alike(old, new, depth - 1)?,
            false => (value_len(old)?, value_len(new)?),
        };
        (old, new) = (old.get(old_len..)?.trim_ascii_start(), new.get(new_len..)?.trim_ascii_start());
        match (old.strip_prefix(b","), new.strip_prefix(b",")) {
            (Some(old_rest), Some(new_rest)) => (old, new) = (old_rest, new_rest),
            (None, None) => {}
            _ => return None,
        }
    }
}

fn both_objects<'o, 'n>(old: &'o [u8], new: &'n [u8], depth: usize) -> Option<(Members<'o>, Members<'n>)> {
    if depth == 0 || !old.starts_with(b"{") || !new.starts_with(b"{") {
        return None;
    }
    Some((Members::of(old)?, Members::of(new)?))
}

/// Length of the JSON value that `text` starts with.
fn value_len(text: &[u8]) -> Option<usize> {
    match text.first()? {
        b'"' => string_len(text),
        b'{' | b'[' => {
            let (mut at, mut depth) = (0, 0_usize);
            loop {
                match text.get(at)? {
                    b'"' => at += string_len(&text[at..])? - 1,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        b',' | b':' | b'}' | b']' => None,
        _ => text.iter().position(|byte| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace()),
    }
}

/// Length of the string that `text` starts with, quotes included.
fn string_len(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    fn check(older: &str, newer: &str, merged: &str) {
        let both = [older, newer].map(|text| Bytes::copy_from_slice(text.as_bytes()));
        assert_eq!(merge(&both[0], &both[1]), merged, "{older} + {newer}");
    }

    #[test]
    fn objects_are_merged_and_everything_else_is_replaced() {
        check(r#"{"a":1,"b":{"c":2,"d":3}}"#, r#"{"b":{"c":4}}"#, r#"{"a":1,"b":{"c":4,"d":3}}"#);
        check(r#"{"a":1}"#, r#"{"b":[2]}"#, r#"{"a":1,"b":[2]}"#);
        check(r#"{"a":1,"b":2}"#, r#"{"a":null}"#, r#"{"a":null,"b":2}"#);
        check(r#"{"a":{"b":1},"c":0}"#, r#"{"a":5}"#, r#"{"a":5,"c":0}"#);
        check(r#"{"a":[1,2],"c":0}"#, r#"{"a":[3]}"#, r#"{"a":[3],"c":0}"#);
        check(r#"{"a":"}\",\"","b":"\\"}"#, r#"{"b":"\""}"#, r#"{"a":"}\",\"","b":"\""}"#);
        check("{}", r#"{"a":1}"#, r#"{"a":1}"#);
        check(r#"{"a":1}"#, " { } ", r#"{"a":1}"#);
    }

    #[test]
    fn text_is_kept_as_the_source_wrote_it() {
        check(r#"{"n":1.50,"big":123456789012345678901234567890}"#, r#"{"x" : 1e2 }"#, {
            r#"{"n":1.50,"big":123456789012345678901234567890,"x":1e2}"#
        });
        // Complete, though in another order and with another shape: the newer text, spaces and all.
        check(
            r#"{"a":1,"b":{"c":2}}"#,
            r#" {"b": {"c":3, "d":4}, "a":2} "#,
            r#" {"b": {"c":3, "d":4}, "a":2} "#,
        );
    }

    #[test]
    fn broken_text_replaces_the_whole() {
        for broken in [
            "",
            "null",
            "[1]",
            "{",
            r#"{"a"#,
            r#"{"a":"#,
            r#"{"a":1"#,
            r#"{"a":1 "b":2}"#,
            "{]",
            r#"{"a":]}"#,
        ] {
            check(r#"{"a":1}"#, broken, broken);
            check(broken, r#"{"a":1}"#, r#"{"a":1}"#);
        }
    }

    #[test]
    fn growth_is_bounded_and_many_members_are_not_slow() {
        let wide = |from: usize| {
            let members = (from..from + 20_000).map(|n| format!(r#""member-{n}":0"#)).collect::<Vec<_>>();
            Bytes::from(format!("{{{}}}", members.join(",")))
        };
        let (older, newer) = (wide(0), wide(10_000));
        assert_eq!(merge(&older, &newer), newer, "the union would pass the bound");
    }

    /// The plain definition of the merge, over trees of values.
    fn model(base: &mut Map<String, Value>, change: Map<String, Value>) {
        for (key, value) in change {
            match (base.get_mut(&key), value) {
                (Some(Value::Object(base)), Value::Object(change)) => model(base, change),
                (_, value) => {
                    base.insert(key, value);
                }
            }
        }
    }

    fn object() -> impl Strategy<Value = Map<String, Value>> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a\"\\\\{}:,\\[\\] ]{0,6}".prop_map(Value::from),
        ];
        let value = leaf.prop_recursive(3, 24, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-d\"]{1,2}", inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        });
        prop::collection::btree_map("[a-d\"]{1,2}", value, 0..6)
            .prop_map(|members| members.into_iter().collect())
    }

    proptest! {
        #[test]
        fn merging_text_is_merging_values(older in object(), newer in object(), pretty: bool) {
            let text = |map: &Map<String, Value>| if pretty {
                serde_json::to_vec_pretty(map).unwrap()
            } else {
                serde_json::to_vec(map).unwrap()
            };
            let merged = merge(&text(&older).into(), &text(&newer).into());
            let mut expected = older;
            model(&mut expected, newer);
            prop_assert_eq!(serde_json::from_slice::<Value>(&merged).unwrap(), Value::Object(expected));
        }

        #[test]
        fn no_text_makes_it_panic(older: Vec<u8>, newer in "[{}\\[\\]\":,a\\\\ 1]{0,40}") {
            merge(&older.clone().into(), &newer.clone().into());
            merge(&newer.into(), &older.into());
        }
    }
}
