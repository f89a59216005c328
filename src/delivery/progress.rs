//! How far one partition has been worked off, when records complete out of order.
//!
//! The committed offset is the lowest one that is still outstanding; what is complete beyond it stands in the
//! commit's metadata as run lengths, so that after a crash nothing is lost and nothing that was committed is done
//! again. Offsets have gaps (transaction markers, aborted records): an offset below the highest one seen that is
//! not outstanding counts as done, because a consumer never goes back to it.
//!
//! Invariant: no I/O; [`Progress::commit`] never yields metadata longer than [`METADATA_LIMIT`] while callers ask
//! [`Progress::may_take`] before they take.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// What a broker takes as metadata of one committed offset (`offset.metadata.max.bytes`), in bytes.
pub const METADATA_LIMIT: usize = 4_096;

/// Names the format, so that a later one can be told apart.
const PREFIX: &str = "n1:";

/// The most a varint of a run length takes, in bytes.
const LONGEST_VARINT: usize = 9;

/// Why committed metadata could not be read; what it said is then unknown, and some calls may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Another program, or a newer version, wrote it.
    #[error(
        "the offset's metadata is not notilog's (it does not start with `{PREFIX}`); completed records beyond the committed offset are unknown and are delivered again"
    )]
    Foreign,
    /// It starts right and does not decode.
    #[error(
        "the offset's metadata is damaged; completed records beyond the committed offset are unknown and are delivered again"
    )]
    Damaged,
}

/// What a group has committed for one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    position: i64,
    /// Completed offsets beyond `position`: rising, apart from each other.
    done: Vec<Range<i64>>,
}

impl Committed {
    /// Nothing is known to be complete at or beyond `position`.
    pub fn at(position: i64) -> Self {
        Committed { position, done: Vec::new() }
    }

    /// Reads an offset and the metadata that was committed with it.
    pub fn decode(position: i64, metadata: &str) -> Result<Self, MetadataError> {
        if metadata.is_empty() {
            return Ok(Committed::at(position));
        }
        let text = metadata.strip_prefix(PREFIX).ok_or(MetadataError::Foreign)?;
        let bytes = STANDARD_NO_PAD.decode(text).map_err(|_| MetadataError::Damaged)?;
        let done = decode_runs(position, &bytes).ok_or(MetadataError::Damaged)?;
        Ok(Committed { position, done })
    }

    /// Whether the record at `offset` was complete when this was committed.
    pub fn contains(&self, offset: i64) -> bool {
        offset < self.position
            || match self.done.partition_point(|run| run.end <= offset) {
                at if at < self.done.len() => self.done[at].contains(&offset),
                _ => false,
            }
    }
}

/// What taking an offset means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// It is outstanding from now on.
    New,
    /// It was completed before; skip it.
    Done,
    /// It was taken before and is outstanding; skip it.
    Held,
}

/// Taken and completed offsets of one partition.
#[derive(Debug, Clone)]
pub struct Progress {
    outstanding: BTreeSet<i64>,
    /// One more than the highest offset seen, or where consumption starts.
    horizon: i64,
    /// Completed before the assignment, at or beyond `horizon`; shrinks as the horizon passes.
    restored: VecDeque<Range<i64>>,
    /// What was committed last, so that nothing new needs no commit.
    committed: Option<(i64, String)>,
    /// Whether the position is known: the group never saw the partition, and nothing was taken yet, when it is not.
    /// Committing a guess could name an offset that the log does not have.
    known: bool,
}

impl Progress {
    /// Goes on where `committed` stands.
    pub fn restore(committed: &Committed) -> Self {
        let mut progress = Progress {
            outstanding: BTreeSet::new(),
            horizon: committed.position,
            restored: committed.done.iter().cloned().collect(),
            committed: None,
            known: true,
        };
        progress.committed = Some(progress.commit());
        progress
    }

    /// Begins with a partition that the group never saw, at whatever record comes first.
    pub fn unseen() -> Self {
        Progress { known: false, ..Progress::restore(&Committed::at(0)) }
    }

    /// Whether there is a position to commit.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// Notes that the record at `offset` was seen, and says whether it is to be worked on.
    pub fn take(&mut self, offset: i64) -> Take {
        if offset < self.horizon {
            return if self.outstanding.contains(&offset) { Take::Held } else { Take::Done };
        }
        while self.restored.front().is_some_and(|run| run.end <= offset) {
            self.restored.pop_front();
        }
        self.horizon = offset + 1;
        self.known = true;
        if self.restored.front().is_some_and(|run| run.contains(&offset)) {
            return Take::Done;
        }
        self.outstanding.insert(offset);
        Take::New
    }

    /// Notes that the record at `offset` is complete. Says false when it was not outstanding.
    pub fn complete(&mut self, offset: i64) -> bool {
        self.outstanding.remove(&offset)
    }

    /// Whether the record at `offset` was taken and is not complete.
    pub fn is_outstanding(&self, offset: i64) -> bool {
        self.outstanding.contains(&offset)
    }

    /// How many taken records are not complete.
    #[cfg(test)]
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// The offset to commit: the lowest outstanding one, or the one after all that was seen or restored as done.
    pub fn position(&self) -> i64 {
        match (self.outstanding.first(), self.restored.front()) {
            (Some(lowest), _) => *lowest,
            (None, Some(run)) if run.contains(&self.horizon) => run.end,
            (None, _) => self.horizon,
        }
    }

    /// Whether one more record may be taken and the metadata still fit, whatever completes in whatever order.
    pub fn may_take(&self) -> bool {
        // The next offset may lie behind a gap of any length: one run more, of the longest form.
        let runs = 2 * (self.outstanding.len() + 1 + self.restored.len()) + 1;
        let end = self.restored.back().map_or(self.horizon, |run| run.end);
        let span = usize::try_from(end.saturating_sub(self.position())).unwrap_or(usize::MAX);
        base64_len(runs_bound(runs, span) + LONGEST_VARINT) + PREFIX.len() <= METADATA_LIMIT
    }

    /// Offset and metadata to commit now.
    pub fn commit(&self) -> (i64, String) {
        let position = self.position();
        let mut runs = Vec::new();
        let mut end_of_last = position;
        for done in self.done_beyond(position) {
            push_varint(&mut runs, done.start.abs_diff(end_of_last));
            push_varint(&mut runs, done.end.abs_diff(done.start));
            end_of_last = done.end;
        }
        let metadata = if runs.is_empty() { String::new() } else { PREFIX.to_owned() + &STANDARD_NO_PAD.encode(runs) };
        (position, metadata)
    }

    /// What [`Progress::commit`] yields, unless that is committed already.
    pub fn uncommitted(&self) -> Option<(i64, String)> {
        let now = self.commit();
        (self.committed.as_ref() != Some(&now)).then_some(now)
    }

    /// Notes that this is what the group now has.
    pub fn set_committed(&mut self, committed: (i64, String)) {
        self.committed = Some(committed);
    }

    /// The runs of completed offsets beyond `position`, rising and apart.
    fn done_beyond(&self, position: i64) -> Vec<Range<i64>> {
        let mut runs: Vec<Range<i64>> = Vec::new();
        let mut push = |run: Range<i64>| match runs.last_mut() {
            _ if run.is_empty() => {}
            Some(last) if last.end >= run.start => last.end = last.end.max(run.end),
            _ => runs.push(run),
        };
        let mut from = position;
        for outstanding in &self.outstanding {
            push(from..*outstanding);
            from = outstanding + 1;
        }
        push(from..self.horizon);
        for run in &self.restored {
            push(run.start.max(self.horizon).max(position)..run.end);
        }
        runs
    }
}

/// An upper bound of the bytes that `runs` varints take whose values sum up to `span`: each run of 128^k or more
/// takes one byte more than one below, and there are at most `span / 128^k` of those.
fn runs_bound(runs: usize, span: usize) -> usize {
    let mut bytes = runs;
    let mut at_least = span >> 7;
    while at_least > 0 {
        bytes += runs.min(at_least);
        at_least >>= 7;
    }
    bytes
}

fn base64_len(bytes: usize) -> usize {
    bytes.saturating_mul(4).div_ceil(3)
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn decode_runs(position: i64, bytes: &[u8]) -> Option<Vec<Range<i64>>> {
    let mut done = Vec::new();
    let mut rest = bytes;
    let mut at = position;
    while !rest.is_empty() {
        let start = at.checked_add(take_varint(&mut rest)?)?;
        let end = start.checked_add(take_varint(&mut rest)?)?;
        // Runs are apart and not empty, else it is not ours.
        if start == at || end == start {
            return None;
        }
        done.push(start..end);
        at = end;
    }
    Some(done)
}

fn take_varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..63).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return i64::try_from(value).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
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
        let seen: Vec<Take> = (0..7).map(|offset| next.take(offset)).collect();
        use Take::{Done, New};
        assert_eq!(seen, [New, Done, Done, New, Done, New, New]);
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
}
