//! What operators see: metrics and logs. Anyone may use it; it uses nobody.

mod connections;
mod metrics;

pub use metrics::Metrics;
