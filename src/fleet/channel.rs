//! Messages of the cluster's own channel `<prefix>:{<fleet>}:updates`: how a batch that one replica
//! applied reaches the others.
//!
//! Invariant: a message says which numbers its updates have, so a reader that knows the last number sees
//! a gap; and an update leaves here as it came in, byte for byte.
//!
//! ```text
//! F1 <epoch, 16 hex digits> <first sequence number, decimal><space>     ASCII, so a script can write it
//! received_ms i64 · updates u32                                         all numbers little-endian
//! per update: asset length u8 (0: none) · position? u8 · ts_ms i64 · [lat f64 · lon f64] · raw length u32
//!             · asset · raw
//! ```

use std::{fmt, str::FromStr};

use bytes::Bytes;

use super::{AssetId, FleetBatch, FleetId, Position, Update};

const VERSION: &str = "F1";

/// Which life of a fleet's counter a sequence number belongs to: a random word, made with the counter.
/// Numbers of different epochs can not be compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// A new epoch.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({self})")
    }
}

impl FromStr for Epoch {
    type Err = BadMessage;

    fn from_str(text: &str) -> Result<Self, BadMessage> {
        let hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !hex {
            return Err(BadMessage("an epoch is not 16 hex digits"));
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| BadMessage("an epoch is not hexadecimal"))
    }
}

/// Why a channel message can not be read. Such a message is a gap for its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadMessage(pub(crate) &'static str);

/// A batch as one replica applied and published it. Its `first_seq` is always there.
#[derive(Debug, Clone)]
pub struct ChannelMessage {
    /// Which life of the counter the batch's numbers belong to.
    pub epoch: Epoch,
    /// The updates and their numbers.
    pub batch: FleetBatch,
}

impl ChannelMessage {
    /// The start of a message, which only the owner of the counter can write.
    #[must_use]
    pub fn encode_head(epoch: Epoch, first_seq: u64) -> String {
        format!("{VERSION} {epoch} {first_seq} ")
    }

    /// The rest of a message: everything that is known before the updates have numbers.
    #[must_use]
    pub fn encode_body<'u>(
        received_ms: i64,
        updates: impl ExactSizeIterator<Item = &'u Update> + Clone,
    ) -> Vec<u8> {
        let bytes =
            updates.clone().map(|update| 40 + update.asset_bytes().len() + update.raw.len()).sum::<usize>();
        let mut body = Vec::with_capacity(12 + bytes);
        body.extend_from_slice(&received_ms.to_le_bytes());
        body.extend_from_slice(&len_u32(updates.len()).to_le_bytes());
        for update in updates {
            let asset = update.asset_bytes();
            body.push(u8::try_from(asset.len()).expect("ids are at most 128 bytes"));
            body.push(update.position.is_some().into());
            body.extend_from_slice(&update.ts_ms.to_le_bytes());
            if let Some(Position { lat, lon }) = update.position {
                body.extend_from_slice(&lat.to_le_bytes());
                body.extend_from_slice(&lon.to_le_bytes());
            }
            body.extend_from_slice(&len_u32(update.raw.len()).to_le_bytes());
            body.extend_from_slice(asset);
            body.extend_from_slice(&update.raw);
        }
        body
    }

    /// Reads a message of `fleet`'s channel. Every `raw` is an allocation of its own: a slice of
    /// `message` would keep the whole batch in memory for as long as one of its assets does not change.
    ///
    /// # Errors
    /// The message is of another version, cut short, or holds what a writer never sends.
    pub fn decode(fleet: &FleetId, message: &[u8]) -> Result<Self, BadMessage> {
        let mut parts = message.splitn(4, |byte| *byte == b' ');
        let mut word = || parts.next().and_then(|word| std::str::from_utf8(word).ok()).unwrap_or_default();
        if word() != VERSION {
            return Err(BadMessage("not a channel message of version F1"));
        }
        let epoch = word().parse()?;
        let first_seq = word().parse().map_err(|_| BadMessage("a sequence number is not decimal"))?;
        let mut body = Reader(parts.next().unwrap_or_default());
        let received_ms = i64::from_le_bytes(body.take()?);
        let count = u32::from_le_bytes(body.take()?) as usize;
        if u64::checked_add(first_seq, count as u64).is_none() {
            return Err(BadMessage("sequence numbers beyond the last one"));
        }
        // Not `with_capacity(count)`: the count is only believed as far as there are bytes for it.
        let mut updates = Vec::with_capacity(count.min(body.0.len() / 14));
        for _ in 0..count {
            updates.push(body.update()?);
        }
        if !body.0.is_empty() {
            return Err(BadMessage("bytes after the last update"));
        }
        let batch = FleetBatch { fleet: fleet.clone(), first_seq: Some(first_seq), updates, received_ms };
        Ok(Self { epoch, batch })
    }
}

impl Update {
    fn asset_bytes(&self) -> &[u8] {
        self.asset.as_ref().map_or(&[], |asset| asset.as_str().as_bytes())
    }
}

fn len_u32(len: usize) -> u32 {
    u32::try_from(len).expect("batches are far smaller than 4 GiB")
}

struct Reader<'m>(&'m [u8]);

impl<'m> Reader<'m> {
    fn bytes(&mut self, len: usize) -> Result<&'m [u8], BadMessage> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(BadMessage("cut short"))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], BadMessage> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(BadMessage("cut short"))?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn update(&mut self) -> Result<Update, BadMessage> {
        let [asset_len, has_position] = self.take()?;
        let ts_ms = i64::from_le_bytes(self.take()?);
        let position = match has_position {
            0 => None,
            _ => Some(Position {
                lat: f64::from_le_bytes(self.take()?),
                lon: f64::from_le_bytes(self.take()?),
            }),
        };
        let raw_len = u32::from_le_bytes(self.take()?) as usize;
        let asset = match self.bytes(asset_len.into())? {
            [] => None,
            asset => {
                let asset = std::str::from_utf8(asset).map_err(|_| BadMessage("an asset id is not UTF-8"))?;
                Some(AssetId::parse(asset).map_err(|_| BadMessage("an asset id breaks the rules for ids"))?)
            }
        };
        let raw = self.bytes(raw_len)?;
        if std::str::from_utf8(raw).is_err() {
            return Err(BadMessage("an update is not UTF-8"));
        }
        Ok(Update { asset, ts_ms, position, raw: Bytes::copy_from_slice(raw) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> (FleetId, Vec<u8>) {
        let update = |asset: Option<&str>, position, raw: &'static str| Update {
            asset: asset.map(|asset| AssetId::parse(asset).unwrap()),
            ts_ms: 1_790_000_000_123,
            position,
            raw: Bytes::from_static(raw.as_bytes()),
        };
        let updates = [
            update(Some("truck 7/é"), Some(Position { lat: -0.1, lon: 179.999_999_9 }), r#" {"a": 1} "#),
            update(None, None, ""),
        ];
        let mut message = ChannelMessage::encode_head(Epoch(7), 42).into_bytes();
        message.extend(ChannelMessage::encode_body(5, updates.iter()));
        (FleetId::parse("north").unwrap(), message)
    }

    #[test]
    fn a_batch_comes_out_as_it_went_in() {
        let (fleet, message) = message();
        assert!(message.starts_with(b"F1 0000000000000007 42 "));
        let ChannelMessage { epoch, batch } = ChannelMessage::decode(&fleet, &message).unwrap();
        assert_eq!(
            (epoch, &batch.fleet, batch.first_seq, batch.received_ms),
            (Epoch(7), &fleet, Some(42), 5)
        );
        let [first, second] = batch.updates.as_slice() else { panic!("{batch:?}") };
        assert_eq!(first.asset.as_ref().unwrap().as_str(), "truck 7/é");
        assert_eq!(
            (first.ts_ms, first.position),
            (1_790_000_000_123, Some(Position { lat: -0.1, lon: 179.999_999_9 }))
        );
        assert_eq!(first.raw, r#" {"a": 1} "#);
        assert_eq!((&second.asset, second.position, second.raw.is_empty()), (&None, None, true));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let (fleet, message) = message();
        for len in 0..message.len() {
            assert!(ChannelMessage::decode(&fleet, &message[..len]).is_err(), "cut after {len}");
        }
        let refused = |message: &[u8], why: &str| {
            let error = ChannelMessage::decode(&fleet, message).unwrap_err();
            assert!(error.0.contains(why), "{error:?}");
        };
        refused(b"{\"assetId\":1}", "version");
        refused(b"F1 xyz 1 ", "epoch");
        refused(b"F1 0000000000000007 -1 ", "sequence");
        refused(&[message.as_slice(), b"x"].concat(), "after");
        let mut many = b"F1 0000000000000007 1 ".to_vec();
        many.extend([0xff; 12]);
        refused(&many, "cut short");
    }
}
