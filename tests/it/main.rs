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
/// Options, exit codes, help.
mod cli;
/// A member of a cluster with real Node replicas.
mod cluster;
/// Updates of watched fleets through Redis, in churn and outages.
mod feed;
/// The harness itself does what its users rely on.
mod harness;
/// Stock clients through the sticky proxy of `docker/`.
mod proxy;
/// The Redis store: what it writes, publishes and survives.
mod store;
/// House rules.
mod tidy;
