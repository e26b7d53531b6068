//! This replica's cluster member in one cluster with real Node replicas, emitters and a real Redis.

mod faults;
mod gateway;
mod gateway_faults;
mod matrix;
mod migration;
mod node;
mod notepack;
mod replica;
mod secure;
mod sentinel;
mod sharded;
mod sockets;
mod tools;
mod topologies;
