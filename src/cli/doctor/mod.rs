//! `fleetcast doctor`: looks at a running Node cluster through Redis, without joining it, and says what a
//! migration will meet.

mod findings;
mod shards;
mod survey;
mod traffic;

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use self::{
    findings::{Finding, Level},
    survey::Survey,
};
use super::{FAILED, complain, misused, runtime, say};
use crate::{cluster::wire::Names, config::RedisAddress};

/// What to look at.
#[derive(Debug, Args)]
pub(super) struct DoctorOptions {
    #[command(flatten)]
    address: RedisAddress,
    /// The option `key` of Node's adapter
    #[arg(long, env = "FLEETCAST_ADAPTER_KEY", value_name = "TEXT", default_value = "socket.io")]
    adapter_key: String,
    /// How long to listen
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Ask the servers who they are: one `cluster_ping`, which Node replicas without a handler ignore
    #[arg(long)]
    ping: bool,
    /// As a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    findings: &'a [Finding],
    variables: &'a [String],
    survey: &'a Survey,
}

pub(super) fn run(options: &DoctorOptions) -> ExitCode {
    let redis = match options.address.redis() {
        Ok(Some(redis)) => redis,
        Ok(None) => {
            return misused(&"FLEETCAST_REDIS_URL (--redis-url) is required: the Redis of Node's adapter");
        }
        Err(error) => return misused(&error),
    };
    let names = match Names::new(&options.adapter_key, "/") {
        Ok(names) => names,
        Err(error) => return misused(&format_args!("FLEETCAST_ADAPTER_KEY (--adapter-key): {error}")),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let surveying = survey::survey(&redis, &options.adapter_key, &names, options.seconds, options.ping);
    let survey = match runtime.block_on(surveying) {
        Ok(survey) => survey,
        Err(error) => {
            complain(&format_args!("redis {redis}: {error}"));
            return ExitCode::from(FAILED);
        }
    };
    tell(options, &survey);
    ExitCode::SUCCESS
}

fn tell(options: &DoctorOptions, survey: &Survey) {
    let (findings, variables) = findings::findings(survey, &options.adapter_key);
    if options.json {
        let report = Report { findings: &findings, variables: &variables, survey };
        match serde_json::to_string(&report) {
            Ok(text) => say(&text),
            Err(error) => complain(&error),
        }
        return;
    }
    say(&format_args!("ok       redis {}", survey.redis_version));
    for Finding { level, text } in &findings {
        let level = match level {
            Level::Ok => "ok     ",
            Level::Note => "note   ",
            Level::Problem => "problem",
        };
        say(&format_args!("{level}  {text}"));
    }
    variables.iter().for_each(|variable| say(&format_args!("needs    {variable}")));
}
