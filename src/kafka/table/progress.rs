//! How far a table is: written by its threads, read by everyone.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Origin, TableState};
use crate::telemetry::clock::steady_now;
use crate::telemetry::faults::{self, Breakage};

/// Stands for "no moment".
const NEVER: i64 = -1;
/// The log end may stay unknown for so long before the table counts as behind: it may be, and nobody can tell.
const UNKNOWN_END: Duration = Duration::from_secs(5);

pub(super) struct Progress {
    started: Instant,
    restored: AtomicBool,
    /// How often the table was begun anew.
    generation: AtomicU64,
    /// Milliseconds after `started`, when `total` was known.
    expected: AtomicI64,
    done: AtomicU64,
    total: AtomicU64,
    records: AtomicU64,
    /// Milliseconds after `started`.
    behind_since: AtomicI64,
    /// Milliseconds after `started`.
    end_known: AtomicI64,
    failed: Mutex<Option<String>>,
    origin: Mutex<Origin>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Progress {
            started: steady_now(),
            restored: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            expected: AtomicI64::new(0),
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            records: AtomicU64::new(0),
            behind_since: AtomicI64::new(NEVER),
            end_known: AtomicI64::new(NEVER),
            failed: Mutex::new(None),
            origin: Mutex::new(Origin::Unknown),
        }
    }

    pub(super) fn state(&self) -> TableState {
        if let Some(why) = self.failed.lock().clone() {
            return TableState::Failed(why);
        }
        if !self.is_restored() {
            let (done, total) = (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
            return TableState::Restoring { done: done.min(total), total };
        }
        TableState::Live { behind: self.behind() }
    }

    pub(super) fn behind(&self) -> Duration {
        let since = |moment: &AtomicI64| match moment.load(Ordering::Relaxed) {
            NEVER => Duration::ZERO,
            since => self.started.elapsed().saturating_sub(Duration::from_millis(since.unsigned_abs())),
        };
        let (behind, unknown) = (since(&self.behind_since), since(&self.end_known));
        if unknown > UNKNOWN_END { behind.max(unknown) } else { behind }
    }

    /// Whether the table may be asked: the only place that says so.
    pub(super) fn is_restored(&self) -> bool {
        self.restored.load(Ordering::Acquire) || faults::broken(Breakage::UnrestoredTable)
    }

    pub(super) fn restored(&self) {
        self.restored.store(true, Ordering::Release);
    }

    /// The table is begun anew: from here on nobody may ask it, and who asked meanwhile finds another generation.
    pub(super) fn begin_anew(&self) {
        self.restored.store(false, Ordering::SeqCst);
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.behind_since(None);
        self.begins(Origin::Unknown);
        self.expect(0);
    }

    /// Parts of the topic are restored in addition; those that are held may be asked meanwhile.
    pub(super) fn restores_more(&self) {
        self.restored.store(false, Ordering::SeqCst);
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// What there is to read, as offsets; starts the count anew.
    pub(super) fn expect(&self, total: u64) {
        self.expected.store(self.millis(steady_now()), Ordering::Relaxed);
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// So many of them are left.
    pub(super) fn left(&self, left: u64) {
        self.done.store(self.total.load(Ordering::Relaxed).saturating_sub(left), Ordering::Relaxed);
    }

    pub(super) fn add_records(&self, count: u64) {
        // The table's thread is the only one that counts.
        self.records.store(self.records.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }

    pub(super) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Since when some partition has been behind its end.
    pub(super) fn behind_since(&self, moment: Option<Instant>) {
        self.behind_since.store(moment.map_or(NEVER, |moment| self.millis(moment)), Ordering::Relaxed);
    }

    /// Where the log ends was known at this moment.
    pub(super) fn end_known(&self, moment: Instant) {
        self.end_known.store(self.millis(moment), Ordering::Relaxed);
    }

    fn millis(&self, moment: Instant) -> i64 {
        i64::try_from(moment.saturating_duration_since(self.started).as_millis()).unwrap_or(i64::MAX)
    }

    pub(super) fn fail(&self, why: String) {
        *self.failed.lock() = Some(why);
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin.lock().clone()
    }

    pub(super) fn begins(&self, origin: Origin) {
        *self.origin.lock() = origin;
    }

    /// How far the restore is, in words; `None` when it is over.
    pub(super) fn report(&self) -> Option<Report> {
        let TableState::Restoring { done, total } = self.state() else { return None };
        let expected = Duration::from_millis(self.expected.load(Ordering::Relaxed).unsigned_abs());
        Some(Report { origin: self.origin(), done, total, took: self.started.elapsed().saturating_sub(expected) })
    }

    /// 0 to 1.
    pub(super) fn ratio(&self) -> f64 {
        match self.state() {
            TableState::Live { .. } => 1.0,
            TableState::Failed(_) | TableState::Restoring { total: 0, .. } => 0.0,
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            TableState::Restoring { done, total } => done as f64 / total as f64,
        }
    }
}

/// How far a restore is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What is read.
    pub origin: Origin,
    /// Rows of the snapshot, or offsets of the topic, that were passed.
    pub done: u64,
    /// How many there are, at most.
    pub total: u64,
    /// How long that took.
    pub took: Duration,
}

impl Report {
    /// Records per second; 0 while it only just began.
    pub fn per_second(&self) -> u64 {
        let millis = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX);
        if millis < 100 { 0 } else { self.done.saturating_mul(1_000) / millis }
    }

    /// How long the rest takes at that rate.
    pub fn left(&self) -> Option<Duration> {
        let rate = self.per_second();
        (rate > 0).then(|| Duration::from_secs(self.total.saturating_sub(self.done).div_ceil(rate)))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { done, total, .. } = self;
        match &self.origin {
            Origin::Unknown => return f.write_str("waiting for Kafka"),
            Origin::Topic => write!(f, "{done} of at most {total} records of its topic read")?,
            Origin::Snapshot { as_of } => {
                write!(f, "from its snapshot of {as_of}: {done} of at most {total} records read")?
            }
        }
        match self.left() {
            Some(left) => write!(f, ", {} a second, {} s left", self.per_second(), left.as_secs()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn a_restore_says_what_it_reads_how_fast_and_how_long_that_will_take() {
        let report =
            |origin, took| Report { origin, done: 400_000, total: 1_000_000, took: Duration::from_millis(took) };
        assert_eq!(report(Origin::Unknown, 5_000).to_string(), "waiting for Kafka");
        assert_eq!(
            report(Origin::Topic, 2_000).to_string(),
            "400000 of at most 1000000 records of its topic read, 200000 a second, 3 s left"
        );
        let as_of = Timestamp(1_763_900_000_000);
        assert_eq!(
            report(Origin::Snapshot { as_of }, 50).to_string(),
            "from its snapshot of 2025-11-23T12:13:20.000Z: 400000 of at most 1000000 records read"
        );
    }

    #[test]
    fn a_table_that_is_begun_anew_is_not_to_be_asked_and_is_another() {
        let progress = Progress::new();
        progress.restored();
        let before = progress.generation();
        progress.begin_anew();
        assert!(!progress.is_restored());
        assert_ne!(progress.generation(), before);
        assert_eq!(progress.state(), TableState::Restoring { done: 0, total: 0 });
    }

    #[test]
    fn a_table_whose_log_end_nobody_could_ask_for_a_while_counts_as_behind() {
        let progress = Progress::new();
        progress.restored();
        assert_eq!(progress.state(), TableState::Live { behind: Duration::ZERO });
        let long_ago = Progress { started: steady_now() - Duration::from_secs(60), ..Progress::new() };
        long_ago.restored();
        long_ago.end_known(long_ago.started + Duration::from_secs(57));
        assert_eq!(long_ago.state(), TableState::Live { behind: Duration::ZERO });
        long_ago.end_known(long_ago.started + Duration::from_secs(50));
        assert!(matches!(long_ago.state(), TableState::Live { behind } if behind >= Duration::from_secs(10)));
    }
}
