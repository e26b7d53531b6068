//! Questions of this replica to the cluster.
//!
//! Invariant: each ends in bounded time, with the answers of all members or with an error that says what
//! is missing; without Redis it fails at once instead of answering for this replica alone.

use std::{collections::BTreeSet, time::Duration};

use futures_util::StreamExt;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until, timeout},
};

use super::{
    EncodedEvent, Member, SocketInfo,
    bus::BusError,
    ids::random_id,
    requests::{Ended, Expect},
    serve::PING,
    wire::{Answer, Argument, Dialect, Flag, Flags, Request, Target},
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
    /// Node's sharded adapter has no such question.
    #[error("cluster: the sharded adapter can not be asked for rooms")]
    NoSuchQuestion,
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
    /// Not everyone answered, or the adapter is the sharded one.
    pub async fn all_rooms(&self) -> Result<BTreeSet<String>, AskError> {
        if self.0.names.dialect() == Dialect::Sharded {
            return Err(AskError::NoSuchQuestion);
        }
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

    /// Asks all other members who they are: what those said that answered in time, and how many others
    /// there are. Node servers have no answer by themselves.
    pub async fn others_by_name(&self) -> (Vec<serde_json::Value>, usize) {
        let ping = Argument::json(serde_json::json!([PING]).to_string());
        let (answers, missing) = match self.server_side_emit_with_ack(ping).await {
            Ok(answers) => (answers, 0),
            Err(AskError::TimedOut { missing, answers, .. }) => (answers, missing),
            Err(_) => (Vec::new(), 0),
        };
        let others = answers.len() + missing;
        let read = |answer: Option<Argument>| serde_json::from_str(&answer?.json).ok();
        (answers.into_iter().filter_map(read).collect(), others)
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
        // This replica counts its own dashboards as any member does.
        let mut question = self.question(Expect::Counts(others + 1), within)?;
        if others > 0 {
            let ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
            question.ask(Request::Broadcast {
                request_id: question.id.clone(),
                event: event.clone(),
                target: target.clone(),
                flags: Flags::default().with(Flag::TimeoutMs(ms)),
            })?;
        }
        let (count, mut acks) = self.0.sockets.deliver_with_ack(target, event, within);
        self.answered(&question.id, Answer::ClientCount(count as u64));
        let request_id = question.id.clone();
        let mut has_acks = count > 0;
        let answered = question.answered();
        tokio::pin!(answered);
        loop {
            tokio::select! {
                answers = &mut answered => return answers.map(arguments),
                ack = acks.next(), if has_acks => match ack {
                    Some(ack) => self.answered(&request_id, Answer::Ack(ack)),
                    None => has_acks = false,
                },
            }
        }
    }

    /// Asks every other member, if there is any.
    async fn ask_others(&self, request: impl FnOnce(String) -> Request) -> Result<Vec<Answer>, AskError> {
        let others = self.others().await?;
        if others == 0 {
            return Ok(Vec::new());
        }
        let mut question = self.question(Expect::Answers(others), self.0.settings.request_timeout)?;
        question.ask(request(question.id.clone()))?;
        question.answered().await
    }

    /// How many answers of others to expect. Fails while answers could not arrive.
    async fn others(&self) -> Result<usize, AskError> {
        self.0.state()?;
        Ok(self.server_count().await?.saturating_sub(1))
    }

    fn question(&self, expect: Expect, within: Duration) -> Result<Question<'_>, AskError> {
        let (id, (waiter, answers)) = (random_id(self.0.names.dialect()), oneshot::channel());
        self.0.pending().insert(&id, expect, waiter).map_err(|_| AskError::TooMany)?;
        let question = Question { member: self, id, answers, within, deadline: Instant::now() + within };
        // A connection that was lost since the members were counted has ended the questions that there were.
        self.0.state()?;
        Ok(question)
    }

    /// An answer came, from a peer or from this replica's own dashboards.
    pub(super) fn answered(&self, request_id: &str, answer: Answer) {
        let ended = self.0.pending().answer(request_id, answer);
        if let Some(Ended { tag, answers, .. }) = ended {
            // Whoever asked may have stopped waiting.
            tag.send(answers).ok();
        }
    }

    /// Waits until peers can be asked; for the start of the process and for tests.
    ///
    /// # Errors
    /// The bus is not up within `within`.
    pub async fn ready(&self, within: Duration) -> Result<(), AskError> {
        let up = async {
            while !self.is_up() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(within, up).await.map_err(|_| AskError::Bus(BusError::Disconnected))
    }

    /// Whether peers' emits to rooms arrive without a subscription to each.
    #[must_use]
    pub fn hears_all_rooms(&self) -> bool {
        self.0.settings.subscribe.hears_all_rooms()
    }
}

/// A question that waits. Dropping it gives it up.
struct Question<'a> {
    member: &'a Member,
    id: String,
    answers: oneshot::Receiver<Vec<Answer>>,
    within: Duration,
    deadline: Instant,
}

impl Question<'_> {
    fn ask(&mut self, request: Request) -> Result<(), AskError> {
        self.member.0.metrics.adapter_requests_sent.inc();
        if self.member.0.request(request) { Ok(()) } else { Err(AskError::NotPublished) }
    }

    async fn answered(mut self) -> Result<Vec<Answer>, AskError> {
        tokio::select! {
            answers = &mut self.answers => answers.map_err(|_| AskError::Lost),
            () = sleep_until(self.deadline) => Err(self.timed_out()),
        }
    }

    fn timed_out(&self) -> AskError {
        let ended = self.member.0.pending().end(&self.id);
        self.member.0.metrics.adapter_requests_timed_out.inc();
        let (answers, missing) = ended.map_or_else(Default::default, |ended| (ended.answers, ended.missing));
        AskError::TimedOut { missing, after: self.within, answers: arguments(answers) }
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.member.0.pending().end(&self.id);
    }
}

fn arguments(answers: Vec<Answer>) -> Vec<Option<Argument>> {
    let argument = |answer| match answer {
        Answer::Ack(argument) | Answer::ServerSide(argument) => Some(argument),
        _ => None,
    };
    answers.into_iter().filter_map(argument).collect()
}
