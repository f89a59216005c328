//! What an attempt, or a judgement without one, comes to.
//!
//! Invariant: pure. Every conclusion is a state that may follow a waiting one, and each costs exactly the attempts
//! that were made: a Halt costs none, nor does being one too many for a provider that all share.

use std::time::Duration;

use crate::channel::{Outcome, RenderError, Verdict};
use crate::model::{Reason, State, Timestamp};
use crate::wire::TierHeaders;

use super::breaker::Heard;
use super::providers::pin_after;
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
    /// The provider that was called for this conclusion, as statuses name it; empty when none was.
    pub provider: String,
    /// The provider that alone may be asked next: see [`super::providers::pin_after`].
    pub pinned: Option<String>,
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
    /// A conclusion that no provider was called for, about a record with these headers.
    pub fn without_call(end: End, reason: Reason, headers: &TierHeaders) -> Self {
        Conclusion {
            end,
            reason,
            code: None,
            attempts: headers.attempt,
            provider: String::new(),
            pinned: headers.provider.clone(),
        }
    }

    /// The conclusion about a notification that has no words.
    pub fn not_rendered(error: &RenderError, headers: &TierHeaders) -> Self {
        Conclusion::without_call(End::Dead, error.reason(), headers)
    }

    /// The conclusion about a message that a provider only recorded.
    pub fn recorded(provider: &str, headers: &TierHeaders) -> Self {
        Conclusion {
            attempts: headers.attempt.saturating_add(1),
            provider: format!("{SANDBOX}{provider}"),
            ..Conclusion::without_call(End::Sent(None), Reason::Sandboxed, headers)
        }
    }
}

/// Before a provider's name where it only recorded.
pub const SANDBOX: &str = "sandbox:";

/// What an answer says of the provider.
pub fn heard(verdict: &Verdict) -> Heard {
    use Reason::{ConnectFailed, Interrupted, ProviderBusy, ProviderError, RateLimited, Timeout};
    match verdict {
        Verdict::Halt { reason } => Heard::Halted(*reason),
        Verdict::Retry {
            reason: reason @ (RateLimited | ProviderBusy | ProviderError | ConnectFailed | Timeout | Interrupted),
            after,
        } => Heard::Strained { reason: *reason, after: *after },
        Verdict::Sent { .. } | Verdict::Written { .. } | Verdict::Reject { .. } | Verdict::Retry { .. } => Heard::Well,
    }
}

/// Whom a call was made to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'a> {
    /// Its name.
    pub name: &'a str,
    /// It knows a message that it had before.
    pub idempotent: bool,
    /// Its answers speak of itself and not of one recipient's endpoint.
    pub shared: bool,
    /// It is in trouble, and this was no probe: what it says of overload is said of it and not of the message.
    pub in_trouble: bool,
}

/// What a call's outcome is measured against.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// What the record's headers say: the attempts before this one, and who alone may be asked.
    pub headers: &'a TierHeaders,
    /// Whom the call was made to.
    pub asked: Asked<'a>,
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
    /// What follows from the outcome; nothing when it says nothing of the message: the record goes back to the head of
    /// its lane.
    pub fn concluded(&self, outcome: Outcome) -> Option<Conclusion> {
        let Outcome { result, code } = outcome;
        let strained = matches!(heard(&result), Heard::Strained { .. });
        if self.asked.in_trouble && self.asked.shared && strained && !result.is_unknown() {
            return None;
        }
        let made = self.headers.attempt.saturating_add(1);
        let pinned = pin_after(self.headers.provider.as_deref(), self.asked.name, self.asked.idempotent, &result);
        let conclusion = |end, reason, attempts| {
            let provider = self.asked.name.to_owned();
            Some(Conclusion { end, reason, code, attempts, provider, pinned: pinned.map(str::to_owned) })
        };
        match result {
            Verdict::Written { .. } => conclusion(End::Sent(None), Reason::Accepted, made),
            Verdict::Sent { provider_message_id } => conclusion(End::Sent(provider_message_id), Reason::Accepted, made),
            Verdict::Reject { reason } => conclusion(End::Failed, reason, made),
            Verdict::Halt { .. } => None,
            Verdict::Retry { reason, after } => {
                let free = reason == Reason::RateLimited && self.asked.shared;
                let attempts = if free { self.headers.attempt } else { made };
                match self.next(attempts, after) {
                    Next::Again(not_before) => conclusion(End::Retrying(not_before), reason, attempts),
                    Next::Exhausted => conclusion(End::Dead, Reason::AttemptsExhausted, attempts),
                    Next::TooLate => conclusion(End::Expired, Reason::Expired, attempts),
                }
            }
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

    const ASKED: Asked<'static> = Asked { name: "main", idempotent: false, shared: true, in_trouble: false };

    fn after(before: u32, asked: Asked<'_>, result: Verdict) -> Option<Conclusion> {
        let backoff = Backoff { steps: vec![Duration::from_secs(10)], jitter_percent: 0 };
        let headers = TierHeaders { attempt: before, ..TierHeaders::default() };
        let limits = RunLimits { max_attempts: 3, expires_at: Timestamp(100_000) };
        let attempt = Attempt { headers: &headers, asked, limits, backoff: &backoff, now: Timestamp(0), fraction: 0.0 };
        attempt.concluded(Outcome { result, code: Some("451".to_owned()) })
    }

    fn retry(after_s: Option<u64>) -> Verdict {
        Verdict::Retry { reason: Reason::ProviderBusy, after: after_s.map(Duration::from_secs) }
    }

    fn limited(after_s: Option<u64>) -> Verdict {
        Verdict::Retry { reason: Reason::RateLimited, after: after_s.map(Duration::from_secs) }
    }

    #[rstest]
    #[case::taken(0, Verdict::Sent { provider_message_id: Some("q1".into()) }, End::Sent(Some("q1".into())), Reason::Accepted)]
    #[case::refused(0, Verdict::Reject { reason: Reason::AddressRefused }, End::Failed, Reason::AddressRefused)]
    #[case::later(0, retry(None), End::Retrying(Timestamp(10_000)), Reason::ProviderBusy)]
    #[case::later_as_asked(0, retry(Some(90)), End::Retrying(Timestamp(90_000)), Reason::ProviderBusy)]
    #[case::the_last_attempt(2, retry(None), End::Dead, Reason::AttemptsExhausted)]
    #[case::later_than_it_is_worth(0, retry(Some(100)), End::Expired, Reason::Expired)]
    fn a_call_comes_to(#[case] before: u32, #[case] result: Verdict, #[case] end: End, #[case] reason: Reason) {
        let concluded = after(before, ASKED, result).unwrap();
        assert_eq!((concluded.end, concluded.reason, concluded.attempts), (end, reason, before + 1));
        assert_eq!((concluded.provider.as_str(), concluded.code.as_deref()), ("main", Some("451")));
    }

    #[test]
    fn a_halt_costs_no_attempt_and_writes_nothing() {
        assert_eq!(after(2, ASKED, Verdict::Halt { reason: Reason::BadCredentials }), None);
    }

    #[test]
    fn one_too_many_costs_no_attempt_and_is_not_sent_before_it_may_be() {
        let concluded = after(2, ASKED, limited(Some(99))).unwrap();
        assert_eq!((concluded.end, concluded.attempts), (End::Retrying(Timestamp(99_000)), 2));
    }

    #[test]
    fn a_customers_endpoint_that_asks_to_slow_down_uses_its_attempts_up() {
        let endpoint = Asked { shared: false, ..ASKED };
        assert_eq!(after(2, endpoint, limited(None)).unwrap().end, End::Dead);
    }

    #[rstest]
    #[case::too_many(limited(None), false)]
    #[case::broken(Verdict::Retry { reason: Reason::ProviderError, after: None }, false)]
    #[case::its_fate_is_unknown(Verdict::Retry { reason: Reason::Interrupted, after: None }, true)]
    #[case::about_the_message(Verdict::Retry { reason: Reason::MessageRefused, after: None }, true)]
    #[case::taken(Verdict::Sent { provider_message_id: None }, true)]
    fn what_a_provider_in_trouble_says_of_overload_is_not_said_of_the_message(
        #[case] result: Verdict,
        #[case] concluded: bool,
    ) {
        let troubled = Asked { in_trouble: true, ..ASKED };
        assert_eq!(after(0, troubled, result).is_some(), concluded);
    }

    #[test]
    fn after_an_unknown_outcome_the_record_remembers_who_was_asked() {
        let unknown = Verdict::Retry { reason: Reason::Timeout, after: None };
        assert_eq!(after(0, ASKED, unknown).unwrap().pinned.as_deref(), Some("main"));
        assert_eq!(after(0, ASKED, retry(None)).unwrap().pinned, None);
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
