//! What a handshake request says: its query, its headers, where it came from, and whether its page may
//! connect at all. The request is copied into two small texts: keeping hyper's own parts would pin its
//! 8 KiB read buffer for as long as the session lives.

use std::{fmt, net::IpAddr};

use http::{HeaderMap, Uri, header, request::Parts};

use super::Protocol;

/// The request that opened a session. Its query and headers may hold a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Handshake {
    /// Path and query as requested.
    pub url: Box<str>,
    /// `name: value` lines, names in lower case.
    headers: Box<str>,
    /// The client's address.
    pub address: IpAddr,
    /// Epoch milliseconds.
    pub issued_ms: i64,
}

impl Handshake {
    pub(super) fn new(parts: &Parts, address: IpAddr, issued_ms: i64) -> Self {
        let url = parts.uri.path_and_query().map_or("/", |url| url.as_str());
        let mut headers = String::new();
        for (name, value) in &parts.headers {
            if let Ok(value) = value.to_str() {
                headers.extend([name.as_str(), ": ", value, "\n"]);
            }
        }
        Self { url: url.into(), headers: headers.into(), address, issued_ms }
    }

    /// Name and value of every header, in the order of arrival.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.lines().filter_map(|line| line.split_once(": "))
    }

    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The decoded query, in order; a key may repeat.
    pub fn query(&self) -> impl Iterator<Item = (String, String)> {
        let query = self.url.split_once('?').map_or("", |(_, query)| query);
        decoded(query)
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake").field("address", &self.address).finish_non_exhaustive()
    }
}

fn decoded(query: &str) -> impl Iterator<Item = (String, String)> {
    form_urlencoded::parse(query.as_bytes()).map(|(key, value)| (key.into_owned(), value.into_owned()))
}

/// The part of a query that Engine.IO itself reads.
#[derive(Default)]
pub(super) struct EngineQuery {
    pub(super) eio: One,
    pub(super) transport: One,
    pub(super) sid: One,
    pub(super) base64_only: bool,
}

/// A value that must stand at most once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum One {
    #[default]
    None,
    Value(String),
    /// Node takes the last one, and a proxy that picks a replica by it perhaps the first: it matches nothing.
    Repeated,
}

impl One {
    fn put(&mut self, value: String) {
        *self = if *self == Self::None { Self::Value(value) } else { Self::Repeated };
    }

    pub(super) fn is(&self, expected: &str) -> bool {
        matches!(self, Self::Value(value) if value == expected)
    }
}

impl EngineQuery {
    pub(super) fn parse(uri: &Uri) -> Self {
        let mut query = Self::default();
        for (key, value) in decoded(uri.query().unwrap_or_default()) {
            match key.as_str() {
                "EIO" => query.eio.put(value),
                "transport" => query.transport.put(value),
                // Node takes an empty sid for none.
                "sid" if !value.is_empty() => query.sid.put(value),
                "b64" => query.base64_only = !matches!(value.as_str(), "" | "0" | "false"),
                _ => {}
            }
        }
        query
    }

    pub(super) fn protocol(&self) -> Option<Protocol> {
        let is = |number| self.eio.is(number);
        if is("4") { Some(Protocol::V4) } else { is("3").then_some(Protocol::V3) }
    }

    /// The version that a request of a session speaks; anything but 4 is 3, as in Node.
    pub(super) fn protocol_of_session(&self) -> Protocol {
        self.protocol().unwrap_or(Protocol::V3)
    }
}

/// Whose pages may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Only pages of the gateway's own host.
    Same,
    /// Any page.
    Any,
    /// Pages of these origins, and of the gateway's own host.
    Only(Vec<String>),
}

impl Origins {
    /// Whether a request may pass. Requests without `Origin` come from no browser page.
    /// `is_secure`: this port speaks TLS, so a page that came without is somebody else's.
    pub(super) fn allow(&self, headers: &HeaderMap, is_secure: bool) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else { return true };
        let Ok(origin) = origin.to_str() else { return false };
        match self {
            Self::Any => true,
            Self::Only(origins) if origins.iter().any(|allowed| allowed == origin) => true,
            Self::Only(_) | Self::Same => same_host(origin, headers, is_secure),
        }
    }
}

fn same_host(origin: &str, headers: &HeaderMap, is_secure: bool) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let page = origin.strip_prefix("https://");
    let page = page.or_else(|| origin.strip_prefix("http://").filter(|_| !is_secure));
    page.is_some() && page == host
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    #[test]
    fn a_query_is_read_as_node_reads_it() {
        let query = |text: &str| EngineQuery::parse(&format!("/socket.io/?{text}").parse().unwrap());
        assert!(query("EIO=4&transport=polling").eio.is("4"));
        assert_eq!(query("sid=").sid, One::None);
        assert_eq!(query("sid=a&sid=b").sid, One::Repeated);
        assert!(query("trans%70ort=poll%69ng").transport.is("polling"));
        assert!(query("b64=1").base64_only);
    }

    #[test]
    fn headers_and_repeated_query_keys_are_kept() {
        let request = Request::get("/socket.io/?fleetId=a%20b&fleetId=c")
            .header("X-One", "1")
            .header("User-Agent", "ua: x");
        let parts = request.body(()).unwrap().into_parts().0;
        let handshake = Handshake::new(&parts, IpAddr::from([127, 0, 0, 1]), 7);
        let fleets: Vec<_> = handshake.query().map(|(_, value)| value).collect();
        assert_eq!(fleets, ["a b", "c"]);
        assert_eq!(handshake.header("user-agent"), Some("ua: x"));
        assert_eq!(handshake.headers().count(), 2);
        let shown = format!("{handshake:?}");
        assert!(!shown.contains("fleetId") && !shown.contains("ua"), "a token may stand there: {shown}");
    }

    #[test]
    fn origins_are_exact() {
        let allow = |origins: &Origins, origin: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("fleet.example:3000"));
            headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
            origins.allow(&headers, false)
        };
        let only = Origins::Only(vec!["https://good.com".to_owned()]);
        assert!(Origins::Same.allow(&HeaderMap::new(), false));
        assert!(allow(&Origins::Same, "http://fleet.example:3000"));
        assert!(!allow(&Origins::Same, "http://fleet.example"));
        assert!(!allow(&Origins::Same, "null"));
        assert!(allow(&only, "https://good.com"));
        assert!(!allow(&only, "https://good.com.evil.com"));
        assert!(!allow(&only, "http://good.com"));
        assert!(allow(&Origins::Any, "https://anyone.example"));
    }
}
