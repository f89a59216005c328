//! What an attempt, or a judgement without one, comes to.
//!
//! Invariant: pure. Every conclusion is a state that may follow a waiting one, and each costs exactly the attempts
//! that were made: a Halt costs none.

use std::time::Duration;

use crate::channel::{Outcome, RenderError, Verdict};
use crate::model::{Reason, State, Timestamp};

use super::retry::{self, Backoff, Next, RunLimits};

/// What a record came to, before it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conclusion {
    /// How it ends, or goes on.
    pub end: End,
    /// Why.
    pub reason: Reason,
    /// The provider's status code.
    pub code: Option<String>,
    /// Attempts made in this run, the last one included.
    pub attempts: u32,
    /// Whether the provider was called for this conclusion.
    pub called: bool,
}

/// How a record ends, or goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The provider took it, under this name.
    Sent(Option<String>),
    /// It is tried again, not before.
    Retrying(Timestamp),
    /// It waits, without an attempt, until then.
    Waiting(Timestamp),
    /// The recipient's side refuses.
    Failed,
    /// Too late.
    Expired,
    /// Not wanted any more.
    Cancelled,
    /// It goes to the DLQ.
    Dead,
}

impl End {
    /// The state of the status that tells it.
    pub fn state(&self) -> State {
        match self {
            End::Sent(_) => State::Sent,
            End::Retrying(_) => State::Retrying,
            End::Waiting(_) => State::Waiting,
            End::Failed => State::Failed,
            End::Expired => State::Expired,
            End::Cancelled => State::Cancelled,
            End::Dead => State::Dead,
        }
    }

    /// Not before this it comes again, if it does.
    pub fn comes_again(&self) -> Option<Timestamp> {
        match self {
            End::Retrying(at) | End::Waiting(at) => Some(*at),
            _ => None,
        }
    }
}

impl Conclusion {
    /// A conclusion that no provider was called for.
    pub fn without_call(end: End, reason: Reason, attempts: u32) -> Self {
        Conclusion { end, reason, code: None, attempts, called: false }
    }

    /// The conclusion about a notification that has no words.
    pub fn not_rendered(error: &RenderError, attempts: u32) -> Self {
        Conclusion::without_call(End::Dead, error.reason(), attempts)
    }
}

/// What follows a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterCall {
    /// This is to be written.
    Concluded(Conclusion),
    /// Nothing is: the record goes back to the head of its lane, the channel stops.
    Halted(Reason),
}

/// What a call's outcome is measured against.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// Attempts made in this run before this one.
    pub before: u32,
    /// What bounds the run.
    pub limits: RunLimits,
    /// How long to wait between attempts.
    pub backoff: &'a Backoff,
    /// When the call ended.
    pub now: Timestamp,
    /// In `0.0..1.0`, for the jitter.
    pub fraction: f64,
}

impl Attempt<'_> {
    /// What follows from the outcome.
    pub fn concluded(&self, outcome: Outcome) -> AfterCall {
        let attempts = self.before.saturating_add(1);
        let concluded =
            |end, reason| AfterCall::Concluded(Conclusion { end, reason, code: outcome.code, attempts, called: true });
        match outcome.result {
            Verdict::Sent { provider_message_id } => concluded(End::Sent(provider_message_id), Reason::Accepted),
            Verdict::Reject { reason } => concluded(End::Failed, reason),
            Verdict::Halt { reason } => AfterCall::Halted(reason),
            Verdict::Retry { reason, after } => match self.next(attempts, after) {
                Next::Again(not_before) => concluded(End::Retrying(not_before), reason),
                Next::Exhausted => concluded(End::Dead, Reason::AttemptsExhausted),
                Next::TooLate => concluded(End::Expired, Reason::Expired),
            },
        }
    }

    fn next(&self, attempts: u32, after: Option<Duration>) -> Next {
        retry::next(attempts, self.backoff.wait(attempts, after, self.fraction), self.limits, self.now)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn attempt(before: u32, backoff: &Backoff) -> Attempt<'_> {
        let limits = RunLimits { max_attempts: 3, expires_at: Timestamp(100_000) };
        Attempt { before, limits, backoff, now: Timestamp(0), fraction: 0.0 }
    }

    fn after(before: u32, result: Verdict) -> AfterCall {
        let backoff = Backoff { steps: vec![Duration::from_secs(10)], jitter_percent: 0 };
        attempt(before, &backoff).concluded(Outcome { result, code: Some("451".to_owned()) })
    }

    fn retry(after_s: Option<u64>) -> Verdict {
        Verdict::Retry { reason: Reason::ProviderBusy, after: after_s.map(Duration::from_secs) }
    }

    #[rstest]
    #[case::taken(0, Verdict::Sent { provider_message_id: Some("q1".into()) }, End::Sent(Some("q1".into())), Reason::Accepted)]
    #[case::refused(0, Verdict::Reject { reason: Reason::AddressRefused }, End::Failed, Reason::AddressRefused)]
    #[case::later(0, retry(None), End::Retrying(Timestamp(10_000)), Reason::ProviderBusy)]
    #[case::later_as_asked(0, retry(Some(90)), End::Retrying(Timestamp(90_000)), Reason::ProviderBusy)]
    #[case::the_last_attempt(2, retry(None), End::Dead, Reason::AttemptsExhausted)]
    #[case::later_than_it_is_worth(0, retry(Some(100)), End::Expired, Reason::Expired)]
    fn a_call_comes_to(#[case] before: u32, #[case] result: Verdict, #[case] end: End, #[case] reason: Reason) {
        let code = Some("451".to_owned());
        let expected = Conclusion { end, reason, code, attempts: before + 1, called: true };
        assert_eq!(after(before, result), AfterCall::Concluded(expected));
    }

    #[test]
    fn a_halt_costs_no_attempt_and_writes_nothing() {
        let halt = Verdict::Halt { reason: Reason::BadCredentials };
        assert_eq!(after(2, halt), AfterCall::Halted(Reason::BadCredentials));
    }

    #[test]
    fn every_conclusion_may_follow_a_waiting_state() {
        let at = Timestamp(1);
        for end in
            [End::Sent(None), End::Retrying(at), End::Waiting(at), End::Failed, End::Expired, End::Cancelled, End::Dead]
        {
            assert!(State::Retrying.may_precede(end.state()) && State::Waiting.may_precede(end.state()));
            assert_eq!(end.comes_again().is_none(), end.state().is_terminal());
        }
    }
}
