//! An authority of a test's own, and a certificate by it for servers on loopback.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;

/// The files; gone when dropped.
#[derive(Debug)]
pub struct Authority(TempDir);

impl Authority {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        // Names tell authorities and servers apart before signatures do.
        params.distinguished_name.push(DnType::CommonName, format!("authority {}", dir.path().display()));
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let mut server = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        server.distinguished_name.push(DnType::CommonName, "redis");
        let key = KeyPair::generate().unwrap();
        let certificate = server.signed_by(&key, &issuer).unwrap();
        let texts = [authority.pem(), certificate.pem(), key.serialize_pem()];
        for (name, text) in ["ca.pem", "server.pem", "server.key"].into_iter().zip(texts) {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        Self(dir)
    }

    /// What clients trust.
    pub fn certificate(&self) -> String {
        self.file("ca.pem")
    }

    /// How `redis-server` gets a port with TLS, for clients without certificates of their own.
    pub fn redis_args(&self, port: u16) -> Vec<String> {
        let options = [
            ("tls-port", port.to_string()),
            ("tls-cert-file", self.file("server.pem")),
            ("tls-key-file", self.file("server.key")),
            ("tls-ca-cert-file", self.certificate()),
            ("tls-auth-clients", "no".to_owned()),
        ];
        options.into_iter().flat_map(|(name, value)| [format!("--{name}"), value]).collect()
    }

    fn file(&self, name: &str) -> String {
        let path: PathBuf = self.0.path().join(name);
        path.to_str().unwrap().to_owned()
    }
}
