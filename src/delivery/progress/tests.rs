use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn restart(progress: &Progress) -> Progress {
    let (position, metadata) = progress.commit();
    Progress::restore(&Committed::decode(position, &metadata).unwrap())
}

#[test]
fn an_untouched_partition_commits_where_it_started() {
    let progress = Progress::restore(&Committed::at(7));
    assert_eq!(progress.commit(), (7, String::new()));
    assert_eq!(progress.uncommitted(), None);
}

#[test]
fn a_partition_that_was_never_seen_has_no_position_until_its_first_record_came() {
    let mut progress = Progress::unseen();
    assert!(!progress.is_known());
    progress.take(500);
    assert!(progress.is_known());
    assert_eq!(progress.commit(), (500, String::new()));
}

#[test]
fn the_position_waits_for_the_lowest_outstanding_record() {
    let mut progress = Progress::restore(&Committed::at(0));
    for offset in 0..3 {
        assert_eq!(progress.take(offset), Take::New);
    }
    progress.complete(1);
    progress.complete(2);
    assert_eq!(progress.position(), 0);
    progress.complete(0);
    assert_eq!(progress.commit(), (3, String::new()));
}

#[test]
fn a_marker_between_records_is_no_gap_in_what_is_done() {
    let mut progress = Progress::restore(&Committed::at(0));
    progress.take(0);
    progress.take(5);
    progress.complete(0);
    assert_eq!(progress.position(), 5, "1 to 4 are markers and never come");
    progress.complete(5);
    assert_eq!(progress.position(), 6);
}

#[test]
fn what_was_completed_beyond_the_position_is_skipped_after_a_restart() {
    let mut progress = Progress::restore(&Committed::at(0));
    for offset in 0..6 {
        progress.take(offset);
    }
    for offset in [1, 2, 4] {
        progress.complete(offset);
    }
    let mut next = restart(&progress);
    let foreseen: Vec<bool> = (0..7).map(|offset| next.is_new(offset)).collect();
    let seen: Vec<Take> = (0..7).map(|offset| next.take(offset)).collect();
    use Take::{Done, New};
    assert_eq!(seen, [New, Done, Done, New, Done, New, New]);
    assert_eq!(foreseen, seen.iter().map(|take| *take == New).collect::<Vec<_>>());
    assert!((0..7).all(|offset| !next.is_new(offset)), "not twice");
}

#[test]
fn what_was_restored_survives_a_second_restart_before_it_was_seen_again() {
    let mut progress = Progress::restore(&Committed::at(0));
    for offset in 0..10 {
        progress.take(offset);
    }
    progress.complete(9);
    let mut second = restart(&progress);
    second.take(0);
    second.complete(0);
    let mut third = restart(&second);
    assert_eq!(third.position(), 1);
    assert_eq!(third.take(1), Take::New);
    assert_eq!(third.take(9), Take::Done);
}

#[test]
fn a_record_that_comes_twice_is_worked_on_once() {
    let mut progress = Progress::restore(&Committed::at(0));
    assert_eq!(progress.take(3), Take::New);
    assert_eq!(progress.take(3), Take::Held);
    assert!(progress.complete(3));
    assert!(!progress.complete(3));
    assert_eq!(progress.take(3), Take::Done);
}

#[test]
fn foreign_or_damaged_metadata_is_told_apart() {
    assert_eq!(Committed::decode(3, "made by hand"), Err(MetadataError::Foreign));
    assert_eq!(Committed::decode(3, "n1:####"), Err(MetadataError::Damaged));
    assert_eq!(Committed::decode(3, "n1:gA"), Err(MetadataError::Damaged), "a varint that does not end");
    assert_eq!(Committed::decode(3, "n1:AAE"), Err(MetadataError::Damaged), "a run that starts at the position");
    assert!(MetadataError::Foreign.to_string().contains("delivered again"));
}

#[test]
fn one_slow_record_does_not_stop_thousands_behind_it() {
    let mut progress = Progress::restore(&Committed::at(0));
    progress.take(0);
    for offset in 1..1_000_000 {
        assert!(progress.may_take(), "{offset}");
        progress.take(offset);
        progress.complete(offset);
    }
}

#[test]
fn taking_stops_before_the_metadata_is_full_in_the_worst_order() {
    let mut progress = Progress::restore(&Committed::at(0));
    let mut offset = 0;
    while progress.may_take() {
        progress.take(offset);
        offset += 1;
    }
    assert!(offset > 1_000, "the limit leaves room for more than a thousand: {offset}");
    for done in (1..offset).step_by(2) {
        progress.complete(done);
        assert!(progress.commit().1.len() <= METADATA_LIMIT);
    }
    progress.complete(0);
    assert!(progress.may_take(), "it goes on when something completes");
}

#[derive(Debug, Clone)]
enum Step {
    /// Take the next record, after a gap of so many offsets.
    Take(u8),
    /// Complete the n-th outstanding one.
    Complete(usize),
    Commit,
    /// Lose what was not committed and start again.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..4).prop_map(Step::Take),
        4 => any::<usize>().prop_map(Step::Complete),
        1 => Just(Step::Commit),
        1 => Just(Step::Crash),
    ]
}

/// A partition's log and a worker without cleverness: sets of offsets.
#[derive(Default)]
struct Oracle {
    /// The offsets that hold records, as far as they were ever read.
    log: Vec<i64>,
    /// How many of `log` the consumer has read in this life.
    read: usize,
    outstanding: BTreeSet<i64>,
    done: BTreeSet<i64>,
    done_committed: BTreeSet<i64>,
}

impl Oracle {
    /// The next record; the log grows when the consumer is at its end.
    fn next(&mut self, gap: u8) -> i64 {
        if self.read == self.log.len() {
            let end = self.log.last().map_or(0, |last| last + 1);
            self.log.push(end + i64::from(gap));
        }
        self.read += 1;
        self.log[self.read - 1]
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_and_nothing_committed_is_done_twice(steps in prop::collection::vec(step(), 1..300)) {
        let mut oracle = Oracle::default();
        let mut progress = Progress::restore(&Committed::at(0));
        let mut stored = (0i64, String::new());
        for step in steps {
            match step {
                Step::Take(gap) => {
                    let offset = oracle.next(gap);
                    let expected = if oracle.done.contains(&offset) { Take::Done } else { Take::New };
                    prop_assert_eq!(progress.take(offset), expected);
                    if expected == Take::New {
                        oracle.outstanding.insert(offset);
                    }
                }
                Step::Complete(n) if !oracle.outstanding.is_empty() => {
                    let offset = *oracle.outstanding.iter().nth(n % oracle.outstanding.len()).unwrap();
                    prop_assert!(progress.complete(offset));
                    oracle.outstanding.remove(&offset);
                    oracle.done.insert(offset);
                }
                Step::Complete(_) => {}
                Step::Commit => {
                    stored = progress.commit();
                    oracle.done_committed = oracle.done.clone();
                }
                Step::Crash => {
                    let committed = Committed::decode(stored.0, &stored.1).unwrap();
                    for offset in &oracle.log {
                        prop_assert_eq!(committed.contains(*offset), oracle.done_committed.contains(offset));
                    }
                    progress = Progress::restore(&committed);
                    oracle.read = oracle.log.partition_point(|offset| *offset < stored.0);
                    oracle.outstanding.clear();
                    oracle.done = oracle.done_committed.clone();
                }
            }
            prop_assert_eq!(progress.outstanding(), oracle.outstanding.len());
            if let Some(lowest) = oracle.outstanding.first() {
                prop_assert_eq!(progress.position(), *lowest);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn metadata_never_outgrows_its_limit(
        steps in prop::collection::vec((0i64..400, any::<bool>(), any::<prop::sample::Index>()), 1..4_000)
    ) {
        let mut progress = Progress::restore(&Committed::at(0));
        let (mut offset, mut held) = (0, Vec::new());
        for (gap, complete, which) in steps {
            if progress.may_take() {
                offset += 1 + gap;
                progress.take(offset);
                held.push(offset);
            } else {
                prop_assert!(progress.commit().1.len() <= METADATA_LIMIT);
            }
            if complete {
                progress.complete(held.swap_remove(which.index(held.len())));
            }
            if held.is_empty() {
                prop_assert_eq!(progress.commit().1, "");
            }
        }
        prop_assert!(progress.commit().1.len() <= METADATA_LIMIT);
    }
}
