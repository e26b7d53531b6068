//! Who is at the other end: the peer of the connection, or whom a trusted proxy says it is.
//! Invariant: nothing that an untrusted host wrote is believed.

use std::net::IpAddr;

use http::HeaderMap;

use crate::values::Network;

/// Each proxy appends the address that it was called from, so the list is read from its end for as long as
/// the speaker is trusted.
pub(super) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let lines: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        // A line that is no text says nothing; its neighbours keep their places.
        .map(|line| line.to_str().unwrap_or_default())
        .collect();
    let mut speaker = peer;
    for named in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let Some(named) = is_trusted(speaker).then(|| address(named.trim())).flatten() else { break };
        speaker = named;
    }
    speaker.to_canonical()
}

/// An address as proxies write it: some add a port, and brackets around IPv6.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.parse().ok();
    bare.or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let check = |peer: &str, lines: &[&str], expected: &str| {
            let trusted: Vec<Network> = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap()).into();
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", line.parse().unwrap());
            }
            let found = client_address(peer.parse().unwrap(), &headers, &trusted);
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {lines:?}");
        };
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["203.0.113.9"], "203.0.113.9");
        check("203.0.113.1", &["198.51.100.7"], "203.0.113.1");
        // What the client itself wrote stands before what the proxies appended.
        check("10.0.0.1", &["1.2.3.4, 203.0.113.9"], "203.0.113.9");
        check("10.0.0.1", &["1.2.3.4", "203.0.113.9, 10.7.7.7"], "203.0.113.9");
        check("10.0.0.1", &["10.1.1.1, 10.2.2.2"], "10.1.1.1");
        check("10.0.0.1", &["203.0.113.9, unknown"], "10.0.0.1");
        check("10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9");
        check("fd00::1", &["[2001:db8::7]:80"], "2001:db8::7");
        check("::ffff:10.0.0.1", &["::ffff:203.0.113.9"], "203.0.113.9");
    }
}
