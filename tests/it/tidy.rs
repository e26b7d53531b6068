//! House rules that no compiler knows: who may use whom, how files begin and how long they grow, and that
//! what the documents point at exists.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// A file is split by meaning at 400 lines, and by this test at the latest.
const LINES_MAX: usize = 500;

/// What each module of the crate may use of the others; the reasons are in `docs/ARCHITECTURE.md`.
/// Absence is the rule: `transport` knows no fleets, `cluster` no dashboards, `fleet` nothing at all.
const MAY_USE: &[(&str, &[&str])] = &[
    ("fleet", &[]),
    ("values", &[]),
    ("backoff", &[]),
    ("clock", &[]),
    ("shutdown", &[]),
    ("protocol", &[]),
    ("tasks", &[]),
    ("region", &["fleet"]),
    ("observe", &["clock", "values"]),
    ("source", &["clock", "backoff", "fleet", "observe", "values"]),
    // `region` only for the numbers of its cells.
    ("store", &["backoff", "fleet", "observe", "region", "values"]),
    // `store` only for the one place that reads Redis addresses.
    ("feed", &["clock", "backoff", "fleet", "observe", "store", "values"]),
    ("pipeline", &["backoff", "clock", "dispatch", "fleet", "observe", "source", "store", "values"]),
    ("transport", &["clock", "observe", "values"]),
    ("auth", &["clock", "backoff", "fleet", "observe", "values"]),
    // What it goes through, it sees from outside; `store` is the one place that reads Redis addresses.
    ("canary", &["backoff", "clock", "fleet", "observe", "source", "store", "values"]),
    // `feed` for its subscriptions that follow interest; they know no fleets.
    ("cluster", &["backoff", "feed", "observe", "store", "transport", "values"]),
    (
        "dispatch",
        &["clock", "cluster", "feed", "fleet", "observe", "region", "store", "tasks", "transport", "values"],
    ),
    (
        "sockets",
        &[
            "auth",
            "clock",
            "cluster",
            "dispatch",
            "feed",
            "fleet",
            "observe",
            "protocol",
            "region",
            "store",
            "transport",
            "values",
        ],
    ),
    ("http", &["clock", "auth", "observe", "values"]),
    // What composes, sees what it composes.
    ("fuzzing", ANYTHING),
    ("config", ANYTHING),
    ("gateway", ANYTHING),
    ("upstream", ANYTHING),
    ("app", ANYTHING),
    (
        "cli",
        &[
            "app",
            "auth",
            "cluster",
            "config",
            "fleet",
            "observe",
            "reload",
            "source",
            "store",
            "transport",
            "values",
        ],
    ),
    ("reload", &["config"]),
    ("lib", &[]),
    ("main", &[]),
];
const ANYTHING: &[&str] = &["*"];

#[test]
fn modules_use_only_whom_they_may() {
    let rules: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let mut broken = Vec::new();
    for file in rust_files(&["src"]) {
        let module = module_of(&file);
        let Some(allowed) = rules.get(module.as_str()) else {
            broken.push(format!("{}: module `{module}` has no row in the table", shown(&file)));
            continue;
        };
        for used in used_modules(&read(&file)) {
            if used != module && *allowed != ANYTHING && !allowed.contains(&used.as_str()) {
                broken.push(format!("{}: `{module}` must not use `{used}`", shown(&file)));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn files_say_what_they_own_and_stay_short() {
    let mut broken = Vec::new();
    for file in rust_files(&["src", "tests", "benches", "examples"]) {
        let text = read(&file);
        // Parts of a module that were moved to a file of their own for length say so in a `//!` as well.
        if !text.starts_with("//!") {
            broken.push(format!("{}: does not begin with //!", shown(&file)));
        }
        let length = text.lines().count();
        if length > LINES_MAX {
            broken.push(format!("{}: {length} lines, more than {LINES_MAX}", shown(&file)));
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn nothing_is_left_for_later_in_the_code() {
    // Put together here so that this file does not find itself.
    let words = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"]].map(|halves| halves.concat());
    let mut found = Vec::new();
    for file in rust_files(&["src", "tests", "benches", "examples"]) {
        for (at, line) in read(&file).lines().enumerate() {
            if words.iter().any(|word| line.contains(word.as_str())) {
                found.push(format!("{}:{}: {}", shown(&file), at + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_changelog_is_open() {
    assert!(read(&root().join("CHANGELOG.md")).lines().any(|line| line == "## Unreleased"));
}

#[test]
fn relative_links_of_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for document in documents() {
        for target in links(&read(&document)) {
            let path = target.split('#').next().unwrap_or_default();
            let is_elsewhere = target.contains("://") || target.starts_with("mailto:");
            if path.is_empty() || is_elsewhere {
                continue;
            }
            if !document.parent().is_some_and(|directory| directory.join(path).exists()) {
                broken.push(format!("{}: {target}", shown(&document)));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn promises_name_tests_that_exist() {
    let code: String = rust_files(&["src", "tests"]).iter().map(|file| read(file)).collect();
    let promises = read(&root().join("docs/RELIABILITY.md"));
    let named: Vec<&str> =
        promises.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() > 2).collect();
    assert!(named.len() > 40, "{}", named.len());
    let missing: Vec<_> = named.iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_readers_of_these_rules_read() {
    let text = "use crate::{\n  feed::{self, x::Y},\n  fleet::FleetId,\n};\n// crate::http\nlet a = crate::store::b();";
    let used: Vec<String> = used_modules(text).into_iter().collect();
    assert_eq!(used, ["feed", "fleet", "store"]);
    assert_eq!(links("see [a](b.md#c) and ![d](e.png \"title\")"), ["b.md#c", "e.png"]);
    assert_eq!(module_of(&root().join("src/feed/redis.rs")), "feed");
    assert_eq!(module_of(&root().join("src/app.rs")), "app");
}

/// The modules that a text names after `crate::`, comments aside.
fn used_modules(text: &str) -> BTreeSet<String> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    };
    let mut used = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            used.insert(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut begins = true;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                _ if begins && !c.is_whitespace() => {
                    used.insert(word(&group[at..]));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    // Items of the crate root itself (types, macros) are no modules.
    used.retain(|name| name.chars().next().is_some_and(|c| c.is_ascii_lowercase()) && name != "self");
    used
}

/// Targets of Markdown links and images.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    targets.map(str::to_owned).collect()
}

fn module_of(file: &Path) -> String {
    let inside = file.strip_prefix(root().join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

fn documents() -> Vec<PathBuf> {
    let at_root = files_in(&root(), false);
    let in_docs = files_in(&root().join("docs"), true);
    at_root.into_iter().chain(in_docs).filter(|file| file.extension().is_some_and(|e| e == "md")).collect()
}

fn rust_files(folders: &[&str]) -> Vec<PathBuf> {
    let files = folders.iter().flat_map(|folder| files_in(&root().join(folder), true));
    files.filter(|file| file.extension().is_some_and(|e| e == "rs")).collect()
}

fn files_in(folder: &Path, deep: bool) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_file() {
            files.push(path);
        } else if deep && !path.ends_with("node_modules") {
            files.extend(files_in(&path, true));
        }
    }
    files.sort();
    files
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap()
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}
