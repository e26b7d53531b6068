//! `fleetcast version`.

use std::process::ExitCode;

use clap::Args;

use super::say;

/// How to print the version.
#[derive(Debug, Args)]
pub(super) struct VersionOptions {
    /// As a JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &VersionOptions) -> ExitCode {
    let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    if options.json {
        let protocols = serde_json::json!({"engine_io": [3, 4], "socket_io": [4, 5]});
        say(&serde_json::json!({"name": name, "version": version, "protocols": protocols}));
    } else {
        say(&format_args!("{name} {version}"));
    }
    ExitCode::SUCCESS
}
