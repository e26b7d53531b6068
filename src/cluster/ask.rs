//! Questions of this replica to the cluster.
//!
//! Invariant: each ends in bounded time, with the answers of all members or with an error that says what
//! is missing; without Redis it fails at once instead of answering for this replica alone.

use std::{collections::BTreeSet, time::Duration};

use futures_util::StreamExt;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::{
    EncodedEvent, Member, SocketInfo,
    bus::{BusError, SubscribeMode},
    ids::random_id,
    member::Outcome,
    requests::{Ended, Expect},
    wire::{Answer, Argument, Flag, Flags, Request, Target},
};

/// A question to the cluster failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The members could not be counted.
    #[error("cluster: {0}")]
    Bus(#[from] BusError),
    /// The question could not be published.
    #[error("cluster: the question could not be published")]
    NotPublished,
    /// The connection was lost while answers were awaited.
    #[error("cluster: redis was lost while answers were awaited")]
    Lost,
    /// Too many questions wait already.
    #[error("cluster: too many questions wait for answers")]
    TooMany,
    /// Not everyone answered in time.
    #[error("cluster: {missing} answers are missing after {} ms", after.as_millis())]
    TimedOut {
        /// How many answers, of members and of dashboards, are missing.
        missing: usize,
        /// How long was waited.
        after: Duration,
        /// What was answered by then, for questions to dashboards or servers.
        answers: Vec<Option<Argument>>,
    },
}

impl Member {
    /// How many members there are, this one included.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn server_count(&self) -> Result<usize, AskError> {
        Ok(self.0.bus.subscribers(self.0.names.request()).await?)
    }

    /// All rooms of all replicas, the sockets' own ids included.
    ///
    /// # Errors
    /// Not everyone answered.
    pub async fn all_rooms(&self) -> Result<BTreeSet<String>, AskError> {
        let answers = self.ask_others(|request_id| Request::AllRooms { request_id }).await?;
        let remote = answers.into_iter().flat_map(|answer| match answer {
            Answer::Rooms(rooms) => rooms,
            _ => Vec::new(),
        });
        Ok(self.0.sockets.rooms().into_iter().chain(remote).collect())
    }

    /// The matching sockets of all replicas.
    ///
    /// # Errors
    /// Not everyone answered.
    pub async fn fetch_sockets(&self, target: &Target) -> Result<Vec<SocketInfo>, AskError> {
        let target_asked = target.clone();
        let answers =
            self.ask_others(|request_id| Request::Fetch { request_id, target: target_asked }).await?;
        let mut sockets = self.0.sockets.sockets(target);
        sockets.extend(answers.into_iter().flat_map(|answer| match answer {
            Answer::Sockets(sockets) => sockets,
            _ => Vec::new(),
        }));
        Ok(sockets)
    }

    /// Sends `["event", …]` to all other servers and waits for the answer of each.
    ///
    /// # Errors
    /// Not everyone answered.
    pub async fn server_side_emit_with_ack(&self, data: Argument) -> Result<Vec<Option<Argument>>, AskError> {
        let ask = |request_id| Request::ServerSideEmit { request_id: Some(request_id), data };
        Ok(arguments(self.ask_others(ask).await?))
    }

    /// Sends an event to the matching sockets of all replicas and waits until each has acknowledged it.
    /// Returns the first argument of each acknowledgement.
    ///
    /// # Errors
    /// Not everyone answered within `within`; the error has the answers that came.
    pub async fn emit_with_ack(
        &self,
        event: &EncodedEvent,
        target: &Target,
        within: Duration,
    ) -> Result<Vec<Option<Argument>>, AskError> {
        let others = self.others().await?;
        let request_id = random_id();
        // This replica counts its own dashboards as any member does.
        let mut answered = self.expect(&request_id, Expect::Counts(others + 1), within)?;
        if others > 0 {
            let ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
            let request = Request::Broadcast {
                request_id: request_id.clone(),
                event: event.clone(),
                target: target.clone(),
                flags: Flags::default().with(Flag::TimeoutMs(ms)),
            };
            if !self.0.request(request) {
                self.0.pending().end(&request_id);
                return Err(AskError::NotPublished);
            }
        }
        let (count, mut acks) = self.0.sockets.deliver_with_ack(target, event, within);
        self.answered(&request_id, Answer::ClientCount(count as u64));
        let mut has_acks = count > 0;
        let outcome = loop {
            tokio::select! {
                outcome = &mut answered => break outcome,
                ack = acks.next(), if has_acks => match ack {
                    Some(ack) => self.answered(&request_id, Answer::Ack(ack)),
                    None => has_acks = false,
                },
            }
        };
        self.finish(outcome, within).map(arguments)
    }

    /// Asks every other member, if there is any.
    async fn ask_others(&self, request: impl FnOnce(String) -> Request) -> Result<Vec<Answer>, AskError> {
        let others = self.others().await?;
        if others == 0 {
            return Ok(Vec::new());
        }
        let (request_id, within) = (random_id(), self.0.settings.request_timeout);
        let answered = self.expect(&request_id, Expect::Answers(others), within)?;
        if !self.0.request(request(request_id.clone())) {
            self.0.pending().end(&request_id);
            return Err(AskError::NotPublished);
        }
        self.0.metrics.adapter_requests_sent.inc();
        self.finish(answered.await, within)
    }

    /// How many answers of others to expect. Fails while answers could not arrive.
    async fn others(&self) -> Result<usize, AskError> {
        if !self.0.bus.is_up() {
            return Err(BusError::Disconnected.into());
        }
        Ok(self.server_count().await?.saturating_sub(1))
    }

    fn expect(
        &self,
        request_id: &str,
        expect: Expect,
        within: Duration,
    ) -> Result<oneshot::Receiver<Outcome>, AskError> {
        let (waiter, answered) = oneshot::channel();
        let deadline = (Instant::now() + within).into_std();
        self.0.pending().insert(request_id, expect, deadline, waiter).map_err(|_| AskError::TooMany)?;
        self.0.asked.notify_one();
        Ok(answered)
    }

    fn finish(
        &self,
        outcome: Result<Outcome, oneshot::error::RecvError>,
        after: Duration,
    ) -> Result<Vec<Answer>, AskError> {
        match outcome {
            Ok(Outcome::Ended(Ended { answers, missing: 0, .. })) => Ok(answers),
            Ok(Outcome::Ended(Ended { answers, missing, .. })) => {
                self.0.metrics.adapter_requests_timed_out.inc();
                Err(AskError::TimedOut { missing, after, answers: arguments(answers) })
            }
            Ok(Outcome::Lost) | Err(_) => Err(AskError::Lost),
        }
    }

    /// An answer came, from a peer or from this replica's own dashboards.
    pub(super) fn answered(&self, request_id: &str, answer: Answer) {
        let ended = self.0.pending().answer(request_id, answer);
        if let Some(Ended { tag, answers, missing }) = ended {
            // Whoever asked may have stopped waiting.
            tag.send(Outcome::Ended(Ended { tag: (), answers, missing })).ok();
        }
    }

    /// Waits until peers can be asked; for the start of the process and for tests.
    ///
    /// # Errors
    /// The bus is not up within `within`.
    pub async fn ready(&self, within: Duration) -> Result<(), AskError> {
        let up = async {
            while !self.0.bus.is_up() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(within, up).await.map_err(|_| AskError::Bus(BusError::Disconnected))
    }

    /// Whether peers' emits to rooms arrive by a pattern instead of by interest.
    #[must_use]
    pub fn hears_all_rooms(&self) -> bool {
        self.0.settings.subscribe == SubscribeMode::Pattern
    }
}

fn arguments(answers: Vec<Answer>) -> Vec<Option<Argument>> {
    let argument = |answer| match answer {
        Answer::Ack(argument) | Answer::ServerSide(argument) => Some(argument),
        _ => None,
    };
    answers.into_iter().filter_map(argument).collect()
}
