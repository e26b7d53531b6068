//! How many sessions each client address has, and how fast it asks for more.
//!
//! Invariants: an entry lives as long as its address has sessions, or has lately asked; a seat is given back
//! with its value, so no count outlives what it counts. An IPv6 client is its network of 64 bits: every
//! address in there is its own to choose.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use foldhash::{HashMap, HashMapExt};
use tokio::time::Instant;

use super::Rationed;

const SHARDS: usize = 16;
/// What IPv4 clients look like from an IPv6 network (RFC 6052): each is somebody else.
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// Whom an address stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Place(IpAddr);

impl From<IpAddr> for Place {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self(address),
            IpAddr::V6(address) if address.segments()[..6] == NAT64 =>
            {
                #[expect(clippy::cast_possible_truncation, reason = "the last 32 bits are the address")]
                Self(Ipv4Addr::from_bits(address.to_bits() as u32).into())
            }
            IpAddr::V6(address) => {
                Self(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into())
            }
        }
    }
}

#[derive(Debug)]
struct Held {
    sessions: usize,
    asked: Option<Bucket>,
}

type Shard = Mutex<HashMap<Place, Held>>;

/// All addresses that have sessions.
#[derive(Debug)]
pub(super) struct Places([Shard; SHARDS]);

/// What one address may have; 0 is no limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlaceLimits {
    pub(super) sessions_max: usize,
    pub(super) per_second: u32,
}

/// One session's place at its address; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    place: Place,
    places: Arc<Places>,
}

impl Places {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(HashMap::new())))
    }

    fn shard(&self, place: &Place) -> MutexGuard<'_, HashMap<Place, Held>> {
        let last = match place.0 {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(address) => address.octets()[7],
        };
        self.0[usize::from(last) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a seat for one session more.
    pub(super) fn take(
        self: &Arc<Self>,
        address: IpAddr,
        limits: PlaceLimits,
        now: Instant,
    ) -> Result<Seat, Rationed> {
        let place = Place::from(address);
        let mut shard = self.shard(&place);
        let held = shard.entry(place).or_insert(Held { sessions: 0, asked: None });
        if limits.sessions_max > 0 && held.sessions >= limits.sessions_max {
            return Err(Rationed::AddressFull);
        }
        if limits.per_second > 0 {
            let bucket = held.asked.get_or_insert_with(|| Bucket::new(limits.per_second, now));
            bucket.set_rate(limits.per_second);
            if !bucket.take(now) {
                return Err(Rationed::AddressRate);
            }
        } else {
            held.asked = None;
        }
        held.sessions += 1;
        drop(shard);
        Ok(Seat { place, places: self.clone() })
    }

    /// Forgets who has no session and has not asked for a second.
    pub(super) fn sweep(&self, now: Instant) {
        for shard in &self.0 {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, held| {
                held.sessions > 0 || held.asked.as_ref().is_some_and(|asked| !asked.is_full(now))
            });
            if shard.capacity() > 64 && shard.len() < shard.capacity() / 8 {
                shard.shrink_to_fit(); // A storm of the past must not be paid for ever.
            }
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }
}

impl Seat {
    /// Gives the seat back, and what was asked for it.
    pub(super) fn refund(self) {
        let mut shard = self.places.shard(&self.place);
        if let Some(asked) = shard.get_mut(&self.place).and_then(|held| held.asked.as_mut()) {
            asked.refund();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut shard = self.places.shard(&self.place);
        if let Some(held) = shard.get_mut(&self.place) {
            held.sessions = held.sessions.saturating_sub(1);
            if held.sessions == 0 && held.asked.is_none() {
                shard.remove(&self.place);
            }
        }
    }
}

/// A token bucket of one second's depth.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second: f64::from(per_second), tokens: f64::from(per_second), filled: now }
    }

    pub(super) fn set_rate(&mut self, per_second: u32) {
        self.per_second = f64::from(per_second);
    }

    fn tokens_at(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.filled);
        (self.tokens + passed.as_secs_f64() * self.per_second).min(self.per_second)
    }

    pub(super) fn take(&mut self, now: Instant) -> bool {
        self.tokens = self.tokens_at(now);
        self.filled = now;
        let taken = self.tokens >= 1.0;
        if taken {
            self.tokens -= 1.0;
        }
        taken
    }

    fn refund(&mut self) {
        self.tokens += 1.0;
    }

    fn is_full(&self, now: Instant) -> bool {
        self.tokens_at(now) >= self.per_second
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NONE: PlaceLimits = PlaceLimits { sessions_max: 0, per_second: 0 };

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_bucket_is_a_rate_with_a_second_of_burst() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, start);
        assert_eq!((0..20).filter(|_| bucket.take(start)).count(), 10);
        assert!(!bucket.take(start + Duration::from_millis(50)));
        assert_eq!((0..20).filter(|_| bucket.take(start + Duration::from_millis(550))).count(), 5);
    }

    #[test]
    fn one_address_has_so_many_seats_and_gives_them_back() {
        let places = Arc::new(Places::new());
        let limits = PlaceLimits { sessions_max: 2, ..NONE };
        let take = |text: &str| places.take(address(text), limits, Instant::now());
        let held = [take("203.0.113.1").unwrap(), take("203.0.113.1").unwrap()];
        assert_eq!(take("203.0.113.1").unwrap_err(), Rationed::AddressFull);
        let other = take("203.0.113.2").unwrap();
        // One network of 64 bits is one client.
        let six = [take("2001:db8:0:1::1").unwrap(), take("2001:db8:0:1:ffff::2").unwrap()];
        assert_eq!(take("2001:db8:0:1::3").unwrap_err(), Rationed::AddressFull);
        drop(take("2001:db8:0:2::1").unwrap());
        drop(held);
        drop(take("203.0.113.1").unwrap());
        drop((other, six));
        assert_eq!(places.len(), 0);
    }

    #[test]
    fn one_address_asks_so_often_and_is_forgotten_a_second_later() {
        let (places, start) = (Arc::new(Places::new()), Instant::now());
        let limits = PlaceLimits { per_second: 5, ..NONE };
        let later = |ms| start + Duration::from_millis(ms);
        let admitted =
            |at| (0..20).filter(|_| places.take(address("203.0.113.1"), limits, at).is_ok()).count();
        assert_eq!(admitted(start), 5);
        assert_eq!(places.take(address("203.0.113.1"), limits, start).unwrap_err(), Rationed::AddressRate);
        assert!(places.take(address("203.0.113.2"), limits, start).is_ok());
        // Who asked once has all of its allowance again; who asked five times has not.
        places.sweep(later(500));
        assert_eq!(places.len(), 1);
        assert_eq!(admitted(later(500)), 2);
        places.sweep(later(2000));
        assert_eq!(places.len(), 0);
    }
}
