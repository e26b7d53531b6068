//! The admin port: health, metrics, and what an operator needs to look inside.
//! Invariant: nothing here is reachable from the public port.

mod admin;
mod debug;
mod health;

pub use admin::{Admin, ConnectionList, serve};
