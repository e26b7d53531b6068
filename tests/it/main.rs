//! The one integration binary: the built gateway, real Redis and real JavaScript clients, each started on a
//! free port and stopped at the end, so that tests may run side by side.
#![expect(clippy::unwrap_used, reason = "a broken harness should stop the test where it broke")]
#![expect(clippy::needless_pass_by_value, reason = "builders take numbers and strings alike")]
#![expect(unreachable_pub, reason = "nothing outside a test binary can reach it")]
#![expect(clippy::print_stderr, reason = "the log of a child is printed when its test fails")]

/// What the tests start and stop: gateways, Redis, faults, Node scripts.
mod support;

/// Health, metrics and the inside of a running gateway.
mod admin;
/// Tokens: who is let in, what they may see, and until when.
mod auth;
/// The delivery canary: ready means that updates arrive.
mod canary;
/// Options, exit codes, help.
mod cli;
/// Stock JavaScript clients of every generation, unchanged.
mod clients;
/// A member of a cluster with real Node replicas.
mod cluster;
/// What the edge answers, with Node's own error codes.
mod edge;
/// Faults that have no place of their own.
mod faults;
/// Updates of watched fleets through Redis, in churn and outages.
mod feed;
/// Subscriptions beyond the legacy contract: acknowledgement, snapshot, updates, resume.
mod fleets;
/// The harness itself does what its users rely on.
mod harness;
/// Ingestion from a real Kafka: poison, redelivery, rebalances, outages.
mod kafka;
/// Updates that were lost on their way without a trace.
mod losses;
/// The promise, against a model, while things fail.
mod oracle;
/// Stock clients through the sticky proxy of `docker/`.
mod proxy;
/// Regions of the map, tracks, lists of fleets.
mod regions;
/// Settings and keys that change while the process runs.
mod reload;
/// Requests of one viewer that come all at once.
mod requests;
/// Rolling restarts: nobody is lost, nobody comes all at once.
mod rolling;
/// Slow viewers, dead viewers, drained viewers.
mod slow;
/// The Redis store: what it writes, publishes and survives.
mod store;
/// Thousands of connections that come and go.
mod storm;
/// House rules.
mod tidy;
/// TLS of the public port.
mod tls;
