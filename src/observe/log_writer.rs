//! Between whoever logs and the log's reader: a bounded queue and one thread.
//! Invariant: writing a line never waits; a line that finds the queue full is dropped and counted.

use std::{
    io::{self, Write},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter},
};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait for a slow reader.
const LINES_WAITING_MAX: usize = 8192;
/// How long the end of the process waits for the reader.
const FLUSH_MAX: Duration = Duration::from_secs(1);

// The log is one per process, begins before the metrics do, and outlives them; so do these counts.
static LINES_DROPPED: AtomicU64 = AtomicU64::new(0);
static PANICS: AtomicU64 = AtomicU64::new(0);

pub(super) fn count_panic() {
    PANICS.fetch_add(1, Ordering::Relaxed);
}

enum Order {
    Write(Vec<u8>),
    /// Answer once everything before is written.
    Flush(SyncSender<()>),
}

/// Where lines are handed in.
#[derive(Clone)]
pub(super) struct LineSender(SyncSender<Order>);

/// Writes what waits when dropped.
#[must_use = "dropping it flushes the log"]
pub struct Flush(SyncSender<Order>);

impl LineSender {
    pub(super) fn start(reader: impl Write + Send + 'static) -> (Self, Flush) {
        let (sender, orders) = sync_channel(LINES_WAITING_MAX);
        let thread = std::thread::Builder::new().name("log".to_owned());
        // Without the thread the queue is closed, and every line counts as dropped.
        thread.spawn(move || write(reader, &orders)).ok();
        (Self(sender.clone()), Flush(sender))
    }
}

fn write(mut reader: impl Write, orders: &Receiver<Order>) {
    while let Ok(order) = orders.recv() {
        match order {
            Order::Write(line) => {
                if reader.write_all(&line).is_err() {
                    LINES_DROPPED.fetch_add(1, Ordering::Relaxed);
                }
            }
            Order::Flush(done) => {
                reader.flush().ok();
                done.try_send(()).ok();
            }
        }
    }
}

/// The subscriber hands in each event as one write.
impl Write for LineSender {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.try_send(Order::Write(line.to_vec())).is_err() {
            LINES_DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LineSender {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl std::fmt::Debug for Flush {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Flush")
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let (done, written) = sync_channel(1);
        // A full queue means a reader that does not read: what waits is lost then, as the invariant says.
        match self.0.try_send(Order::Flush(done)) {
            Ok(()) => drop(written.recv_timeout(FLUSH_MAX)),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }
}

/// Tells the two counts at each scrape.
#[derive(Debug)]
pub(super) struct LogCollector;

impl Collector for LogCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let counts = [
            (
                "log_lines_dropped",
                "Log lines dropped because the reader of the log was too slow.",
                &LINES_DROPPED,
            ),
            ("panics", "Panics; each ended one task.", &PANICS),
        ];
        for (name, help, count) in counts {
            let counter = ConstCounter::new(count.load(Ordering::Relaxed));
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, mpsc};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A reader that reads nothing until told to.
    struct Stopped(Receiver<()>);

    impl Write for Stopped {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().ok();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_end_writes_what_waits() {
        let read = Shared::default();
        let (mut lines, flush) = LineSender::start(read.clone());
        for _ in 0..100 {
            lines.write_all(b"line\n").unwrap();
        }
        drop(flush);
        assert_eq!(read.0.lock().unwrap().len(), 500);
    }

    #[test]
    fn a_stopped_reader_stops_nobody() {
        let (_hold, stopped) = mpsc::channel();
        let (mut lines, flush) = LineSender::start(Stopped(stopped));
        let before = LINES_DROPPED.load(Ordering::Relaxed);
        for _ in 0..LINES_WAITING_MAX + 100 {
            lines.write_all(b"line\n").unwrap();
        }
        assert!(LINES_DROPPED.load(Ordering::Relaxed) >= before + 98);
        drop(flush);
    }
}
