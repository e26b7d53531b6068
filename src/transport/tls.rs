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
    TlsAcceptor, TlsConnector,
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
            Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
                i64::try_from(not_after.as_secs()).ok()
            }
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
    pub fn own_client(&self) -> TlsConnector {
        let verifier = Arc::new(OwnCertificate { tls: self.clone(), provider: provider() });
        let client = ClientConfig::builder().dangerous().with_custom_certificate_verifier(verifier);
        TlsConnector::from(Arc::new(client.with_no_client_auth()))
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
