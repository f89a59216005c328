//! When a failed attempt is made again, and when it is not.
//!
//! Invariant: pure; the moment and the random fraction are arguments.

use std::time::Duration;

use crate::decide::Subject;
use crate::model::{Policy, Timestamp};

/// What holds for a category that no policy speaks of any more: a day.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// What holds for a category that no policy speaks of any more.
const MAX_ATTEMPTS: u32 = 8;

/// How long to wait between attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    /// Before the second, third, … attempt; the last one repeats.
    pub steps: Vec<Duration>,
    /// Part of a step, in percent, that is drawn at random and added.
    pub jitter_percent: u32,
}

impl Backoff {
    /// How long to wait after the `attempts`-th attempt (1 is the first) of a run: not less than the provider asked
    /// for, and spread by `fraction` (in `0.0..1.0`) of the jitter, so that those who failed together do not come
    /// back together.
    pub fn wait(&self, attempts: u32, provider_asks: Option<Duration>, fraction: f64) -> Duration {
        let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        let step = self.steps.get(index).or(self.steps.last()).copied().unwrap_or(Duration::ZERO);
        let jitter = step.mul_f64(f64::from(self.jitter_percent) / 100.0 * fraction.clamp(0.0, 1.0));
        step.max(provider_asks.unwrap_or(Duration::ZERO)).saturating_add(jitter)
    }
}

/// What bounds one run of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunLimits {
    /// Attempts before it is dead.
    pub max_attempts: u32,
    /// Worthless after: the event's own date, or the category's age counted from the run's start.
    pub expires_at: Timestamp,
}

impl RunLimits {
    /// The limits that today's policy sets.
    pub fn of(subject: &Subject<'_>, policy: &Policy) -> Self {
        let category = policy.category(subject.category);
        let max_age = category.map_or(MAX_AGE, |category| category.max_age);
        // The chain refuses what is older than `max_age`, not what is exactly as old.
        let by_age = subject.age_from.plus(max_age).plus(Duration::from_millis(1));
        RunLimits {
            max_attempts: category.map_or(MAX_ATTEMPTS, |category| category.max_attempts).max(1),
            expires_at: subject.expires_at.map_or(by_age, |date| date.min(by_age)),
        }
    }

    /// Whether it is too late at `now`.
    pub fn expired(&self, now: Timestamp) -> bool {
        now >= self.expires_at
    }
}

/// What follows an attempt that is to be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Again, not before.
    Again(Timestamp),
    /// All attempts are used up.
    Exhausted,
    /// The next attempt would come when it is too late.
    TooLate,
}

/// What follows the `attempts`-th failed attempt of a run.
pub fn next(attempts: u32, wait: Duration, limits: RunLimits, now: Timestamp) -> Next {
    let not_before = now.plus(wait);
    if attempts >= limits.max_attempts {
        Next::Exhausted
    } else if limits.expired(not_before) {
        Next::TooLate
    } else {
        Next::Again(not_before)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn backoff() -> Backoff {
        Backoff { steps: [10, 60, 600].map(Duration::from_secs).to_vec(), jitter_percent: 20 }
    }

    #[rstest]
    #[case::first(1, None, 0.0, 10_000)]
    #[case::second(2, None, 0.0, 60_000)]
    #[case::the_last_repeats(9, None, 0.0, 600_000)]
    #[case::all_the_jitter(2, None, 1.0, 72_000)]
    #[case::the_provider_asks_for_more(1, Some(90), 0.0, 90_000)]
    #[case::the_provider_asks_for_less(1, Some(1), 0.0, 10_000)]
    #[case::jitter_on_top_of_what_it_asks(1, Some(90), 1.0, 92_000)]
    fn waits(#[case] attempts: u32, #[case] asks: Option<u64>, #[case] fraction: f64, #[case] wait_ms: u128) {
        let wait = backoff().wait(attempts, asks.map(Duration::from_secs), fraction);
        assert_eq!(wait.as_millis(), wait_ms);
    }

    proptest! {
        #[test]
        fn a_wait_is_never_shorter_than_its_step_or_what_the_provider_asks(
            attempts in 0u32..20, asks in prop::option::of(0u64..100_000), fraction in -1.0f64..2.0,
        ) {
            let asks = asks.map(Duration::from_secs);
            let wait = backoff().wait(attempts, asks, fraction);
            prop_assert!(wait >= Duration::from_secs(10) && wait >= asks.unwrap_or_default());
        }
    }

    #[rstest]
    #[case::some_left(4, 100, Next::Again(Timestamp(60_000)))]
    #[case::the_last_one_failed(5, 100, Next::Exhausted)]
    #[case::more_than_allowed(9, 100, Next::Exhausted)]
    #[case::it_would_come_too_late(1, 60, Next::TooLate)]
    #[case::just_in_time(1, 61, Next::Again(Timestamp(60_000)))]
    #[case::used_up_counts_before_too_late(5, 1, Next::Exhausted)]
    fn what_follows_a_failed_attempt(#[case] attempts: u32, #[case] expires_s: i64, #[case] follows: Next) {
        let limits = RunLimits { max_attempts: 5, expires_at: Timestamp(expires_s * 1_000) };
        assert_eq!(next(attempts, Duration::from_secs(60), limits, Timestamp(0)), follows);
    }
}
