//! The requests of one viewer: served one at a time, in the order in which they came.
//!
//! Invariants: what one request checks (how many subscriptions there are, which membership is the
//! present one) no other request of the viewer changes before it is done; at most [`WAITING_MAX`] wait, of at
//! most [`WEIGHT_MAX`] together; whatever becomes of the task that serves, nothing is left waiting without one.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;

use super::{
    Connected, Socket,
    subscribe::{Ack, answer},
};
use crate::{
    protocol::{ErrorCode, ProtocolError as Refusal},
    transport::CloseReason,
};

/// How many requests of one viewer may wait: more than a dashboard that subscribes to everything that it
/// may by default in one breath.
const WAITING_MAX: usize = 128;

/// How much those that wait may hold together, in bytes, about: 64 KiB of text can be a MiB of values. One
/// request alone may be as large as a message.
const WEIGHT_MAX: usize = 2 * 1024 * 1024;

/// One event of the viewer that wants something.
pub(super) struct Request {
    pub(super) name: String,
    pub(super) body: Value,
    pub(super) ack: Ack,
}

/// What waits, and whether somebody serves it.
#[derive(Default)]
pub(super) struct Requests(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    weight: usize,
    serving: bool,
}

impl Requests {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a request in its turn. Whoever gets a [`Turn`] serves all that wait.
pub(super) fn take(connected: &Arc<Connected>, request: Request) -> Option<Turn> {
    let mut waiting = connected.requests.waiting();
    let weight = weight(&request);
    let is_heavy = !waiting.requests.is_empty() && waiting.weight + weight > WEIGHT_MAX;
    if is_heavy || waiting.requests.len() >= WAITING_MAX {
        drop(waiting);
        // Of a client that goes on regardless, not every refusal reaches it: it gets as many as socketioxide
        // holds for it.
        let message = if is_heavy {
            "the requests that wait for an answer are too large".to_owned()
        } else {
            format!("more than {WAITING_MAX} requests wait for an answer")
        };
        answer(connected, request.ack, Err::<(), _>(Refusal::new(ErrorCode::TooMany, message)));
        return None;
    }
    waiting.requests.push_back(request);
    waiting.weight += weight;
    let serves = !std::mem::replace(&mut waiting.serving, true);
    drop(waiting);
    serves.then(|| Turn { connected: connected.clone(), done: false })
}

/// The one who serves.
pub(super) struct Turn {
    connected: Arc<Connected>,
    done: bool,
}

impl Turn {
    /// Serves what waits until nothing does, or the viewer is gone.
    pub(super) async fn serve(mut self, socket: Socket) {
        while let Some(request) = self.next() {
            super::serve_request(&socket, &self.connected, request).await;
        }
        self.done = true;
    }

    fn next(&self) -> Option<Request> {
        if self.connected.viewer.session.is_closed() {
            return None; // Nobody is there to answer.
        }
        let mut waiting = self.connected.requests.waiting();
        let Some(request) = waiting.requests.pop_front() else {
            *waiting = Waiting::default();
            return None;
        };
        waiting.weight -= weight(&request);
        Some(request)
    }
}

fn weight(request: &Request) -> usize {
    request.name.len() + bytes(&request.body)
}

/// About what a body takes in memory. It was parsed, so it is not deep.
fn bytes(body: &Value) -> usize {
    size_of::<Value>()
        + match body {
            Value::String(text) => text.len(),
            Value::Array(members) => members.iter().map(bytes).sum(),
            Value::Object(members) => members.iter().map(|(name, value)| 2 * name.len() + bytes(value)).sum(),
            _ => 0,
        }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.done {
            // A request that panicked would leave its viewer with answers that never come.
            self.connected.viewer.session.close(CloseReason::ServerClose);
        }
        if self.connected.viewer.session.is_closed() {
            // What waits holds the socket, which holds what waits.
            let left = std::mem::take(&mut *self.connected.requests.waiting());
            drop(left);
        }
    }
}
