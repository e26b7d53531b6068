//! The lists of options and metrics in `docs/OPERATIONS.md` are made from the code: this fails when they
//! differ, and `make bless` writes them anew.

use std::{fs, path::PathBuf};

use super::command;
use crate::{config::prepare, observe::Metrics};

fn document() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/OPERATIONS.md")
}

/// Compares what stands between `<!-- name -->` and `<!-- /name -->`, or writes it.
fn check(name: &str, expected: &str) {
    let text = fs::read_to_string(document()).unwrap();
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = text.split_once(&begin).expect("the document has a place for it");
    let (actual, after) = rest.split_once(&end).expect("the place has an end");
    if std::env::var_os("FLEETCAST_BLESS").is_some() {
        fs::write(document(), [before, &begin, expected, &end, after].concat()).unwrap();
    } else {
        assert!(actual == expected, "docs/OPERATIONS.md is not up to date: run `make bless`\n{expected}");
    }
}

/// One test for both lists: they are written to the same file.
#[test]
fn the_reference_is_up_to_date() {
    check("options", &options());
    check("metrics", &metrics());
}

fn options() -> String {
    let command = prepare(command()).0;
    let serve = command.get_subcommands().find(|command| command.get_name() == "serve").unwrap();
    let mut heading = None;
    let mut out = String::new();
    for arg in serve.get_arguments() {
        let Some(variable) = arg.get_env().and_then(|name| name.to_str()) else { continue };
        if heading != arg.get_help_heading() {
            heading = arg.get_help_heading();
            out += &format!(
                "\n**{}**\n\n| variable | default | |\n| --- | --- | --- |\n",
                heading.unwrap_or("Options")
            );
        }
        let defaults = arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned());
        let default = defaults.filter(|value| !value.is_empty()).map(|value| format!("`{value}`"));
        let values: Vec<_> =
            arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
        let is_choice = !values.is_empty() && values != ["`true`", "`false`"];
        let values = if is_choice { format!(" {}.", values.join(" or ")) } else { String::new() };
        let help =
            arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
        let help = help.replace('\n', " ").replace('|', "\\|");
        let default: Vec<_> = default.collect();
        let help = help.trim_end_matches('.');
        out += &format!("| `{variable}` | {} | {help}.{values} |\n", default.join(","));
    }
    out
}

fn metrics() -> String {
    let mut described: Vec<_> = Metrics::described().collect();
    described.sort_unstable();
    let mut out = "\n| metric | |\n| --- | --- |\n".to_owned();
    for (name, help) in described {
        out +=
            &format!("| `fleetcast_{name}` | {}. |\n", help.trim().trim_end_matches('.').replace('|', "\\|"));
    }
    out
}
