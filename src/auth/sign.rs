//! Makes tokens, for development: whoever runs it has the key anyway.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::Value;

use super::crypto;
use crate::values::Secret;

/// What a token is signed with.
#[derive(Debug)]
pub enum SigningKey {
    /// A shared secret: HS256.
    Secret(Secret),
    /// A private key in PEM: RS256, ES256, ES384 or `EdDSA`, by its kind.
    Private(Secret),
}

/// Why there is no token; does not repeat the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a private key in PEM: RSA, or P-256, P-384 or Ed25519 in PKCS #8")]
pub struct SignError;

/// A signed token with these claims.
///
/// # Errors
/// The key can not be used.
pub fn sign(key: &SigningKey, claims: &Value) -> Result<String, SignError> {
    crypto::install();
    let signed = |algorithm, key: &EncodingKey| encode(&Header::new(algorithm), claims, key).ok();
    let token = match key {
        SigningKey::Secret(secret) => {
            signed(Algorithm::HS256, &EncodingKey::from_secret(secret.expose().as_bytes()))
        }
        SigningKey::Private(pem) => {
            let pem = pem.expose().as_bytes();
            let rsa = || EncodingKey::from_rsa_pem(pem).ok().and_then(|key| signed(Algorithm::RS256, &key));
            let ec = |algorithm| EncodingKey::from_ec_pem(pem).ok().and_then(|key| signed(algorithm, &key));
            let ed = || EncodingKey::from_ed_pem(pem).ok().and_then(|key| signed(Algorithm::EdDSA, &key));
            rsa().or_else(|| ec(Algorithm::ES256)).or_else(|| ec(Algorithm::ES384)).or_else(ed)
        }
    };
    token.ok_or(SignError)
}
