//! The gateway benchmark: Fleetcast beside a raw writer, a plain socketioxide port and the Node gateways,
//! under the same load, in the same run. `cargo bench --bench gateway -- --help` lists what it can do.
//!
//! Invariant: every delivery of every gateway is checked, and the checks check themselves first.

mod crowd;
mod dashboards;
mod gateway;
mod machine;
mod peers;
mod redis;
mod report;
mod rig;
mod scenario;
mod telemetry;
mod wire;
mod world;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;

use gateway::Peer;
use machine::Cores;
use rig::Bench;
use scenario::Scenario;

/// Descriptors that a gateway needs beside its viewers'.
const SPARE_DESCRIPTORS: u64 = 200;

/// Measures Fleetcast beside its peers.
#[derive(Debug, Parser)]
#[command(name = "gateway", version)]
struct Options {
    /// Scenarios, comma-separated: fanout, ramp, firehose, churn, storm, slow, idle, regions, pan,
    /// snapshot, conflation. Default: all.
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<String>,
    /// Gateways: raw, fleetcast, fleetcast-paced, fleetcast-each, socketioxide, node-fixed, node-leaky, or
    /// `name=path` for another build of Fleetcast. Default: those that the scenario compares.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Rounds of each scenario instead of its own number.
    #[arg(long)]
    rounds: Option<usize>,
    /// Fewer viewers, shorter, one round: for a look, not for a record.
    #[arg(long)]
    quick: bool,
    /// Write to docs/benchmarks and docs/BENCHMARKS.md, not to the build folder. A full run does so anyway.
    #[arg(long)]
    publish: bool,
    /// Never write to docs.
    #[arg(long, conflicts_with = "publish")]
    no_publish: bool,
    /// Given by `cargo bench`; without it (`cargo test --all-targets`) nothing is measured.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, clap::Subcommand)]
enum Role {
    /// Serve as a gateway (the benchmark starts itself like this).
    #[command(hide = true)]
    Peer { name: String },
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(Role::Peer { name }) = &options.role {
        return peers::serve(name);
    }
    if !options.bench {
        say("nothing measured: run `make bench`");
        return Ok(());
    }
    telemetry::self_check()?;
    crowd::self_check()?;
    world::self_check()?;
    let descriptors = machine::raise_descriptor_limit()?;
    let (machine, cores) = (machine::describe(), Cores::split());
    machine::pin(&cores.load)?;
    let is_full = options.scenario.is_empty() && options.peers.is_empty() && !options.quick;
    let publishes = options.publish || is_full && !options.no_publish;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let build = build_folder()?.join("benchmarks");
    let bench = Bench {
        cores,
        is_quick: options.quick,
        viewers_max: usize::try_from(descriptors.saturating_sub(SPARE_DESCRIPTORS))?.min(20_000),
        logs: build.join("logs"),
        machine,
    };
    let (folder, page) = if publishes {
        (root.join("docs/benchmarks"), Some(root.join("docs/BENCHMARKS.md")))
    } else {
        (build, None)
    };
    for scenario in chosen_scenarios(&options.scenario)? {
        let peers = chosen_peers(scenario, &options.peers)?;
        let rounds = options.rounds.unwrap_or(if options.quick { 1 } else { scenario.rounds });
        let report = scenario.run(&bench, &peers, rounds);
        print(&format!("\n### {}\n\n{}\n", scenario.title, report.to_markdown()));
        report::publish(&report, &folder, page.as_deref())?;
    }
    say(&format!("written to {}", folder.display()));
    Ok(())
}

fn chosen_scenarios(names: &[String]) -> Result<Vec<&'static Scenario>> {
    if names.is_empty() {
        return Ok(scenario::ALL.to_vec());
    }
    let find = |name: &String| {
        let found = scenario::ALL.into_iter().find(|scenario| scenario.name == name);
        let known = scenario::ALL.map(|scenario| scenario.name).join(", ");
        found.with_context(|| format!("no scenario is called {name}: {known}"))
    };
    names.iter().map(find).collect()
}

/// A gateway that cannot run here is left out aloud, unless it was asked for.
fn chosen_peers(scenario: &Scenario, names: &[String]) -> Result<Vec<Peer>> {
    if names.is_empty() {
        let all = scenario.peers.iter().map(|name| Peer::parse(name)).collect::<Result<Vec<_>>>()?;
        let (able, unable): (Vec<_>, Vec<_>) = all.into_iter().partition(|peer| peer.missing().is_none());
        for peer in unable {
            say(&format!("{peer} is left out: {}", peer.missing().unwrap_or_default()));
        }
        return Ok(able);
    }
    let peers = names.iter().map(|name| Peer::parse(name)).collect::<Result<Vec<_>>>()?;
    for peer in &peers {
        if let Some(reason) = peer.missing() {
            anyhow::bail!("{peer} cannot run: {reason}");
        }
    }
    Ok(peers)
}

/// Cargo's target folder: the one that this program was built into.
fn build_folder() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    // <target>/<profile>/deps/gateway-<hash>
    Ok(program.ancestors().nth(3).context("no build folder")?.to_owned())
}

#[expect(clippy::print_stdout, reason = "results are this program's output")]
fn print(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "progress, apart from the results")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}
