//! Every metric of the process, one field each; the doc comment is the help text.
//! Invariant: no label whose values grow with time, assets or connections.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::connections::{ConnectionLabels, ReasonLabels};

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ty as $name:literal,)*) => {
        /// All metrics, cheap to update from anywhere.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[doc = $help])+ pub $field: $kind,)*
        }

        impl Metrics {
            /// Registers every metric under the prefix `fleetcast`.
            pub fn register(&self, registry: &mut Registry) {
                let registry = registry.sub_registry_with_prefix("fleetcast");
                $(registry.register($name, concat!($($help),+).trim(), self.$field.clone());)*
            }
        }
    };
}

metrics! {
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
    /// Messages queued for viewers.
    deliveries: Counter as "deliveries",
    /// Bytes handed to the kernel for viewers.
    sent_bytes: Counter as "sent_bytes",
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
    /// Websockets closed for breaking the websocket protocol.
    protocol_errors: Counter as "protocol_errors",
    /// Sessions ended because socketioxide wrote something that is no whole frame. Must stay 0.
    bridge_errors: Counter as "bridge_errors",
    /// Requests refused for their origin.
    origins_refused: Counter as "origins_refused",
    /// Requests refused with one of Engine.IO's error codes.
    requests_refused: Counter as "requests_refused",
    /// Handshakes answered 503 by admission.
    connects_refused: Counter as "connects_refused",
}
