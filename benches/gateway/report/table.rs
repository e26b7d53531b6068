//! A report as a Markdown table.

use std::fmt::Write;

use super::{Column, Report};

/// What ratios are taken to, and how the column is headed.
const BASES: [(&str, &str); 3] = [("raw", "× raw"), ("fleetcast-each", "× each"), ("node-fixed", "× Node")];

impl Report {
    /// Medians, ratios, and every remark below.
    pub(crate) fn to_markdown(&self) -> String {
        let peers = self.peers();
        let bases: Vec<_> = BASES.iter().filter(|(base, _)| peers.iter().any(|peer| peer == base)).collect();
        let mut heads = vec!["gateway".to_owned()];
        for column in self.scenario.columns {
            heads.push(column.title.to_owned());
            if column.is_compared {
                heads.extend(bases.iter().map(|(_, head)| (*head).to_owned()));
            }
        }
        let mut text = format!("| {} |\n| --- |{}\n", heads.join(" | "), " ---: |".repeat(heads.len() - 1));
        for peer in &peers {
            let mut cells = vec![peer.clone()];
            for column in self.scenario.columns {
                cells.push(number(self.median(peer, column.key), column.decimals));
                if column.is_compared {
                    cells.extend(bases.iter().map(|(base, _)| number(self.ratio(peer, base, column.key), 2)));
                }
            }
            writeln!(text, "| {} |", cells.join(" | ")).expect("a String takes every write");
        }
        for sample in self.samples.iter().filter(|sample| !sample.remarks.is_empty()) {
            let remarks = sample.remarks.join("; ");
            write!(text, "\n- {}, round {}: {remarks}", sample.peer, sample.round)
                .expect("a String takes every write");
        }
        text
    }

    /// The spread behind each median of a compared column: a reader should see how noisy it was.
    pub(crate) fn spread(&self) -> String {
        let mut lines = Vec::new();
        for column in self.scenario.columns.iter().filter(|column| column.is_compared) {
            let peers = self.peers();
            let ranges: Vec<String> = peers.iter().filter_map(|peer| self.range(peer, column)).collect();
            lines.push(format!("Lowest to highest {}: {}.", column.title, ranges.join("; ")));
        }
        lines.join("\n")
    }

    fn range(&self, peer: &str, column: &Column) -> Option<String> {
        let values: Vec<f64> =
            self.of(peer).filter_map(|sample| sample.values.get(column.key).copied()).collect();
        let low = values.iter().copied().reduce(f64::min)?;
        let high = values.iter().copied().reduce(f64::max)?;
        Some(format!(
            "{peer} {} to {}",
            number(Some(low), column.decimals),
            number(Some(high), column.decimals)
        ))
    }
}

/// With thousands separated; a dash when it was not measured.
fn number(value: Option<f64>, decimals: usize) -> String {
    let Some(value) = value.filter(|value| value.is_finite()) else { return "–".to_owned() };
    let text = format!("{:.decimals$}", value.abs());
    let (whole, fraction) =
        text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if let Some(fraction) = fraction {
        grouped = format!("{grouped}.{fraction}");
    }
    if value < 0.0 && grouped.chars().any(|c| c.is_ascii_digit() && c != '0') {
        format!("-{grouped}")
    } else {
        grouped
    }
}
