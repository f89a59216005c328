//! One part of the table: an index of keys over an arena of rows. Single-threaded: `rows.rs` holds the lock.

use hashbrown::HashTable;

use super::arena::{Arena, Full, Location, for_each_in};
use super::hashing::Hashing;
use super::row::{Laid, Row};

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

/// See the module. The index holds no hashes and no keys: four bytes a row, and a control byte.
#[derive(Default)]
pub(super) struct Shard {
    index: HashTable<Location>,
    arena: Arena,
    erased: usize,
    scratch: Vec<u8>,
}

impl Shard {
    /// Takes a record, unless what is known of its key is as new or newer.
    ///
    /// # Errors
    /// [`Full`], and nothing changed.
    pub(super) fn put(&mut self, hashing: &Hashing, hash: u64, row: &Row<'_>) -> Result<Change, Full> {
        let arena = &mut self.arena;
        let Some(slot) = self.index.find_mut(hash, |at| has_key(arena, *at, row.key)) else {
            let location = arena.add(row)?;
            self.index.insert_unique(hash, location, |at| hash_at(arena, *at, hashing));
            self.erased += usize::from(row.value.is_none());
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
        self.erased = self.erased + usize::from(row.value.is_none()) - usize::from(was_erased);
        self.clear(hashing);
        Ok(Change::Replaced { raw })
    }

    /// As [`Shard::put`], with the row as it lies elsewhere.
    ///
    /// # Errors
    /// [`Full`], and nothing changed.
    pub(super) fn put_laid(
        &mut self,
        hashing: &Hashing,
        hash: u64,
        laid: &Laid<'_>,
        bytes: &[u8],
    ) -> Result<Change, Full> {
        let arena = &mut self.arena;
        if self.index.find(hash, |at| has_key(arena, *at, laid.row.key)).is_some() {
            return self.put(hashing, hash, &laid.row);
        }
        let location = arena.add_laid(bytes)?;
        self.index.insert_unique(hash, location, |at| hash_at(arena, *at, hashing));
        self.erased += usize::from(laid.row.value.is_none());
        Ok(Change::Added)
    }

    /// Makes room for so many rows more: an index that grows is made anew, and reads every row for it.
    pub(super) fn expect(&mut self, hashing: &Hashing, rows: usize) {
        let arena = &self.arena;
        self.index.reserve(rows, |at| hash_at(arena, *at, hashing));
    }

    /// Gives back the room that its rows do not need.
    pub(super) fn fit(&mut self, hashing: &Hashing) {
        let arena = &self.arena;
        self.index.shrink_to_fit(|at| hash_at(arena, *at, hashing));
    }

    /// The row of a key.
    pub(super) fn get(&self, hash: u64, key: &[u8]) -> Option<Row<'_>> {
        let location = self.index.find(hash, |at| has_key(&self.arena, *at, key))?;
        self.arena.get(*location).map(|laid| laid.row)
    }

    /// Forgets the keys that were erased before `moment` (milliseconds since 1970); returns how many, and their raw
    /// bytes.
    pub(super) fn forget_erased(&mut self, hashing: &Hashing, moment: i64) -> (usize, usize) {
        if self.erased == 0 {
            return (0, 0);
        }
        self.retain(hashing, |row| row.value.is_some() || row.timestamp >= moment)
    }

    /// Forgets the rows that are not to be kept; returns how many, and their raw bytes.
    pub(super) fn retain(&mut self, hashing: &Hashing, keep: impl Fn(&Row<'_>) -> bool) -> (usize, usize) {
        let (mut forgotten, mut raw, mut erased) = (0, 0, 0);
        let arena = &mut self.arena;
        self.index.retain(|location| {
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
        self.erased -= erased;
        self.clear(hashing);
        (forgotten, raw)
    }

    /// Moves rows together until few enough bytes are dead.
    fn clear(&mut self, hashing: &Hashing) {
        while let Some(slot) = self.arena.to_clear() {
            let (index, arena) = (&mut self.index, &mut self.arena);
            let chunk = arena.take(slot);
            for_each_in(&chunk, |at, laid, _| {
                if laid.dead {
                    return;
                }
                let old = Location::new(slot, at);
                if let Some(entry) = index.find_mut(hashing.of(laid.row.key), |location| *location == old) {
                    *entry = arena.append(&laid.row);
                }
            });
            arena.release(slot);
        }
    }

    /// Adds the bytes of every row to `out`; returns how many rows.
    pub(super) fn lay_all(&self, out: &mut Vec<u8>) -> usize {
        let mut rows = 0;
        self.arena.for_each(|_, bytes| {
            out.extend_from_slice(bytes);
            rows += 1;
        });
        rows
    }

    /// Whether these bytes lie anywhere in the rows' memory, dead or alive.
    #[cfg(test)]
    pub(super) fn contains(&self, bytes: &[u8]) -> bool {
        self.arena.contains(bytes)
    }

    /// Bytes of memory, index and slack included.
    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() + self.index.allocation_size() + self.arena.memory() + self.scratch.capacity()
    }
}

fn has_key(arena: &Arena, location: Location, key: &[u8]) -> bool {
    arena.get(location).is_some_and(|laid| laid.row.key == key)
}

fn hash_at(arena: &Arena, location: Location, hashing: &Hashing) -> u64 {
    arena.get(location).map_or(0, |laid| hashing.of(laid.row.key))
}
