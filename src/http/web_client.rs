//! The live map, embedded in release builds: `web-client/dist` as it was built, compressed there already.
//! Invariant: files under `assets/` are named by their content and cached for ever; the page is asked about
//! each time, and not sent again while it is the same.

use std::borrow::Cow;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Path,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use rust_embed::{EmbeddedFile, RustEmbed};

/// Forms of a file beside the plain one, the smallest first: the coding's name and the file's ending.
const CODINGS: [(&str, &str); 2] = [("br", ".br"), ("gzip", ".gz")];

#[derive(RustEmbed)]
#[folder = "web-client/dist"]
#[allow_missing = true]
struct Dist;

/// Routes of the page and its files.
pub fn web_client() -> Router {
    Router::new()
        .route("/", get(page))
        .route("/ops", get(page))
        .route("/{*path}", get(async |Path(path): Path<String>, headers: HeaderMap| file(&path, &headers)))
}

async fn page(headers: HeaderMap) -> Response {
    match Dist::get("index.html") {
        Some(plain) => respond("index.html", plain, &headers),
        None => (StatusCode::NOT_FOUND, "the web client is not built: run `make web`\n").into_response(),
    }
}

fn file(path: &str, headers: &HeaderMap) -> Response {
    match Dist::get(path) {
        Some(plain) => respond(path, plain, headers),
        None => (StatusCode::NOT_FOUND, "not found\n").into_response(),
    }
}

fn respond(path: &str, plain: EmbeddedFile, request: &HeaderMap) -> Response {
    let accepted = CODINGS.into_iter().filter(|(coding, _)| accepts(request, coding));
    let smallest =
        accepted.filter_map(|(coding, ending)| Some((coding, Dist::get(&format!("{path}{ending}"))?))).next();
    let (coding, file) = smallest.map_or((None, plain), |(coding, file)| (Some(coding), file));
    let is_named_by_content = path.starts_with("assets/");
    let cache = if is_named_by_content { "public, max-age=31536000, immutable" } else { "no-cache" };
    let tag = format!("\"{}\"", hex(&file.metadata.sha256_hash()[..16]));
    let always =
        [(header::CACHE_CONTROL, cache), (header::ETAG, tag.as_str()), (header::VARY, "accept-encoding")];
    if lists(request, header::IF_NONE_MATCH, |known| known.trim_start_matches("W/") == tag || known == "*") {
        return (StatusCode::NOT_MODIFIED, always).into_response();
    }
    let bytes = match file.data {
        Cow::Borrowed(embedded) => Bytes::from_static(embedded),
        Cow::Owned(read) => read.into(),
    };
    let kind = [(header::CONTENT_TYPE, mime_type(path))];
    match coding {
        Some(coding) => {
            (always, kind, [(header::CONTENT_ENCODING, coding)], Body::from(bytes)).into_response()
        }
        None => (always, kind, Body::from(bytes)).into_response(),
    }
}

/// Whether the header has an element of which this is so.
fn lists(headers: &HeaderMap, name: header::HeaderName, is_so: impl Fn(&str) -> bool) -> bool {
    let values = headers.get_all(name);
    values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|element| is_so(element.trim()))
}

fn accepts(headers: &HeaderMap, coding: &str) -> bool {
    lists(headers, header::ACCEPT_ENCODING, |element| {
        let (name, weight) = element.split_once(';').unwrap_or((element, ""));
        let weight = weight.trim().trim_start_matches("q=");
        let is_refused = !weight.is_empty() && weight.chars().all(|c| matches!(c, '0' | '.'));
        name.trim().eq_ignore_ascii_case(coding) && !is_refused
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mime_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" | "geojson" | "topojson" | "webmanifest" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn a_coding_is_accepted_unless_its_weight_is_nothing() {
        for (header, br, gzip) in [
            ("gzip, deflate, br, zstd", true, true),
            ("gzip;q=1.0, BR;q=0.1", true, true),
            ("br;q=0, gzip", false, true),
            ("br;q=0.000,gzip;q=0.0", false, false),
            ("identity", false, false),
        ] {
            let headers = request(header::ACCEPT_ENCODING, header);
            assert_eq!((accepts(&headers, "br"), accepts(&headers, "gzip")), (br, gzip), "{header}");
        }
        assert!(!accepts(&HeaderMap::new(), "gzip"));
    }
}
