//! What operators see: metrics and logs. Anyone may use it; it uses nobody.

mod connections;
mod metrics;
mod seconds;

pub use metrics::Metrics;
