//! How a dashboard connected, in the form that Node's `socket.handshake` has on every server.

use std::sync::Arc;

use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Map, Value, json};

use crate::transport::{Handshake, Session};

/// Headers of which Node keeps the first value; of others it keeps all.
const FIRST_WINS: [&str; 17] = [
    "age",
    "authorization",
    "content-length",
    "content-type",
    "etag",
    "expires",
    "from",
    "host",
    "if-modified-since",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "proxy-authorization",
    "referer",
    "retry-after",
    "user-agent",
];

/// The `handshake` of a `fetchSockets` answer. `auth` is the payload of CONNECT as JSON.
pub(super) fn json(session: &Session, auth: Option<&str>) -> Arc<str> {
    describe(session.handshake(), session.is_secure(), auth)
}

fn describe(handshake: &Handshake, is_secure: bool, auth: Option<&str>) -> Arc<str> {
    let mut headers = Map::new();
    for (name, value) in handshake.headers() {
        match headers.get_mut(name) {
            Some(_) if FIRST_WINS.contains(&name) => {}
            // As Node joins them.
            Some(Value::String(known)) => {
                known.push_str(if name == "cookie" { "; " } else { ", " });
                known.push_str(value);
            }
            _ => drop(headers.insert(name.to_owned(), value.into())),
        }
    }
    // The last value of a repeated key wins.
    let query: Map<String, Value> = handshake.query().map(|(key, value)| (key, value.into())).collect();
    let auth = auth.and_then(|auth| serde_json::from_str::<Value>(auth).ok());
    let is_foreign = headers.contains_key("origin");
    // In Node's order, which people see, too.
    let body = json!({
        "headers": headers,
        "time": date(handshake.issued_ms),
        "address": handshake.address.to_string(),
        "xdomain": is_foreign,
        "secure": is_secure,
        "issued": handshake.issued_ms,
        "url": handshake.url,
        "query": query,
        "auth": auth.unwrap_or_else(|| json!({})),
    });
    body.to_string().into()
}

/// As `Date.prototype.toString` in a process whose zone is UTC.
fn date(ms: i64) -> String {
    let at = Timestamp::from_millisecond(ms).unwrap_or_default().to_zoned(TimeZone::UTC);
    at.strftime("%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected text is what Node 20 prints.
    #[test]
    fn dates_read_as_nodes() {
        let expected = "Sun Nov 22 2026 23:37:37 GMT+0000 (Coordinated Universal Time)";
        assert_eq!(date(1_795_390_657_461), expected);
    }
}
