//! Token buckets: how often something may happen.
//!
//! The generic cell rate algorithm: one moment per bucket says all (when it would be full again), so that a bucket costs
//! eight bytes and nothing ever refills it. `governor` does the same; it is not used because it reads clocks of its own
//! and would be asked from a core that is handed `now`.
//!
//! Invariant: pure. In any span of time, no more than `burst` and what the rate gives in that span is taken.

use std::time::Duration;

use crate::model::Timestamp;

/// How much may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Microseconds that one token takes to come back; at least 1.
    interval: i64,
    /// How much earlier than its time a token may be taken, in microseconds.
    tolerance: i64,
}

impl Rate {
    /// `count` in `per`, and at most `burst` at once after a pause.
    pub fn new(count: u32, per: Duration, burst: u32) -> Self {
        let interval = (per / count.max(1)).as_micros().clamp(1, i64::MAX as u128);
        let interval = i64::try_from(interval).unwrap_or(i64::MAX);
        Rate { interval, tolerance: interval.saturating_mul(i64::from(burst.max(1) - 1)) }
    }
}

/// A bucket; full at first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When it is full again, in microseconds.
    full_at: Option<i64>,
}

impl Bucket {
    /// How long until a token may be taken; zero when one may be now.
    pub fn wait(self, rate: Rate, now: Timestamp) -> Duration {
        let early = self.full_at.map_or(0, |full_at| full_at.saturating_sub(rate.tolerance) - micros(now));
        Duration::from_micros(early.max(0).unsigned_abs())
    }

    /// Whether no token is missing.
    pub fn is_full(self, now: Timestamp) -> bool {
        self.full_at.is_none_or(|full_at| full_at <= micros(now))
    }

    /// Puts a token back that was taken.
    pub fn give_back(&mut self, rate: Rate) {
        self.full_at = self.full_at.map(|full_at| full_at.saturating_sub(rate.interval));
    }

    /// Takes a token, whether there is one or not.
    pub fn take(&mut self, rate: Rate, now: Timestamp) {
        let from = self.full_at.map_or(micros(now), |full_at| full_at.max(micros(now)));
        self.full_at = Some(from.saturating_add(rate.interval));
    }
}

fn micros(at: Timestamp) -> i64 {
    at.0.saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::a_burst_and_then_the_rate(Rate::new(10, Duration::from_secs(1), 3), &[0, 0, 0, 100, 200])]
    #[case::one_at_a_time(Rate::new(10, Duration::from_secs(1), 1), &[0, 100, 200])]
    #[case::a_few_an_hour(Rate::new(2, Duration::from_secs(3_600), 2), &[0, 0, 1_800_000, 3_600_000])]
    fn tokens_are_there_at(#[case] rate: Rate, #[case] at_ms: &[i64]) {
        let mut bucket = Bucket::default();
        let mut now = Timestamp(0);
        for at in at_ms {
            now = now.plus(bucket.wait(rate, now));
            assert_eq!(now.0, *at);
            bucket.take(rate, now);
        }
    }

    #[test]
    fn what_was_not_used_is_not_saved_beyond_the_burst() {
        let rate = Rate::new(10, Duration::from_secs(1), 3);
        let mut bucket = Bucket::default();
        bucket.take(rate, Timestamp(0));
        let later = Timestamp(1_000_000);
        for _ in 0..3 {
            assert!(bucket.wait(rate, later).is_zero());
            bucket.take(rate, later);
        }
        assert!(!bucket.wait(rate, later).is_zero());
    }

    proptest! {
        #[test]
        fn no_span_has_more_than_burst_and_rate_give(
            count in 1u32..50, burst in 1u32..20, asks in prop::collection::vec(0i64..300, 1..300),
        ) {
            let rate = Rate::new(count, Duration::from_secs(1), burst);
            let (mut bucket, mut now, mut taken) = (Bucket::default(), 0i64, Vec::new());
            for ask in asks {
                now += ask;
                if bucket.wait(rate, Timestamp(now)).is_zero() {
                    bucket.take(rate, Timestamp(now));
                    taken.push(now);
                }
            }
            for (first, from) in taken.iter().enumerate() {
                for (last, to) in taken.iter().enumerate().skip(first) {
                    let most = i64::from(burst) + (to - from) * i64::from(count) / 1_000;
                    prop_assert!((last - first + 1) as i64 <= most + 1, "{from}..{to}");
                }
            }
        }
    }
}
