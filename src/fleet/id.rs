//! Parsed names. A value of these types has passed the rules of the contract once, at the edge;
//! inside the crate there are no raw strings for fleets and assets. Cloning is a reference count.

use std::{borrow::Borrow, fmt, sync::Arc};

/// The longest fleet or asset id in bytes.
pub(super) const ID_BYTES_MAX: usize = 128;

/// Why an id was refused. The message names the problem and is shown to dashboards.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// The id has no characters.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// The id is longer than [`ID_BYTES_MAX`].
    #[error("{0} is longer than {ID_BYTES_MAX} bytes")]
    TooLong(&'static str),
    /// The id holds a character that channels or logs can not carry.
    #[error("{0} holds a forbidden character ({1})")]
    Forbidden(&'static str, &'static str),
}

/// The fleet of the delivery canary.
const CANARY: &str = "fleetcast.canary";

fn check(what: &'static str, id: &str) -> Result<(), InvalidId> {
    if id.is_empty() {
        return Err(InvalidId::Empty(what));
    }
    if id.len() > ID_BYTES_MAX {
        return Err(InvalidId::TooLong(what));
    }
    for c in id.chars() {
        let why = match c {
            '#' => "#",
            '*' => "*",
            c if c.is_control() => "a control character",
            _ => continue,
        };
        return Err(InvalidId::Forbidden(what, why));
    }
    Ok(())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the rules of the contract and keeps the id.
            ///
            /// # Errors
            /// Empty, longer than [`ID_BYTES_MAX`] bytes, or with control characters, `#` or `*`.
            pub fn parse(id: &str) -> Result<Self, InvalidId> {
                check($what, id)?;
                Ok(Self(id.into()))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &self.0)
            }
        }
    };
}

id!(
    /// The name of a fleet, as in the handshake's `fleetId` and the channel `updates:<fleetId>`.
    FleetId, "fleetId"
);
id!(
    /// The name of an asset, unique in its fleet.
    AssetId, "asset id"
);

impl FleetId {
    /// The fleet that carries the delivery canary, and that no viewer may see.
    #[must_use]
    pub fn canary() -> Self {
        Self(CANARY.into())
    }

    /// Whether it is that fleet.
    #[must_use]
    pub fn is_canary(&self) -> bool {
        &*self.0 == CANARY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_contract() {
        let ok = |id: &str| assert!(FleetId::parse(id).is_ok(), "{id:?}");
        let no = |id: &str, why: &str| {
            let error = FleetId::parse(id).unwrap_err().to_string();
            assert!(error.contains(why), "{id:?}: {error}");
        };
        ok("fleet-1");
        ok("a b:{c}/é");
        ok(&"x".repeat(128));
        no("", "empty");
        no(&"x".repeat(129), "128");
        no("a#b", "#");
        no("a*", "*");
        no("a\nb", "control");
        no("a\u{0}b", "control");
        no("a\u{85}b", "control");
    }
}
