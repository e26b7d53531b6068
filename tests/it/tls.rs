//! TLS of the public port: stock clients, who is let in, certificates that change, viewers that do not read.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
        version::{TLS12, TLS13},
    },
};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use crate::support::{Gateway, GatewayBuilder, PATIENCE, RedisServer, eventually, node};

/// An authority, and the files that a gateway is given.
pub struct Certificates {
    directory: tempfile::TempDir,
    authority: Issuer<'static, KeyPair>,
}

impl Certificates {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "an authority of the tests");
        let key = KeyPair::generate().unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        let made = Self { directory, authority: Issuer::new(params, key) };
        made.renew();
        made
    }

    /// A new certificate with a new key, in place.
    fn renew(&self) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        // The key first: for a moment they do not fit, as with most tools that renew.
        std::fs::write(self.key(), key.serialize_pem()).unwrap();
        std::fs::write(self.certificate(), params.signed_by(&key, &self.authority).unwrap().pem()).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn ca(&self) -> PathBuf {
        self.file("ca.pem")
    }

    fn certificate(&self) -> PathBuf {
        self.file("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.file("key.pem")
    }

    fn shown(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.certificate()).unwrap()
    }

    /// A gateway that shows them.
    pub fn serve(&self, redis: &RedisServer) -> GatewayBuilder {
        Gateway::builder()
            .redis(redis)
            .env("FLEETCAST_SOURCE", "redis")
            .env("FLEETCAST_TLS_CERT", self.certificate().display())
            .env("FLEETCAST_TLS_KEY", self.key().display())
    }

    fn client(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.ca()).unwrap()).unwrap();
        ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
    }

    /// A connection to the gateway; `narrow` holds little that was not read.
    pub async fn connect(&self, addr: &str, narrow: bool) -> TlsStream<TcpStream> {
        dial(addr, self.client(), narrow).await.unwrap()
    }
}

async fn dial(addr: &str, client: ClientConfig, narrow: bool) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    if narrow {
        socket.set_recv_buffer_size(4096)?;
    }
    let tcp = socket.connect(addr.parse().unwrap()).await?;
    let name = ServerName::try_from("localhost").unwrap();
    tokio::time::timeout(PATIENCE, TlsConnector::from(Arc::new(client)).connect(name, tcp)).await.unwrap()
}

/// A viewer of the fleet `f` over TLS.
async fn viewer(certificates: &Certificates, addr: &str) -> WebSocketStream<TlsStream<TcpStream>> {
    let stream = certificates.connect(addr, false).await;
    let url = "wss://localhost/socket.io/?EIO=4&transport=websocket&fleetId=f";
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    socket.send(Message::text("40")).await.unwrap();
    until(&mut socket, "40").await;
    socket
}

async fn until(socket: &mut WebSocketStream<TlsStream<TcpStream>>, beginning: &str) -> String {
    loop {
        let next = tokio::time::timeout(PATIENCE, socket.next()).await.expect("a packet in time");
        match next.expect("the connection lives").unwrap() {
            Message::Text(text) if text.starts_with(beginning) => return text.to_string(),
            _ => {}
        }
    }
}

fn leaf(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test]
async fn every_stock_client_speaks_tls_over_every_transport() {
    let (redis, certificates) = (RedisServer::start().await, Certificates::new());
    let gateway = certificates.serve(&redis).start().await;
    let script = node::script("matrix.mjs")
        .arg(format!("https://{}", gateway.addr()))
        .arg("fleet-1")
        .arg(2)
        .env("NODE_EXTRA_CA_CERTS", certificates.ca().display());
    let mut script = script.spawn();
    eventually("all fifteen clients are connected", async || {
        script.lines().iter().filter(|line| line.contains(r#""event":"ready""#)).count() == 15
    })
    .await;
    // Longer than a record, and short.
    let messages = [format!(r#"{{"assetId":"a","ts":1,"pad":"{:40000}"}}"#, "é"), "short".to_owned()];
    for message in &messages {
        redis.command::<i64>(&["PUBLISH", "updates:fleet-1", message]).await;
    }
    script.wait_exit(PATIENCE).await;
    let facts: Vec<serde_json::Value> =
        script.lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let done: Vec<_> = facts.iter().filter(|fact| fact["event"] == "done").collect();
    assert_eq!(done.len(), 15, "{:?}", script.lines());
    for fact in done {
        assert!(fact["messages"] == json!([[messages[0]], [messages[1]]]), "{}", fact["version"]);
    }
    eventually("everybody has left", async || gateway.metric("fleetcast_connections").await == 0.0).await;
    assert_eq!(gateway.metric("fleetcast_rooms").await, 0.0);
    assert_eq!(gateway.metric("fleetcast_tls_handshakes_failed_total").await, 0.0);
}

#[tokio::test]
async fn nothing_but_tls_1_2_and_1_3_with_http_1_1_is_spoken() {
    let (redis, certificates) = (RedisServer::start().await, Certificates::new());
    let gateway = certificates.serve(&redis).start().await;
    for version in [&TLS12, &TLS13] {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificates.ca()).unwrap()).unwrap();
        let client = ClientConfig::builder_with_protocol_versions(&[version]);
        let mut client = client.with_root_certificates(roots).with_no_client_auth();
        client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let stream = dial(gateway.addr(), client.clone(), false).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        client.alpn_protocols = vec![b"h2".to_vec()];
        assert!(dial(gateway.addr(), client, false).await.is_err(), "{version:?}");
    }
    assert_eq!(gateway.metric("fleetcast_tls_handshakes_failed_total").await, 2.0);
    let plain = reqwest::get(format!("http://{}/", gateway.addr())).await;
    assert!(plain.is_err(), "{plain:?}");
    eventually("that is counted", async || {
        gateway.metric("fleetcast_tls_handshakes_failed_total").await == 3.0
    })
    .await;
    assert_eq!(gateway.admin_get("/livez").await.0, 200, "the admin port stays plain");
}

#[tokio::test]
async fn a_new_certificate_is_shown_at_once_and_a_broken_one_changes_nothing() {
    let (redis, certificates) = (RedisServer::start().await, Certificates::new());
    let gateway = certificates.serve(&redis).start().await;
    let addr = gateway.addr().to_owned();
    let first = certificates.shown();
    let mut old = viewer(&certificates, &addr).await;
    assert_eq!(leaf(&certificates.connect(&addr, false).await), first);
    let expires = gateway.metric("fleetcast_tls_certificate_expires_timestamp_seconds").await;
    assert!(expires > 4e9, "{expires}");

    certificates.renew();
    let second = certificates.shown();
    eventually("the new one is shown", async || leaf(&certificates.connect(&addr, false).await) == second)
        .await;

    let failed = async || gateway.metric("fleetcast_tls_reloads_failed_total").await;
    let other = Certificates::new();
    for broken in [std::fs::read(other.certificate()).unwrap(), Vec::new()] {
        let before = failed().await;
        std::fs::write(certificates.certificate(), broken).unwrap();
        eventually("that is counted", async || failed().await > before).await;
        assert_eq!(leaf(&certificates.connect(&addr, false).await), second, "the last good one is in use");
    }
    let told = gateway.log().iter().any(|line| {
        line["message"] == "the configuration stays as it was"
            && line["error"].as_str().is_some_and(|error| error.contains("FLEETCAST_TLS_CERT"))
    });
    assert!(told, "{:?}", gateway.log());
    redis.command::<i64>(&["PUBLISH", "updates:f", "still here"]).await;
    assert!(until(&mut old, "42").await.contains("still here"), "nobody is asked to leave");
    certificates.renew();
    let third = certificates.shown();
    eventually("the next one is shown", async || leaf(&certificates.connect(&addr, false).await) == third)
        .await;
}

#[tokio::test]
async fn a_canary_flies_over_tls_and_comes_back_after_a_renewal() {
    let (redis, certificates) = (RedisServer::start().await, Certificates::new());
    let gateway = certificates.serve(&redis).env("FLEETCAST_CANARY_INTERVAL", "200ms").start().await;
    gateway.wait_ready().await;
    certificates.renew();
    let shown = certificates.shown();
    eventually("the new one is shown", async || {
        leaf(&certificates.connect(gateway.addr(), false).await) == shown
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    gateway.wait_ready().await;
    assert_eq!(gateway.metric("fleetcast_viewers").await, 0.0, "nobody sees it");
}

#[tokio::test]
async fn check_says_whether_the_certificate_can_be_shown_and_until_when() {
    let (redis, certificates) = (RedisServer::start().await, Certificates::new());
    let check = async || {
        let mut process = certificates.serve(&redis).command("check").spawn();
        let status = process.wait_exit(PATIENCE).await;
        (status.code(), process.lines().join("\n"))
    };
    let (code, lines) = check().await;
    assert!(code == Some(0) && lines.contains("ok      certificate"), "{lines}");
    assert!(lines.contains("holds until 4096-"), "{lines}");
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let key = KeyPair::from_pem(&std::fs::read_to_string(certificates.key()).unwrap()).unwrap();
    std::fs::write(certificates.certificate(), params.self_signed(&key).unwrap().pem()).unwrap();
    let (code, lines) = check().await;
    assert!(code == Some(1) && lines.contains("expired at 2001-01-01"), "{lines}");
    std::fs::write(certificates.certificate(), "").unwrap();
    let (code, lines) = check().await;
    assert!(code == Some(1) && lines.contains("FLEETCAST_TLS_CERT"), "{lines}");
    let (mut half, words) = (
        Gateway::builder()
            .command("check")
            .env("FLEETCAST_TLS_CERT", "x")
            .env("FLEETCAST_SOURCE", "demo")
            .spawn(),
        "FLEETCAST_TLS_KEY",
    );
    assert_eq!(half.wait_exit(PATIENCE).await.code(), Some(2));
    assert!(half.lines().join("\n").contains(words), "{:?}", half.lines());
}
