//! Where updates are ingested from.

pub mod demo;
