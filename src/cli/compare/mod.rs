//! `fleetcast compare <urlA> <urlB>`: a dashboard on each of two gateways, and every difference between
//! what they are sent. The proof before a switch: exit code 0 only if there is none.

mod dashboard;
mod matching;

use std::{
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Args;
use http::Uri;
use serde::Serialize;
use tokio::time::Instant;

use self::{
    dashboard::{Arrival, Dashboard},
    matching::{Comparison, Difference, Spread},
};
use super::{FAILED, complain, runtime, say};
use crate::{
    fleet::{FieldMap, Update},
    values::Secret,
};

/// Nearer than this to the begin or the end of the comparison one gateway may not have been heard yet, or
/// any more: an event that only the other sent proves nothing there.
const MARGIN: Duration = Duration::from_secs(2);

/// What to compare.
#[derive(Debug, Args)]
pub(super) struct CompareOptions {
    /// The gateway that is right by definition, such as `http://node:3000`
    #[arg(value_name = "URL_A", value_parser = base_url)]
    first: Uri,
    /// The gateway to be proved
    #[arg(value_name = "URL_B", value_parser = base_url)]
    second: Uri,
    /// The fleet to watch
    #[arg(long, value_name = "FLEET")]
    fleet: String,
    /// How long to watch
    #[arg(long, value_name = "SECONDS", default_value = "30",
          value_parser = clap::value_parser!(u64).range(5..=86_400))]
    seconds: u64,
    /// The payload of CONNECT for both gateways as JSON, such as {"token":"…"}
    #[arg(long, env = "FLEETCAST_COMPARE_AUTH", value_name = "JSON", hide_env_values = true)]
    compare_auth: Option<Secret>,
    /// Where messages keep the asset and the time, for order and content per asset
    #[arg(long, value_name = "NAME=POINTER,…", default_value_t)]
    fields: FieldMap,
    /// As a JSON object
    #[arg(long)]
    json: bool,
}

/// A gateway's address and nothing else: a path would be a namespace, which this gateway has not.
fn base_url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|error| format!("{error}"))?;
    let is_web = matches!(url.scheme_str(), Some("http" | "https"));
    if !is_web || url.host().is_none() || url.path() != "/" || url.query().is_some() {
        return Err("not of the form http://host:port or https://host".to_owned());
    }
    Ok(url)
}

/// What is told.
#[derive(Debug, Serialize)]
struct Report {
    equal: bool,
    first: Side,
    second: Side,
    #[serde(flatten)]
    comparison: Comparison,
}

#[derive(Debug, Serialize)]
struct Side {
    url: String,
    events: usize,
    /// From the message's own time to its arrival, in ms.
    age_ms: Option<Spread>,
    /// Why the connection ended before the comparison, if it did.
    error: Option<String>,
}

pub(super) fn run(options: &CompareOptions) -> ExitCode {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let report = match runtime.block_on(watch(options)) {
        Ok(report) => report,
        Err(error) => {
            complain(&error);
            return ExitCode::from(FAILED);
        }
    };
    if options.json {
        match serde_json::to_string(&report) {
            Ok(text) => say(&text),
            Err(error) => complain(&error),
        }
    } else {
        tell(&report);
    }
    ExitCode::from(if report.equal { 0 } else { FAILED })
}

async fn watch(options: &CompareOptions) -> Result<Report, String> {
    let auth = options.compare_auth.as_ref().map(Secret::expose);
    let connect = async |url: &Uri| {
        let connected = Dashboard::connect(url, &options.fleet, auth).await;
        connected.map_err(|error| format!("{url}: {error}"))
    };
    let (first, second) = tokio::try_join!(connect(&options.first), connect(&options.second))?;
    let began = Instant::now();
    let began_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1e3;
    let span = Duration::from_secs(options.seconds);
    let end = began + span;
    let ((a, a_ended), (b, b_ended)) = tokio::join!(first.watch(began, end), second.watch(began, end));
    let key_of = |arrival: &Arrival| {
        let update = read(&options.fields, arrival);
        let asset = update.asset?.as_str().to_owned();
        // Without a time of its own, only an equal message is the same one.
        let which = if update.ts_ms == 0 { arrival.body.clone() } else { update.ts_ms.to_string() };
        Some((asset, which))
    };
    let comparison = matching::compare(&a, &b, (MARGIN, span.saturating_sub(MARGIN)), &key_of);
    let side = |url: &Uri, arrivals: &[Arrival], ended: Result<(), String>| Side {
        url: url.to_string(),
        events: arrivals.len(),
        age_ms: Spread::of(
            arrivals.iter().filter_map(|arrival| age_ms(options, arrival, began_ms)).collect(),
        ),
        error: ended.err(),
    };
    let (first, second) = (side(&options.first, &a, a_ended), side(&options.second, &b, b_ended));
    let equal = comparison.is_equal() && first.error.is_none() && second.error.is_none();
    Ok(Report { equal, first, second, comparison })
}

/// The message, with 0 for a time that it does not have.
fn read(fields: &FieldMap, arrival: &Arrival) -> Update {
    fields.parse_relayed(arrival.body.clone().into(), 0, i64::MAX)
}

/// How old the message was when it arrived, if it says when it was made.
#[expect(clippy::cast_precision_loss, reason = "epoch milliseconds are far below 2^52")]
fn age_ms(options: &CompareOptions, arrival: &Arrival, began_ms: f64) -> Option<f64> {
    let ts_ms = read(&options.fields, arrival).ts_ms;
    (ts_ms != 0).then_some(began_ms + arrival.at.as_secs_f64() * 1e3 - ts_ms as f64)
}

fn tell(report: &Report) {
    let Report { equal, first, second, comparison } = report;
    for (name, side) in [("A", first), ("B", second)] {
        let age = side.age_ms.map_or_else(String::new, |age| format!(", age in ms: {}", spread(&age)));
        say(&format_args!("{name}       {}: {} events{age}", side.url, side.events));
        if let Some(error) = &side.error {
            say(&format_args!("failed  {}: {error}", side.url));
        }
    }
    let result = if comparison.matched > 0 { "ok    " } else { "failed" };
    say(&format_args!("{result}  {} events in both", comparison.matched));
    if first.events == 0 && second.events == 0 {
        say(&"failed  neither sent anything for this fleet, which proves nothing: is it a busy one?");
    } else if second.events == 0 {
        say(&"failed  B sent nothing: has it the same Redis, and the same rooms (FLEETCAST_ROOM_PREFIX)?");
    }
    if let Some(delay) = &comparison.delay_ms {
        say(&format_args!("        B after A in ms: {}", spread(delay)));
    }
    let kinds: [(&str, &Difference); 4] = [
        ("missing in B", &comparison.missing),
        ("only in B", &comparison.extra),
        ("different in B", &comparison.differing),
        ("late in B, behind a newer one of the same asset", &comparison.reordered),
    ];
    for (kind, difference) in kinds {
        let result = if difference.count == 0 { "ok    " } else { "failed" };
        say(&format_args!("{result}  {} {kind}", difference.count));
        difference.examples.iter().for_each(|example| say(&format_args!("        {example}")));
    }
    say(&if *equal { "equal" } else { "not equal" });
}

fn spread(spread: &Spread) -> String {
    // Without a minus before what is rounded to nothing.
    let shown = |ms: f64| (ms * 10.0).round() / 10.0 + 0.0;
    let [min, p50, p95, p99, max] = [spread.min, spread.p50, spread.p95, spread.p99, spread.max].map(shown);
    format!("min {min:.1}, median {p50:.1}, 95% {p95:.1}, 99% {p99:.1}, max {max:.1}")
}
