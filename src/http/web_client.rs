//! The live map, embedded in release builds: `web-client/dist` as it was built.
//! Invariant: files under `assets/` are named by their content and cached for ever; the page is not.

use axum::{
    Router,
    body::Body,
    extract::Path,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use rust_embed::{EmbeddedFile, RustEmbed};
use tower_http::compression::CompressionLayer;

#[derive(RustEmbed)]
#[folder = "web-client/dist"]
#[allow_missing = true]
struct Dist;

/// Routes of the page and its files.
pub fn web_client() -> Router {
    Router::new()
        .route("/", get(async || page()))
        .route("/ops", get(async || page()))
        .route("/{*path}", get(async |Path(path): Path<String>| file(&path)))
        .layer(CompressionLayer::new())
}

fn page() -> Response {
    match Dist::get("index.html") {
        Some(file) => respond("index.html", file, "no-cache"),
        None => (StatusCode::NOT_FOUND, "the web client is not built: run `make web`\n").into_response(),
    }
}

fn file(path: &str) -> Response {
    match Dist::get(path) {
        Some(file) if path.starts_with("assets/") => {
            respond(path, file, "public, max-age=31536000, immutable")
        }
        Some(file) => respond(path, file, "no-cache"),
        None => (StatusCode::NOT_FOUND, "not found\n").into_response(),
    }
}

fn respond(path: &str, file: EmbeddedFile, cache: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, mime_type(path)), (header::CACHE_CONTROL, cache)];
    (headers, Body::from(file.data.into_owned())).into_response()
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
