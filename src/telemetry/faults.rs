//! Named points at which a test makes this process fail, and deliberate breakages that a test must notice.
//!
//! Invariant: only builds with the feature `failpoints` have any of it; in all others both functions are empty and
//! none of the names is in the program (`tests/failpoints.rs`). A process is told by the environment variable
//! `FAILPOINTS`, which the crate `fail` reads: `txn.offsets_sent=41*off->return(kill)` ends it by SIGKILL at the 42nd
//! pass. Besides the actions of `fail` (`sleep(ms)`, `panic`, …) there are `return(kill)`, `return(stop)` and
//! `return(term)`, a signal to itself at the point, `return(kill-soon)`, within a few milliseconds from another thread,
//! while what follows the point is under way, and `mutation.<name>=return`, which switches a breakage on.

/// Where a process can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// A transaction was begun and holds nothing.
    Begun,
    /// A record was handed to librdkafka.
    MidProduce,
    /// Every record is acknowledged; no offsets are in the transaction.
    Drained,
    /// The offsets are in the transaction.
    OffsetsSent,
    /// The transaction is committed; nobody was told.
    Committed,
    /// An abort is about to be asked for.
    Aborting,
    /// The transaction is aborted; the input is not rewound.
    Aborted,
    /// The input is about to be rewound.
    Rewinding,
    /// Partitions are about to be taken over.
    Assigned,
    /// Partitions are about to be given back.
    Revoked,
    /// A record was read into a table that is not restored.
    Restoring,
    /// A snapshot is written in part.
    SnapshotWriting,
    /// A snapshot is whole, and about to replace the last one.
    SnapshotWritten,
    /// A provider answered; nobody was told.
    Answered,
}

/// What can be broken on purpose, to see which test notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breakage {
    /// Producers are not transactional; offsets are committed beside them.
    NoTransactionalId,
    /// Aborted input is read.
    ReadUncommitted,
    /// The offset of the last record is committed, not that of the next.
    OffsetOfLast,
    /// After an abort the input is not rewound.
    NoRewind,
    /// A producer whose last result is unknown is used again.
    ReuseAfterUnknown,
    /// A table is used before it is restored.
    UnrestoredTable,
    /// A snapshot's checksum is not looked at.
    SnapshotChecksum,
    /// A snapshot's age is not looked at.
    SnapshotAge,
    /// A fenced producer takes its transactional id back.
    RetakeAfterFence,
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use super::{Breakage, Point};

    /// A kill from another thread comes within this.
    const SOON_MICROS: u64 = 4_000;

    impl Point {
        /// Every point, in the order of the type.
        pub const ALL: [Point; 14] = [
            Point::Begun,
            Point::MidProduce,
            Point::Drained,
            Point::OffsetsSent,
            Point::Committed,
            Point::Aborting,
            Point::Aborted,
            Point::Rewinding,
            Point::Assigned,
            Point::Revoked,
            Point::Restoring,
            Point::SnapshotWriting,
            Point::SnapshotWritten,
            Point::Answered,
        ];

        /// Its name in `FAILPOINTS`.
        pub const fn name(self) -> &'static str {
            match self {
                Point::Begun => "txn.begun",
                Point::MidProduce => "txn.mid_produce",
                Point::Drained => "txn.drained",
                Point::OffsetsSent => "txn.offsets_sent",
                Point::Committed => "txn.committed",
                Point::Aborting => "txn.aborting",
                Point::Aborted => "txn.aborted",
                Point::Rewinding => "consumer.rewinding",
                Point::Assigned => "consumer.assigned",
                Point::Revoked => "consumer.revoked",
                Point::Restoring => "table.restoring",
                Point::SnapshotWriting => "table.snapshot_writing",
                Point::SnapshotWritten => "table.snapshot_written",
                Point::Answered => "delivery.answered",
            }
        }
    }

    impl Breakage {
        /// Every breakage, in the order of the type.
        pub const ALL: [Breakage; 9] = [
            Breakage::NoTransactionalId,
            Breakage::ReadUncommitted,
            Breakage::OffsetOfLast,
            Breakage::NoRewind,
            Breakage::ReuseAfterUnknown,
            Breakage::UnrestoredTable,
            Breakage::SnapshotChecksum,
            Breakage::SnapshotAge,
            Breakage::RetakeAfterFence,
        ];

        /// Its name in `FAILPOINTS`.
        pub const fn name(self) -> &'static str {
            match self {
                Breakage::NoTransactionalId => "mutation.no_transactional_id",
                Breakage::ReadUncommitted => "mutation.read_uncommitted",
                Breakage::OffsetOfLast => "mutation.offset_of_last",
                Breakage::NoRewind => "mutation.no_rewind",
                Breakage::ReuseAfterUnknown => "mutation.reuse_after_unknown",
                Breakage::UnrestoredTable => "mutation.unrestored_table",
                Breakage::SnapshotChecksum => "mutation.snapshot_checksum",
                Breakage::SnapshotAge => "mutation.snapshot_age",
                Breakage::RetakeAfterFence => "mutation.retake_after_fence",
            }
        }
    }

    fn told(name: &str) -> Option<String> {
        fail::fail_point!(name, |argument| Some(argument.unwrap_or_default()));
        None
    }

    /// Reads `FAILPOINTS`; to be called once, before anything else.
    ///
    /// # Panics
    /// When it cannot be read, or names what is neither a point nor a breakage: a test would show nothing.
    pub fn arm() {
        // Armed for the life of the process.
        std::mem::forget(fail::FailScenario::setup());
        for (name, action) in fail::list() {
            let known = Point::ALL.iter().any(|point| point.name() == name)
                || Breakage::ALL.iter().any(|breakage| breakage.name() == name);
            assert!(known, "FAILPOINTS names `{name}`, and there is no such point");
            eprintln!("failpoint {name} is armed: {action}");
        }
    }

    /// Passes a point.
    pub fn at(point: Point) {
        let Some(action) = told(point.name()) else { return };
        match action.as_str() {
            "kill" => send(Signal::KILL, point),
            "stop" => send(Signal::STOP, point),
            "term" => send(Signal::TERM, point),
            "kill-soon" => {
                let wait = Duration::from_micros(u64::from(std::process::id()) * 7_919 % SOON_MICROS);
                std::thread::spawn(move || {
                    std::thread::sleep(wait);
                    send(Signal::KILL, point);
                });
            }
            other => panic!("the point {} knows no action `{other}`", point.name()),
        }
    }

    /// Whether this process is to be broken so.
    pub fn broken(breakage: Breakage) -> bool {
        told(breakage.name()).is_some()
    }

    /// A signal to this process; one that ends or stops it has done so when this returns.
    fn send(signal: Signal, point: Point) {
        eprintln!("{signal:?} at {}", point.name());
        kill_process(getpid(), signal).expect("a process may signal itself");
        if signal != Signal::TERM {
            // It may take effect on another thread first, and on this one a moment later.
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[cfg(feature = "failpoints")]
pub use armed::{arm, at, broken};

/// See the module: in this build there are no points.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn arm() {}

/// See the module: in this build nothing happens at a point.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn at(_: Point) {}

/// See the module: in this build nothing is broken.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub const fn broken(_: Breakage) -> bool {
    false
}
