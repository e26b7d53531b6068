//! One document over HTTP or HTTPS, small and soon. Follows no redirects: whoever can redirect could name
//! the keys.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

const LIMIT: Duration = Duration::from_secs(5);
const DOCUMENT_BYTES_MAX: usize = 512 * 1024;

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no answer within {} s", LIMIT.as_secs())]
    Timeout,
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    #[error("http: {0}")]
    Http(#[from] hyper::Error),
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("the answer broke off, or is larger than {DOCUMENT_BYTES_MAX} bytes")]
    Body,
}

/// What is fetched, and who is trusted to answer.
pub(super) struct Fetch {
    url: Uri,
    host: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl std::fmt::Debug for Fetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetch").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Fetch {
    pub(super) fn new(url: Uri, ca: Option<&Path>) -> anyhow::Result<Self> {
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let tls = if url.scheme_str() == Some("https") {
            let name = ServerName::try_from(host.clone()).context("FLEETCAST_JWKS_URL (--jwks-url)")?;
            let config = ClientConfig::builder().with_root_certificates(roots(ca)?).with_no_client_auth();
            Some((TlsConnector::from(Arc::new(config)), name))
        } else {
            None
        };
        Ok(Self { url, host, tls })
    }

    pub(super) async fn get(&self) -> Result<Bytes, FetchError> {
        timeout(LIMIT, self.connect_and_get()).await.unwrap_or(Err(FetchError::Timeout))
    }

    async fn connect_and_get(&self) -> Result<Bytes, FetchError> {
        let port = self.url.port_u16().unwrap_or_else(|| if self.tls.is_some() { 443 } else { 80 });
        let tcp = TcpStream::connect((self.host.as_str(), port)).await?;
        match &self.tls {
            Some((connector, name)) => self.ask(connector.connect(name.clone(), tcp).await?).await,
            None => self.ask(tcp).await,
        }
    }

    async fn ask(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Bytes, FetchError> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let authority = self.url.authority().map_or("", |authority| authority.as_str());
        let mut request = Request::new(Empty::<Bytes>::new());
        let path = self.url.path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().unwrap_or_default();
        let headers = request.headers_mut();
        if let Ok(host) = authority.parse() {
            headers.insert(header::HOST, host);
        }
        headers.insert(header::ACCEPT, http::HeaderValue::from_static("application/json"));
        let answer = async {
            let response = sender.send_request(request).await?;
            if response.status() != StatusCode::OK {
                return Err(FetchError::Status(response.status()));
            }
            let body = Limited::new(response.into_body(), DOCUMENT_BYTES_MAX);
            Ok(body.collect().await.map_err(|_| FetchError::Body)?.to_bytes())
        };
        tokio::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            // The connection may end with the last byte of the answer.
            _ = connection => answer.await,
        }
    }
}

fn roots(ca: Option<&Path>) -> anyhow::Result<RootCertStore> {
    let Some(file) = ca else {
        return Ok(RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()));
    };
    let context = || format!("FLEETCAST_JWKS_CA (--jwks-ca): {}", file.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).with_context(context)? {
        roots.add(certificate.with_context(context)?).with_context(context)?;
    }
    anyhow::ensure!(!roots.is_empty(), "{}: no certificate in it", context());
    Ok(roots)
}
