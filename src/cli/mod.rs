//! The command line: which command, with which options, and what exit code it ends with.
//! Builds no parts; that is `app`'s work.

mod check;
mod compare;
mod doctor;
#[cfg(test)]
mod reference_tests;
mod refusal;
mod run;
mod token;
mod version;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tokio::runtime::Runtime;

use crate::config::{self, Config, DemoRun, Environment, ServeRun};

/// A command that was understood and failed.
const FAILED: u8 = 1;
/// A command line or a configuration that makes no sense.
const MISUSED: u8 = 2;

/// A Socket.IO gateway for live fleets.
#[derive(Debug, Parser)]
#[command(name = "fleetcast", version, arg_required_else_help = true, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve dashboards from a source of updates.
    ///
    /// Flags win over variables, variables over defaults. Durations are written 250ms, 30s, 5m.
    #[command(after_long_help = SERVE_EXAMPLES)]
    Serve(ServeRun),
    /// Show it with simulated vehicles: no Redis, no Kafka, no authentication, this machine only.
    Demo(DemoRun),
    /// Check the configuration of `serve` and the connections that it would make, one line each.
    Check(ServeRun),
    /// Look at a running Node cluster through Redis, without joining it: what will a migration meet?
    Doctor(doctor::DoctorOptions),
    /// Watch a fleet at two gateways and report every difference: exit code 0 only if there is none.
    Compare(compare::CompareOptions),
    /// Sign a token for development.
    Token(token::TokenOptions),
    /// Print the version.
    Version(version::VersionOptions),
}

const EXAMPLES: &str = "\
Examples:
  fleetcast demo
      50,000 moving vehicles on http://127.0.0.1:3000/, with nothing else installed
  FLEETCAST_REDIS_URL=redis://cache/ fleetcast serve --source redis --auth none
      take over from a Node gateway whose ingestion publishes updates:<fleetId>
  fleetcast check --source kafka --kafka-brokers k1:9092 --kafka-topics telemetry --auth none
      would it start?

Exit codes: 0 done, 1 failed, 2 wrong options.";

const SERVE_EXAMPLES: &str = "\
Examples:
  fleetcast serve --source redis --redis-url redis://cache/ --auth none
  fleetcast serve --source kafka --kafka-brokers k1:9092,k2:9092 --kafka-topics telemetry \\
      --kafka-group fleetcast --redis-url redis://cache/ --auth none
  FLEETCAST_REDIS_URL_FILE=/run/secrets/redis fleetcast serve --source redis --auth none";

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let (command, secrets) = config::prepare(command());
    let command = with_complete_help(command);
    let matches = match command.clone().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return refusal::explain(&command, &error),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return refusal::explain(&command, &error),
    };
    let environment = Environment::read(&command);
    let outcome = match cli.command {
        Command::Serve(run) => {
            secrets.and_then(|()| Config::serve(run, &environment)).map(|c| run::run(c, &environment))
        }
        Command::Demo(run) => Config::demo(run, &environment).map(|config| run::run(config, &environment)),
        Command::Check(run) => {
            secrets.and_then(|()| Config::serve(run, &environment)).map(|config| check::run(&config))
        }
        Command::Doctor(options) => secrets.map(|()| doctor::run(&options)),
        Command::Compare(options) => secrets.map(|()| compare::run(&options)),
        Command::Token(options) => secrets.map(|()| token::run(&options)),
        Command::Version(options) => Ok(version::run(&options)),
    };
    outcome.unwrap_or_else(|error| misused(&error))
}

/// The command line with what derive cannot say.
fn command() -> clap::Command {
    Cli::command().mut_subcommand("demo", |demo| {
        demo.mut_arg("listen", |listen| listen.default_value("127.0.0.1:3000"))
    })
}

/// `fleetcast --help` alone tells everything: the options of `serve` follow the list of commands.
fn with_complete_help(command: clap::Command) -> clap::Command {
    let serve = command.get_subcommands().find(|command| command.get_name() == "serve");
    let options = serve.map(|serve| {
        let template = "{all-args}";
        serve.clone().help_template(template).after_long_help("").render_long_help().to_string()
    });
    let options = options.unwrap_or_default();
    command.after_long_help(format!("Options of `serve`\n\n{}\n\n{EXAMPLES}", options.trim_end()))
}

/// A runtime for a command that soon ends; if there is none, that is told.
fn runtime() -> Result<Runtime, ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        complain(&format_args!("cannot start the runtime: {error}"));
        ExitCode::from(FAILED)
    })
}

fn misused(error: &dyn std::fmt::Display) -> ExitCode {
    complain(error);
    ExitCode::from(MISUSED)
}

/// One line on standard error.
fn complain(what: &dyn std::fmt::Display) {
    // Nobody is left to tell when standard error is closed.
    writeln!(io::stderr(), "fleetcast: {what}").ok();
}

/// One line on standard output; a closed pipe (`| head`) is no failure.
fn say(what: &dyn std::fmt::Display) {
    writeln!(io::stdout(), "{what}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }
}
