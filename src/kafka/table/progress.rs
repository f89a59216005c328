//! How far a table is: written by its threads, read by everyone.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Origin, TableState};
use crate::telemetry::clock::steady_now;

/// Stands for "no moment".
const NEVER: i64 = -1;
/// The log end may stay unknown for so long before the table counts as behind: it may be, and nobody can tell.
const UNKNOWN_END: Duration = Duration::from_secs(5);

pub(super) struct Progress {
    started: Instant,
    restored: AtomicBool,
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

    pub(super) fn is_restored(&self) -> bool {
        self.restored.load(Ordering::Acquire)
    }

    pub(super) fn restored(&self) {
        self.restored.store(true, Ordering::Release);
    }

    /// What there is to read, as offsets; starts the count anew.
    pub(super) fn expect(&self, total: u64) {
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// So many of them are left.
    pub(super) fn left(&self, left: u64) {
        self.done.store(self.total.load(Ordering::Relaxed).saturating_sub(left), Ordering::Relaxed);
    }

    pub(super) fn record(&self) {
        // The table's thread is the only one that counts.
        self.records.store(self.records.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use super::*;

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
