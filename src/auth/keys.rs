//! The keys that tokens are verified with, each with the algorithms that it may be used with.
//!
//! Invariant: what a token says of itself chooses among a key's own algorithms and nothing more: a public
//! key is never taken for a shared secret, and `none` is no algorithm.

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

/// A shared secret that is shorter can be guessed from one token.
pub(super) const SECRET_BYTES_MIN: usize = 16;
/// What one document of keys may hold.
const KEYS_MAX: usize = 100;
/// How many keys are tried for a token that names none: each costs a verification.
const TRIED_MAX: usize = 8;

/// Why no key could be made of what was configured; does not repeat it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadKey {
    #[error("a secret shorter than {SECRET_BYTES_MIN} bytes can be guessed")]
    ShortSecret,
    #[error("not a public key in PEM (`-----BEGIN PUBLIC KEY-----`)")]
    NoPem,
    #[error("a private key, which does not belong here")]
    Private,
    #[error("neither an RSA key of 2048 bits or more, nor one of P-256, P-384 or Ed25519")]
    Unsupported,
    #[error("not a JSON Web Key Set")]
    NoKeySet,
    #[error("a JSON Web Key Set without a key to verify signatures with")]
    EmptyKeySet,
}

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    pub(super) decoding: DecodingKey,
}

/// All keys that are accepted at a time.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<Key>);

impl Keys {
    pub(super) fn from_secret(secret: &str) -> Result<Self, BadKey> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(BadKey::ShortSecret);
        }
        let decoding = DecodingKey::from_secret(secret.as_bytes());
        Ok(Self(vec![Key { id: None, algorithms: AlgorithmFamily::Hmac.algorithms().to_vec(), decoding }]))
    }

    /// One public key or several, one after the other: while keys are changed, the old and the new.
    pub(super) fn from_pem(text: &str) -> Result<Self, BadKey> {
        const BEGIN: &str = "-----BEGIN ";
        if text.contains("PRIVATE KEY-----") {
            return Err(BadKey::Private);
        }
        let keys: Vec<Key> = text
            .match_indices(BEGIN)
            .take(KEYS_MAX)
            .map(|(at, _)| {
                let rest = &text[at..];
                let end = rest[BEGIN.len()..].find(BEGIN).map_or(rest.len(), |end| end + BEGIN.len());
                pem_key(&rest[..end])
            })
            .collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(BadKey::NoPem) } else { Ok(Self(keys)) }
    }

    /// What can be used of a JSON Web Key Set. A set may hold keys for other purposes, which are passed over,
    /// and shared secrets in a public document are none.
    pub(super) fn from_jwks(document: &[u8]) -> Result<Self, BadKey> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = serde_json::from_slice(document).map_err(|_| BadKey::NoKeySet)?;
        let keys = set.keys.into_iter().take(KEYS_MAX).filter_map(jwk_key).collect::<Vec<_>>();
        if keys.is_empty() { Err(BadKey::EmptyKeySet) } else { Ok(Self(keys)) }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The keys that may have signed a token: those of the id that it names, if keys have ids.
    pub(super) fn candidates<'a>(
        &'a self,
        id: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a Key> {
        let named = move |key: &&Key| match (id, &key.id) {
            (Some(wanted), Some(id)) => wanted == id,
            _ => true,
        };
        self.0.iter().filter(named).filter(move |key| key.algorithms.contains(&algorithm)).take(TRIED_MAX)
    }

    /// Whether any key has this id, or none has one.
    pub(super) fn knows(&self, id: Option<&str>) -> bool {
        id.is_none_or(|id| self.0.iter().any(|key| key.id.as_deref().is_none_or(|known| known == id)))
    }

    /// Every algorithm that some key accepts.
    pub(super) fn accepts(&self, algorithm: Algorithm) -> bool {
        self.0.iter().any(|key| key.algorithms.contains(&algorithm))
    }
}

fn pem_key(pem: &str) -> Result<Key, BadKey> {
    let key = |algorithms: &[Algorithm], decoding| Key { id: None, algorithms: algorithms.into(), decoding };
    if let Ok(decoding) = DecodingKey::from_rsa_pem(pem.as_bytes()) {
        return Ok(key(AlgorithmFamily::Rsa.algorithms(), decoding));
    }
    if let Ok(decoding) = DecodingKey::from_ec_pem(pem.as_bytes()) {
        // An uncompressed point: a byte, and twice the curve's size.
        let algorithm = match decoding.try_get_as_bytes().map(<[u8]>::len) {
            Ok(65) => Algorithm::ES256,
            Ok(97) => Algorithm::ES384,
            _ => return Err(BadKey::Unsupported),
        };
        return Ok(key(&[algorithm], decoding));
    }
    match DecodingKey::from_ed_pem(pem.as_bytes()) {
        Ok(decoding) => Ok(key(&[Algorithm::EdDSA], decoding)),
        Err(_) if pem.contains("PUBLIC KEY-----") => Err(BadKey::Unsupported),
        Err(_) => Err(BadKey::NoPem),
    }
}

fn jwk_key(value: Value) -> Option<Key> {
    let jwk = Jwk::deserialize(value).ok()?;
    if matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption)) {
        return None;
    }
    let of_kind: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => AlgorithmFamily::Rsa.algorithms(),
        AlgorithmParameters::EllipticCurve(point) => match point.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            &[Algorithm::EdDSA]
        }
        _ => return None,
    };
    let algorithms: Vec<Algorithm> = match jwk.common.key_algorithm {
        // Pinned further by whoever published it.
        Some(named) => {
            of_kind.iter().copied().filter(|known| format!("{known:?}") == named.to_string()).collect()
        }
        None => of_kind.to_vec(),
    };
    let decoding = DecodingKey::from_jwk(&jwk).ok()?;
    (!algorithms.is_empty()).then_some(Key { id: jwk.common.key_id, algorithms, decoding })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ED: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

    #[test]
    fn what_is_no_key_is_named_and_not_repeated() {
        let secret = |text| Keys::from_secret(text).map(|_| ());
        let pem = |text: &str| Keys::from_pem(text).map(|_| ());
        assert_eq!(secret("fifteen letters"), Err(BadKey::ShortSecret));
        assert_eq!(secret("sixteen letters!"), Ok(()));
        assert_eq!(pem("no pem"), Err(BadKey::NoPem));
        assert_eq!(pem("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----"), Err(BadKey::Private));
        assert_eq!(
            pem("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"),
            Err(BadKey::Unsupported)
        );
        assert_eq!(Keys::from_jwks(b"<html>").unwrap_err(), BadKey::NoKeySet);
        assert_eq!(Keys::from_jwks(br#"{"keys":[]}"#).unwrap_err(), BadKey::EmptyKeySet);
    }

    #[test]
    fn keys_of_a_file_stand_one_after_the_other() {
        let keys = Keys::from_pem(&[ED, ED].concat()).unwrap();
        assert_eq!(keys.candidates(None, Algorithm::EdDSA).count(), 2);
        assert_eq!(keys.candidates(Some("any"), Algorithm::EdDSA).count(), 2, "keys without ids match all");
        assert_eq!(keys.candidates(None, Algorithm::HS256).count(), 0, "no public key is a secret");
    }

    #[test]
    fn a_key_set_gives_what_verifies_signatures_and_no_more() {
        let x = "GxDhgYqwVQwBmv5XY0Rb4TPK25nzYCEmqG4hyV3rZFc";
        let document = json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "a"},
            {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "enc", "use": "enc"},
            {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0", "kid": "shared", "alg": "HS256"},
            {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "r", "alg": "RS512"},
            {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "wrong", "alg": "ES256"},
            {"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA", "kid": "large"},
            {"kty": "new"}, 7,
        ]});
        let keys = Keys::from_jwks(document.to_string().as_bytes()).unwrap();
        assert_eq!(keys.len(), 2);
        let count = |id, algorithm| keys.candidates(id, algorithm).count();
        assert_eq!(count(Some("a"), Algorithm::EdDSA), 1);
        assert_eq!(count(Some("a"), Algorithm::ES256), 0);
        assert_eq!((count(Some("r"), Algorithm::RS512), count(Some("r"), Algorithm::RS256)), (1, 0));
        assert_eq!(count(Some("../../etc/passwd"), Algorithm::EdDSA), 0);
        assert!(keys.knows(Some("r")) && !keys.knows(Some("shared")) && keys.knows(None));
    }
}
