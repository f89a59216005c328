//! The shards of the table that share a lock: an index of keys each, over one arena of rows. Single-threaded: `rows.rs` holds
//! the lock.
//!
//! Small indexes, because one that grows is made anew at once; few arenas, because memory is quick to write only where it goes
//! on from what was written before.

use std::hint::black_box;

use hashbrown::HashTable;

use super::arena::{Arena, Bytes, Damaged, Full, Location, for_each_in};
use super::block::Block;
use super::hashing::Hashing;
use super::prefetch::prefetch;
use super::row::Row;

/// Rows lie in one of so many; a power of two.
pub(super) const SHARDS: usize = 256;

/// Locks; shard `n` is number `n / LOCKS` behind lock `n % LOCKS`: blocks of a snapshot are read shard after shard, each by
/// another thread.
pub(super) const LOCKS: usize = 16;

/// What a record did to the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Its key was not known.
    Added,
    /// It took the place of a row with so many raw bytes.
    Replaced { raw: usize },
    /// The row in the table is as new or newer.
    Stale,
}

/// An index of keys. It holds no hashes and no keys: four bytes a row, and a control byte.
#[derive(Default)]
struct Shard {
    index: HashTable<Location>,
    erased: usize,
}

/// See the module.
#[derive(Default)]
pub(super) struct Shards {
    shards: [Shard; SHARDS / LOCKS],
    arena: Arena,
    scratch: Vec<u8>,
    /// Rows that lay in a file were found changed there.
    damaged: bool,
}

impl Shards {
    /// Takes a record, unless what is known of its key is as new or newer.
    ///
    /// # Errors
    /// [`Full`], and nothing changed.
    pub(super) fn put(&mut self, hashing: &Hashing, hash: u64, row: &Row<'_>) -> Result<Change, Full> {
        let (arena, shard) = (&mut self.arena, &mut self.shards[within(shard_of(hash))]);
        let Some(slot) = shard.index.find_mut(hash, |at| has_key(arena, *at, row.key)) else {
            let location = arena.add(row)?;
            shard.add(arena, hashing, hash, location, row);
            return Ok(Change::Added);
        };
        let Some(old) = arena.get(*slot).map(|laid| laid.row) else { return Ok(Change::Stale) };
        if !old.is_before(row) {
            return Ok(Change::Stale);
        }
        let (raw, was_erased) = (old.raw(), old.value.is_none());
        if !arena.overwrite(*slot, row, &mut self.scratch) {
            let location = arena.add(row)?;
            let old = std::mem::replace(slot, location);
            arena.bury(old);
        }
        shard.erased = shard.erased + usize::from(row.value.is_none()) - usize::from(was_erased);
        self.clear(hashing);
        Ok(Change::Replaced { raw })
    }

    /// Takes all rows of a block, which stay where they are, if they are of one shard that has none yet; false when they are
    /// not, and nothing changed. Their keys differ: a table laid them down.
    ///
    /// # Errors
    /// [`Full`], and nothing changed.
    pub(super) fn adopt(&mut self, hashing: &Hashing, shard: usize, block: &Block) -> Result<bool, Full> {
        let (arena, of) = (&mut self.arena, &mut self.shards[within(shard)]);
        if !of.index.is_empty() || block.places.iter().any(|place| shard_of(place.hash) != shard) {
            return Ok(false);
        }
        let chunks = arena.adopt(&block.bytes, &block.pieces)?;
        of.index.reserve(block.places.len(), |at| hash_at(arena, *at, hashing));
        for place in &block.places {
            let location = Location::new(chunks[place.piece as usize], place.at as usize);
            of.index.insert_unique(place.hash, location, |at| hash_at(arena, *at, hashing));
        }
        of.erased += block.erased;
        Ok(true)
    }

    /// Makes room for so many rows more in one of them: an index that grows is made anew, and reads every row for it.
    pub(super) fn expect(&mut self, hashing: &Hashing, shard: usize, rows: usize) {
        let arena = &self.arena;
        self.shards[within(shard)].index.reserve(rows, |at| hash_at(arena, *at, hashing));
    }

    /// Gives back the room that the rows of one of them do not need.
    pub(super) fn fit(&mut self, hashing: &Hashing, shard: usize) {
        let arena = &self.arena;
        self.shards[within(shard)].index.shrink_to_fit(|at| hash_at(arena, *at, hashing));
    }

    /// Brings what [`Shards::put`] looks at into the processor's cache.
    pub(super) fn touch(&self, hash: u64) {
        black_box(self.shards[within(shard_of(hash))].index.find(hash, |at| black_box(self.arena.get(*at)).is_none()));
    }

    /// Where the index says where a row may lie that has this hash; asked for, but not waited for.
    pub(super) fn slot(&self, hash: u64) -> Option<&Location> {
        let slot = self.shards[within(shard_of(hash))].index.iter_hash(hash).next()?;
        prefetch(slot);
        Some(slot)
    }

    /// Brings what [`Shards::get`] will read there into the processor's cache.
    pub(super) fn touch_row(&self, slot: &Location) {
        self.arena.touch(*slot);
    }

    /// The row of a key.
    pub(super) fn get(&self, hash: u64, key: &[u8]) -> Option<Row<'_>> {
        let index = &self.shards[within(shard_of(hash))].index;
        let location = index.find(hash, |at| has_key(&self.arena, *at, key))?;
        self.arena.get(*location).map(|laid| laid.row)
    }

    /// Forgets the keys of one of them that were erased before `moment` (milliseconds since 1970); returns how many, and
    /// their raw bytes.
    pub(super) fn forget_erased(&mut self, hashing: &Hashing, shard: usize, moment: i64) -> (usize, usize) {
        if self.shards[within(shard)].erased == 0 {
            return (0, 0);
        }
        let forgotten = self.retain(shard, |row| row.value.is_some() || row.timestamp >= moment);
        self.clear(hashing);
        forgotten
    }

    /// Forgets the rows of one of them that are not to be kept; returns how many, and their raw bytes. Who calls it has to
    /// clear what is dead then.
    pub(super) fn retain(&mut self, shard: usize, keep: impl Fn(&Row<'_>) -> bool) -> (usize, usize) {
        let (mut forgotten, mut raw, mut erased) = (0, 0, 0);
        let (arena, shard) = (&mut self.arena, &mut self.shards[within(shard)]);
        shard.index.retain(|location| {
            let Some(row) = arena.get(*location).map(|laid| laid.row) else { return true };
            if keep(&row) {
                return true;
            }
            forgotten += 1;
            raw += row.raw();
            erased += usize::from(row.value.is_none());
            arena.bury(*location);
            false
        });
        shard.erased -= erased;
        (forgotten, raw)
    }

    /// Moves rows together until few enough bytes are dead.
    fn clear(&mut self, hashing: &Hashing) {
        while self.clear_one(hashing) {}
    }

    /// Moves the rows of one chunk elsewhere; false when few enough bytes are dead, or rows are damaged.
    pub(super) fn clear_one(&mut self, hashing: &Hashing) -> bool {
        let Some(slot) = self.arena.to_clear() else { return false };
        let Ok(mapped) = self.copy_in(slot) else { return false };
        let left = self.move_out(hashing, slot);
        if mapped.is_some() {
            wipe(left);
        }
        true
    }

    /// Moves the rows of one mapped chunk, the next from `slot` on, into memory of their own; returns its slot, and what is
    /// to be let go of. `None` when there is none, or rows are damaged.
    pub(super) fn move_in(&mut self, hashing: &Hashing, slot: usize) -> Option<(usize, Bytes)> {
        let slot = self.arena.mapped(slot)?;
        let mapped = self.copy_in(slot).ok()??;
        if self.arena.dead_in(slot) > 0 {
            wipe(self.move_out(hashing, slot));
        }
        Some((slot, mapped))
    }

    /// Whether rows that lay in a file were found changed there: others may be, too.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged
    }

    /// See [`Arena::copy_in`].
    fn copy_in(&mut self, slot: usize) -> Result<Option<Bytes>, Damaged> {
        if self.damaged {
            return Err(Damaged);
        }
        let copied = self.arena.copy_in(slot);
        self.damaged = copied.is_err();
        copied
    }

    /// Moves the rows of a chunk elsewhere; returns what is left.
    fn move_out(&mut self, hashing: &Hashing, slot: usize) -> Bytes {
        let (shards, arena) = (&mut self.shards, &mut self.arena);
        let chunk = arena.take(slot);
        for_each_in(&chunk, |at, laid| {
            if laid.dead {
                return;
            }
            let (old, hash) = (Location::new(slot, at), hashing.of(laid.row.key));
            // One that is dead where it was mapped is not in the index.
            if let Some(entry) = shards[within(shard_of(hash))].index.find_mut(hash, |location| *location == old) {
                *entry = arena.append(&laid.row);
            }
        });
        arena.release(slot);
        chunk
    }

    /// Adds the bytes of every row of one of them to `out`; returns how many rows.
    pub(super) fn lay_all(&self, shard: usize, out: &mut Vec<u8>) -> usize {
        let mut locations: Vec<Location> = self.shards[within(shard)].index.iter().copied().collect();
        // Memory is quick to read in order, too.
        locations.sort_unstable();
        locations.iter().for_each(|location| out.extend_from_slice(self.arena.bytes(*location)));
        locations.len()
    }

    /// Whether these bytes lie anywhere in the rows' memory, dead or alive.
    #[cfg(test)]
    pub(super) fn contains(&self, bytes: &[u8]) -> bool {
        self.arena.contains(bytes)
    }

    /// Chunks that lie in a snapshot.
    #[cfg(test)]
    pub(super) fn mapped_chunks(&self) -> usize {
        self.arena.mapped_chunks()
    }

    /// Bytes of memory, indexes and slack included.
    pub(super) fn memory(&self) -> usize {
        let indexes: usize = self.shards.iter().map(|shard| shard.index.allocation_size()).sum();
        size_of::<Self>() + indexes + self.arena.memory() + self.scratch.capacity()
    }
}

impl Shard {
    /// Adds a key that it does not have, whose row lies there.
    fn add(&mut self, arena: &Arena, hashing: &Hashing, hash: u64, location: Location, row: &Row<'_>) {
        self.index.insert_unique(hash, location, |at| hash_at(arena, *at, hashing));
        self.erased += usize::from(row.value.is_none());
    }
}

/// What was dead where it was mapped was copied with the rest, and must not stay in memory.
fn wipe(mut chunk: Bytes) {
    if let Some(bytes) = chunk.own() {
        bytes.fill(0);
        black_box(bytes);
    }
}

/// The shard of a key with this hash.
pub(super) fn shard_of(hash: u64) -> usize {
    // The index within a shard uses the low bits, its tags the high seven: take bits between.
    (hash >> 40) as usize % SHARDS
}

/// Which of those behind its lock a shard is.
fn within(shard: usize) -> usize {
    shard / LOCKS
}

fn has_key(arena: &Arena, location: Location, key: &[u8]) -> bool {
    arena.get(location).is_some_and(|laid| laid.row.key == key)
}

fn hash_at(arena: &Arena, location: Location, hashing: &Hashing) -> u64 {
    arena.get(location).map_or(0, |laid| hashing.of(laid.row.key))
}
