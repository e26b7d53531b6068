//! The process environment as one value: which variables there are, which of them are ours, and the
//! secrets that stand in files.

use std::{
    any::TypeId,
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::{Arg, Command};

use super::BadConfig;
use crate::values::Secret;

/// Every variable of Fleetcast starts with it.
const PREFIX: &str = "FLEETCAST_";
/// The variable of a secret's file ends in it.
const FILE_SUFFIX: &str = "_FILE";
/// A secret longer than this is surely the wrong file.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// What the environment held at start.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// Names of all variables with our prefix.
    ours: Vec<String>,
    known: BTreeSet<String>,
    /// Variables of secrets that stand in files, and these.
    secret_files: BTreeMap<String, PathBuf>,
    rust_log: Option<String>,
    no_color: bool,
}

impl Environment {
    /// Reads the environment of this process. `command` says which variables are options.
    #[must_use]
    pub fn read(command: &Command) -> Self {
        let text = |name: &str| std::env::var_os(name).and_then(|value| value.into_string().ok());
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let mut known = BTreeSet::new();
        collect_variables(command, &mut known);
        let file = |file: &String| {
            let variable = file.strip_suffix(FILE_SUFFIX).filter(|variable| known.contains(*variable))?;
            Some((variable.to_owned(), PathBuf::from(std::env::var_os(file)?)))
        };
        Self {
            secret_files: known.iter().filter_map(file).collect(),
            ours: names.filter(|name| name.starts_with(PREFIX)).collect(),
            known,
            rust_log: text("RUST_LOG").filter(|filter| !filter.is_empty()),
            // https://no-color.org: present and not empty.
            no_color: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
        }
    }

    /// The filter of `RUST_LOG`.
    #[must_use]
    pub fn rust_log(&self) -> Option<&str> {
        self.rust_log.as_deref()
    }

    /// Whether `NO_COLOR` asks for plain text.
    #[must_use]
    pub fn no_color(&self) -> bool {
        self.no_color
    }

    /// The file that a secret's variable was read from.
    #[must_use]
    pub fn secret_file(&self, variable: &str) -> Option<PathBuf> {
        self.secret_files.get(variable).cloned()
    }

    /// Variables with our prefix that mean nothing: typing errors, or what Kubernetes injects for a
    /// service of our name.
    #[must_use]
    pub fn unknown_variables(&self) -> Vec<String> {
        self.ours.iter().filter(|name| !self.known.contains(*name)).cloned().collect()
    }
}

fn collect_variables(command: &Command, known: &mut BTreeSet<String>) {
    for arg in command.get_arguments() {
        if let Some(name) = variable(arg) {
            if is_secret(arg) {
                known.insert(file_variable(&name));
            }
            known.insert(name);
        }
    }
    for subcommand in command.get_subcommands() {
        collect_variables(subcommand, known);
    }
}

/// Finishes a command with what the environment adds to it.
///
/// Values of variables are left out of the help, since one may be a secret; and a secret that stands in a
/// file becomes its option's default. A flag wins over it; variable and file together are a contradiction.
///
/// # Errors
/// A file cannot be read, or a secret is given twice. The command is complete nevertheless, so that one
/// that needs no secrets still works.
pub fn prepare(command: Command) -> (Command, Result<(), BadConfig>) {
    let mut outcome = Ok(());
    let command = prepare_args(command, &mut outcome);
    (command, outcome)
}

fn prepare_args(command: Command, outcome: &mut Result<(), BadConfig>) -> Command {
    let command = command.mut_args(|arg| {
        let arg = arg.hide_env_values(true);
        let Some(name) = variable(&arg).filter(|_| is_secret(&arg)) else { return arg };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let file = file_variable(&name);
        let arg = arg.help(format!("{help} [or a file with it: {file}]"));
        match secret_file(&name, &file) {
            Ok(None) => arg,
            Ok(Some(secret)) => arg.default_value(secret).hide_default_value(true),
            Err(error) => {
                *outcome = Err(error);
                arg
            }
        }
    });
    command.mut_subcommands(|subcommand| prepare_args(subcommand, outcome))
}

fn variable(arg: &Arg) -> Option<String> {
    arg.get_env().and_then(|name| name.to_str()).map(str::to_owned)
}

fn file_variable(name: &str) -> String {
    [name, FILE_SUFFIX].concat()
}

fn is_secret(arg: &Arg) -> bool {
    arg.get_value_parser().type_id() == TypeId::of::<Secret>()
}

fn secret_file(name: &str, file: &str) -> Result<Option<OsString>, BadConfig> {
    let Some(path) = std::env::var_os(file) else { return Ok(None) };
    if std::env::var_os(name).is_some() {
        return Err(BadConfig(format!("{file} and {name} are both set; keep one")));
    }
    let path = Path::new(&path);
    let unreadable =
        |reason: &dyn std::fmt::Display| BadConfig(format!("{file}: {}: {reason}", path.display()));
    let length = std::fs::metadata(path).map_err(|error| unreadable(&error))?.len();
    if length > SECRET_BYTES_MAX {
        return Err(unreadable(&format!("larger than {SECRET_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(&error))?;
    // Editors and `kubectl create secret --from-file` leave a newline at the end.
    Ok(Some(text.trim_end().into()))
}
