//! Log lines: who writes them, how they look, which are wanted.
//! Invariant: a reader of the log that is slow or stopped never stops the gateway; lines are dropped instead.

use std::io::{self, IsTerminal};

use clap::{Args, ValueEnum};
use tracing_subscriber::{EnvFilter, fmt, util::SubscriberInitExt};

use super::log_writer::{Flush, LineSender, count_panic};
use crate::values::InvalidValue;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

/// What is logged, and how.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Operation")]
pub struct LogOptions {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,fleetcast::feed=debug`
    /// [default: `RUST_LOG`, else info].
    #[arg(long, env = "FLEETCAST_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// How log lines look [default: text on a terminal, else json].
    #[arg(long, env = "FLEETCAST_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

impl LogOptions {
    /// Starts logging to standard output; lines that wait are written when the answer is dropped.
    /// `rust_log` is the filter when no option names one.
    ///
    /// # Errors
    /// The filter is none.
    pub fn start(&self, rust_log: Option<&str>, no_color: bool) -> Result<Flush, InvalidValue> {
        let filter = filter(self.log.as_deref(), rust_log)?;
        let terminal = io::stdout().is_terminal();
        let (writer, flush) = LineSender::start(io::stdout());
        let lines = fmt().with_env_filter(filter).with_writer(writer);
        // Only a second start in one process can fail, and then the first log goes on.
        let format = self.log_format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json });
        match format {
            LogFormat::Json => {
                let json = lines.json().flatten_event(true).with_current_span(false).with_span_list(false);
                json.finish().try_init().ok();
            }
            LogFormat::Text => {
                let text = lines.with_ansi(terminal && !no_color).with_target(false);
                text.finish().try_init().ok();
            }
        }
        log_panics();
        Ok(flush)
    }
}

fn filter(option: Option<&str>, rust_log: Option<&str>) -> Result<EnvFilter, InvalidValue> {
    let (name, filter) = match (option, rust_log) {
        (Some(filter), _) => ("FLEETCAST_LOG (--log)", filter),
        (None, Some(filter)) => ("RUST_LOG", filter),
        (None, None) => ("", "info"),
    };
    EnvFilter::try_new(filter).map_err(|error| InvalidValue(format!("{name}: `{filter}`: {error}")))
}

/// A panic becomes a log line like any other, and not text in between JSON.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let message = payload.downcast_ref::<&str>().copied();
        let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        count_panic();
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, reason = message.unwrap_or("no message"), "panicked");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_wins_over_rust_log_and_a_bad_filter_is_named() {
        assert_eq!(filter(Some("warn"), Some("debug")).unwrap().to_string(), "warn");
        assert_eq!(filter(None, Some("debug")).unwrap().to_string(), "debug");
        assert_eq!(filter(None, None).unwrap().to_string(), "info");
        let error = filter(None, Some("fleetcast=loud")).unwrap_err().to_string();
        assert!(error.starts_with("RUST_LOG: `fleetcast=loud`"), "{error}");
    }
}
