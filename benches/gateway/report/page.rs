//! Where reports go: JSON, tables and charts in a folder; for a full run, the tables in `docs/BENCHMARKS.md`.
//!
//! Invariant: only what stands between a scenario's two markers is replaced; prose is never touched.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Report;

/// Writes `<folder>/<scenario>.json` and `.md`, and the charts as SVG.
fn write_files(report: &Report, folder: &Path) -> Result<()> {
    let name = report.scenario.name;
    fs::create_dir_all(folder)?;
    fs::write(folder.join(format!("{name}.json")), serde_json::to_string_pretty(&report.to_json())? + "\n")?;
    for chart in &report.charts {
        fs::write(folder.join(format!("{}.svg", chart.file)), chart.to_svg())?;
    }
    Ok(())
}

/// Puts a report into `folder` and, when there is one, into `page`.
pub(crate) fn publish(report: &Report, folder: &Path, page: Option<&Path>) -> Result<()> {
    write_files(report, folder).with_context(|| format!("cannot write to {}", folder.display()))?;
    let Some(page) = page else { return Ok(()) };
    let text = fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let name = report.scenario.name;
    let (open, close) = (format!("<!-- {name} -->"), format!("<!-- /{name} -->"));
    let start = text.find(&open).with_context(|| format!("no {open} in {}", page.display()))? + open.len();
    let end = text.find(&close).with_context(|| format!("no {close} in {}", page.display()))?;
    let section = format!("{}\n{}{}", text[..start].trim_end(), section(report), &text[end..]);
    fs::write(page, section)?;
    Ok(())
}

fn section(report: &Report) -> String {
    let machine = &report.machine;
    let taken = format!(
        "Taken {} at `{}`, {} rounds.",
        machine["taken_at"].as_str().unwrap_or("?"),
        machine["commit"].as_str().unwrap_or("?"),
        report.samples.iter().map(|sample| sample.round).max().unwrap_or(0),
    );
    let charts: Vec<String> = report
        .charts
        .iter()
        .map(|chart| format!("![{}](benchmarks/{}.svg)", chart.title, chart.file))
        .collect();
    let parts =
        [report.scenario.how.to_owned(), report.to_markdown(), report.spread(), taken, charts.join("\n")];
    let parts: Vec<String> =
        parts.into_iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect();
    format!("\n{}\n\n", parts.join("\n\n"))
}
