//! Where the bytes are: what each part says of its own, beside what the allocator and the kernel say.
//! Invariant: taking the figures costs nothing while nobody asks; parts are asked, they do not report.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};
use serde::Serialize;

use super::{
    allocator::{self, AllocatorBytes},
    process::ProcessFigures,
};

type Measure = Box<dyn Fn() -> u64 + Send + Sync>;

/// The classes of memory that parts have told of; clones share them.
#[derive(Clone, Default)]
pub struct MemoryClasses {
    /// Held while the parts answer, which may lock their own structures: never call it from a part.
    classes: Arc<Mutex<BTreeMap<&'static str, Measure>>>,
    marks: Arc<Mutex<BTreeMap<Mark, MemoryFigures>>>,
}

/// A moment to compare with: the three heap snapshots of a leak hunt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
pub enum Mark {
    /// Before the load.
    A,
    /// Under load.
    B,
    /// After everybody left.
    C,
}

/// Bytes at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryFigures {
    /// What the parts say, by class.
    pub classes: BTreeMap<&'static str, u64>,
    /// What the allocator says.
    pub allocator: Option<AllocatorBytes>,
    /// Live allocations that no part has claimed: the runtime, TLS, libraries, and what fragments.
    pub unclassified: Option<u64>,
    /// What the kernel says is in RAM.
    pub resident: Option<u64>,
}

impl MemoryClasses {
    /// `measure` answers how many bytes the class holds now; it must be quick, and may be called any time.
    pub fn register(&self, class: &'static str, measure: impl Fn() -> u64 + Send + Sync + 'static) {
        lock(&self.classes).insert(class, Box::new(measure));
    }

    /// The figures now.
    #[must_use]
    pub fn read(&self) -> MemoryFigures {
        let classes: BTreeMap<_, _> = lock(&self.classes).iter().map(|(class, of)| (*class, of())).collect();
        let allocator = AllocatorBytes::read();
        let classified: u64 = classes.values().sum();
        MemoryFigures {
            classes,
            unclassified: allocator.map(|bytes| bytes.allocated.saturating_sub(classified)),
            allocator,
            resident: ProcessFigures::read().map(|figures| figures.resident_bytes),
        }
    }

    /// Returns freed memory to the system, then keeps the figures under `mark`. Blocks for milliseconds.
    pub fn mark(&self, mark: Mark) {
        allocator::purge();
        let figures = self.read();
        lock(&self.marks).insert(mark, figures);
    }

    /// The figures of all marks made so far.
    #[must_use]
    pub fn marks(&self) -> BTreeMap<Mark, MemoryFigures> {
        lock(&self.marks).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for MemoryClasses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(lock(&self.classes).keys()).finish()
    }
}

impl MemoryFigures {
    /// All figures in one list, each under its own name.
    fn flat(&self) -> Vec<(&'static str, u64)> {
        let mut figures: Vec<_> = self.classes.iter().map(|(class, bytes)| (*class, *bytes)).collect();
        if let Some(allocator) = self.allocator {
            figures.extend([
                ("allocator.allocated", allocator.allocated),
                ("allocator.active", allocator.active),
                ("allocator.metadata", allocator.metadata),
                ("allocator.resident", allocator.resident),
                ("allocator.retained", allocator.retained),
            ]);
        }
        figures.extend(self.unclassified.map(|bytes| ("unclassified", bytes)));
        figures.extend(self.resident.map(|bytes| ("resident", bytes)));
        figures
    }

    /// By how much each figure is larger than in `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> BTreeMap<&'static str, i64> {
        let before: BTreeMap<_, _> = earlier.flat().into_iter().collect();
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let growth = |(name, bytes): (&'static str, u64)| {
            (name, signed(bytes) - signed(before.get(name).copied().unwrap_or(0)))
        };
        self.flat().into_iter().map(growth).collect()
    }
}

/// Asks the parts at each scrape.
#[derive(Debug)]
pub(super) struct MemoryCollector(pub(super) MemoryClasses);

impl Collector for MemoryCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Memory in bytes by class: what the parts say, and what the allocator says.";
        let mut family = encoder.encode_descriptor("memory_bytes", help, None, MetricType::Gauge)?;
        for (class, bytes) in self.0.read().flat() {
            let gauge = ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX));
            gauge.encode(family.encode_family(&[("class", class)])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn marks_tell_what_grew_in_which_class() {
        let memory = MemoryClasses::default();
        let queues = Arc::new(AtomicU64::new(10));
        let measured = Arc::clone(&queues);
        memory.register("queues", move || measured.load(Ordering::Relaxed));
        memory.register("rooms", || 5);
        memory.mark(Mark::A);
        queues.store(1000, Ordering::Relaxed);
        memory.mark(Mark::B);
        queues.store(4, Ordering::Relaxed);
        memory.mark(Mark::C);
        let marks = memory.marks();
        let growth = |to: Mark, from: Mark| marks[&to].since(&marks[&from]);
        assert_eq!((growth(Mark::B, Mark::A)["queues"], growth(Mark::B, Mark::A)["rooms"]), (990, 0));
        assert_eq!(growth(Mark::C, Mark::A)["queues"], -6);
        assert!(marks[&Mark::A].resident.is_some() && marks[&Mark::A].allocator.is_some());
    }
}
