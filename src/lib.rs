//! Fleetcast: telemetry of moving assets in, the newest state of each to the dashboards that watch.
//!
//! ```text
//! source → pipeline → store → feed → dispatch → transport → dashboards
//!                                       ▲ sockets (requests), cluster (peers)
//! ```
//!
//! `docs/ARCHITECTURE.md` is the map; each module opens with what it owns and must not know.

pub mod cluster;
pub mod feed;
pub mod fleet;
pub mod observe;
pub mod store;
pub mod values;
