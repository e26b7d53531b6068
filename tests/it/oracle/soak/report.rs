//! What a soak saw: samples of the replicas between faults, and the report that is made of them.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use super::Gateway;
use crate::support::parse_metrics;

#[path = "../../../../benches/gateway/report/chart.rs"]
#[allow(dead_code, reason = "the benchmarks draw other charts, too")]
mod chart;

use chart::{Chart, Line};

/// The replicas at one time.
#[derive(Debug, Default, Clone)]
pub struct Point {
    at_s: f64,
    rss_mb: Vec<f64>,
    lag_p99_ms: f64,
    age_p99_ms: f64,
    viewers: f64,
}

/// Looks at replicas, and knows what their histograms said before.
#[derive(Debug, Default)]
pub struct Sampler {
    before: HashMap<(u32, &'static str), Vec<(f64, f64)>>,
}

/// Everything that is said in the end.
#[derive(Debug, Default)]
pub struct Report {
    pub points: Vec<Point>,
    pub faults: BTreeMap<&'static str, usize>,
    pub losses: Vec<String>,
    pub wrongs: Vec<String>,
    pub gauges_left: Vec<String>,
    pub converged_after: Duration,
    pub lasted: Duration,
    pub records: i64,
    pub firehose: usize,
    pub storm_viewers: usize,
    pub rebalances: usize,
    pub connections: usize,
    pub resyncs: usize,
}

impl Sampler {
    pub async fn look(&mut self, at: Duration, gateways: &[Gateway]) -> Point {
        let mut point = Point { at_s: at.as_secs_f64(), ..Point::default() };
        for gateway in gateways {
            point.rss_mb.push(gateway.rss_bytes() as f64 / 1e6);
            point.viewers += gateway.metric("fleetcast_viewers").await;
            let (_, text) = gateway.admin_get("/metrics").await;
            let lag = self.p99_ms(gateway.pid(), "fleetcast_runtime_lag_seconds_bucket", &text);
            let age = self.p99_ms(gateway.pid(), "fleetcast_delivery_age_seconds_bucket", &text);
            point.lag_p99_ms = point.lag_p99_ms.max(lag);
            point.age_p99_ms = point.age_p99_ms.max(age);
        }
        point
    }

    /// The bound below which 99 of 100 new observations are, in milliseconds; 0 if there are none.
    fn p99_ms(&mut self, pid: u32, name: &'static str, text: &str) -> f64 {
        let bound = |labels: &[String]| {
            let le = labels.iter().find_map(|label| label.strip_prefix("le=\""))?;
            let le = le.trim_end_matches('"');
            if le == "+Inf" { Some(f64::INFINITY) } else { le.parse().ok() }
        };
        let samples = parse_metrics(text).into_iter().filter(|sample| sample.name == name);
        let now: Vec<(f64, f64)> =
            samples.filter_map(|sample| Some((bound(&sample.labels)?, sample.value))).collect();
        let before = self.before.insert((pid, name), now.clone()).unwrap_or_default();
        let fresh: Vec<(f64, f64)> = now
            .iter()
            .enumerate()
            .map(|(at, (bound, count))| (*bound, count - before.get(at).map_or(0.0, |(_, count)| *count)))
            .collect();
        let total = fresh.last().map_or(0.0, |(_, count)| *count);
        let p99 = fresh.iter().find(|(_, count)| total > 0.0 && *count >= 0.99 * total);
        // Beyond the last bound nothing is known but that.
        p99.map_or(0.0, |(bound, _)| if bound.is_finite() { bound * 1e3 } else { 60_000.0 })
    }
}

impl Report {
    /// Writes report and charts, in the tree if `FLEETCAST_SOAK_PUBLISH` says so; returns the report.
    pub fn publish(&self) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let is_published = std::env::var_os("FLEETCAST_SOAK_PUBLISH").is_some();
        let folder: PathBuf =
            if is_published { root.join("docs/soak") } else { std::env::temp_dir().join("fleetcast-soak") };
        std::fs::create_dir_all(&folder).unwrap();
        for chart in self.charts() {
            std::fs::write(folder.join(format!("{}.svg", chart.file)), chart.to_svg()).unwrap();
        }
        let text = self.text();
        std::fs::write(folder.join("report.md"), &text).unwrap();
        if is_published {
            let document = root.join("docs/RELIABILITY.md");
            let old = std::fs::read_to_string(&document).unwrap();
            let (before, rest) = old.split_once("<!-- soak -->\n").expect("a place for it");
            let (_, after) = rest.split_once("<!-- /soak -->").expect("its end");
            let new = format!("{before}<!-- soak -->\n{text}<!-- /soak -->{after}");
            std::fs::write(document, new).unwrap();
        }
        format!("{text}\nwritten to {}", folder.display())
    }

    fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| writeln!(out, "{text}").unwrap();
        let viewers = self.points.iter().map(|point| point.viewers).fold(0.0, f64::max);
        let rss =
            |points: &[Point]| points.iter().flat_map(|point| &point.rss_mb).copied().fold(0.0, f64::max);
        line(format!("| {:.1} minutes | |\n| --- | --- |", self.lasted.as_secs_f64() / 60.0));
        line(format!("| records with an account, and beside them | {}, {} |", self.records, self.firehose));
        line(format!("| viewers torn away in waves; at once, at most | {}, {viewers} |", self.storm_viewers));
        line(format!(
            "| connections and resyncs of the dashboards | {}, {} |",
            self.connections, self.resyncs
        ));
        line(format!("| rebalances | {} |", self.rebalances));
        for (fault, times) in &self.faults {
            line(format!("| {fault} | {times} |"));
        }
        let outcome =
            |wrong: &[String]| if wrong.is_empty() { "none".to_owned() } else { wrong.len().to_string() };
        line(format!(
            "| **losses**: dashboards that were not right in the end | {} |",
            outcome(&self.losses)
        ));
        line(format!("| assets that went back, or strangers' | {} |", outcome(&self.wrongs)));
        line(format!("| right after the last fault | {:.1} s |", self.converged_after.as_secs_f64()));
        line(format!("| gauges that are not zero when all have left | {} |", outcome(&self.gauges_left)));
        let half = self.points.len() / 2;
        let (first, second) = (rss(&self.points[..half]), rss(&self.points[half..]));
        line(format!("| most memory of a replica, first and second half | {first:.0} MB, {second:.0} MB |"));
        let last = rss(&self.points[self.points.len().saturating_sub(1)..]);
        line(format!("| when all have left | {last:.0} MB |"));
        let worst = |of: fn(&Point) -> f64| self.points.iter().map(of).fold(0.0, f64::max);
        let median = |of: fn(&Point) -> f64| {
            let mut all: Vec<f64> = self.points.iter().map(of).filter(|value| *value > 0.0).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or_default()
        };
        let (lag, age) = (|point: &Point| point.lag_p99_ms, |point: &Point| point.age_p99_ms);
        line(format!(
            "| runtime lag p99 between faults, median and worst | {} ms, {} ms |",
            median(lag),
            worst(lag)
        ));
        line(format!(
            "| age at delivery p99, faults included, median and worst | {} ms, {} ms |",
            median(age),
            worst(age)
        ));
        out
    }

    fn charts(&self) -> Vec<Chart> {
        let line = |name: &str, of: &dyn Fn(&Point) -> Option<f64>| Line {
            name: name.to_owned(),
            points: self.points.iter().filter_map(|point| Some((point.at_s, of(point)?))).collect(),
        };
        let lines = |file, title: &str, unit, lines| Chart::lines(file, title, "seconds", unit, lines);
        vec![
            lines(
                "memory",
                "Memory of the two replicas; each may be killed and replaced",
                "MB",
                vec![
                    line("one replica", &|point| point.rss_mb.first().copied()),
                    line("other replica", &|point| point.rss_mb.get(1).copied()),
                ],
            ),
            lines(
                "lag",
                "Runtime lag, p99 since the sample before",
                "ms",
                vec![line("fleetcast", &|point| Some(point.lag_p99_ms))],
            ),
            lines(
                "age",
                "Age of updates at delivery, p99 since the sample before",
                "ms",
                vec![line("fleetcast", &|point| Some(point.age_p99_ms))],
            ),
            lines(
                "viewers",
                "Viewers of both replicas",
                "viewers",
                vec![line("fleetcast", &|point| Some(point.viewers))],
            ),
        ]
    }
}
