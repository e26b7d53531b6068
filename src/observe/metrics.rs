//! Every metric of the process, one field each; the doc comment is the help text.
//! Invariant: no label whose values grow with time, assets or connections.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{
    connections::{ConnectionLabels, ReasonLabels},
    log_writer::LogCollector,
    memory::{MemoryClasses, MemoryCollector},
    process::ProcessCollector,
    seconds::Seconds,
};

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ty as $name:literal,)*) => {
        /// All metrics, cheap to update from anywhere.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[doc = $help])+ pub $field: $kind,)*
        }

        impl Metrics {
            /// Name, without the prefix, and help of every metric of the parts.
            pub fn described() -> impl Iterator<Item = (&'static str, &'static str)> {
                [$(($name, concat!($($help),+))),*].into_iter()
            }

            /// Registers every metric under the prefix `fleetcast`.
            pub fn register(&self, registry: &mut Registry) {
                let registry = registry.sub_registry_with_prefix("fleetcast");
                $(registry.register($name, concat!($($help),+).trim().trim_end_matches('.'), self.$field.clone());)*
            }
        }
    };
}

/// A partition of a topic that this replica reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PartitionLabels {
    topic: String,
    partition: i32,
}

impl From<(&str, i32)> for PartitionLabels {
    fn from((topic, partition): (&str, i32)) -> Self {
        Self { topic: topic.to_owned(), partition }
    }
}

/// Everything that `/metrics` shows: the metrics of the parts, the process and its memory.
#[must_use]
pub fn registry(metrics: &Metrics, memory: &MemoryClasses) -> Registry {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let process = registry.sub_registry_with_prefix("fleetcast");
    process.register_collector(Box::new(ProcessCollector));
    process.register_collector(Box::new(LogCollector));
    process.register_collector(Box::new(MemoryCollector(memory.clone())));
    registry
}

metrics! {
    /// Whether `/readyz` answers 200.
    ready: Gauge as "ready",
    /// Age of the oldest turn that a worker is in, of all workers: how long ready sockets and timers wait.
    runtime_lag: Seconds as "runtime_lag_seconds",
    /// From posting a task to its first poll.
    runtime_schedule_delay: Seconds as "runtime_schedule_delay_seconds",
    /// Updates received from the source or the feed.
    updates_received: Counter as "updates_received",
    /// Updates that became the newest state.
    updates_applied: Counter as "updates_applied",
    /// Updates older than the state that they would have changed.
    updates_stale: Counter as "updates_stale",
    /// Updates that were applied before, received again.
    updates_duplicate: Counter as "updates_duplicate",
    /// Records that could not be used and went to the dead-letter topic.
    updates_dead_lettered: Counter as "updates_dead_lettered",
    /// Batches merged again, since the store had other states of their assets: after a start, or because
    /// another replica got ahead.
    store_conflicts: Counter as "store_conflicts",
    /// States that Redis had lost and that were written again.
    store_restored: Counter as "store_restored_states",
    /// Batches whose messages for regions Redis refused to publish: the user may not.
    store_cells_refused: Counter as "store_cells_refused",
    /// From receiving a batch from its source until the store has it.
    store_apply: Seconds as "store_apply_seconds",
    /// Records of a partition that are not applied yet.
    kafka_lag: Family<PartitionLabels, Gauge> as "kafka_lag",
    /// When a batch was last applied, or nothing was left to apply, in seconds since 1970.
    kafka_last_progress: Gauge as "kafka_last_progress_timestamp_seconds",
    /// Changes of the partitions that this replica has.
    kafka_rebalances: Counter as "kafka_rebalances",
    /// Consumers that failed or stood still and were replaced.
    kafka_consumers_replaced: Counter as "kafka_consumers_replaced",
    /// Redis channels of watched fleets that this replica is subscribed to.
    redis_subscriptions: Gauge as "redis_subscriptions",
    /// From a probe on the pub/sub connection to its answer, once a second.
    redis_round_trip: Seconds as "redis_round_trip_seconds",
    /// Redis connections of the feed that were lost.
    feed_connections_lost: Counter as "feed_connections_lost",
    /// Times that a fleet had to be read again because updates of it were missed.
    feed_gaps: Counter as "feed_gaps",
    /// Times that a fleet's last updates had been lost without a trace, found by comparing its number with
    /// the store's.
    feed_silent_losses: Counter as "feed_silent_losses",
    /// Updates dropped because the dispatcher was behind; a gap is told for each run of them.
    feed_dropped: Counter as "feed_dropped_updates",
    /// Messages of the numbered channels that could not be read.
    feed_undecodable: Counter as "feed_undecodable",
    /// Broadcasts of peers delivered to local sockets.
    adapter_broadcasts: Counter as "adapter_broadcasts",
    /// Messages of the cluster that could not be read, and were ignored.
    adapter_malformed: Counter as "adapter_malformed_messages",
    /// Requests of peers answered.
    adapter_requests_answered: Counter as "adapter_requests_answered",
    /// Requests of this replica to its peers.
    adapter_requests_sent: Counter as "adapter_requests_sent",
    /// Requests of this replica that not every peer answered in time.
    adapter_requests_timed_out: Counter as "adapter_requests_timed_out",
    /// Acknowledged broadcasts of peers whose acknowledgements were not collected, being too many.
    adapter_acks_skipped: Counter as "adapter_acks_skipped",
    /// Frames published to the cluster.
    adapter_frames_published: Counter as "adapter_frames_published",
    /// Frames that could not be published: the queue was full, or the connection failed.
    adapter_frames_dropped: Counter as "adapter_frames_dropped",
    /// Frames that were refused before publishing, because no peer could have read them.
    adapter_frames_refused: Counter as "adapter_frames_refused",
    /// Frames that Redis refused to publish: its user may not.
    adapter_frames_forbidden: Counter as "adapter_frames_forbidden",
    /// Viewers closed because their queue had no room for a peer's event.
    adapter_viewers_overrun: Counter as "adapter_viewers_overrun",
    /// Redis channels of the cluster that this replica is subscribed to.
    adapter_subscriptions: Gauge as "adapter_subscriptions",
    /// Redis connections of the cluster bus that were lost.
    adapter_connections_lost: Counter as "adapter_connections_lost",
    /// Whether the cluster bus is connected and misses nothing.
    adapter_up: Gauge as "adapter_up",
    /// Time since the newest delivery canary that arrived was sent: what it took, and how long ago that was.
    canary_age: Gauge<f64, AtomicU64> as "canary_age_seconds",
    /// From sending a delivery canary until its websocket has it.
    canary_round_trip: Seconds as "canary_round_trip_seconds",
    /// Messages queued for viewers.
    deliveries: Counter as "deliveries",
    /// Bytes handed to the kernel for viewers.
    sent_bytes: Counter as "sent_bytes",
    /// Updates that a viewer did not get one by one, because it did not keep up.
    conflated: Counter as "conflated",
    /// Times that a viewer stopped keeping up.
    lagging: Counter as "lagging",
    /// Resyncs sent to viewers.
    resyncs: Counter as "resyncs",
    /// Age of an update at its delivery, from its receipt by the ingesting process, in seconds.
    delivery_age: Seconds as "delivery_age_seconds",
    /// Age of an update at its delivery, from its own timestamp, in seconds.
    event_age: Seconds as "event_age_seconds",
    /// Age of an asset's state when a region's viewer is told that it moved, from its own timestamp, in
    /// seconds: one for each delta, of the asset that waited longest.
    region_age: Seconds as "region_age_seconds",
    /// Fleets with local members.
    watched_fleets: Gauge as "watched_fleets",
    /// Members of fleets here: viewers count once per fleet.
    memberships: Gauge as "memberships",
    /// Regions that local viewers watch.
    regions: Gauge as "regions",
    /// Assets known for the sake of regions.
    region_assets: Gauge as "region_assets",
    /// Deltas told to regions.
    region_deltas: Counter as "region_deltas",
    /// Times that all assets under regions were read again, since updates were missed.
    region_reloads: Counter as "region_reloads",
    /// Viewers that are in no room. Must be 0 when nobody is connected.
    sockets_in_no_room: Gauge as "sockets_in_no_room",
    /// Rooms whose members are all gone. Must be 0.
    rooms_in_no_socket: Gauge as "rooms_in_no_socket",
    /// Rooms with local viewers.
    rooms: Gauge as "rooms",
    /// Viewers connected to the main namespace.
    viewers: Gauge as "viewers",
    /// Open Engine.IO sessions by transport and protocol version.
    connections: Family<ConnectionLabels, Gauge> as "connections",
    /// Engine.IO sessions opened, by the transport that they began with and protocol version.
    connects: Family<ConnectionLabels, Counter> as "connects",
    /// Polling sessions that became websockets.
    upgrades: Counter as "upgrades",
    /// Engine.IO sessions ended, by reason.
    disconnects: Family<ReasonLabels, Counter> as "disconnects",
    /// Connections that could not be accepted (no descriptors left, say).
    accept_errors: Counter as "accept_errors",
    /// Connections refused on the public port because there were too many that are no websockets.
    accepts_refused: Counter as "accepts_refused",
    /// TLS handshakes that were broken, or not finished in time.
    tls_handshakes_failed: Counter as "tls_handshakes_failed",
    /// Certificates that were to replace the one in use and could not be used.
    tls_reloads_failed: Counter as "tls_reloads_failed",
    /// Until when the certificate in use holds, in seconds since 1970; 0 without TLS.
    tls_certificate_expires: Gauge as "tls_certificate_expires_timestamp_seconds",
    /// Connections on the public port that are no websockets.
    http_connections: Gauge as "http_connections",
    /// Websockets closed for breaking the websocket protocol.
    protocol_errors: Counter as "protocol_errors",
    /// Sessions ended because socketioxide wrote something that is no whole frame. Must stay 0.
    bridge_errors: Counter as "bridge_errors",
    /// Requests refused for their origin.
    origins_refused: Counter as "origins_refused",
    /// Requests refused with one of Engine.IO's error codes.
    requests_refused: Counter as "requests_refused",
    /// Connections refused with a `connect_error`.
    handshakes_refused: Counter as "handshakes_refused",
    /// Tokens that opened nothing, by reason.
    tokens_denied: Family<ReasonLabels, Counter> as "tokens_denied",
    /// Fleets that a viewer asked for and was not granted.
    fleets_denied: Counter as "fleets_denied",
    /// Tokens of connected viewers that were replaced by new ones.
    tokens_refreshed: Counter as "tokens_refreshed",
    /// Keys that tokens are verified with.
    auth_keys: Gauge as "auth_keys",
    /// Failed attempts to fetch the issuer's keys.
    auth_fetches_failed: Counter as "auth_fetches_failed",
    /// Viewers let in while their subscription could not be confirmed.
    unconfirmed_connects: Counter as "unconfirmed_connects",
    /// Subscription requests answered with an error.
    subscriptions_refused: Counter as "subscriptions_refused",
    /// Handshakes asked to come back later, by why: limits of the process and of an address (HTTP 503 and 429),
    /// of a user, and shutdown.
    connects_refused: Family<ReasonLabels, Counter> as "connects_refused",
}
