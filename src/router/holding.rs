//! When too much of an input topic goes to the dead letters: one bad producer or deploy must not empty a topic into the
//! DLQ.
//!
//! Pure: `now` is handed in. Counts are of records that were committed, and of those in the open transaction beside
//! them, so that a transaction that is given up counts nothing.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Fewer dead letters than this within the window hold nothing.
pub const LEAST: u64 = 100;
/// A window is counted in so many parts; the oldest is dropped as a whole.
const PARTS: u32 = 20;

/// Records of a topic, and how many of them went to the dead letters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// All of them.
    pub seen: u64,
    /// Those that went to the dead letters.
    pub dead: u64,
}

impl Tally {
    fn note(&mut self, dead: bool) {
        self.seen += 1;
        self.dead += u64::from(dead);
    }

    fn add(&mut self, other: Tally) {
        self.seen += other.seen;
        self.dead += other.dead;
    }
}

/// The last while of one topic.
#[derive(Debug, Default)]
struct Window {
    parts: VecDeque<(Instant, Tally)>,
    /// In the open transaction.
    open: Tally,
}

/// Watches the share of dead letters of each input topic.
#[derive(Debug)]
pub struct Shares {
    percent: u64,
    window: Duration,
    topics: BTreeMap<String, Window>,
}

impl Shares {
    /// Holds a topic when at least `percent` of what came within `window`, and at least [`LEAST`], went to the dead
    /// letters.
    pub fn new(percent: u32, window: Duration) -> Self {
        Shares { percent: u64::from(percent), window, topics: BTreeMap::new() }
    }

    /// Notes a record of the open transaction; the tally of its topic when that is too much.
    pub fn note(&mut self, topic: &str, dead: bool, now: Instant) -> Option<Tally> {
        let window = match self.topics.get_mut(topic) {
            Some(window) => window,
            None => self.topics.entry(topic.to_owned()).or_default(),
        };
        window.open.note(dead);
        // Only a dead letter can make it too much, and the sum is not made for every record that is well.
        if !dead {
            return None;
        }
        let tally = window.tally(now, self.window);
        (tally.dead >= LEAST && tally.dead * 100 >= self.percent * tally.seen).then_some(tally)
    }

    /// The open transaction was committed.
    pub fn committed(&mut self, now: Instant) {
        for window in self.topics.values_mut() {
            window.close(now, self.window);
        }
    }

    /// The open transaction was given up: its records come again.
    pub fn given_up(&mut self) {
        self.topics.values_mut().for_each(|window| window.open = Tally::default());
    }

    /// Begins anew with a topic.
    pub fn forget(&mut self, topic: &str) {
        self.topics.remove(topic);
    }
}

impl Window {
    fn drop_old(&mut self, now: Instant, window: Duration) {
        while self.parts.front().is_some_and(|(begun, _)| now.saturating_duration_since(*begun) > window) {
            self.parts.pop_front();
        }
    }

    fn tally(&mut self, now: Instant, window: Duration) -> Tally {
        self.drop_old(now, window);
        let mut tally = self.open;
        self.parts.iter().for_each(|(_, part)| tally.add(*part));
        tally
    }

    fn close(&mut self, now: Instant, window: Duration) {
        self.drop_old(now, window);
        if self.open == Tally::default() {
            return;
        }
        match self.parts.back_mut() {
            Some((begun, tally)) if now.saturating_duration_since(*begun) < window / PARTS => tally.add(self.open),
            _ => self.parts.push_back((now, self.open)),
        }
        self.open = Tally::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::clock::steady_now;
    use rstest::rstest;

    const WINDOW: Duration = Duration::from_secs(60);

    /// The first tally that is too much, when every `nth` of `count` records is a dead letter.
    fn first_hold(percent: u32, count: u64, nth: u64) -> Option<Tally> {
        let (mut shares, now) = (Shares::new(percent, WINDOW), steady_now());
        (1..=count).find_map(|n| shares.note("t", n % nth == 0, now))
    }

    #[rstest]
    #[case::all_dead(50, 1_000, 1, Some(Tally { seen: 100, dead: 100 }))]
    #[case::every_second(50, 1_000, 2, Some(Tally { seen: 200, dead: 100 }))]
    #[case::every_third(50, 10_000, 3, None)]
    #[case::not_yet_enough(50, 99, 1, None)]
    #[case::a_smaller_share(10, 2_000, 10, Some(Tally { seen: 1_000, dead: 100 }))]
    #[case::only_all(100, 1_000, 2, None)]
    fn a_share_and_at_least_a_hundred_hold_a_topic(
        #[case] percent: u32,
        #[case] count: u64,
        #[case] nth: u64,
        #[case] held: Option<Tally>,
    ) {
        assert_eq!(first_hold(percent, count, nth), held);
    }

    #[test]
    fn what_is_older_than_the_window_does_not_count() {
        let (mut shares, start) = (Shares::new(50, WINDOW), steady_now());
        for second in 0..300 {
            let now = start + Duration::from_secs(second);
            // One dead letter a second: never 100 within a minute.
            assert_eq!(shares.note("t", true, now), None, "after {second} s");
            shares.committed(now);
        }
    }

    #[test]
    fn a_transaction_that_was_given_up_counts_nothing() {
        let (mut shares, now) = (Shares::new(50, WINDOW), steady_now());
        for _ in 0..10 {
            assert!((0..99).all(|_| shares.note("t", true, now).is_none()));
            shares.given_up();
        }
        assert!((0..99).all(|_| shares.note("t", true, now).is_none()));
        shares.committed(now);
        assert_eq!(shares.note("t", true, now), Some(Tally { seen: 100, dead: 100 }));
    }

    #[test]
    fn topics_count_apart_and_a_resumed_one_begins_anew() {
        let (mut shares, now) = (Shares::new(50, WINDOW), steady_now());
        assert!((0..99).all(|_| shares.note("bad", true, now).is_none()));
        assert!((0..99).all(|_| shares.note("other", true, now).is_none()));
        shares.committed(now);
        shares.forget("bad");
        assert_eq!(shares.note("bad", true, now), None);
        assert!(shares.note("other", true, now).is_some());
    }
}
