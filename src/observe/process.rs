//! What the kernel knows of this process, read from `/proc` when somebody asks.
//! Invariant: nothing is kept in between; on systems without `/proc` there are simply no figures.

use std::fs;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

/// Clock ticks per second in `/proc/self/stat`: fixed by Linux for user space, whatever the kernel's own.
const TICKS_PER_SECOND: f64 = 100.0;

/// Figures of this process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProcessFigures {
    /// Memory that is in RAM.
    pub resident_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// How many there may be.
    pub fds_max: u64,
    /// Threads.
    pub threads: u64,
    /// CPU time, user and system.
    pub cpu_seconds: f64,
}

impl ProcessFigures {
    /// Reads them now.
    #[must_use]
    pub fn read() -> Option<Self> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let limits = fs::read_to_string("/proc/self/limits").ok()?;
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The process name, in parentheses, may hold spaces; what follows it does not.
        let mut after_name = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let user_ticks: f64 = after_name.next()?.parse().ok()?;
        let system_ticks: f64 = after_name.next()?.parse().ok()?;
        Some(Self {
            resident_bytes: number_after(&status, "VmRSS:")? * 1024,
            // One of them is the directory that is being read.
            open_fds: u64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()?.saturating_sub(1),
            fds_max: number_after(&limits, "Max open files").unwrap_or(u64::MAX),
            threads: number_after(&status, "Threads:")?,
            cpu_seconds: (user_ticks + system_ticks) / TICKS_PER_SECOND,
        })
    }
}

fn number_after(text: &str, label: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(label))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Reads the figures at each scrape.
#[derive(Debug)]
pub(super) struct ProcessCollector;

/// Zero outside a runtime.
fn alive_tasks() -> u64 {
    let runtime = tokio::runtime::Handle::try_current();
    runtime.map_or(0, |runtime| runtime.metrics().num_alive_tasks() as u64)
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let Some(figures) = ProcessFigures::read() else { return Ok(()) };
        let gauges = [
            ("process_resident_bytes", "Memory of this process that is in RAM.", figures.resident_bytes),
            ("process_open_fds", "Open file descriptors.", figures.open_fds),
            ("process_max_fds", "Open file descriptors that there may be.", figures.fds_max),
            ("process_threads", "Threads of this process.", figures.threads),
            (
                "runtime_tasks",
                "Tasks of connections and the process that are alive, those of updates aside.",
                alive_tasks(),
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let help = "CPU time of this process in seconds, user and system.";
        let cpu = encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?;
        ConstCounter::new(figures.cpu_seconds).encode(cpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_figures_are_of_this_process() {
        let before = ProcessFigures::read().unwrap();
        let held: Vec<fs::File> = (0..10).map(|_| fs::File::open("/proc/self/status").unwrap()).collect();
        let after = ProcessFigures::read().unwrap();
        // Other tests run beside this one and open files of their own.
        assert!(after.open_fds >= 10 && held.len() == 10);
        assert!(before.resident_bytes > 1 << 20 && before.threads >= 1 && before.fds_max > 10);
        let until = std::time::Instant::now() + std::time::Duration::from_millis(50);
        while std::time::Instant::now() < until {}
        assert!(ProcessFigures::read().unwrap().cpu_seconds > before.cpu_seconds);
    }
}
