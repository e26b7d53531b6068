//! What the gateway tells its page at `/api/config`: its own name, and the operator's wishes for the map.

use std::time::Duration;

use axum::{
    Router,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use crate::values::positive_duration;

/// The operator's wishes for the live map.
#[derive(Debug, Clone, clap::Args)]
pub struct PageOptions {
    /// Raster tiles for the map instead of the built-in one, such as `https://tiles.example.com/{z}/{x}/{y}.png`
    #[arg(long, env = "FLEETCAST_MAP_TILES", value_name = "URL", conflicts_with = "map_style")]
    pub map_tiles: Option<String>,
    /// Whom the tiles are to be credited to, shown on the map; links are kept
    #[arg(long, env = "FLEETCAST_MAP_ATTRIBUTION", value_name = "HTML", requires = "map_tiles")]
    pub map_attribution: Option<String>,
    /// A style of `MapLibre` for the map instead of the built-in one
    #[arg(long, env = "FLEETCAST_MAP_STYLE", value_name = "URL")]
    pub map_style: Option<String>,
    /// An asset that was not heard of for this long is shown as stale
    #[arg(long, env = "FLEETCAST_STALE_AFTER", value_name = "DURATION", default_value = "60s",
          value_parser = positive_duration)]
    pub stale_after: Duration,
    /// An asset that was not heard of for this long is shown as offline
    #[arg(long, env = "FLEETCAST_OFFLINE_AFTER", value_name = "DURATION", default_value = "10m",
          value_parser = positive_duration)]
    pub offline_after: Duration,
}

/// Serves `GET /api/config`: `{version, replica, auth, basemap, stale_after_ms, offline_after_ms}`, where
/// `basemap` is null, `{tiles, attribution}` or `{style}`.
pub fn page_config(options: &PageOptions, replica: &str, auth: &str) -> Router {
    let basemap = match (&options.map_tiles, &options.map_style) {
        (Some(tiles), _) => json!({"tiles": tiles, "attribution": options.map_attribution}),
        (None, Some(style)) => json!({"style": style}),
        (None, None) => json!(null),
    };
    let config = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "replica": replica,
        "auth": auth,
        "basemap": basemap,
        "stale_after_ms": options.stale_after.as_millis(),
        "offline_after_ms": options.offline_after.as_millis(),
    })
    .to_string();
    Router::new().route("/api/config", get(async move || respond(config)))
}

fn respond(config: String) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (headers, config).into_response()
}
