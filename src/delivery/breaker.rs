//! Whether a channel's provider may be called: what a [`crate::channel::Verdict::Halt`] opens.
//!
//! Invariant: pure; `now` is an argument, on any clock that does not jump.

use std::time::Duration;

use crate::model::{Reason, Timestamp};

/// Closed → (Halt) → Open → (pause over) → one probe → Closed, or Open again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    pause: Duration,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Timestamp, reason: Reason },
    Probing { reason: Reason },
}

/// Whether a call may start now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// Any number.
    Calls,
    /// Exactly one; [`Breaker::probe`] notes that it starts.
    OneProbe,
    /// None.
    Nothing,
}

/// A change worth telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Calls stop.
    Opened(Reason),
    /// Calls go on.
    Closed,
}

impl Breaker {
    /// A closed breaker that leaves a provider alone for `pause` after a Halt.
    pub fn new(pause: Duration) -> Self {
        Breaker { pause, state: State::Closed }
    }

    /// What may start at `now`.
    pub fn leave(&self, now: Timestamp) -> Leave {
        match self.state {
            State::Closed => Leave::Calls,
            State::Open { until, .. } if now >= until => Leave::OneProbe,
            State::Open { .. } | State::Probing { .. } => Leave::Nothing,
        }
    }

    /// The one call that tries whether the provider is back starts.
    pub fn probe(&mut self) {
        if let State::Open { reason, .. } = self.state {
            self.state = State::Probing { reason };
        }
    }

    /// The probe was not made after all: the record turned out not to need a call.
    pub fn probe_unused(&mut self, now: Timestamp) {
        if let State::Probing { reason } = self.state {
            self.state = State::Open { until: now, reason };
        }
    }

    /// A call ended with Halt.
    pub fn halted(&mut self, reason: Reason, now: Timestamp) -> Option<Change> {
        let was_closed = self.state == State::Closed;
        if !matches!(self.state, State::Open { .. }) {
            self.state = State::Open { until: now.plus(self.pause), reason };
        }
        was_closed.then_some(Change::Opened(reason))
    }

    /// A call ended with anything else: the provider works. One that began before the Halt proves nothing, so
    /// only the probe's closes.
    pub fn answered(&mut self) -> Option<Change> {
        if matches!(self.state, State::Probing { .. }) {
            self.state = State::Closed;
            return Some(Change::Closed);
        }
        None
    }

    /// Why calls are stopped, if they are.
    pub fn open_because(&self) -> Option<Reason> {
        match self.state {
            State::Closed => None,
            State::Open { reason, .. } | State::Probing { reason } => Some(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000)
    }

    #[test]
    fn a_halt_stops_calls_until_the_pause_is_over_and_then_lets_one_through() {
        let mut breaker = Breaker::new(PAUSE);
        assert_eq!(breaker.leave(at(0)), Leave::Calls);
        assert_eq!(breaker.halted(Reason::BadCredentials, at(0)), Some(Change::Opened(Reason::BadCredentials)));
        assert_eq!(breaker.leave(at(9)), Leave::Nothing);
        assert_eq!(breaker.leave(at(10)), Leave::OneProbe);
        breaker.probe();
        assert_eq!(breaker.leave(at(11)), Leave::Nothing, "one probe only");
        assert_eq!(breaker.answered(), Some(Change::Closed));
        assert_eq!(breaker.leave(at(11)), Leave::Calls);
    }

    #[test]
    fn a_probe_that_halts_opens_again_for_a_whole_pause() {
        let mut breaker = Breaker::new(PAUSE);
        breaker.halted(Reason::ConnectFailed, at(0));
        breaker.probe();
        assert_eq!(breaker.halted(Reason::ConnectFailed, at(12)), None, "told once");
        assert_eq!(breaker.leave(at(21)), Leave::Nothing);
        assert_eq!(breaker.leave(at(22)), Leave::OneProbe);
        assert_eq!(breaker.open_because(), Some(Reason::ConnectFailed));
    }

    #[test]
    fn calls_begun_before_the_halt_neither_close_nor_prolong_it() {
        let mut breaker = Breaker::new(PAUSE);
        breaker.halted(Reason::ProviderError, at(0));
        assert_eq!(breaker.answered(), None);
        breaker.halted(Reason::ProviderError, at(8));
        assert_eq!(breaker.leave(at(10)), Leave::OneProbe);
    }

    #[test]
    fn a_probe_that_needed_no_call_leaves_the_next_record_to_try() {
        let mut breaker = Breaker::new(PAUSE);
        breaker.halted(Reason::ProviderError, at(0));
        breaker.probe();
        breaker.probe_unused(at(11));
        assert_eq!(breaker.leave(at(11)), Leave::OneProbe);
    }
}
