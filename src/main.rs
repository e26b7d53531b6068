//! The process: its allocator and its exit code. Everything else is in the library.

use std::process::ExitCode;

/// glibc's allocator keeps what 5,000 connections freed; this one gives it back within seconds.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// jemalloc's defaults for this process; `MALLOC_CONF` in the environment overrides them.
///
/// The background thread returns freed pages even when nothing is allocated any more, one second after
/// they were freed, so that memory after a storm is what it was before.
// The one way to give jemalloc compiled-in settings is a symbol of this name, which it reads before `main`.
#[expect(
    unsafe_code,
    reason = "an exported name could clash with another; jemalloc declares this one for us"
)]
#[unsafe(export_name = "malloc_conf")]
pub static MALLOC_CONF: &[u8; 60] = b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    fleetcast::cli::main()
}
