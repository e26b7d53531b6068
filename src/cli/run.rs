//! `fleetcast serve` and `fleetcast demo`: logging and a runtime around `app`.

use std::process::ExitCode;

use super::{FAILED, complain, misused};
use crate::{
    app,
    config::{Config, Environment},
    reload::Reread,
};

pub(super) fn run(config: Config, environment: &Environment, reread: Reread) -> ExitCode {
    let log = match config.shared.log.start(environment.rust_log(), environment.no_color()) {
        Ok(log) => log,
        Err(error) => return misused(&error),
    };
    for name in &config.unknown_variables {
        tracing::warn!(%name, "this variable is none of ours and has no effect");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format_args!("cannot start the runtime: {error}"));
            return ExitCode::from(FAILED);
        }
    };
    let outcome = runtime.block_on(app::run(config, reread));
    if let Err(error) = &outcome {
        tracing::error!(error = format!("{error:#}"), "failed");
    }
    drop(log);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format_args!("{error:#}"));
            ExitCode::from(FAILED)
        }
    }
}
