//! The cryptography under tokens: `ring`, which TLS brings already, instead of a second implementation.
//! Invariant: a key verifies only with an algorithm of its own family.

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{ErrorKind, Result, new_error},
    signature::{Error, Signer, Verifier},
};
use ring::{hmac, rand::SystemRandom, signature as sig};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: signer,
    verifier_factory: verifier,
    // For making JWKs out of keys, which nobody does here.
    key_utils: KeyUtils::new_unimplemented(),
};

/// To be called before any token is made or read; again is no harm.
pub(super) fn install() {
    PROVIDER.install_default().ok();
}

struct Signs(Algorithm, EncodingKey);
struct Verifies(Algorithm, DecodingKey);

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    if key.family() != algorithm.family() {
        return Err(new_error(ErrorKind::InvalidKeyFormat));
    }
    Ok(Box::new(Signs(*algorithm, key.clone())))
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    if key.family() != algorithm.family() {
        return Err(new_error(ErrorKind::InvalidKeyFormat));
    }
    Ok(Box::new(Verifies(*algorithm, key.clone())))
}

fn hmac_of(algorithm: Algorithm) -> hmac::Algorithm {
    match algorithm {
        Algorithm::HS384 => hmac::HMAC_SHA384,
        Algorithm::HS512 => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    }
}

fn rsa_parameters(algorithm: Algorithm) -> &'static sig::RsaParameters {
    match algorithm {
        Algorithm::RS384 => &sig::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &sig::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &sig::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &sig::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &sig::RSA_PSS_2048_8192_SHA512,
        _ => &sig::RSA_PKCS1_2048_8192_SHA256,
    }
}

fn rsa_encoding(algorithm: Algorithm) -> &'static dyn sig::RsaEncoding {
    match algorithm {
        Algorithm::RS384 => &sig::RSA_PKCS1_SHA384,
        Algorithm::RS512 => &sig::RSA_PKCS1_SHA512,
        Algorithm::PS256 => &sig::RSA_PSS_SHA256,
        Algorithm::PS384 => &sig::RSA_PSS_SHA384,
        Algorithm::PS512 => &sig::RSA_PSS_SHA512,
        _ => &sig::RSA_PKCS1_SHA256,
    }
}

fn failed<T>(_: T) -> Error {
    Error::new()
}

impl Verifier<Vec<u8>> for Verifies {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let Self(algorithm, key) = self;
        let bytes = || key.try_get_as_bytes().map_err(failed);
        let unparsed = |parameters: &'static dyn sig::VerificationAlgorithm| {
            sig::UnparsedPublicKey::new(parameters, bytes()?).verify(message, signature).map_err(failed)
        };
        match (algorithm.family(), algorithm) {
            (AlgorithmFamily::Hmac, _) => {
                hmac::verify(&hmac::Key::new(hmac_of(*algorithm), bytes()?), message, signature)
                    .map_err(failed)
            }
            (AlgorithmFamily::Rsa, _) => match key.kind() {
                DecodingKeyKind::SecretOrDer(_) => unparsed(rsa_parameters(*algorithm)),
                DecodingKeyKind::RsaModulusExponent { n, e } => sig::RsaPublicKeyComponents { n, e }
                    .verify(rsa_parameters(*algorithm), message, signature)
                    .map_err(failed),
            },
            (_, Algorithm::ES256) => unparsed(&sig::ECDSA_P256_SHA256_FIXED),
            (_, Algorithm::ES384) => unparsed(&sig::ECDSA_P384_SHA384_FIXED),
            _ => unparsed(&sig::ED25519),
        }
    }
}

impl JwtVerifier for Verifies {
    fn algorithm(&self) -> Algorithm {
        self.0
    }
}

impl Signer<Vec<u8>> for Signs {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, Error> {
        let (Self(algorithm, key), random) = (self, SystemRandom::new());
        let ecdsa = |parameters| {
            let pair = sig::EcdsaKeyPair::from_pkcs8(parameters, key.as_bytes(), &random).map_err(failed)?;
            Ok(pair.sign(&random, message).map_err(failed)?.as_ref().to_vec())
        };
        match (algorithm.family(), algorithm) {
            (AlgorithmFamily::Hmac, _) => {
                let key = hmac::Key::new(hmac_of(*algorithm), key.as_bytes());
                Ok(hmac::sign(&key, message).as_ref().to_vec())
            }
            (AlgorithmFamily::Rsa, _) => {
                let pair = sig::RsaKeyPair::from_der(key.as_bytes()).map_err(failed)?;
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(rsa_encoding(*algorithm), &random, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            (_, Algorithm::ES256) => ecdsa(&sig::ECDSA_P256_SHA256_FIXED_SIGNING),
            (_, Algorithm::ES384) => ecdsa(&sig::ECDSA_P384_SHA384_FIXED_SIGNING),
            _ => {
                let pair = sig::Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.as_bytes());
                Ok(pair.map_err(failed)?.sign(message).as_ref().to_vec())
            }
        }
    }
}

impl JwtSigner for Signs {
    fn algorithm(&self) -> Algorithm {
        self.0
    }
}
