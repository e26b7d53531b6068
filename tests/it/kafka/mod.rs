//! From a real Kafka into a store: what is applied, what is committed, what goes to the dead letters, and
//! that consuming never just ends.

mod changes;
mod gateways;
mod groups;
mod outages;
mod records;
mod setup;
