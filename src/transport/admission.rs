//! Who is let in now, and who is asked to come back: limits of the process and of each client address.
//!
//! Invariant: a refusal is an HTTP status with `Retry-After`, which a stock client takes for a failed connection
//! and comes back from; never a packet that keeps it away.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError, atomic::Ordering},
};

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use tokio::time::Instant;

use super::{
    Handshake, Shared,
    places::{Bucket, PlaceLimits, Seat},
};

/// A polling session may have two requests under way,
const SOCKETS_PER_SESSION: usize = 2;
/// and a page loads its files beside them.
const SOCKETS_OF_A_PAGE: usize = 16;

/// Why nobody more is let in for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rationed {
    Draining,
    Full,
    Rate,
    AddressFull,
    AddressRate,
}

impl Rationed {
    /// The name in metrics.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Full => "connections",
            Self::Rate => "rate",
            Self::AddressFull => "connections of the address",
            Self::AddressRate => "rate of the address",
        }
    }

    fn retry_after_s(self) -> &'static str {
        match self {
            Self::Draining | Self::Full | Self::AddressFull => "5",
            Self::Rate | Self::AddressRate => "1",
        }
    }
}

impl IntoResponse for Rationed {
    fn into_response(self) -> Response {
        let retry = [(header::RETRY_AFTER, self.retry_after_s())];
        match self {
            Self::Draining | Self::Full | Self::Rate => {
                (StatusCode::SERVICE_UNAVAILABLE, retry, "busy, try again\n").into_response()
            }
            Self::AddressFull | Self::AddressRate => {
                (StatusCode::TOO_MANY_REQUESTS, retry, "too many connections from your address\n")
                    .into_response()
            }
        }
    }
}

/// The rate at which the process admits.
#[derive(Debug)]
pub(super) struct Admission(Mutex<Bucket>);

impl Admission {
    pub(super) fn new(per_second: u32) -> Self {
        Self(Mutex::new(Bucket::new(per_second, Instant::now())))
    }

    pub(super) fn set_rate(&self, per_second: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).set_rate(per_second);
    }

    fn take(&self, now: Instant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take(now)
    }
}

impl Shared {
    /// Lets one session more in, with its seat. The process's own needs none.
    pub(super) fn admit(&self, handshake: &Handshake) -> Result<Option<Seat>, Rationed> {
        let admittance = self.admittance();
        if self.draining.load(Ordering::Relaxed) {
            return Err(Rationed::Draining);
        }
        if self.is_own(handshake) {
            return Ok(None);
        }
        if self.sessions.len() >= admittance.connections_max {
            return Err(Rationed::Full);
        }
        let now = Instant::now();
        let limits = PlaceLimits {
            sessions_max: admittance.connections_per_address_max,
            per_second: admittance.connects_per_second_per_address,
        };
        // One address first: what it asks too much for takes nothing from the others.
        let seat = self.places.take(handshake.address, limits, now)?;
        if self.admission.take(now) {
            return Ok(Some(seat));
        }
        seat.refund(); // Not its fault: it may ask again at once, and the HTTP server will.
        Err(Rationed::Rate)
    }

    /// Lets one TCP connection more in, with its seat: what an address may have as sessions it must not have
    /// ten times as silent sockets. A proxy speaks for many; where sessions have no limit there is none here.
    pub(super) fn admit_socket(&self, peer: IpAddr) -> Result<Option<Seat>, Rationed> {
        let admittance = self.admittance();
        let (peer, sessions_max) = (peer.to_canonical(), admittance.connections_per_address_max);
        if sessions_max == 0 || admittance.trusted_proxies.iter().any(|network| network.contains(peer)) {
            return Ok(None);
        }
        let sessions_max = SOCKETS_PER_SESSION * sessions_max + SOCKETS_OF_A_PAGE;
        self.sockets.take(peer, PlaceLimits { sessions_max, per_second: 0 }, Instant::now()).map(Some)
    }

    /// Whether the handshake is of this process's own client.
    fn is_own(&self, handshake: &Handshake) -> bool {
        let own_key = self.options.own_key.as_deref();
        own_key.is_some_and(|key| handshake.query().any(|(name, value)| name == "own" && value == key))
    }
}
