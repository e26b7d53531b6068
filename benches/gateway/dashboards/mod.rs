//! Dashboards that look at regions and fleets, and the stage that they are on: a gateway, its Redis and a
//! world of assets that drive about.
//!
//! Invariant: dashboards are read on the scenario's own thread, and only while it runs them; every state
//! is checked for place, order and text, and in the end every map against the world.

mod board;
mod seen;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use mio::{Events, Interest, Poll, Token};

pub(crate) use board::{Board, Sight};
use seen::Fault;
pub(crate) use seen::Seen;

use crate::crowd::Clock;
use crate::gateway::{Gateway, Peer};
use crate::machine;
use crate::redis::{Publisher, Redis};
use crate::report::Sample;
use crate::rig::Bench;
use crate::telemetry::fleet_name;
use crate::world::{Area, World, place};

const EVENTS_PER_POLL: usize = 1024;
const READ_BUFFER: usize = 256 * 1024;
/// How often a condition is looked at that ends a wait.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How many fifths of a second the last events may be on their way before a map is called wrong.
const PATIENCE_LOOKS: usize = 75;

/// Everything that one measurement runs.
pub(crate) struct Stage {
    // Dropped in this order: dashboards, gateway, Redis.
    pub(crate) boards: Vec<Board>,
    pub(crate) seen: Seen,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
    asset_len: usize,
    pub(crate) gateway: Gateway,
    redis: Redis,
    pub(crate) world: Arc<World>,
    pub(crate) clock: Clock,
}

/// What happened in a span of time.
pub(crate) struct Span {
    pub(crate) seconds: f64,
    pub(crate) server_us: f64,
    pub(crate) load_us: f64,
    pub(crate) seen: Seen,
}

impl Stage {
    pub(crate) fn start(bench: &Bench, peer: &Peer, assets: u32, fleets: u32) -> Result<Self> {
        let redis = Redis::start()?;
        let gateway = Gateway::start(peer, &redis, &bench.cores, &bench.logs)?;
        Ok(Self {
            boards: Vec::new(),
            seen: Seen::new(),
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS_PER_POLL),
            buffer: vec![0; READ_BUFFER],
            scratch: Vec::new(),
            asset_len: 0,
            gateway,
            redis,
            world: World::new(assets, fleets),
            clock: Clock::start(),
        })
    }

    /// One more dashboard, connected; with a fleet, as those of the old gateway are. Its place in `boards`.
    pub(crate) fn open(&mut self, fleet: Option<u32>) -> Result<usize> {
        let mut board = Board::connect(self.gateway.port, fleet)?;
        board.asked_ns = self.clock.now_ns();
        let index = self.boards.len();
        self.poll.registry().register(&mut board.stream, Token(index), Interest::READABLE)?;
        self.boards.push(board);
        Ok(index)
    }

    /// Watches a region, or moves the one that is watched.
    pub(crate) fn watch(&mut self, index: usize, area: Area, interval_ms: u32) -> Result<()> {
        let (region, bbox) = (board::REGION, area.bbox());
        let body = format!("{{\"region\":\"{region}\",\"bbox\":{bbox},\"interval_ms\":{interval_ms}}}");
        let now_ns = self.clock.now_ns();
        self.boards[index].ask("region_subscribe", &body, Sight::Region(area), now_ns)
    }

    /// Subscribes to the newest states of a fleet.
    pub(crate) fn subscribe(&mut self, index: usize, fleet: u32, interval_ms: u32) -> Result<()> {
        let name = fleet_name(fleet);
        let body = format!("{{\"fleet\":\"{name}\",\"mode\":\"latest\",\"interval_ms\":{interval_ms}}}");
        let now_ns = self.clock.now_ns();
        self.boards[index].ask("fleet_subscribe", &body, Sight::Fleet(fleet), now_ns)
    }

    /// Lets assets speak in the background, so many times a second all together.
    pub(crate) fn speak(&self, messages_per_s: f64, span: Duration) -> Result<Publisher> {
        Publisher::speaking(&self.redis, &self.world, self.clock, messages_per_s, span)
    }

    /// Lets every asset speak once, in one second.
    pub(crate) fn speak_once(&mut self) -> Result<()> {
        let span = Duration::from_secs(1);
        let publisher = self.speak(f64::from(self.world.assets()), span)?;
        self.run_for(span + Duration::from_millis(500))?;
        publisher.wait()?;
        Ok(())
    }

    /// Reads for a while.
    pub(crate) fn run_for(&mut self, span: Duration) -> Result<()> {
        let end = Instant::now() + span;
        while Instant::now() < end {
            self.step(end)?;
        }
        Ok(())
    }

    /// Reads until something is so, or patience ends; whether it is.
    pub(crate) fn run_until(
        &mut self,
        patience: Duration,
        is_so: impl Fn(&[Board], &World) -> bool,
    ) -> Result<bool> {
        let end = Instant::now() + patience;
        while Instant::now() < end {
            if is_so(&self.boards, &self.world) {
                return Ok(true);
            }
            let next_look = Instant::now() + LOOK_EVERY;
            while Instant::now() < next_look {
                self.step(next_look)?;
            }
        }
        Ok(is_so(&self.boards, &self.world))
    }

    fn step(&mut self, end: Instant) -> Result<()> {
        let wait = end.saturating_duration_since(Instant::now());
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        let Self { boards, seen, events, buffer, scratch, asset_len, world, clock, .. } = self;
        for event in &*events {
            let mut reading = board::Reading { world, clock: *clock, seen, asset_len, scratch };
            if !boards[event.token().0].read(buffer, &mut reading)? {
                reading.seen.fault(Fault::Closed);
                self.poll.registry().deregister(&mut boards[event.token().0].stream)?;
            }
        }
        Ok(())
    }

    /// Looks at a span of time.
    pub(crate) fn span(&mut self, span: Duration) -> Result<Span> {
        drop(self.seen.take());
        let (started, server_us, load_us) = (Instant::now(), self.gateway.cpu_us()?, self.load_us()?);
        self.run_for(span)?;
        Ok(Span {
            seconds: started.elapsed().as_secs_f64(),
            server_us: self.gateway.cpu_us()? - server_us,
            load_us: self.load_us()? - load_us,
            seen: self.seen.take(),
        })
    }

    fn load_us(&self) -> Result<f64> {
        Ok(machine::cpu_us(std::process::id())? + machine::cpu_us(self.redis.pid())?)
    }

    /// Nothing is published any more: how many dashboards do not show exactly the newest states of what
    /// is in their areas.
    pub(crate) fn wrong_maps(&mut self, areas: &[Area]) -> Result<usize> {
        let said = (0..self.world.assets()).map(|asset| (asset, self.world.said(asset)));
        let mut places: Vec<_> =
            said.filter(|(_, n)| *n > 0).map(|(asset, n)| (place(asset, n), asset, n)).collect();
        places.sort_unstable_by_key(|(at, ..)| at.lat);
        let is_wrong = |(board, area): &(&Board, &Area)| {
            let (south, north) = area.latitudes();
            let from = places.partition_point(|(at, ..)| at.lat < south);
            let near = places[from..].iter().take_while(|(at, ..)| at.lat <= north);
            !board.shows(near.filter(|(at, ..)| area.holds(*at)).map(|(_, asset, n)| (*asset, *n)))
        };
        self.wrong(|boards, _| boards.iter().zip(areas).filter(is_wrong).count())
    }

    /// Reads until nothing is wrong any more, or patience ends; what is wrong then.
    pub(crate) fn wrong(&mut self, count: impl Fn(&[Board], &World) -> usize) -> Result<usize> {
        // Reading counts, not how long a look takes.
        for _ in 0..PATIENCE_LOOKS {
            if count(&self.boards, &self.world) == 0 {
                return Ok(0);
            }
            self.run_for(Duration::from_millis(200))?;
        }
        Ok(count(&self.boards, &self.world))
    }

    /// Refusals, and what the checks found, as remarks.
    pub(crate) fn remark(&self, sample: &mut Sample) {
        let refused = self.boards.iter().filter(|board| board.is_refused()).count();
        if refused > 0 {
            sample.remark(format!("{refused} requests were refused"));
        }
        if self.seen.faults() > 0 {
            sample.remark(self.seen.fault_list());
        }
        sample.set("faults", self.seen.faults() as f64);
    }
}

impl Span {
    /// The columns of every scenario with a window.
    pub(crate) fn describe(&self, sample: &mut Sample, viewers: usize) {
        let seen = &self.seen;
        sample.set("states", seen.states as f64 / self.seconds);
        sample.set("cpu_us", self.server_us / (seen.states.max(1)) as f64);
        sample.set("p50_ms", seen.age_ms(0.5));
        sample.set("p99_ms", seen.age_ms(0.99));
        sample.set("mb_per_s", seen.bytes as f64 / 1e6 / self.seconds);
        sample.set("viewer_kb_per_s", seen.bytes as f64 / 1e3 / self.seconds / viewers as f64);
        sample.set("viewer_events_per_s", seen.events as f64 / self.seconds / viewers as f64);
        sample.set("server_share", self.server_us / 1e6 / self.seconds);
        sample.set("load_share", self.load_us / 1e6 / self.seconds);
    }
}

/// Whether a gateway is measured with the old contract: every message to everybody who watches its fleet.
pub(crate) fn is_each(peer: &Peer) -> bool {
    matches!(peer.name.as_str(), "fleetcast-each" | "node-fixed" | "socketioxide")
}

/// The middle one; 0 of none.
pub(crate) fn median_ms(mut times_ns: Vec<u64>) -> f64 {
    times_ns.sort_unstable();
    times_ns.get(times_ns.len() / 2).map_or(0.0, |ns| *ns as f64 / 1e6)
}
