//! Runs `tests/node/<script>.mjs` with the stock JavaScript packages that `tests/node/package.json` pins.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::OnceLock,
    time::Duration,
};

use serde_json::Value;

use super::Process;

/// A script about to run.
#[derive(Debug)]
pub struct Script {
    name: String,
    command: Command,
    limit: Duration,
}

/// A script that ended by itself.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub lines: Vec<String>,
}

/// `tests/node/<name>`, such as `matrix.mjs`.
pub fn script(name: &str) -> Script {
    installed();
    let mut command = Command::new("node");
    command.arg(dir().join(name)).current_dir(dir());
    Script { name: name.to_owned(), command, limit: Duration::from_secs(60) }
}

impl Script {
    pub fn arg(mut self, arg: impl ToString) -> Self {
        self.command.arg(arg.to_string());
        self
    }

    pub fn env(mut self, key: &str, value: impl ToString) -> Self {
        self.command.env(key, value.to_string());
        self
    }

    /// How long it may run; 60 seconds if nothing is said.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end, whatever the exit code.
    pub async fn run(self) -> Finished {
        let limit = self.limit;
        let mut process = self.spawn();
        let status = process.wait_exit(limit).await;
        Finished { status, lines: process.lines() }
    }

    /// Runs it to its end and panics with its output unless it exits 0.
    pub async fn run_ok(self) -> Finished {
        let name = self.name.clone();
        let finished = self.run().await;
        assert!(finished.status.success(), "{name}: {}\n{}", finished.status, finished.lines.join("\n"));
        finished
    }

    /// Starts it and leaves it running until the handle is dropped: peers, long-lived dashboards.
    pub fn spawn(self) -> Process {
        Process::start(&self.name, self.command)
    }
}

impl Finished {
    /// Every line that is a JSON object, as the script reported it.
    pub fn facts(&self) -> Vec<Value> {
        self.lines
            .iter()
            .filter(|line| line.starts_with('{'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node")
}

/// Installs the packages once per test process, if what is installed is not what the lock file says.
fn installed() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        let wanted = std::fs::read(dir().join("package-lock.json")).unwrap();
        // Two test runs may start at once; the lock is released with the file, even by a killed process.
        let lock = File::create(std::env::temp_dir().join("fleetcast-npm-ci.lock")).unwrap();
        lock.lock().unwrap();
        let stamp = dir().join("node_modules/.installed-lock.json");
        if std::fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
            return;
        }
        let output = Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(dir()).output();
        let output =
            output.expect("npm is needed for the tests with stock clients: install node 20 or newer");
        assert!(output.status.success(), "npm ci: {}", String::from_utf8_lossy(&output.stderr));
        std::fs::write(&stamp, &wanted).unwrap();
    });
}
