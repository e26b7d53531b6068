//! What a token grants: which fleets, to whom, until when. Pure.
//! Invariant: what a claim does not plainly say is not granted.

use std::sync::Arc;

use foldhash::HashSet;
use serde_json::Value;

use crate::fleet::FleetId;

/// Fleets that one token may name.
const FLEETS_MAX: usize = 10_000;

/// Which fleets.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fleets {
    All,
    Named(HashSet<FleetId>),
}

/// What a viewer was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    fleets: Fleets,
    /// Who it is, if the token says so.
    pub subject: Option<Arc<str>>,
    /// When the grants end, epoch milliseconds.
    pub expires_ms: Option<i64>,
}

impl Grants {
    /// Everything, for ever: without authentication.
    #[must_use]
    pub fn everything() -> Self {
        Self { fleets: Fleets::All, subject: None, expires_ms: None }
    }

    /// From the claims of a verified token. `None`: the claim of fleets is not there, or is no list.
    pub(super) fn from_claims(claims: &Value, fleets_claim: &str, leeway_ms: i64) -> Option<Self> {
        let claim = if fleets_claim.starts_with('/') {
            claims.pointer(fleets_claim)
        } else {
            claims.get(fleets_claim)
        };
        let subject = claims.get("sub").and_then(Value::as_str).filter(|subject| !subject.is_empty());
        #[expect(clippy::cast_possible_truncation, reason = "saturates: later than any clock")]
        let expires_ms = claims.get("exp")?.as_f64().map(|seconds| (seconds * 1000.0) as i64)?;
        Some(Self {
            fleets: fleets_of(claim?)?,
            subject: subject.map(Arc::from),
            expires_ms: Some(expires_ms.saturating_add(leeway_ms)),
        })
    }

    /// Whether the fleet is granted. It says nothing of whether the fleet exists.
    #[must_use]
    pub fn may_see(&self, fleet: &FleetId) -> bool {
        match &self.fleets {
            _ if fleet.is_canary() => false,
            Fleets::All => true,
            Fleets::Named(fleets) => fleets.contains(fleet),
        }
    }
}

fn fleets_of(claim: &Value) -> Option<Fleets> {
    let names: Vec<&str> = match claim {
        Value::String(name) => vec![name],
        // What is no text, or no id that a fleet could have, grants nothing.
        Value::Array(names) => names.iter().take(FLEETS_MAX).filter_map(Value::as_str).collect(),
        _ => return None,
    };
    if names.contains(&"*") {
        return Some(Fleets::All);
    }
    Some(Fleets::Named(names.into_iter().filter_map(|name| FleetId::parse(name).ok()).collect()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_grants_what_it_plainly_says() {
        let sees = |fleets: Value, fleet: &str| {
            let claims = json!({"exp": 10, "fleets": fleets});
            let grants = Grants::from_claims(&claims, "fleets", 0);
            grants.map(|grants| grants.may_see(&FleetId::parse(fleet).unwrap()))
        };
        assert_eq!(sees(json!(["a", "b"]), "b"), Some(true));
        assert_eq!(sees(json!(["a", "b"]), "c"), Some(false));
        assert_eq!(sees(json!("a"), "a"), Some(true));
        assert_eq!(sees(json!("a b"), "a"), Some(false));
        assert_eq!(sees(json!("*"), "anything"), Some(true));
        assert_eq!(sees(json!(["a", "*"]), "anything"), Some(true));
        assert_eq!(sees(json!(["a*", 7, null, {}, ""]), "a"), Some(false));
        assert_eq!(sees(json!([]), "a"), Some(false));
        for no in [json!(null), json!(7), json!({"a": true}), json!(true)] {
            assert_eq!(sees(no.clone(), "a"), None, "{no}");
        }
    }

    #[test]
    fn claims_may_be_nested_or_named_by_an_address() {
        let claims =
            json!({"exp": 10.5, "sub": "op", "https://x.example/fleets": ["a"], "app": {"fleets": "b"}});
        let read = |name: &str| Grants::from_claims(&claims, name, 5000);
        let (a, b) = (FleetId::parse("a").unwrap(), FleetId::parse("b").unwrap());
        let grants = read("https://x.example/fleets").unwrap();
        assert!(grants.may_see(&a) && !grants.may_see(&b));
        assert_eq!((grants.expires_ms, grants.subject.as_deref()), (Some(15_500), Some("op")));
        assert!(read("/app/fleets").unwrap().may_see(&b));
        assert_eq!(read("fleets"), None);
        let endless = json!({"exp": 1e300, "fleets": "*"});
        assert_eq!(Grants::from_claims(&endless, "fleets", 5000).unwrap().expires_ms, Some(i64::MAX));
    }
}
