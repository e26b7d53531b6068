//! The requests of one viewer: served one at a time, in the order in which they came.
//!
//! Invariants: what one request checks (how many subscriptions there are, which membership is the
//! present one) no other request of the viewer changes before it is done; at most [`WAITING_MAX`] wait, of at
//! most [`VALUES_MAX`] values together;
//! whatever becomes of the task that serves, nothing is left waiting without one.

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

/// How many JSON values those that wait may have together: 64 KiB of text can be a MiB of them. One request
/// alone may have as many as fit into a message.
const VALUES_MAX: usize = 65_536;

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
    values: usize,
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
    let values = values(&request.body);
    let is_heavy = !waiting.requests.is_empty() && waiting.values + values > VALUES_MAX;
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
    waiting.values += values;
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
        waiting.values -= values(&request.body);
        Some(request)
    }
}

/// How many values a body is made of. It was parsed, so it is not deep.
fn values(body: &Value) -> usize {
    1 + match body {
        Value::Array(members) => members.iter().map(values).sum(),
        Value::Object(members) => members.values().map(values).sum(),
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
