//! What operators see: metrics, logs, readiness, memory, lag. Anyone may use it; it uses nobody.

mod allocator;
mod connections;
mod history;
mod log_writer;
pub mod logging;
mod memory;
mod metrics;
mod process;
mod readiness;
mod runtime_lag;
mod seconds;

pub use allocator::{AllocatorBytes, NoProfile, heap_profile};
pub use history::{History, STEP, Sample, Sampler};
pub use memory::{Mark, MemoryClasses, MemoryFigures};
pub use metrics::{Metrics, registry};
pub use process::ProcessFigures;
pub use readiness::{Condition, Readiness, ReadinessReport};
pub use runtime_lag::RuntimeLag;
pub use seconds::{Distribution, Seconds};
