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

    /// Whether [`Progress::take`] would say [`Take::New`].
    pub fn is_new(&self, offset: i64) -> bool {
        let mut done = self.restored.iter().take_while(|run| run.start <= offset);
        offset >= self.horizon && !done.any(|run| run.contains(&offset))
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
mod tests;
