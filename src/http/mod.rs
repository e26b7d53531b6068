//! Routes beside Socket.IO.
//!
//! The web client on the public port; health, metrics and what an operator needs to look inside on the
//! admin port. Invariant: nothing of the admin port is reachable from the public one.

mod admin;
mod debug;
mod health;
mod ops;
mod page;
mod security;
mod web_client;

pub use admin::{Admin, ConnectionList, serve};
pub use ops::{AdminGrant, AskReplicas, Ops, Replica, Replicas};
pub use page::{PageOptions, page_config};
pub use security::with_security_headers;
pub use web_client::web_client;
