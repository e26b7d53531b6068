//! The certificate of the public port: where it stands, which one is shown at present, and until when it
//! holds. Knows nothing of what is said over it.
//!
//! Invariant: a pair that can not be read, or whose halves do not belong together, is never shown; the one
//! in use stays.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig,
        SignatureScheme,
        client::{
            WebPkiServerVerifier,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    },
};

/// The only protocol behind our TLS. A client that insists on another one is refused in the handshake.
const HTTP_1_1: &[u8] = b"http/1.1";
/// The last second of the year 9999: no certificate holds longer.
const END_OF_TIME: Duration = Duration::from_secs(253_402_300_799);

/// Where the certificate and its key stand, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// Its key, in PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// Why a pair can not be used; names the option and the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadPair(String);

/// A certificate and its key, ready to be shown.
#[derive(Debug)]
pub struct Pair {
    server: Arc<ServerConfig>,
    leaf: CertificateDer<'static>,
}

impl TlsFiles {
    /// Reads both.
    ///
    /// # Errors
    /// A file can not be read, holds nothing usable, or the key is not the certificate's.
    pub fn load(&self) -> Result<Pair, BadPair> {
        let chain = certificates(&self.certificate)?;
        let bad_key = |error: &dyn std::fmt::Display| bad("FLEETCAST_TLS_KEY (--tls-key)", &self.key, error);
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| bad_key(&error))?;
        let Some(leaf) = chain.first().cloned() else {
            return Err(bad_certificate(&self.certificate, &"no certificate in it"));
        };
        let unusable = |error: rustls::Error| match error {
            rustls::Error::InconsistentKeys(_) => bad_key(&"is not the key of the certificate"),
            rustls::Error::InvalidCertificate(error) => bad_certificate(&self.certificate, &error),
            error => bad_key(&error),
        };
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(unusable)?;
        server.alpn_protocols = vec![HTTP_1_1.to_vec()];
        // Those who come back after an outage are spared the signature, and cost no memory meanwhile.
        server.ticketer = ring::Ticketer::new().map_err(unusable)?;
        Ok(Pair { server: Arc::new(server), leaf })
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, BadPair> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    read.map_err(|error| bad_certificate(file, &error))
}

fn bad_certificate(file: &Path, error: &dyn std::fmt::Display) -> BadPair {
    bad("FLEETCAST_TLS_CERT (--tls-cert)", file, error)
}

fn bad(option: &str, file: &Path, error: &dyn std::fmt::Display) -> BadPair {
    BadPair(format!("{option}: {}: {error}", file.display()))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

impl Pair {
    /// Until when the certificate holds, in seconds since 1970; `None` if it does not say.
    #[must_use]
    pub fn holds_until(&self) -> Option<i64> {
        // Nothing here reads certificates but the verifier, and the first thing that it finds wrong with one
        // at the end of time is its age.
        let roots = Arc::new(RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()));
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider()).build().ok()?;
        let name = ServerName::try_from("localhost").ok()?;
        let at = UnixTime::since_unix_epoch(END_OF_TIME);
        match verifier.verify_server_cert(&self.leaf, &[], &name, &[], at) {
            Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
                not_after, ..
            })) => i64::try_from(not_after.as_secs()).ok(),
            _ => None,
        }
    }
}

/// The pair in use; all clones show the same.
#[derive(Debug, Clone)]
pub struct Tls {
    current: Arc<RwLock<Arc<Pair>>>,
}

impl Tls {
    /// Shows `pair`.
    #[must_use]
    pub fn new(pair: Pair) -> Self {
        Self { current: Arc::new(RwLock::new(Arc::new(pair))) }
    }

    /// Shows `pair` to everybody who comes from now on; who is here notices nothing.
    pub fn replace(&self, pair: Pair) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pair);
    }

    fn current(&self) -> Arc<Pair> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current().server.clone())
    }

    /// For a client in this very process: trusts the certificate that is shown at present, whatever names it
    /// is for and whoever signed it, and no other.
    #[must_use]
    pub fn own_client(&self) -> Arc<ClientConfig> {
        let verifier = Arc::new(OwnCertificate { tls: self.clone(), provider: provider() });
        let client = ClientConfig::builder().dangerous().with_custom_certificate_verifier(verifier);
        Arc::new(client.with_no_client_auth())
    }
}

#[derive(Debug)]
struct OwnCertificate {
    tls: Tls,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for OwnCertificate {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *leaf == self.tls.current().leaf {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::UnknownIssuer.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, leaf, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, leaf, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
impl Tls {
    /// A certificate of its own.
    pub(super) fn for_test() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::new(tests::pair(directory.path(), "a").load().unwrap())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn pair(directory: &Path, name: &str) -> TlsFiles {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let files = TlsFiles {
            certificate: directory.join(format!("{name}.pem")),
            key: directory.join(format!("{name}.key")),
        };
        std::fs::write(&files.certificate, made.cert.pem()).unwrap();
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        files
    }

    #[test]
    fn a_pair_that_is_none_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let (one, other) = (pair(directory.path(), "one"), pair(directory.path(), "other"));
        let refused = |certificate: &Path, key: &Path, words: &[&str]| {
            let files = TlsFiles { certificate: certificate.to_owned(), key: key.to_owned() };
            let error = files.load().unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        };
        let (nothing, empty) = (directory.path().join("nothing"), directory.path().join("empty"));
        std::fs::write(&empty, "").unwrap();
        refused(&nothing, &one.key, &["FLEETCAST_TLS_CERT", "nothing"]);
        refused(&empty, &one.key, &["FLEETCAST_TLS_CERT", "empty", "no certificate"]);
        refused(&one.certificate, &nothing, &["FLEETCAST_TLS_KEY", "nothing"]);
        refused(&one.certificate, &empty, &["FLEETCAST_TLS_KEY", "empty"]);
        refused(&one.certificate, &one.certificate, &["FLEETCAST_TLS_KEY", "one.pem"]);
        refused(&one.certificate, &other.key, &["FLEETCAST_TLS_KEY", "not the key of the certificate"]);
        let text = std::fs::read_to_string(&one.certificate).unwrap();
        std::fs::write(&one.certificate, text.replace("MII", "AAA")).unwrap();
        refused(&one.certificate, &one.key, &["FLEETCAST_TLS_CERT", "one.pem"]);
    }

    #[test]
    fn until_when_it_holds_is_what_the_certificate_says() {
        let directory = tempfile::tempdir().unwrap();
        let files = pair(directory.path(), "a");
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2031, 5, 6);
        let key = rcgen::KeyPair::generate().unwrap();
        std::fs::write(&files.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        let until = jiff::Timestamp::from_second(files.load().unwrap().holds_until().unwrap()).unwrap();
        assert_eq!(until.to_string(), "2031-05-06T00:00:00Z");
    }
}
