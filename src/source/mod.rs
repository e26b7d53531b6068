//! Where updates are ingested from. A source knows nothing of stores, rooms and sockets.
//!
//! Invariant: sources are pulled, so a store that takes its time slows the source down and nothing piles
//! up; and what a source can deliver again is committed only after the store has it.

pub mod demo;
pub mod kafka;

use std::time::Duration;

use clap::Args;

use self::{demo::Demo, kafka::Kafka};
use crate::{
    clock::epoch_ms,
    fleet::{FieldMap, Record},
    values::duration,
};

/// Where the updates come from.
#[derive(Debug)]
pub enum Source {
    /// Simulated vehicles.
    Demo(Box<Demo>),
    /// Topics of a Kafka cluster, shared with the other replicas.
    Kafka(Box<Kafka>),
}

/// Records that were ready at the same time, in source order.
#[derive(Debug)]
pub struct Batch {
    /// The records.
    pub records: Vec<Record>,
    /// When this process received them, epoch milliseconds.
    pub received_ms: i64,
    /// To be given to [`Source::commit`] once the store has the records.
    pub receipt: Receipt,
}

/// What a source needs to know to commit a batch.
#[derive(Debug)]
pub enum Receipt {
    /// The source can not deliver anything twice.
    Nothing,
    /// Offsets of Kafka.
    Kafka(kafka::Receipt),
}

/// How records are read; for every source of JSON.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Records")]
pub struct RecordOptions {
    /// Where records keep what Fleetcast needs, as JSON Pointers; names left out keep their default.
    #[arg(long, env = "FLEETCAST_FIELDS", value_name = "NAME=POINTER,…", default_value_t)]
    pub fields: FieldMap,
    /// Records whose time is further ahead than this are refused: newest wins, so they would freeze their
    /// asset.
    #[arg(long, env = "FLEETCAST_MAX_SKEW", value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub max_skew: Duration,
}

impl Source {
    /// The next records; waits until there are some. Cancel-safe: it may be dropped at any await and
    /// called again, and no record is lost.
    pub async fn next_batch(&mut self) -> Batch {
        match self {
            Self::Demo(demo) => {
                let records = demo.next_batch().await;
                Batch { records, received_ms: epoch_ms(), receipt: Receipt::Nothing }
            }
            Self::Kafka(kafka) => kafka.next_batch().await,
        }
    }

    /// The store has the records of the batch. Batches may be committed in any order.
    pub fn commit(&mut self, receipt: Receipt) {
        match receipt {
            Receipt::Nothing => {}
            Receipt::Kafka(receipt) => receipt.applied(),
        }
    }

    /// Gives up the source: what is committed by now stays so, the rest is delivered again, to whoever
    /// is next.
    pub async fn close(self) {
        match self {
            Self::Demo(_) => {}
            Self::Kafka(kafka) => kafka.close().await,
        }
    }
}
