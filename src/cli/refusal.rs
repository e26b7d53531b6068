//! What is said when the command line cannot be understood: one line that names the option and its
//! variable. Invariant: a secret's value is not repeated.

use std::{error::Error, process::ExitCode};

use clap::{
    Arg, Command,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::{MISUSED, complain};

/// Prints help or version where those were asked for, or else why the command line was refused.
pub(super) fn explain(command: &Command, error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            error.print().ok();
            return ExitCode::SUCCESS;
        }
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => complain(&line(command, error)),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            error.print().ok();
        }
        _ => complain(&first_line(error)),
    }
    ExitCode::from(MISUSED)
}

/// Why the command line was refused, in one line.
pub(super) fn line(command: &Command, error: &clap::Error) -> String {
    let is_value = matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue);
    let refused = is_value.then(|| value_refused(command, error)).flatten();
    refused.unwrap_or_else(|| first_line(error))
}

fn value_refused(command: &Command, error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else { return None };
    let arg = find(command, shown.split_whitespace().next()?)?;
    let name = match arg.get_env().and_then(|name| name.to_str()) {
        Some(variable) => format!("{variable} ({})", flag(arg)),
        None => flag(arg),
    };
    // Our own parsers say everything; clap's own say less, so the value is added.
    let reason = match (error.source(), error.get(ContextKind::InvalidValue)) {
        (Some(source), Some(ContextValue::String(value))) if !source.to_string().contains(value.as_str()) => {
            format!("`{value}`: {source}")
        }
        (Some(source), _) => source.to_string(),
        (None, Some(ContextValue::String(value))) if value.is_empty() => "a value is missing".to_owned(),
        (None, Some(ContextValue::String(value))) => format!("`{value}` is none of {}", possible(arg)),
        _ => "not valid".to_owned(),
    };
    Some(format!("{name}: {reason}"))
}

fn possible(arg: &Arg) -> String {
    let values = arg.get_possible_values();
    let names: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
    names.join(", ")
}

fn flag(arg: &Arg) -> String {
    arg.get_long().map_or_else(|| arg.get_id().to_string(), |long| format!("--{long}"))
}

fn find<'a>(command: &'a Command, shown: &str) -> Option<&'a Arg> {
    let here = command.get_arguments().find(|arg| flag(arg) == shown);
    here.or_else(|| command.get_subcommands().find_map(|subcommand| find(subcommand, shown)))
}

/// Clap's own words without its decoration.
fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or("not understood");
    format!("{} (see --help)", line.trim_start_matches("error: "))
}
