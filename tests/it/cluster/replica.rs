//! Our member over a real Redis, with its sockets in memory.

use std::sync::Arc;

use clap::Parser;
use fleetcast::{
    cluster::{ClusterOptions, Connection, EncodedEvent, Member, Settings, wire::Target},
    observe::Metrics,
    store::Redis,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::sockets::MemorySockets;
use crate::support::{PATIENCE, eventually};

pub struct Replica {
    pub member: Member,
    pub sockets: MemorySockets,
    pub metrics: Arc<Metrics>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    cluster: ClusterOptions,
}

impl Replica {
    /// A member in its defaults that peers count.
    pub async fn start(redis_url: &str) -> Self {
        Self::start_with(redis_url, &[]).await
    }

    /// `args` as on the command line.
    pub async fn start_with(redis_url: &str, args: &[&str]) -> Self {
        let replica = Self::spawn(redis_url, args);
        replica.member.ready(PATIENCE).await.unwrap();
        replica
    }

    pub fn spawn(redis_url: &str, args: &[&str]) -> Self {
        Self::spawn_on(&redis_url.parse().unwrap(), args)
    }

    pub fn spawn_on(redis: &Redis, args: &[&str]) -> Self {
        let options = Options::parse_from([&["member"], args].concat()).cluster;
        let metrics = Arc::new(Metrics::default());
        let connection = Connection::new(redis, &options, &metrics, None).unwrap();
        let sockets = MemorySockets::default();
        sockets.hold_in(connection.rooms());
        let settings = Settings { replica: "rust-1".to_owned(), ..Settings::default() };
        let (member, task) = connection.join(settings, Arc::new(sockets.clone()));
        let stop = CancellationToken::new();
        let task = tokio::spawn(task.run(stop.clone()));
        Self { member, sockets, metrics, stop, task }
    }

    /// Waits until the socket has got exactly these packets.
    pub async fn wait_packets(&self, id: &str, expected: &[&str]) {
        let claim = format!("{id} got {expected:?}");
        let mut last = Vec::new();
        let mut holds = || {
            last = self.sockets.packets(id);
            last == expected
        };
        eventually(&claim, || std::future::ready(holds())).await;
    }

    pub fn is_alive(&self) -> bool {
        !self.task.is_finished()
    }

    /// Ends as a process that was told to.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// Ends as a process that was killed.
    pub fn kill(self) {
        self.task.abort();
    }
}

pub fn event(data: &str) -> EncodedEvent {
    EncodedEvent::from_json(data, Vec::new()).unwrap()
}

pub fn target(rooms: &[&str], except: &[&str]) -> Target {
    let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    Target { rooms: owned(rooms), except: owned(except) }
}

pub fn room(name: &str) -> Target {
    target(&[name], &[])
}
