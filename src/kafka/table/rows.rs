//! All rows of a table: shards, some of which share a lock, so that readers meet the writer rarely and the writer takes
//! few locks. Knows no Kafka.
//!
//! Once restored, memory is at most 1.1 × (bytes of keys and values + 48 B a key) from some tens of thousands of rows on,
//! whatever was rewritten before; `tests/memory.rs` measures it at the allocator. Below that the
//! open chunks show: half a MiB in all.

use std::hint::black_box;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::Mmap;
use parking_lot::{RwLock, RwLockWriteGuard};
use rayon::prelude::*;
use smallvec::SmallVec;

use super::Entry;
use super::arena::Full;
use super::block::{Block, Unput};
use super::hashing::Hashing;
use super::row::{CACHE_LINE, Row};
pub(super) use super::shard::SHARDS;
use super::shard::{Change, LOCKS, Shards, shard_of};

/// So many records one thread takes no slower than several.
const ALONE: usize = 512;

/// More are seldom looked at ahead at once.
const USUAL_KEYS: usize = 32;

/// Room is made for at most so many rows before they come (40 MB): a log may have many records of each key.
const MOST_EXPECTED: u64 = 1 << 22;

/// The newest record of each key, in memory.
pub struct Rows {
    shards: [RwLock<Shards>; LOCKS],
    /// Drawn when first needed, unless it was [adopted](Rows::adopt) before.
    hashing: OnceLock<Hashing>,
    rows: AtomicUsize,
    raw: AtomicUsize,
}

impl Default for Rows {
    fn default() -> Self {
        Rows {
            shards: Default::default(),
            hashing: OnceLock::new(),
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

    fn put_row(&self, row: &Row<'_>) -> Result<(), Full> {
        let hashing = self.hashing();
        let hash = hashing.of(row.key);
        let change = self.lock_of(hash).write().put(hashing, hash, row)?;
        self.count(Tally::default().and(change, row));
        Ok(())
    }

    /// Takes records as [`Rows::put`] takes each, those of one key in order, on as many threads of the pool that it is called
    /// in as find something to do.
    ///
    /// What is looked at is seldom in the processor's caches: neither a record that another thread wrote nor its place in
    /// the index. Record by record the processor waits for each; step by step for many at once.
    ///
    /// # Errors
    /// [`Full`]; some of them were taken.
    pub(super) fn put_all(&self, rows: &[Row<'_>]) -> Result<(), Full> {
        let hashing = self.hashing();
        let of = |row: &Row<'_>| hashing.of(row.key);
        let is_worth_sharing = rows.len() > ALONE;
        let hashes: Vec<u64> = if is_worth_sharing {
            rows.par_iter().with_min_len(ALONE).map(of).collect()
        } else {
            rows.iter().map(of).collect()
        };
        let by_lock = by_lock(&hashes);
        let put = |lock| self.put_behind(lock, by_lock.of(lock), &hashes, rows);
        let (tally, put) = if is_worth_sharing {
            (0..LOCKS).into_par_iter().with_min_len(LOCKS / 4).map(put).reduce(|| (Tally::default(), Ok(())), both)
        } else {
            (0..LOCKS).map(put).fold((Tally::default(), Ok(())), both)
        };
        self.count(tally);
        put
    }

    /// Takes those of the records that are behind this lock.
    fn put_behind(&self, lock: usize, those: &[u32], hashes: &[u64], rows: &[Row<'_>]) -> (Tally, Result<(), Full>) {
        let hashing = self.hashing();
        let those = || those.iter().map(|at| *at as usize).map(|at| (hashes[at], &rows[at]));
        let mut tally = Tally::default();
        if those().len() == 0 {
            return (tally, Ok(()));
        }
        // Taking a lock ends the waiting for all that was touched: few are taken.
        let mut shards = self.shards[lock].write();
        if those().len() > 1 {
            for (hash, row) in those() {
                shards.touch(hash);
                touch(row.value.unwrap_or_default());
            }
        }
        let put = those().try_for_each(|(hash, row)| {
            tally = tally.and(shards.put(hashing, hash, row)?, row);
            Ok(())
        });
        (tally, put)
    }

    /// Takes all rows of a block as [`Rows::put`] takes each; but those that `keep` does not want. Quick where they are those of
    /// one shard that is empty, laid down by a table that hashes as this one: then they stay where they are, until
    /// [`Rows::move_in`]. Tells how many rows the block held, wanted or not.
    ///
    /// # Errors
    /// [`Unput`]; some were taken.
    pub(super) fn put_block<E>(
        &self,
        block: Mmap,
        keep: impl Fn(&Row<'_>) -> Result<bool, E>,
    ) -> Result<usize, Unput<E>> {
        let hashing = self.hashing();
        let block = Block::of(block, hashing, keep)?;
        let Some(first) = block.places.first() else { return Ok(block.rows) };
        let shard = shard_of(first.hash);
        let adopted = self.behind(shard).write().adopt(hashing, shard, &block);
        if adopted.map_err(|Full| Unput::Full)? {
            self.count(Tally { added: block.places.len(), raw: block.raw });
        } else {
            let mut rows = block.places.iter().filter_map(|place| block.row(*place));
            rows.try_for_each(|row| self.put_row(&row)).map_err(|Full| Unput::Full)?;
        }
        Ok(block.rows)
    }

    /// Moves some of the rows that lie in a snapshot, the next ones, into memory of their own; false when none is left, or some
    /// are damaged.
    pub(super) fn move_in(&self, next: &mut Moving) -> bool {
        let Some(shards) = self.shards.get(next.lock) else { return false };
        let mut shards = shards.write();
        let (moved, is_damaged) = (shards.move_in(self.hashing(), next.slot), shards.is_damaged());
        // Nobody waits for long: neither for many of these in a row, nor for the kernel to unmap what was moved.
        RwLockWriteGuard::unlock_fair(shards);
        *next = match &moved {
            Some((slot, _)) => Moving { slot: slot + 1, ..*next },
            None => Moving { lock: next.lock + 1, slot: 0 },
        };
        !is_damaged
    }

    /// Whether rows that lay in a snapshot were found changed there: no answer can be trusted.
    pub(super) fn is_damaged(&self) -> bool {
        self.shards.iter().any(|shards| shards.read().is_damaged())
    }

    /// Hashes by this seed from now on, if nothing was hashed yet. Keys spread alike in every table with one seed.
    pub fn adopt(&self, seed: u64) {
        let _ = self.hashing.set(Hashing::by(seed));
    }

    /// What keys are hashed by: it must not become known.
    pub(super) fn seed(&self) -> u64 {
        self.hashing().seed()
    }

    fn hashing(&self) -> &Hashing {
        self.hashing.get_or_init(Hashing::random)
    }

    fn count(&self, tally: Tally) {
        self.rows.fetch_add(tally.added, Ordering::Relaxed);
        self.raw.fetch_add(tally.raw, Ordering::Relaxed);
    }

    /// Hands what is known of `key` to `read`, under a lock that only writers of the same sixteenth of the table wait for.
    pub fn get<R>(&self, key: &[u8], read: impl FnOnce(Entry<'_>) -> R) -> R {
        let hash = self.hashing().of(key);
        let shards = self.lock_of(hash).read();
        read(match shards.get(hash, key) {
            None => Entry::Absent,
            Some(Row { value: None, partition, offset, .. }) => Entry::Erased { partition, offset },
            Some(Row { value: Some(value), partition, offset, .. }) => Entry::Present { value, partition, offset },
        })
    }

    /// Brings what [`Rows::get`] will read for these keys into the processor's cache, as far as nobody is writing there.
    ///
    /// All locks first: taking one ends the waiting for all that was touched before. Then step by step for all keys, so that
    /// the processor waits for many cache misses at once: what the index says where, then what lies there.
    pub(super) fn touch_all(&self, keys: &[&[u8]]) {
        // Not drawn for this: a snapshot may come with one.
        let Some(hashing) = self.hashing.get() else { return };
        let locked: [_; LOCKS] = std::array::from_fn(|lock| self.shards[lock].try_read());
        let slot = |key: &&[u8]| {
            let hash = hashing.of(key);
            let shards = locked[shard_of(hash) % LOCKS].as_ref()?;
            shards.slot(hash).map(|slot| (shards, slot))
        };
        let slots: SmallVec<[_; USUAL_KEYS]> = keys.iter().filter_map(slot).collect();
        slots.iter().for_each(|(shards, slot)| shards.touch_row(slot));
    }

    /// Forgets the keys of one shard that were erased before `moment` (milliseconds since 1970); returns how many.
    pub fn forget_erased(&self, shard: usize, moment: i64) -> usize {
        let shard = shard % SHARDS;
        let (forgotten, raw) = self.behind(shard).write().forget_erased(self.hashing(), shard, moment);
        self.rows.fetch_sub(forgotten, Ordering::Relaxed);
        self.raw.fetch_sub(raw, Ordering::Relaxed);
        forgotten
    }

    /// Forgets the rows that are not to be kept.
    pub(super) fn retain(&self, keep: impl Fn(&Row<'_>) -> bool) {
        for shard in 0..SHARDS {
            let (forgotten, raw) = self.behind(shard).write().retain(shard, &keep);
            self.rows.fetch_sub(forgotten, Ordering::Relaxed);
            self.raw.fetch_sub(raw, Ordering::Relaxed);
        }
        // Only now, so that no row is moved twice, and chunk by chunk, so that nobody waits long.
        self.shards.iter().for_each(|shards| while shards.write().clear_one(self.hashing()) {});
    }

    /// Makes room for about so many rows, which are to come. [`Rows::fit`] gives back what was not needed.
    pub(super) fn expect(&self, rows: u64) {
        let rows = of_a_shard(rows.min(MOST_EXPECTED));
        (0..SHARDS).for_each(|shard| self.behind(shard).write().expect(self.hashing(), shard, rows));
    }

    /// Gives back the room that was made and is not needed.
    pub(super) fn fit(&self) {
        (0..SHARDS).for_each(|shard| self.behind(shard).write().fit(self.hashing(), shard));
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.shards.iter().for_each(|shards| *shards.write() = Shards::default());
        self.rows.store(0, Ordering::Relaxed);
        self.raw.store(0, Ordering::Relaxed);
    }

    /// Adds the bytes of every row of one shard to `out`, as [`Row::at`] reads them; returns how many rows.
    pub(super) fn lay_shard(&self, shard: usize, out: &mut Vec<u8>) -> usize {
        self.behind(shard).read().lay_all(shard, out)
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
        size_of::<Self>() + self.shards.iter().map(|shards| shards.read().memory() - size_of::<Shards>()).sum::<usize>()
    }

    /// The shards of which this is one.
    fn behind(&self, shard: usize) -> &RwLock<Shards> {
        &self.shards[shard % LOCKS]
    }

    fn lock_of(&self, hash: u64) -> &RwLock<Shards> {
        self.behind(shard_of(hash))
    }
}

/// Of so many rows few shards hold more than this: keys are spread by chance.
fn of_a_shard(rows: u64) -> usize {
    let mean = usize::try_from(rows).unwrap_or(0) / SHARDS;
    mean + mean / 16
}

/// Brings bytes into the processor's cache.
fn touch(bytes: &[u8]) {
    black_box(bytes.iter().step_by(CACHE_LINE).fold(0, |all, byte| all | byte));
}

/// Records, lock by lock.
struct ByLock {
    order: Vec<u32>,
    /// Where those of each lock begin in `order`, and where the last ones end.
    begins: [usize; LOCKS + 1],
}

/// Sorts records by their lock; those of one lock stay in order.
fn by_lock(hashes: &[u64]) -> ByLock {
    let lock_of = |hash: &u64| shard_of(*hash) % LOCKS;
    let mut by_lock = ByLock { order: vec![0; hashes.len()], begins: [0; LOCKS + 1] };
    hashes.iter().for_each(|hash| by_lock.begins[lock_of(hash) + 1] += 1);
    (0..LOCKS).for_each(|lock| by_lock.begins[lock + 1] += by_lock.begins[lock]);
    let mut next = by_lock.begins;
    for (at, hash) in (0..).zip(hashes) {
        let next = &mut next[lock_of(hash)];
        by_lock.order[*next] = at;
        *next += 1;
    }
    by_lock
}

impl ByLock {
    /// Those that are behind this one.
    fn of(&self, lock: usize) -> &[u32] {
        &self.order[self.begins[lock]..self.begins[lock + 1]]
    }
}

/// How far [`Rows::move_in`] is.
#[derive(Debug, Default)]
pub(super) struct Moving {
    lock: usize,
    slot: usize,
}

/// What records did to the table's size.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    added: usize,
    /// Wraps where rows became smaller, and the sum is right all the same.
    raw: usize,
}

/// The sum, and the first error.
fn both(
    (ours, put): (Tally, Result<(), Full>),
    (theirs, also): (Tally, Result<(), Full>),
) -> (Tally, Result<(), Full>) {
    (Tally { added: ours.added + theirs.added, raw: ours.raw.wrapping_add(theirs.raw) }, put.and(also))
}

impl Tally {
    /// With what one more did.
    fn and(self, change: Change, row: &Row<'_>) -> Tally {
        match change {
            Change::Stale => self,
            Change::Added => Tally { added: self.added + 1, raw: self.raw.wrapping_add(row.raw()) },
            Change::Replaced { raw } => Tally { raw: self.raw.wrapping_add(row.raw()).wrapping_sub(raw), ..self },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use memmap2::MmapMut;
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
    fn looking_ahead_neither_waits_nor_changes_anything() {
        let rows = Rows::default();
        rows.touch_all(&[b"before the first"]);
        rows.put(b"ada", Some(b"one"), 0, 1, 1).unwrap();
        rows.put(b"bob", None, 0, 2, 2).unwrap();
        let locks: Vec<_> = rows.shards.iter().map(RwLock::write).collect();
        rows.touch_all(&[b"ada", b"bob", b"nobody"]);
        drop(locks);
        rows.touch_all(&[b"ada", b"bob", b"nobody", b""]);
        assert_eq!(found(&rows, b"ada"), Some((Some(b"one".to_vec()), 1)));
        assert_eq!((found(&rows, b"bob"), found(&rows, b"nobody")), (Some((None, 2)), None));
    }

    #[test]
    fn an_erased_key_is_remembered_as_erased_and_its_value_is_nowhere_in_memory() {
        let rows = Rows::default();
        rows.put(b"k", Some(b"secret"), 0, 1, 1).unwrap();
        rows.put(b"k", None, 0, 2, 2).unwrap();
        rows.get(b"k", |entry| assert_eq!(entry, Entry::Erased { partition: 0, offset: 2 }));
        assert_eq!(rows.raw_bytes(), 1);
        let shards = rows.lock_of(rows.hashing().of(b"k")).read();
        assert!(!shards.contains(b"secret"));
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
    fn room_that_was_made_for_rows_that_did_not_come_is_given_back() {
        let (rows, expected) = (Rows::default(), Rows::default());
        let put = |rows: &Rows| {
            (0..50_000u64).for_each(|n| rows.put(&n.to_be_bytes(), Some(b"value"), 0, n.cast_signed(), 0).unwrap());
        };
        expected.expect(5_000_000);
        put(&rows);
        put(&expected);
        assert!(expected.memory() > 2 * rows.memory());
        expected.fit();
        // Chance spreads the keys otherwise in each.
        let close = |memory: usize| (rows.memory() * 9 / 10..rows.memory() * 11 / 10).contains(&memory);
        assert!(close(expected.memory()), "{} and {}", expected.memory(), rows.memory());
        assert_eq!(found(&expected, &49_999u64.to_be_bytes()), Some((Some(b"value".to_vec()), 49_999)));
    }

    #[test]
    fn a_seed_is_adopted_only_while_nothing_was_hashed() {
        let (fresh, used) = (Rows::default(), Rows::default());
        used.put(b"k", Some(b"v"), 0, 1, 1).unwrap();
        fresh.adopt(7);
        used.adopt(7);
        assert_eq!(fresh.seed(), 7);
        assert_ne!(used.seed(), 7);
        assert_eq!(found(&used, b"k"), Some((Some(b"v".to_vec()), 1)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// With few keys and with many, of two partitions, older ones after newer ones.
        #[test]
        fn records_that_come_together_do_what_they_would_do_one_by_one(
            steps in proptest::collection::vec(
                (0u16..2_000, proptest::option::weighted(0.8, 0usize..40), 0i32..2, 0i64..50, 0i64..50),
                1..3_000,
            ),
            keys in 1u16..2_000,
        ) {
            let keyed = |&(key, length, ..): &(u16, Option<usize>, i32, i64, i64)| ((key % keys).to_be_bytes(), length);
            let keyed: Vec<_> = steps.iter().map(keyed).collect();
            let value = [7; 40];
            let laid = steps.iter().zip(&keyed).map(|(&(.., partition, offset, timestamp), (key, length))| {
                Row { partition, offset, timestamp, key, value: length.map(|length| &value[..length]) }
            });
            let laid: Vec<Row<'_>> = laid.collect();
            let (together, one_by_one) = (Rows::default(), Rows::default());
            together.put_all(&laid).unwrap();
            laid.iter().for_each(|row| one_by_one.put_row(row).unwrap());
            prop_assert_eq!((together.rows(), together.raw_bytes()), (one_by_one.rows(), one_by_one.raw_bytes()));
            for (key, _) in &keyed {
                prop_assert_eq!(found(&together, key), found(&one_by_one, key));
            }
        }

        /// Blocks of a table that hashes alike or otherwise, over rows that are there and under rows that come, older and newer
        /// ones; before they are moved into memory of their own and after.
        #[test]
        fn a_block_does_what_its_rows_would_do_one_by_one(
            there in proptest::collection::vec((0u8..60, proptest::option::of(0usize..300), 0i64..50), 0..60),
            laid in proptest::collection::vec((0u8..60, proptest::option::of(0usize..300), 0i64..50), 1..200),
            then in proptest::collection::vec((0u8..60, proptest::option::of(0usize..300), 0i64..50), 0..60),
            (alike, fresh) in any::<(bool, bool)>(),
        ) {
            let (source, one_by_one, by_blocks) = (Rows::default(), Rows::default(), Rows::default());
            if alike {
                by_blocks.adopt(source.seed());
            }
            let put = |rows: &Rows, (key, length, offset): (u8, Option<usize>, i64)| {
                let value = length.map(|length| vec![key; length]);
                rows.put(&[key], value.as_deref(), i32::from(key % 3), offset, offset).unwrap();
            };
            laid.iter().for_each(|row| put(&source, *row));
            let there = if fresh { &[] } else { there.as_slice() };
            there.iter().for_each(|row| { put(&one_by_one, *row); put(&by_blocks, *row); });
            let wanted = |row: &Row<'_>| row.partition != 2;
            let keep = |row: &Row<'_>| Ok::<_, ()>(wanted(row));
            for shard in 0..SHARDS {
                let mut block = Vec::new();
                let rows = source.lay_shard(shard, &mut block);
                if rows > 0 {
                    prop_assert_eq!(by_blocks.put_block(mapped(&block), keep), Ok(rows));
                }
                let mut rest = block.as_slice();
                while let Some(laid) = Row::at(rest) {
                    if wanted(&laid.row) {
                        one_by_one.put_row(&laid.row).unwrap();
                    }
                    rest = &rest[laid.length..];
                }
            }
            then.iter().for_each(|row| { put(&one_by_one, *row); put(&by_blocks, *row); });
            for moved in [false, true] {
                if moved {
                    move_all_in(&by_blocks);
                }
                let sizes = |rows: &Rows| (rows.rows(), rows.raw_bytes());
                prop_assert_eq!(sizes(&by_blocks), sizes(&one_by_one));
                for key in 0..60 {
                    prop_assert_eq!(found(&by_blocks, &[key]), found(&one_by_one, &[key]));
                }
            }
            // What was erased is counted too, in whichever way it came.
            let forgotten = |rows: &Rows| (0..SHARDS).map(|shard| rows.forget_erased(shard, 40)).sum::<usize>();
            prop_assert_eq!(forgotten(&by_blocks), forgotten(&one_by_one));
        }
    }

    fn mapped(block: &[u8]) -> Mmap {
        let mut map = MmapMut::map_anon(block.len()).unwrap();
        map.copy_from_slice(block);
        map.make_read_only().unwrap()
    }

    /// Rows of many lengths, some longer than a chunk, as a table lays them down.
    fn laid_down() -> (Rows, Vec<Vec<u8>>) {
        let rows = Rows::default();
        let values: Vec<_> = (0..1_000u32).map(|n| n.to_le_bytes().repeat((n * n % 20_000) as usize)).collect();
        for (n, value) in (0u32..).zip(&values) {
            rows.put(&n.to_be_bytes(), Some(value), 0, n.into(), 0).unwrap();
        }
        (rows, values)
    }

    fn adopted(source: &Rows) -> Rows {
        let rows = Rows::default();
        rows.adopt(source.seed());
        for shard in 0..SHARDS {
            let mut block = Vec::new();
            if source.lay_shard(shard, &mut block) > 0 {
                rows.put_block(mapped(&block), |_| Ok::<_, ()>(true)).unwrap();
            }
        }
        rows
    }

    fn move_all_in(rows: &Rows) {
        let mut next = Moving::default();
        while rows.move_in(&mut next) {}
    }

    fn mapped_chunks(rows: &Rows) -> usize {
        rows.shards.iter().map(|shards| shards.read().mapped_chunks()).sum()
    }

    #[test]
    fn rows_stay_where_they_are_mapped_until_they_are_moved_in_and_nothing_is_mapped_then() {
        let (source, values) = laid_down();
        let rows = adopted(&source);
        let before = mapped_chunks(&rows);
        assert!(before > SHARDS, "only {before} pieces");
        for moved in [false, true] {
            if moved {
                move_all_in(&rows);
                assert_eq!(mapped_chunks(&rows), 0);
            }
            for (n, value) in (0u32..).zip(&values) {
                assert_eq!(found(&rows, &n.to_be_bytes()), Some((Some(value.clone()), n.into())), "{n}");
            }
            let bound = (rows.raw_bytes() + 48 * rows.rows()) * 11 / 10 + (512 << 10);
            assert!(rows.memory() <= bound, "{} is more than {bound}", rows.memory());
        }
    }

    #[test]
    fn rows_that_are_mapped_are_replaced_erased_and_cleared_as_others_are() {
        let (source, values) = laid_down();
        let rows = adopted(&source);
        let before = mapped_chunks(&rows);
        for n in (0u32..).take(values.len()).filter(|n| n % 3 > 0) {
            let value = (n % 3 == 1).then_some(b"new".as_slice());
            rows.put(&n.to_be_bytes(), value, 0, 10_000 + i64::from(n), 0).unwrap();
        }
        assert!(mapped_chunks(&rows) < before / 2, "{} of {before} are still mapped", mapped_chunks(&rows));
        for _ in 0..2 {
            for (n, value) in (0u32..).zip(&values) {
                let (value, offset) = match n % 3 {
                    0 => (Some(value.clone()), n.into()),
                    1 => (Some(b"new".to_vec()), 10_000 + i64::from(n)),
                    _ => (None, 10_000 + i64::from(n)),
                };
                assert_eq!(found(&rows, &n.to_be_bytes()), Some((value, offset)), "{n}");
            }
            move_all_in(&rows);
        }
        let (key, erased) = (995u32, &values[995]);
        assert!(!rows.lock_of(rows.hashing().of(&key.to_be_bytes())).read().contains(&erased[..60]));
    }

    #[test]
    fn what_is_no_row_is_not_taken_and_changes_nothing() {
        let mut block = Vec::new();
        let source = Rows::default();
        source.put(b"k", Some(b"value"), 0, 1, 1).unwrap();
        (0..SHARDS).for_each(|shard| _ = source.lay_shard(shard, &mut block));
        let rows = Rows::default();
        let cut = mapped(&block[..block.len() - 1]);
        assert_eq!(rows.put_block(cut, |_| Ok::<_, ()>(true)), Err(Unput::NoRow));
        assert_eq!(
            rows.put_block(mapped(&block), |_| Err("no such partition")),
            Err(Unput::Refused("no such partition"))
        );
        assert_eq!((rows.rows(), rows.raw_bytes(), mapped_chunks(&rows)), (0, 0, 0));
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
