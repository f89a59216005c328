//! The thread that writes a table's snapshot: now and then, and when the table is stopped. Neither the table's thread
//! nor its readers wait for it, but for the lock of a sixteenth of the table at a time. Before, it moves the rows of the
//! snapshot that the table began with into memory of their own.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Header, Identity, Store};
use crate::kafka::table::Shared;
use crate::kafka::table::part::Parts;
use crate::kafka::table::rows::Moving;
use crate::model::Timestamp;
use crate::telemetry::clock::{Clock, steady_now};
use crate::telemetry::metrics::table_snapshots;

/// How soon after its restore a table without a snapshot gets one, at the latest.
const NAP: Duration = Duration::from_millis(100);

/// What is written, where and how often.
pub(in crate::kafka::table) struct Keeper {
    pub(in crate::kafka::table) shared: Arc<Shared>,
    pub(in crate::kafka::table) store: Store,
    /// What metrics call the table.
    pub(in crate::kafka::table) name: String,
    pub(in crate::kafka::table) identity: Identity,
    pub(in crate::kafka::table) interval: Duration,
    /// The topic's `delete.retention.ms`.
    pub(in crate::kafka::table) retention: Duration,
    pub(in crate::kafka::table) clock: Clock,
    /// The offsets and the moment of the snapshot that lies there.
    pub(in crate::kafka::table) last: Option<(Vec<Option<i64>>, Timestamp)>,
    /// As long as the table may have rows in the snapshot that it began with.
    pub(in crate::kafka::table) moving: Option<Moving>,
}

/// A keeper at work.
pub(in crate::kafka::table) struct Kept {
    thread: JoinHandle<()>,
    finish: Sender<Last>,
}

/// Whether a stopping table is written once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Write,
    Leave,
}

impl Kept {
    /// Ends the thread; a table that ended `well` is written once more.
    pub(in crate::kafka::table) fn finish(self, well: bool) {
        // The thread is gone only if it panicked.
        let _ = self.finish.send(if well { Last::Write } else { Last::Leave });
        let _ = self.thread.join();
    }
}

impl Keeper {
    pub(in crate::kafka::table) fn start(self) -> std::io::Result<Kept> {
        let (finish, told) = channel();
        let thread = std::thread::Builder::new().name("table-snapshot".to_owned()).spawn(move || self.run(&told))?;
        Ok(Kept { thread, finish })
    }

    fn run(mut self, told: &Receiver<Last>) {
        // A table that was read from the topic gets a snapshot at once, in place of one that was not trusted.
        let mut due = steady_now() + if self.last.is_some() { self.interval } else { Duration::ZERO };
        loop {
            let may_move = self.moving.is_some() && self.shared.progress.is_restored();
            match told.recv_timeout(if may_move { Duration::ZERO } else { NAP }) {
                Ok(Last::Write) => return self.keep(),
                Ok(Last::Leave) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if may_move {
                self.move_some_in();
            } else if steady_now() >= due && self.shared.progress.is_restored() {
                self.keep();
                due = steady_now() + self.interval;
            }
        }
    }

    /// Goes on letting go of the snapshot that the table began with: what is erased must not stay in a file that was replaced,
    /// nor a failing disk be able to end the process.
    fn move_some_in(&mut self) {
        let Some(moving) = &mut self.moving else { return };
        if !self.shared.rows.move_in(moving) {
            self.moving = None;
            if !self.shared.rows.is_damaged() {
                tracing::debug!(topic = %self.identity.topic, "nothing of the table lies in its snapshot any more");
            }
        }
    }

    /// What the topic held at this moment was applied, or is at one of the positions that are asked for now, or after it.
    fn as_of(&self) -> Timestamp {
        self.clock.now().minus(self.shared.progress.behind())
    }

    /// Whether the last one holds what is known, and is young enough.
    fn last_does(&self) -> bool {
        let as_of = self.as_of();
        let is_young = |of: &Timestamp| as_of.since(*of) <= self.retention / 8;
        self.last.as_ref().is_some_and(|(kept, of)| *kept == *self.shared.positions.lock() && is_young(of))
    }

    /// Writes a snapshot if the table is restored and the last one does not do.
    fn keep(&mut self) {
        if !self.shared.progress.is_restored() || self.last_does() {
            return;
        }
        while self.moving.is_some() {
            self.move_some_in();
        }
        if self.shared.rows.is_damaged() {
            return;
        }
        // What is let go while rows are laid down would be missing among them.
        let shared = Arc::clone(&self.shared);
        let _held = shared.parts.as_ref().map(Parts::hold);
        // In this order: whatever the topic held at that moment was applied, or is at one of these offsets or after it;
        // and what is below them is in the rows that are laid down from here on.
        let as_of = self.as_of();
        let next = self.shared.positions.lock().clone();
        let (rows, seed) = (self.shared.rows.rows() as u64, self.shared.rows.seed());
        let header = Header { identity: self.identity.clone(), as_of, next, rows, seed };
        let (topic, begun) = (&self.identity.topic, steady_now());
        match self.store.write(&header, &self.shared.rows) {
            Ok(None) => tracing::debug!(topic, "another process writes the table's snapshot"),
            Ok(Some(bytes)) => {
                tracing::info!(topic, rows, bytes, took = ?begun.elapsed(), "the table's snapshot was written");
                table_snapshots(&self.name, "written").increment(1);
                self.last = Some((header.next, as_of));
            }
            Err(error) => {
                tracing::warn!(topic, %error, "the table's snapshot cannot be written; see state.dir in the configuration");
                table_snapshots(&self.name, "failed").increment(1);
            }
        }
    }
}
