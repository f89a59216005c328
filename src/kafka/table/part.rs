//! Which partitions of its topic a table holds, when it does not hold all: those that someone wants.
//!
//! Invariants: a partition is asked only between the moment at which it was read to its end and the one at which it is
//! let go; who looks a key up in a partition that is not held is told so, never that the key is unknown. A partition
//! is let go only when no snapshot is being written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard, RwLock};

use super::NotRestored;
use crate::kafka::partition::partition_of;

/// See the module.
#[derive(Default)]
pub(super) struct Parts {
    /// Partitions of the topic; 0 until that is known.
    count: AtomicI32,
    /// What each owner wants; `None` until anyone wanted something.
    wanted: Mutex<Option<BTreeMap<usize, BTreeSet<i32>>>>,
    /// Those that may be asked.
    served: RwLock<BTreeSet<i32>>,
    /// How often that changed.
    changes: AtomicU64,
    /// Held while partitions are let go, and while a snapshot is written.
    moving: Mutex<()>,
}

impl Parts {
    /// The topic has so many partitions.
    pub(super) fn counted(&self, count: i32) {
        self.count.store(count, Ordering::SeqCst);
    }

    /// Where records of a key are; `None` until the number of partitions is known.
    pub(super) fn home(&self, key: &[u8]) -> Option<i32> {
        let count = self.count.load(Ordering::SeqCst);
        (count > 0).then(|| partition_of(key, count))
    }

    /// An owner needs these partitions from now on, in place of those that it needed.
    pub(super) fn want(&self, owner: usize, partitions: BTreeSet<i32>) {
        self.wanted.lock().get_or_insert_default().insert(owner, partitions);
    }

    /// All that is wanted; `None` until anyone wanted something.
    pub(super) fn wanted(&self) -> Option<BTreeSet<i32>> {
        let count = self.count.load(Ordering::SeqCst);
        let all = |wanted: &BTreeMap<usize, BTreeSet<i32>>| wanted.values().flatten().copied().collect();
        let mut wanted: BTreeSet<i32> = self.wanted.lock().as_ref().map(all)?;
        wanted.retain(|partition| (0..count).contains(partition));
        Some(wanted)
    }

    /// Whether records of this partition find what they need. No key is at home in one that the topic does not have,
    /// so that there is nothing to wait for.
    pub(super) fn serves(&self, partition: i32) -> bool {
        let count = self.count.load(Ordering::SeqCst);
        self.served.read().contains(&partition) || (count > 0 && !(0..count).contains(&partition))
    }

    /// Changes whenever an answer of [`Parts::serves`] does.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// A partition was read to its end; true when that is new.
    pub(super) fn serve(&self, partition: i32) -> bool {
        let is_new = self.served.write().insert(partition);
        if is_new {
            self.changes.fetch_add(1, Ordering::SeqCst);
        }
        is_new
    }

    /// These may not be asked any more. Who is asking meanwhile is waited for.
    pub(super) fn withdraw(&self, gone: impl Fn(i32) -> bool) {
        self.served.write().retain(|partition| !gone(*partition));
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// Looks a key up while its partition is served.
    ///
    /// # Errors
    /// [`NotRestored`] when it is not.
    pub(super) fn asked<R>(&self, key: &[u8], look_up: impl FnOnce() -> R) -> Result<R, NotRestored> {
        let home = self.home(key).ok_or(NotRestored)?;
        let served = self.served.read();
        if served.contains(&home) { Ok(look_up()) } else { Err(NotRestored) }
    }

    /// Keeps partitions from being let go; `None` while that happens, or something else keeps them.
    pub(super) fn try_hold(&self) -> Option<MutexGuard<'_, ()>> {
        self.moving.try_lock()
    }

    /// [`Parts::try_hold`], waiting for it.
    pub(super) fn hold(&self) -> MutexGuard<'_, ()> {
        self.moving.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(of: &[i32]) -> BTreeSet<i32> {
        of.iter().copied().collect()
    }

    #[test]
    fn what_any_owner_wants_is_wanted_and_an_owner_changes_only_its_own() {
        let parts = Parts::default();
        parts.counted(6);
        assert_eq!(parts.wanted(), None);
        parts.want(0, set(&[0, 1]));
        parts.want(1, set(&[1, 2, 99]));
        assert_eq!(parts.wanted(), Some(set(&[0, 1, 2])), "no 99 in the topic");
        parts.want(1, set(&[]));
        assert_eq!(parts.wanted(), Some(set(&[0, 1])));
    }

    #[test]
    fn a_key_is_asked_for_only_while_its_partition_is_served() {
        let parts = Parts::default();
        assert_eq!(parts.asked(b"default/ada", || ()), Err(NotRestored), "nobody knows where it is");
        parts.counted(6);
        let home = parts.home(b"default/ada").unwrap();
        assert_eq!(home, partition_of(b"default/ada", 6));
        assert!(parts.serve((home + 1) % 6));
        assert_eq!(parts.asked(b"default/ada", || ()), Err(NotRestored));
        assert!(parts.serve(home));
        assert!(!parts.serve(home), "it was served before");
        assert_eq!(parts.asked(b"default/ada", || 7), Ok(7));
        let before = parts.changes();
        parts.withdraw(|partition| partition == home);
        assert_ne!(parts.changes(), before);
        assert_eq!(parts.asked(b"default/ada", || ()), Err(NotRestored));
        assert!(parts.serves((home + 1) % 6));
    }

    #[test]
    fn records_of_a_partition_that_the_topic_does_not_have_wait_for_nothing() {
        let parts = Parts::default();
        assert!(!parts.serves(7), "nobody knows yet");
        parts.counted(6);
        assert!(parts.serves(7));
        assert!(!parts.serves(5));
    }

    #[test]
    fn nothing_is_let_go_while_something_holds_it() {
        let parts = Parts::default();
        let hold = parts.hold();
        assert!(parts.try_hold().is_none());
        drop(hold);
        assert!(parts.try_hold().is_some());
    }
}
