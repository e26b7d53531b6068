//! When to ping and when to give up. Pure: time is an argument, in milliseconds of process time.
//!
//! Protocol 4: the server pings every `ping_interval` and waits `ping_timeout` for the pong. Protocol 3:
//! the client pings; silence for both together is death (engine.io 6, `socket.ts`).

use super::{EngineOptions, Protocol};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Ping,
    Dead,
}

#[derive(Debug)]
pub(super) struct Heartbeat {
    deadline_ms: u64,
    /// Whether a silent deadline means death (otherwise: time to ping).
    waiting: bool,
}

impl Heartbeat {
    pub(super) fn start(protocol: Protocol, now_ms: u64, options: &EngineOptions) -> Self {
        let mut heartbeat = Self { deadline_ms: 0, waiting: false };
        heartbeat.heard(protocol, now_ms, options);
        heartbeat
    }

    /// The client gave its sign of life.
    pub(super) fn heard(&mut self, protocol: Protocol, now_ms: u64, options: &EngineOptions) {
        self.waiting = protocol == Protocol::V3;
        self.deadline_ms = now_ms + options.ping_interval_ms;
        if self.waiting {
            self.deadline_ms += options.ping_timeout_ms;
        }
    }

    /// `draining`: the client is still taking a backlog, so a late answer is no silence; the stall
    /// deadline watches it meanwhile.
    pub(super) fn due(&mut self, now_ms: u64, options: &EngineOptions, draining: bool) -> Due {
        if now_ms < self.deadline_ms {
            return Due::Nothing;
        }
        if !self.waiting {
            self.waiting = true;
            self.deadline_ms = now_ms + options.ping_timeout_ms;
            return Due::Ping;
        }
        if draining {
            self.deadline_ms = now_ms + options.ping_timeout_ms;
            return Due::Nothing;
        }
        Due::Dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(heartbeat: &mut Heartbeat, at_ms: u64, draining: bool) -> Due {
        heartbeat.due(at_ms, &EngineOptions::default(), draining)
    }

    #[test]
    fn protocol_4_is_pinged_and_must_answer() {
        let options = EngineOptions::default();
        let mut heartbeat = Heartbeat::start(Protocol::V4, 0, &options);
        assert_eq!(due(&mut heartbeat, 24_999, false), Due::Nothing);
        assert_eq!(due(&mut heartbeat, 25_000, false), Due::Ping);
        assert_eq!(due(&mut heartbeat, 44_999, false), Due::Nothing);
        heartbeat.heard(Protocol::V4, 44_999, &options);
        assert_eq!(due(&mut heartbeat, 69_999, false), Due::Ping);
        assert_eq!(due(&mut heartbeat, 89_999, false), Due::Dead);
    }

    #[test]
    fn protocol_3_pings_itself_or_is_dead() {
        let options = EngineOptions::default();
        let mut heartbeat = Heartbeat::start(Protocol::V3, 0, &options);
        assert_eq!(due(&mut heartbeat, 44_999, false), Due::Nothing);
        heartbeat.heard(Protocol::V3, 25_000, &options);
        assert_eq!(due(&mut heartbeat, 69_999, false), Due::Nothing);
        assert_eq!(due(&mut heartbeat, 70_000, false), Due::Dead);
    }

    #[test]
    fn a_client_that_still_takes_a_backlog_is_not_silent() {
        let mut heartbeat = Heartbeat::start(Protocol::V4, 0, &EngineOptions::default());
        assert_eq!(due(&mut heartbeat, 25_000, true), Due::Ping);
        assert_eq!(due(&mut heartbeat, 45_000, true), Due::Nothing);
        assert_eq!(due(&mut heartbeat, 64_999, false), Due::Nothing);
        assert_eq!(due(&mut heartbeat, 65_000, false), Due::Dead);
    }
}
