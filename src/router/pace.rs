//! When the open transaction is committed, and when the next one may begin.
//!
//! Where input is scarce, a transaction is committed as soon as nothing more is there to be read; under load, when it is
//! as old as the commit interval. In between, a commit is put off for as long as the last one took: so transactions grow
//! with the load by themselves. Where commits take longer than the interval, transactions may get as old as that, up to a few
//! intervals: so far, commits take at most half of the time.
//!
//! Invariants: an open transaction is never left alone beyond the interval (and what is left of a poll's last
//! millisecond), or the time that the last commit took, where that is longer, up to a few intervals; one that is younger is
//! never committed for want of input within the rest after the last commit.
//!
//! Pure: the shard tells when things happened, this says when to do what.

use std::time::{Duration, Instant};

/// librdkafka (2.12, `rdkafka_txnmgr.c`) asks the coordinator for the first partitions of a transaction as soon as a
/// record is produced. While the markers of the transaction before are still being written the answer is
/// CONCURRENT_TRANSACTIONS, and librdkafka asks again after so long (20 ms as published; `vendor/librdkafka.patch`).
const ASKED_AGAIN: Duration = Duration::from_millis(5);

/// How long markers are given at first, and the bounds of that; waiting for longer would be worse than asking again.
const FIRST_SETTLING: Duration = Duration::from_millis(2);
const SETTLING: (Duration, Duration) = (Duration::from_micros(250), ASKED_AGAIN);

/// By how much that shrinks with each transaction that did not begin too early.
const STEP: Duration = Duration::from_micros(4);

/// About one in so many transactions may begin too early: what it waits for is longer than what the others save.
const SELDOM: u32 = 256;

/// However long commits take, a transaction gets at most so many intervals old, and not older than this if the interval is
/// shorter: the broker gives one up after a while.
const MOST_INTERVALS: u32 = 4;
const MOST: Duration = Duration::from_secs(1);

/// See the module's words.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    last: Option<Commit>,
    /// How old a transaction may become; asked for with each record, and known since the last commit.
    most: Duration,
    settling: Duration,
}

/// How the last commit went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// When it began.
    pub began: Instant,
    /// When its end was known.
    pub ended: Instant,
    /// Its transaction had begun before the markers of the one before it were written.
    pub overlapped: bool,
    /// Its transaction was as old as it may become: input is plenty.
    pub full: bool,
}

impl Commit {
    fn took(&self) -> Duration {
        self.ended - self.began
    }
}

impl Pace {
    /// A transaction is committed `interval` after it was opened, or a little later where commits take longer.
    pub fn new(interval: Duration) -> Self {
        Pace { interval, last: None, most: interval, settling: FIRST_SETTLING }
    }

    /// Notes a commit.
    pub fn committed(&mut self, commit: Commit) {
        // One that was given no time says nothing about how much is enough.
        if self.last.is_none_or(|last| !self.hides(last)) {
            let (least, most) = SETTLING;
            let settling = match commit.overlapped {
                true => self.settling + STEP * SELDOM,
                false => self.settling.saturating_sub(STEP),
            };
            self.settling = settling.clamp(least, most);
        }
        // At least half of the time is left for routing where a commit takes longer than the interval.
        self.most = commit.took().min(self.interval * MOST_INTERVALS).min(MOST).max(self.interval);
        self.last = Some(commit);
    }

    /// Whether a transaction that was opened then is as old as it may become.
    pub fn is_over(&self, opened: Instant, now: Instant) -> bool {
        now >= opened + self.most
    }

    /// From when on a transaction that was opened then is committed for want of input.
    pub fn rested(&self, opened: Instant) -> Instant {
        let rest = self.last.map_or(opened, |last| last.ended + last.took());
        rest.clamp(opened, opened + self.most)
    }

    /// How long is still to be waited before a transaction is opened: so long the markers of the one before are given.
    /// Nothing under load, where the transaction takes longer than librdkafka's second question in any case.
    pub fn settles(&self, now: Instant) -> Duration {
        match self.last {
            Some(last) if !self.hides(last) => (last.ended + self.settling).saturating_duration_since(now),
            _ => Duration::ZERO,
        }
    }

    /// Whether the transaction after this one is taken for one that is longer than librdkafka's second question.
    fn hides(&self, last: Commit) -> bool {
        last.full && self.interval >= 2 * ASKED_AGAIN
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::telemetry::clock::steady_now;

    const MS: Duration = Duration::from_millis(1);

    fn commit(began: Instant, took: Duration, overlapped: bool, full: bool) -> Commit {
        Commit { began, ended: began + took, overlapped, full }
    }

    #[test]
    fn the_first_transaction_is_committed_once_nothing_more_is_there() {
        let (pace, opened) = (Pace::new(100 * MS), steady_now());
        assert_eq!(pace.rested(opened), opened);
        assert_eq!(pace.settles(opened), Duration::ZERO);
    }

    #[test]
    fn a_slow_commit_puts_the_next_one_off_but_not_for_ever() {
        let (mut pace, now) = (Pace::new(100 * MS), steady_now());
        pace.committed(commit(now, 40 * MS, false, false));
        let ended = now + 40 * MS;
        assert_eq!(pace.rested(ended + MS), ended + 40 * MS);
        assert_eq!(pace.rested(ended + 50 * MS), ended + 50 * MS, "it has rested by then");
        pace.committed(commit(now, 4_000 * MS, false, false));
        let opened = now + 4_001 * MS;
        assert_eq!(pace.rested(opened), opened + 400 * MS);
        assert!(pace.is_over(opened, opened + 400 * MS) && !pace.is_over(opened, opened + 399 * MS));
    }

    #[test]
    fn a_transaction_gets_as_old_as_the_interval_or_as_the_last_commit_took() {
        let now = steady_now();
        for (interval, took, most) in
            [(20, 5, 20), (20, 20, 20), (5, 13, 13), (5, 60, 20), (500, 4_000, 1_000), (3_000, 4_000, 3_000)]
        {
            let mut pace = Pace::new(interval * MS);
            assert!(pace.is_over(now, now + interval * MS) && !pace.is_over(now, now + (interval - 1) * MS));
            pace.committed(commit(now, took * MS, false, true));
            assert!(pace.is_over(now, now + most * MS) && !pace.is_over(now, now + (most - 1) * MS), "{interval}");
        }
    }

    #[test]
    fn markers_are_given_time_after_a_commit_but_not_where_a_long_transaction_hides_the_second_question() {
        let now = steady_now();
        let settles = |interval, full| {
            let mut pace = Pace::new(interval);
            pace.committed(commit(now, 5 * MS, false, full));
            pace.settles(now + 5 * MS)
        };
        assert_eq!(settles(100 * MS, false), FIRST_SETTLING - STEP);
        assert_eq!(settles(2 * ASKED_AGAIN - MS, true), FIRST_SETTLING - STEP);
        assert_eq!(settles(2 * ASKED_AGAIN, true), Duration::ZERO);
    }

    #[test]
    fn transactions_under_load_say_nothing_about_how_long_markers_take() {
        let (mut pace, now) = (Pace::new(100 * MS), steady_now());
        (0..50).for_each(|_| pace.committed(commit(now, MS, true, true)));
        let learnt = pace.settling;
        assert!(learnt <= FIRST_SETTLING + STEP * SELDOM, "{learnt:?}");
        pace.committed(commit(now, MS, true, false));
        assert_eq!(pace.settling, learnt, "it began right after a full one");
        pace.committed(commit(now, MS, true, false));
        assert_eq!(pace.settling, learnt + STEP * SELDOM);
    }

    proptest! {
        /// Whatever commits took, one for want of input falls neither into the rest nor behind a few intervals, and not
        /// behind the first where commits are quicker.
        #[test]
        fn commits_are_bounded_from_both_sides(
            interval in 1u64..200,
            commits in proptest::collection::vec((0u64..300_000, any::<bool>(), any::<bool>()), 1..20),
            gap in 0u64..300_000,
        ) {
            let micros = Duration::from_micros;
            let (interval, mut now) = (Duration::from_millis(interval), steady_now());
            let mut pace = Pace::new(interval);
            for (took, overlapped, full) in commits {
                pace.committed(commit(now, micros(took), overlapped, full));
                let ended = now + micros(took);
                let settles = pace.settles(ended);
                prop_assert!(settles <= SETTLING.1 && pace.settles(ended + settles).is_zero());
                let opened = ended + micros(gap);
                let rested = pace.rested(opened);
                prop_assert!(opened <= rested && rested <= opened + interval.max(micros(took)).min(interval * 4));
                prop_assert!(rested >= ended + micros(took) || pace.is_over(opened, rested));
                now = rested;
            }
        }

        /// Plays markers that take between one and three milliseconds.
        #[test]
        fn few_transactions_begin_before_markers_are_written_and_none_waits_for_long(
            markers in proptest::collection::vec(1_000u64..3_000, 4_000)
        ) {
            let (mut pace, mut now) = (Pace::new(20 * MS), steady_now());
            let (mut early, mut most) = (0, Duration::ZERO);
            for markers in &markers {
                let ended = now + 5 * MS;
                let overlapped = pace.settles(now) < Duration::from_micros(*markers);
                pace.committed(commit(now, 5 * MS, overlapped, false));
                early += usize::from(overlapped);
                most = most.max(pace.settles(ended));
                now = ended;
            }
            prop_assert!(early * 50 < markers.len(), "{early} of {} overlapped", markers.len());
            prop_assert!(most < 4 * MS + 50 * STEP, "{most:?}");
        }
    }
}
