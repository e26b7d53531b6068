//! Who a viewer is, and which fleets it may watch.
//!
//! Invariants: what was not granted is not seen; no token and no key reaches a log, a metric or an error;
//! what cannot be decided for now is told apart from a no, since a stock client takes a no for an answer.
//! Knows no sockets and no HTTP requests.

mod crypto;
mod fetch;
mod grants;
mod jwt;
mod key_set;
mod keys;
mod options;
mod sign;

use std::sync::Arc;

pub use grants::Grants;
pub use jwt::Jwt;
pub use key_set::KeySetTask;
pub use options::{AuthKind, AuthOptions, AuthSettings, JwtSettings};
pub use sign::{SignError, SigningKey, sign};

use crate::observe::{Condition, Metrics};

/// Decides who may connect. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Authenticator {
    /// Everybody, and everything.
    None,
    /// Whoever brings a token.
    Jwt(Arc<Jwt>),
}

/// Why a token does not open anything. The text is shown to the viewer, and says nothing of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There is none.
    #[error("a token is required")]
    Missing,
    /// It is no token.
    #[error("the token is not valid")]
    Malformed,
    /// None of the keys is for its algorithm.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// It names a key that nobody has.
    #[error("the token's key is not known")]
    UnknownKey,
    /// Somebody else signed it.
    #[error("the token's signature is not valid")]
    Signature,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    Early,
    /// It is from somebody else.
    #[error("the token's issuer is not accepted")]
    Issuer,
    /// It is for somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// It does not say when it ends, or what it grants.
    #[error("the token lacks a claim")]
    Claims,
    /// The keys can not be had now: asking again later helps.
    #[error("tokens can not be verified at the moment")]
    Unavailable,
}

impl Denied {
    /// The name in metrics.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::Early => "early",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Claims => "claims",
            Self::Unavailable => "unavailable",
        }
    }
}

impl Authenticator {
    /// What the settings ask for, and the task that keeps a published set of keys, if there is one.
    /// `condition`: whether there are keys.
    ///
    /// # Errors
    /// The certificates that the key set's server is to be trusted by can not be read.
    pub fn build(
        settings: &AuthSettings,
        metrics: &Arc<Metrics>,
        condition: impl FnOnce() -> Condition,
    ) -> anyhow::Result<(Self, Option<KeySetTask>)> {
        match settings {
            AuthSettings::None => Ok((Self::None, None)),
            AuthSettings::Jwt(settings) => {
                let (jwt, task) = Jwt::build(settings, metrics, condition)?;
                Ok((Self::Jwt(jwt), task))
            }
        }
    }

    /// What the token grants.
    ///
    /// # Errors
    /// Nothing, and why.
    pub async fn admit(&self, token: Option<&str>) -> Result<Grants, Denied> {
        match self {
            Self::None => Ok(Grants::everything()),
            Self::Jwt(jwt) => jwt.admit(token.ok_or(Denied::Missing)).await,
        }
    }

    /// Whether the token has the claim `admin: true`: what operators see, and dashboards do not. Decided
    /// with the keys that are there. Without authentication everybody is one.
    #[must_use]
    pub fn is_admin(&self, token: Option<&str>) -> bool {
        match self {
            Self::None => true,
            Self::Jwt(jwt) => token.is_some_and(|token| jwt.is_admin(token)),
        }
    }

    /// Reads the keys again that stand in a file. What can not be used is said in the log, and the keys
    /// that were in use stay.
    pub fn reload(&self) {
        if let Self::Jwt(jwt) = self {
            jwt.reload();
        }
    }
}

/// The token of a header `Authorization: Bearer …`.
#[must_use]
pub fn bearer_token(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
