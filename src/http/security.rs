//! What browsers are told to allow the page, and nothing beyond.
//! Invariant: no script but the page's own runs, and no host is asked but those that the operator named.

use axum::Router;
use http::{HeaderName, HeaderValue, Uri, header};
use tower_http::set_header::SetResponseHeaderLayer;

use super::PageOptions;

/// Adds the headers to every answer of `routes`.
pub fn with_security_headers(routes: Router, options: &PageOptions) -> Router {
    let policy = HeaderValue::try_from(content_policy(options));
    let policy = policy.unwrap_or_else(|_| HeaderValue::from_static("default-src 'self'"));
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN")),
        (
            HeaderName::from_static("permissions-policy"),
            HeaderValue::from_static("camera=(), microphone=(), payment=(), usb=()"),
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            HeaderValue::from_static("same-origin-allow-popups"),
        ),
    ];
    headers
        .into_iter()
        .fold(routes, |routes, (name, value)| routes.layer(SetResponseHeaderLayer::overriding(name, value)))
}

/// The map's workers are made from blobs, and its canvas draws from them.
fn content_policy(options: &PageOptions) -> String {
    let hosts = map_hosts(options);
    format!(
        "default-src 'none'; script-src 'self'; worker-src 'self' blob:; child-src 'self' blob:; \
         style-src 'self' 'unsafe-inline'; font-src 'self'{hosts}; manifest-src 'self'; \
         img-src 'self' data: blob:{hosts}; connect-src 'self'{hosts}; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
    )
}

/// Where the operator's map comes from: the host of its tiles; or any, for a style names further ones. A
/// style that comes without TLS may name such hosts, too.
fn map_hosts(options: &PageOptions) -> String {
    if let Some(style) = &options.map_style {
        let is_plain = style.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http:"));
        return if is_plain { " https: http:" } else { " https:" }.to_owned();
    }
    let Some(tiles) = &options.map_tiles else { return String::new() };
    let origin = tiles.split('{').next().and_then(|head| head.parse::<Uri>().ok()).and_then(|url| {
        let (scheme, host) = (url.scheme_str()?, url.authority()?.as_str());
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
        host.chars().all(plain).then(|| format!(" {scheme}://{host}"))
    });
    origin.unwrap_or_else(|| if tiles.starts_with('/') { String::new() } else { " https:".to_owned() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_the_hosts_of_the_operators_map_are_allowed() {
        let policy = |tiles: Option<&str>, style: Option<&str>| {
            content_policy(&PageOptions {
                map_tiles: tiles.map(str::to_owned),
                map_attribution: None,
                map_style: style.map(str::to_owned),
                stale_after: Duration::from_secs(1),
                offline_after: Duration::from_secs(1),
            })
        };
        assert!(policy(None, None).contains("connect-src 'self';"));
        let tiles = policy(Some("https://tiles.example.com:8443/{z}/{x}/{y}.png"), None);
        assert!(tiles.contains("img-src 'self' data: blob: https://tiles.example.com:8443;"), "{tiles}");
        assert!(policy(Some("/tiles/{z}/{x}/{y}.png"), None).contains("connect-src 'self';"));
        assert!(policy(Some("https://{s}.tiles.example/{z}"), None).contains("connect-src 'self' https:;"));
        assert!(policy(Some("https://a;script-src *"), None).contains("script-src 'self';"));
        assert!(!policy(Some("https://a;script-src *"), None).contains("script-src *"));
        assert!(policy(None, Some("https://maps/style.json")).contains("connect-src 'self' https:;"));
        assert!(policy(None, Some("/maps/style.json")).contains("connect-src 'self' https:;"));
        assert!(policy(None, Some("http://maps/style.json")).contains("connect-src 'self' https: http:;"));
    }
}
