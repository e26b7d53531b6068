//! Fleetcast: telemetry of moving assets in, the newest state of each to the dashboards that watch.
//!
//! ```text
//! source → pipeline → store → feed → dispatch → transport → dashboards
//!                                       ▲ sockets (requests), cluster (peers)
//! ```
//!
//! `docs/ARCHITECTURE.md` is the map; each module opens with what it owns and must not know.

// Files that unit tests share with the integration tests name the library as those do.
#[cfg(test)]
extern crate self as fleetcast;

mod backoff;
mod clock;

pub mod app;
pub mod auth;
pub mod canary;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod dispatch;
pub mod feed;
pub mod fleet;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod gateway;
pub mod http;
pub mod observe;
pub mod pipeline;
pub mod protocol;
pub mod region;
pub mod reload;
pub mod shutdown;
pub mod sockets;
pub mod source;
pub mod store;
pub mod tasks;
pub mod transport;
pub(crate) mod upstream;
pub mod values;
