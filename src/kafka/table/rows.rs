//! All rows of a table: shards, each behind a lock of its own, so that readers meet the writer rarely. Knows no Kafka.
//!
//! Memory is at most 1.1 × (bytes of keys and values + 48 B a key) from some tens of thousands of rows on, whatever was
//! rewritten before; `tests/memory.rs` measures it at the allocator. Below that each shard's open chunk shows: half a
//! MiB in all.

use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::DefaultHashBuilder;
use parking_lot::RwLock;

use super::Entry;
use super::arena::Full;
use super::row::Row;
use super::shard::{Change, Shard};

/// Writers lock one of so many; a power of two.
pub(super) const SHARDS: usize = 256;

/// The newest record of each key, in memory.
pub struct Rows {
    shards: Vec<RwLock<Shard>>,
    hasher: DefaultHashBuilder,
    rows: AtomicUsize,
    raw: AtomicUsize,
}

impl Default for Rows {
    fn default() -> Self {
        Rows {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            hasher: DefaultHashBuilder::default(),
            rows: AtomicUsize::new(0),
            raw: AtomicUsize::new(0),
        }
    }
}

impl Rows {
    /// Takes a record (no value: a tombstone), unless what is known of its key is as new or newer. `timestamp` is the
    /// record's, in milliseconds since 1970.
    ///
    /// # Errors
    /// [`Full`], and nothing changed.
    pub fn put(
        &self,
        key: &[u8],
        value: Option<&[u8]>,
        partition: i32,
        offset: i64,
        timestamp: i64,
    ) -> Result<(), Full> {
        self.put_row(&Row { partition, offset, timestamp, key, value })
    }

    pub(super) fn put_row(&self, row: &Row<'_>) -> Result<(), Full> {
        let hash = self.hasher.hash_one(row.key);
        let change = self.shard(hash).write().put(&self.hasher, hash, row)?;
        match change {
            Change::Stale => {}
            Change::Added => {
                self.rows.fetch_add(1, Ordering::Relaxed);
                self.raw.fetch_add(row.raw(), Ordering::Relaxed);
            }
            Change::Replaced { raw } => {
                // Wraps where the new row is the smaller one, and the sum is right all the same.
                self.raw.fetch_add(row.raw().wrapping_sub(raw), Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Hands what is known of `key` to `read`, under a lock that only writers of the same shard wait for.
    pub fn get<R>(&self, key: &[u8], read: impl FnOnce(Entry<'_>) -> R) -> R {
        let hash = self.hasher.hash_one(key);
        let shard = self.shard(hash).read();
        read(match shard.get(hash, key) {
            None => Entry::Absent,
            Some(Row { value: None, partition, offset, .. }) => Entry::Erased { partition, offset },
            Some(Row { value: Some(value), partition, offset, .. }) => Entry::Present { value, partition, offset },
        })
    }

    /// Forgets the keys of one shard that were erased before `moment` (milliseconds since 1970); returns how many.
    pub fn forget_erased(&self, shard: usize, moment: i64) -> usize {
        let (forgotten, raw) = self.shards[shard % SHARDS].write().forget_erased(&self.hasher, moment);
        self.rows.fetch_sub(forgotten, Ordering::Relaxed);
        self.raw.fetch_sub(raw, Ordering::Relaxed);
        forgotten
    }

    /// Forgets the rows that are not to be kept.
    pub(super) fn retain(&self, keep: impl Fn(&Row<'_>) -> bool) {
        for shard in &self.shards {
            let (forgotten, raw) = shard.write().retain(&self.hasher, &keep);
            self.rows.fetch_sub(forgotten, Ordering::Relaxed);
            self.raw.fetch_sub(raw, Ordering::Relaxed);
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            *shard.write() = Shard::default();
        }
        self.rows.store(0, Ordering::Relaxed);
        self.raw.store(0, Ordering::Relaxed);
    }

    /// Adds the bytes of every row of one shard to `out`, as [`Row::at`] reads them; returns how many rows.
    pub(super) fn lay_shard(&self, shard: usize, out: &mut Vec<u8>) -> usize {
        self.shards.get(shard).map_or(0, |shard| shard.read().lay_all(out))
    }

    /// Keys, erased ones that are still remembered included.
    pub fn rows(&self) -> usize {
        self.rows.load(Ordering::Relaxed)
    }

    /// Bytes of keys and values as the topic has them.
    pub fn raw_bytes(&self) -> usize {
        self.raw.load(Ordering::Relaxed)
    }

    /// Bytes of memory: rows, index, what is dead and not yet used, and what the allocator adds.
    pub fn memory(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().memory() + size_of::<RwLock<()>>()).sum()
    }

    fn shard(&self, hash: u64) -> &RwLock<Shard> {
        // The index within a shard uses the low bits, its tags the high seven: take bits between.
        &self.shards[(hash >> 40) as usize % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn found(rows: &Rows, key: &[u8]) -> Option<(Option<Vec<u8>>, i64)> {
        rows.get(key, |entry| match entry {
            Entry::Absent => None,
            Entry::Erased { offset, .. } => Some((None, offset)),
            Entry::Present { value, offset, .. } => Some((Some(value.to_vec()), offset)),
        })
    }

    #[test]
    fn the_newest_value_of_a_key_is_found_with_where_it_stands() {
        let rows = Rows::default();
        rows.put(b"default/ada", Some(b"one"), 3, 10, 1).unwrap();
        rows.put(b"default/ada", Some(b"three"), 3, 12, 2).unwrap();
        rows.get(b"default/ada", |entry| {
            assert_eq!(entry, Entry::Present { value: b"three", partition: 3, offset: 12 });
        });
        rows.get(b"default/bob", |entry| assert_eq!(entry, Entry::Absent));
        assert_eq!((rows.rows(), rows.raw_bytes()), (1, 11 + 5));
    }

    #[test]
    fn an_erased_key_is_remembered_as_erased_and_its_value_is_nowhere_in_memory() {
        let rows = Rows::default();
        rows.put(b"k", Some(b"secret"), 0, 1, 1).unwrap();
        rows.put(b"k", None, 0, 2, 2).unwrap();
        rows.get(b"k", |entry| assert_eq!(entry, Entry::Erased { partition: 0, offset: 2 }));
        assert_eq!(rows.raw_bytes(), 1);
        let shard = rows.shard(rows.hasher.hash_one(&b"k"[..])).read();
        assert!(!shard.contains(b"secret"));
    }

    #[test]
    fn an_erase_is_forgotten_when_its_time_is_over_and_values_stay() {
        let rows = Rows::default();
        rows.put(b"old", None, 0, 1, 1_000).unwrap();
        rows.put(b"young", None, 0, 2, 5_000).unwrap();
        rows.put(b"value", Some(b"v"), 0, 3, 1_000).unwrap();
        assert_eq!((0..SHARDS).map(|shard| rows.forget_erased(shard, 5_000)).sum::<usize>(), 1);
        assert_eq!(found(&rows, b"old"), None);
        assert_eq!(found(&rows, b"young"), Some((None, 2)));
        assert_eq!(found(&rows, b"value"), Some((Some(b"v".to_vec()), 3)));
        assert_eq!((rows.rows(), rows.raw_bytes()), (2, 5 + 6));
    }

    #[test]
    fn a_record_that_was_read_before_changes_nothing() {
        let rows = Rows::default();
        rows.put(b"k", Some(b"new"), 0, 7, 70).unwrap();
        rows.put(b"k", Some(b"old"), 0, 5, 50).unwrap();
        rows.put(b"k", None, 0, 6, 60).unwrap();
        assert_eq!(found(&rows, b"k"), Some((Some(b"new".to_vec()), 7)));
    }

    #[test]
    fn a_key_that_moved_to_an_added_partition_counts_by_its_newest_record_in_either_order() {
        let (old, new) = ((0, 900, 50), (4, 3, 60));
        for order in [[old, new], [new, old]] {
            let rows = Rows::default();
            for (partition, offset, timestamp) in order {
                rows.put(b"k", Some(&[u8::try_from(partition).unwrap()]), partition, offset, timestamp).unwrap();
            }
            assert_eq!(found(&rows, b"k"), Some((Some(vec![4]), 3)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Against a map, with few keys, many sizes, and values that do not fit a chunk.
        #[test]
        fn it_holds_what_a_map_would_hold(
            steps in proptest::collection::vec((0u8..40, proptest::option::weighted(0.8, (any::<u8>(), 0usize..9_000))), 1..600),
        ) {
            let (rows, mut map) = (Rows::default(), HashMap::new());
            for (offset, (key, value)) in steps.into_iter().enumerate() {
                let value = value.map(|(byte, length)| vec![byte; length]);
                let offset = i64::try_from(offset).unwrap();
                rows.put(&[key], value.as_deref(), 0, offset, offset).unwrap();
                map.insert(key, (value, offset));
            }
            let raw: usize = map.values().map(|(value, _)| 1 + value.as_ref().map_or(0, Vec::len)).sum();
            prop_assert_eq!((rows.rows(), rows.raw_bytes()), (map.len(), raw));
            for (key, expected) in map {
                prop_assert_eq!(found(&rows, &[key]), Some(expected));
            }
        }
    }

    #[test]
    fn rewriting_keys_in_any_order_leaves_every_row_and_little_that_is_dead() {
        let rows = Rows::default();
        let keys = 20_000u64;
        let size = |key: u64, round: u64| usize::try_from(150 + (key * 7 + round * 31) % 100).unwrap();
        for round in 0..20u64 {
            for n in 0..keys {
                // Coprime strides: another order in each round.
                let key = (n * (2 * round + 7_919)) % keys;
                let offset = i64::try_from(round * keys + n).unwrap();
                let value = vec![u8::try_from(round).unwrap(); size(key, round)];
                rows.put(&key.to_be_bytes(), Some(&value), 0, offset, 0).unwrap();
            }
        }
        assert_eq!(rows.rows() as u64, keys);
        for key in 0..keys {
            let (value, _) = found(&rows, &key.to_be_bytes()).unwrap();
            assert_eq!(value.unwrap(), vec![19; size(key, 19)]);
        }
        let bound = (rows.raw_bytes() + 48 * rows.rows()) * 11 / 10 + (512 << 10);
        assert!(rows.memory() <= bound, "{} is more than {bound}", rows.memory());
    }
}
