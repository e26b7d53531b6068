//! One live pub/sub connection: commands and probes out, messages and answers in.
//!
//! Invariant: everything sent is bounded (a few commands and one probe wait for answers), and silence
//! never lasts: [`Connection::input`] returns at [`Connection::deadline`] and then says that it ended.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{
    interest::{Command, Verb},
    line::{self, Sink, Stream, is_fatal},
    subscriber::Settings,
    subscriptions::{Channel, Shared},
};
use crate::store::Redis;

/// SUBSCRIBE and UNSUBSCRIBE commands that wait for their confirmations at the same time.
const COMMANDS_IN_FLIGHT_MAX: usize = 4;
/// Channels in one command: a replica with 10,000 of them resubscribes in 20 commands, each of which
/// keeps Redis busy for well under a millisecond.
const CHANNELS_PER_COMMAND_MAX: usize = 512;
/// Messages and bytes in one [`Event::Messages`].
const BURST_MESSAGES_MAX: usize = 1024;
const BURST_BYTES_MAX: usize = 1 << 20;
/// A PING that is overdue by this much although messages arrive: the answers are lost, so the
/// subscriptions are in doubt.
const ANSWER_OVERDUE: Duration = Duration::from_secs(30);

pub(super) struct Connection {
    sink: Sink,
    stream: Stream,
    answers: FuturesUnordered<BoxFuture<'static, Answer>>,
    commands: usize,
    ping_sent: Option<Instant>,
    next_ping: Instant,
    heard: Instant,
}

enum Answer {
    Pong(redis::RedisResult<()>),
    Done(Command<Channel>, redis::RedisResult<Refused>),
}

/// Channels that the server will not subscribe, and why.
pub(super) type Refused = Vec<(Channel, redis::RedisError)>;

/// What happened on the connection.
pub(super) enum Input {
    /// Messages that were ready at once.
    Messages(Vec<redis::Msg>),
    /// A command is done, apart from these of its channels.
    Done(Command<Channel>, Refused),
    /// The connection is of no use any more.
    Ended(String),
    /// A probe was answered after this time.
    Answered(Duration),
    /// Time or interest moved on: look what is due.
    Look,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error(transparent)]
    Redis(#[from] redis::RedisError),
}

impl Connection {
    pub(super) async fn dial(redis: &Redis, settings: &Settings) -> Result<Self, DialError> {
        let (sink, stream) = if settings.shard_channels {
            line::shards(redis).await?
        } else {
            line::channels(redis, &settings.patterns).await?
        };
        let now = Instant::now();
        let answers = FuturesUnordered::new();
        Ok(Self { sink, stream, answers, commands: 0, ping_sent: None, next_ping: now, heard: now })
    }

    /// Sends the commands and the probe that are due.
    pub(super) fn send_due(&mut self, shared: &Shared, settings: &Settings) {
        let now = Instant::now();
        while self.commands < COMMANDS_IN_FLIGHT_MAX {
            let next = shared.interest().next_command(now.into_std(), CHANNELS_PER_COMMAND_MAX);
            let Some(command) = next else { break };
            self.commands += 1;
            self.answers.push(execute(self.sink.clone(), command).boxed());
        }
        if self.ping_sent.is_none() && self.next_ping <= now {
            let mut sink = self.sink.clone();
            self.ping_sent = Some(now);
            self.next_ping = now + settings.probe_interval;
            let ping = async move { sink.ping().await };
            self.answers.push(ping.map(Answer::Pong).boxed());
        }
    }

    /// When to look again if nothing arrives.
    pub(super) fn deadline(&self, shared: &Shared, settings: &Settings) -> Instant {
        let probe = match self.ping_sent {
            Some(sent) => (self.heard.max(sent) + settings.silence_max)
                .min(sent + settings.silence_max + ANSWER_OVERDUE),
            None => self.next_ping,
        };
        if self.commands == COMMANDS_IN_FLIGHT_MAX {
            return probe; // An expired linger can not be acted upon before an answer arrives.
        }
        shared.interest().deadline().map_or(probe, |due| probe.min(Instant::from_std(due)))
    }

    /// The next thing that happens, at the latest at `deadline`. Cancel-safe.
    pub(super) async fn input(&mut self, wake: &Notify, deadline: Instant, settings: &Settings) -> Input {
        tokio::select! {
            message = self.stream.next() => match message {
                Some(message) => self.messages(message),
                None => Input::Ended("closed by the server".to_owned()),
            },
            Some(answer) = self.answers.next() => self.answer(answer),
            () = wake.notified() => self.look(settings),
            () = sleep_until(deadline) => self.look(settings),
        }
    }

    fn messages(&mut self, first: redis::Msg) -> Input {
        self.heard = Instant::now();
        Input::Messages(self.burst(first))
    }

    fn answer(&mut self, answer: Answer) -> Input {
        self.heard = Instant::now();
        match answer {
            // A refused PING (an access rule) is a sign of life as well.
            Answer::Pong(outcome) => match outcome.err().filter(is_fatal) {
                Some(error) => Input::Ended(error.to_string()),
                None => match self.ping_sent.take() {
                    Some(sent) => Input::Answered(self.heard - sent),
                    None => Input::Look,
                },
            },
            Answer::Done(command, Ok(refused)) => {
                self.commands -= 1;
                Input::Done(command, refused)
            }
            Answer::Done(_, Err(error)) => Input::Ended(error.to_string()),
        }
    }

    fn look(&self, settings: &Settings) -> Input {
        let Some(sent) = self.ping_sent else { return Input::Look };
        let now = Instant::now();
        if now >= self.heard.max(sent) + settings.silence_max {
            return Input::Ended("silent: not even a probe is answered".to_owned());
        }
        if now >= sent + settings.silence_max + ANSWER_OVERDUE {
            return Input::Ended("a probe was never answered".to_owned());
        }
        Input::Look
    }

    /// `first` and what else is ready.
    fn burst(&mut self, first: redis::Msg) -> Vec<redis::Msg> {
        let mut bytes = first.get_payload_bytes().len();
        let mut burst = vec![first];
        while burst.len() < BURST_MESSAGES_MAX && bytes < BURST_BYTES_MAX {
            // Unconstrained, since the task's budget would end the burst after 128 messages.
            let next = tokio::task::coop::unconstrained(self.stream.next()).now_or_never();
            let Some(Some(message)) = next else { break };
            bytes += message.get_payload_bytes().len();
            burst.push(message);
        }
        burst
    }
}

/// Sends one command and waits for its confirmations.
async fn execute(mut sink: Sink, command: Command<Channel>) -> Answer {
    let outcome = match command.verb {
        Verb::Unsubscribe => sink.unsubscribe(&command.channels).await.map(|()| Vec::new()),
        Verb::Subscribe => sink.subscribe(&command.channels).await,
    };
    Answer::Done(command, outcome)
}
