//! Tokens: verified with a key whose algorithms are pinned, then their claims are read.

use std::sync::{Arc, PoisonError, RwLock};

use jsonwebtoken::{Header, Validation, decode, decode_header, errors::ErrorKind};
use serde_json::Value;

use super::{
    Denied, Grants, JwtSettings, crypto,
    key_set::{KeySet, KeySetTask},
    keys::Keys,
    options::KeySource,
};
use crate::{
    clock::epoch_ms,
    observe::{Condition, Metrics},
};

/// A token larger than this is none.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// How far the clocks of whoever made the token and of this machine may be apart.
const LEEWAY_S: u64 = 5;

/// Verifies tokens.
#[derive(Debug)]
pub struct Jwt {
    settings: JwtSettings,
    /// Held to clone the pointer, never across an await.
    keys: Arc<RwLock<Arc<Keys>>>,
    published: Option<KeySet>,
    metrics: Arc<Metrics>,
}

impl Jwt {
    pub(super) fn build(
        settings: &JwtSettings,
        metrics: &Arc<Metrics>,
        condition: impl FnOnce() -> Condition,
    ) -> anyhow::Result<(Arc<Self>, Option<KeySetTask>)> {
        crypto::install();
        let keys = settings.keys.configured()?;
        metrics.auth_keys.set(i64::try_from(keys.len()).unwrap_or(i64::MAX));
        let keys = Arc::new(RwLock::new(Arc::new(keys)));
        let (published, task) = match &settings.keys {
            KeySource::KeySet { url, ca } => {
                let (set, task) =
                    KeySetTask::new(url.clone(), ca.as_deref(), keys.clone(), metrics.clone(), condition())?;
                (Some(set), Some(task))
            }
            KeySource::Secret(..) | KeySource::PublicKey(..) => (None, None),
        };
        if settings.audience.is_empty() {
            tracing::warn!(
                "FLEETCAST_JWT_AUDIENCE is not set: tokens that were made for other services are accepted"
            );
        }
        let jwt = Self { settings: settings.clone(), keys, published, metrics: metrics.clone() };
        Ok((Arc::new(jwt), task))
    }

    pub(super) async fn admit(&self, token: Result<&str, Denied>) -> Result<Grants, Denied> {
        let outcome = match token {
            Ok(token) => self.read(token).await,
            Err(denied) => Err(denied),
        };
        outcome.inspect_err(|denied| self.metrics.token_denied(denied.reason()))
    }

    async fn read(&self, token: &str) -> Result<Grants, Denied> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Denied::Malformed);
        }
        let header = decode_header(token).map_err(|_| Denied::Malformed)?;
        if header.crit.is_some() {
            return Err(Denied::Malformed); // It demands what nobody here understands.
        }
        let mut keys = self.keys();
        if let Some(published) = &self.published
            && (keys.len() == 0 || !keys.knows(header.kid.as_deref()))
        {
            published.fetched_anew().await?;
            keys = self.keys();
        }
        self.grants(&self.claims(token, &header, &keys)?)
    }

    pub(super) fn is_admin(&self, token: &str) -> bool {
        let header = decode_header(token).ok().filter(|header| header.crit.is_none());
        let claims = header.and_then(|header| self.claims(token, &header, &self.keys()).ok());
        claims.is_some_and(|claims| claims["admin"] == true)
    }

    fn claims(&self, token: &str, header: &Header, keys: &Keys) -> Result<Value, Denied> {
        if !keys.knows(header.kid.as_deref()) {
            return Err(Denied::UnknownKey);
        }
        if !keys.accepts(header.alg) {
            return Err(Denied::Algorithm);
        }
        let mut denied = Denied::Algorithm;
        for key in keys.candidates(header.kid.as_deref(), header.alg) {
            match decode::<Value>(token, &key.decoding, &self.validation(header.alg)) {
                Ok(token) => return Ok(token.claims),
                Err(error) => denied = denial(error.kind()),
            }
            if denied != Denied::Signature {
                break; // It is this key's token.
            }
        }
        Err(denied)
    }

    fn grants(&self, claims: &Value) -> Result<Grants, Denied> {
        let leeway_ms = LEEWAY_S.cast_signed() * 1000;
        let grants = Grants::from_claims(claims, &self.settings.fleets_claim, leeway_ms);
        let grants = grants.ok_or(Denied::Claims)?;
        // To the millisecond, as viewers are closed: or one that is would be let in for the rest of the second.
        if grants.expires_ms.is_some_and(|expires_ms| expires_ms <= epoch_ms()) {
            return Err(Denied::Expired);
        }
        Ok(grants)
    }

    fn validation(&self, algorithm: jsonwebtoken::Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        let mut required = vec!["exp"];
        match &self.settings.issuer {
            Some(issuer) => {
                validation.set_issuer(&[issuer]);
                required.push("iss");
            }
            None => validation.iss = None,
        }
        if self.settings.audience.is_empty() {
            validation.validate_aud = false;
        } else {
            validation.set_audience(&self.settings.audience);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        validation
    }

    fn keys(&self) -> Arc<Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn reload(&self) {
        let source = &self.settings.keys;
        if let Some(published) = &self.published {
            published.refresh();
        }
        let Some(file) = source.file() else { return };
        let read = std::fs::read_to_string(file).map_err(|error| error.to_string());
        match read.and_then(|text| source.with_text(&text).map_err(|error| error.to_string())) {
            Ok(keys) => {
                let count = keys.len();
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
                self.metrics.auth_keys.set(i64::try_from(count).unwrap_or(i64::MAX));
                tracing::info!(keys = count, "the keys for tokens were read again");
            }
            Err(error) => {
                tracing::error!(option = source.name(), error, "the keys for tokens stay as they were");
            }
        }
    }
}

fn denial(kind: &ErrorKind) -> Denied {
    match kind {
        ErrorKind::InvalidSignature => Denied::Signature,
        ErrorKind::ExpiredSignature => Denied::Expired,
        ErrorKind::ImmatureSignature => Denied::Early,
        ErrorKind::InvalidIssuer => Denied::Issuer,
        ErrorKind::InvalidAudience => Denied::Audience,
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => Denied::Claims,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidKeyFormat => Denied::Algorithm,
        _ => Denied::Malformed,
    }
}
