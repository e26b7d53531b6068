//! What was read from Kafka and not handed over yet: records, and letters about what is no record.
//! Invariant: `ends` is where the records and letters end in each partition, without a hole before.

use std::sync::Arc;

use bytes::Bytes;
use rdkafka::{
    Message,
    message::{BorrowedMessage, OwnedHeaders},
};

use super::ledger::{Ends, Partition};
use crate::{
    clock::epoch_ms,
    fleet::{Origin, Record, Unusable},
    source::RecordOptions,
};

/// Records handed over at once.
const RECORDS_MAX: usize = 2048;
/// Their bytes, unless a single one is larger.
const BYTES_MAX: usize = 4 << 20;
/// Letters handed over at once; the queue of letters holds so many.
pub(super) const LETTERS_MAX: usize = 256;

/// A record that can not be used, on its way to the dead-letter topic.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) partition: Partition,
    pub(super) offset: i64,
    pub(super) timestamp_ms: Option<i64>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) payload: Option<Bytes>,
    pub(super) headers: OwnedHeaders,
    pub(super) why: Unusable,
}

#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) records: Vec<Record>,
    pub(super) letters: Vec<Letter>,
    pub(super) ends: Ends,
    pub(super) received_ms: i64,
    bytes: usize,
}

impl Gathered {
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.records.len() >= RECORDS_MAX || self.bytes >= BYTES_MAX || self.letters.len() >= LETTERS_MAX
    }

    pub(super) fn add(&mut self, message: &BorrowedMessage<'_>, reader: &mut Reader) {
        if self.is_empty() {
            self.received_ms = epoch_ms();
        }
        let (partition, log) = reader.names.of(message.topic(), message.partition());
        let offset = message.offset();
        match self.ends.iter_mut().rev().find(|(known, _)| known == partition) {
            Some((_, end)) => *end = offset + 1,
            None => self.ends.push((partition.clone(), offset + 1)),
        }
        self.bytes += message.payload_len();
        let origin = Origin { log: log.clone(), offset };
        match reader.rules.read(message.payload(), self.received_ms) {
            Ok(record) => self.records.push(Record { origin: Some(origin), ..record }),
            Err(why) => self.letters.push(Letter {
                partition: partition.clone(),
                offset,
                timestamp_ms: message.timestamp().to_millis(),
                key: message.key().map(Into::into),
                payload: message.payload().map(Bytes::copy_from_slice),
                headers: message.headers().map(|headers| headers.detach()).unwrap_or_default(),
                why,
            }),
        }
    }

    /// Forgets what came from partitions that are given up.
    pub(super) fn drop_of(&mut self, partitions: &[Partition]) {
        let logs: Vec<String> = partitions.iter().map(ToString::to_string).collect();
        let is_of = |origin: &Origin| logs.iter().any(|log| **log == *origin.log);
        self.records.retain(|record| !record.origin.as_ref().is_some_and(is_of));
        self.letters.retain(|letter| !partitions.contains(&letter.partition));
        self.ends.retain(|(partition, _)| !partitions.contains(partition));
    }
}

/// Makes records of messages.
#[derive(Debug)]
pub(super) struct Reader {
    rules: Rules,
    names: Names,
}

#[derive(Debug)]
struct Rules {
    options: RecordOptions,
    skew_ms_max: i64,
    record_bytes_max: usize,
}

impl Reader {
    pub(super) fn new(options: RecordOptions, record_bytes_max: usize) -> Self {
        let skew_ms_max = i64::try_from(options.max_skew.as_millis()).unwrap_or(i64::MAX);
        Self { rules: Rules { options, skew_ms_max, record_bytes_max }, names: Names::default() }
    }
}

impl Rules {
    fn read(&self, payload: Option<&[u8]>, now_ms: i64) -> Result<Record, Unusable> {
        let Some(payload) = payload else {
            return Err(Unusable::new("null", "no value, a tombstone"));
        };
        if payload.len() > self.record_bytes_max {
            let reason = format!("{} bytes, allowed are {}", payload.len(), self.record_bytes_max);
            return Err(Unusable::new("size", reason));
        }
        let record = self.options.fields.parse(Bytes::copy_from_slice(payload))?;
        record.check_skew(now_ms, self.skew_ms_max)?;
        Ok(record)
    }
}

/// Partitions by their names, each with the name that its records carry as their origin.
#[derive(Debug, Default)]
struct Names {
    known: Vec<(Partition, Arc<str>)>,
    /// Where the last one was: messages come in runs.
    last: usize,
}

impl Names {
    fn of(&mut self, topic: &str, number: i32) -> (&Partition, &Arc<str>) {
        let is = |(known, _): &(Partition, Arc<str>)| known.number == number && *known.topic == *topic;
        if !self.known.get(self.last).is_some_and(is) {
            self.last = self.known.iter().position(is).unwrap_or_else(|| {
                let partition = Partition { topic: topic.into(), number };
                let log = partition.to_string().into();
                self.known.push((partition, log));
                self.known.len() - 1
            });
        }
        let (partition, log) = &self.known[self.last];
        (partition, log)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rules() -> Rules {
        let options = RecordOptions { fields: Default::default(), max_skew: Duration::from_secs(300) };
        Reader::new(options, 100).rules
    }

    #[test]
    fn what_is_no_record_has_its_code() {
        let now_ms = 1_790_000_000_000;
        let check = |payload: Option<&[u8]>, code: &str, why: &str| {
            let error = rules().read(payload, now_ms).unwrap_err();
            assert!(error.code == code && error.reason.contains(why), "{error:?}");
        };
        check(None, "null", "tombstone");
        check(Some(&[b'x'; 101]), "size", "101 bytes, allowed are 100");
        check(Some(b"\xff"), "utf8", "UTF-8");
        check(Some(b"{}"), "missing", "/fleetId");
        check(Some(br#"{"assetId":"a","fleetId":"f","ts":1790000301}"#), "future", "301000 ms ahead");
        assert!(rules().read(Some(br#"{"assetId":"a","fleetId":"f","ts":1790000300}"#), now_ms).is_ok());
    }

    #[test]
    fn partitions_that_are_given_up_leave_nothing_behind() {
        let partition = |number| Partition { topic: "t".into(), number };
        let record = rules().read(Some(br#"{"assetId":"a","fleetId":"f","ts":1}"#), 0).unwrap();
        let of = |log: &str| Record { origin: Some(Origin { log: log.into(), offset: 1 }), ..record.clone() };
        let mut gathered = Gathered {
            records: vec![of("t/0"), of("t/1"), of("t/10")],
            ends: vec![(partition(0), 2), (partition(1), 2), (partition(10), 2)],
            ..Gathered::default()
        };
        gathered.drop_of(&[partition(1)]);
        let left: Vec<_> =
            gathered.records.iter().map(|record| &*record.origin.as_ref().unwrap().log).collect();
        assert_eq!(left, ["t/0", "t/10"]);
        assert_eq!(gathered.ends, [(partition(0), 2), (partition(10), 2)]);
    }
}
