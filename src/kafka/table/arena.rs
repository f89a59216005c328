//! Memory for rows: chunks that are only appended to, so that a row costs no allocation of its own. Counts what is
//! dead and names the chunk that is most worth clearing; who clears it is `shard.rs`.

use std::ops::{Deref, Range};
use std::sync::Arc;

use memmap2::Mmap;

use super::block::Piece;
use super::prefetch::prefetch;
use super::row::{ALIGN, CACHE_LINE, Laid, Row, bury};

/// Bits of a location that say where in its chunk a row begins, in units of [`ALIGN`].
const PLACE_BITS: u32 = 14;
/// Chunks that hold more than one row are at most so large: what [`PLACE_BITS`] reach.
pub(super) const MAX_CHUNK: usize = ALIGN << PLACE_BITS;
const MIN_CHUNK: usize = 2 << 10;
/// Chunks that locations can name.
const MAX_CHUNKS: usize = 1 << (u32::BITS - PLACE_BITS);
/// Kept free for moving rows together.
const RESERVE: usize = 64;
/// A chunk is this part of what lives, so that the open one is small beside it.
const CHUNK_PART: usize = 32;
/// Dead bytes that are left lying: this part of what lives. A smaller part is a smaller table and more moving.
const DEAD_PART: usize = 12;
/// What an allocation costs besides its bytes, in the usual allocators.
const PER_ALLOCATION: usize = 16;
/// What a row pays for a chunk of its own: the allocation, its rounding, and an entry in the list of chunks.
const OWN_CHUNK: usize = PER_ALLOCATION + 8 + size_of::<Chunk>();
/// The list of chunks grows by this part: doubling would leave up to half of it unused.
const GROWTH_PART: usize = 8;

/// So much of a row is brought into the cache before it is read.
const TOUCHED: usize = 4 * CACHE_LINE;

/// Where a row lies: a chunk and a place in it.
/// Ordered as they lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location(u32);

impl Location {
    #[expect(clippy::cast_possible_truncation, reason = "chunks are fewer than MAX_CHUNKS, places below MAX_CHUNK")]
    pub(super) fn new(chunk: usize, at: usize) -> Self {
        Location(((chunk as u32) << PLACE_BITS) | (at / ALIGN) as u32)
    }

    fn chunk(self) -> usize {
        (self.0 >> PLACE_BITS) as usize
    }

    fn at(self) -> usize {
        (self.0 & ((1 << PLACE_BITS) - 1)) as usize * ALIGN
    }
}

/// No more rows fit: the table is too big for one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the table outgrew what one process can index")]
pub struct Full;

/// A chunk that is mapped does not hold what it held when it was added: pages of a file may be read again at any time.
pub(super) struct Damaged;

/// The bytes of a chunk.
pub(super) enum Bytes {
    /// In memory of its own.
    Own(Vec<u8>),
    /// Where a snapshot is mapped, with their checksum: not to be written to.
    Mapped(Arc<Mmap>, Range<u32>, u32),
}

impl Bytes {
    fn capacity(&self) -> usize {
        match self {
            Bytes::Own(bytes) => bytes.capacity(),
            Bytes::Mapped(_, range, _) => range.len(),
        }
    }

    /// To be written to.
    pub(super) fn own(&mut self) -> Option<&mut Vec<u8>> {
        match self {
            Bytes::Own(bytes) => Some(bytes),
            Bytes::Mapped(..) => None,
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Own(bytes) => bytes,
            Bytes::Mapped(block, range, _) => &block[range.start as usize..range.end as usize],
        }
    }
}

struct Chunk {
    bytes: Bytes,
    dead: usize,
}

impl Default for Chunk {
    fn default() -> Self {
        Chunk { bytes: Bytes::Own(Vec::new()), dead: 0 }
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Arena {
    chunks: Vec<Chunk>,
    /// Empty slots of `chunks`.
    free: Vec<usize>,
    open: Option<usize>,
    live: usize,
    dead: usize,
    /// Capacity of all chunks, with what their allocations cost.
    allocated: usize,
}

impl Arena {
    /// Adds a row.
    ///
    /// # Errors
    /// [`Full`], and nothing was added.
    pub(super) fn add(&mut self, row: &Row<'_>) -> Result<Location, Full> {
        self.has_room_for(1)?;
        Ok(self.append(row))
    }

    /// Takes pieces of a block in whole as chunks, and returns their numbers: their rows stay where they are.
    ///
    /// # Errors
    /// [`Full`], and nothing was added.
    pub(super) fn adopt(&mut self, block: &Arc<Mmap>, pieces: &[Piece]) -> Result<Vec<usize>, Full> {
        self.has_room_for(pieces.len())?;
        let adopt = |piece: &Piece| {
            let bytes = Bytes::Mapped(Arc::clone(block), piece.range.clone(), piece.checksum);
            self.live += bytes.len() - piece.dead;
            self.dead += piece.dead;
            self.hold(Chunk { bytes, dead: piece.dead })
        };
        Ok(pieces.iter().map(adopt).collect())
    }

    fn has_room_for(&self, chunks: usize) -> Result<(), Full> {
        if self.chunks.len() - self.free.len() + chunks > MAX_CHUNKS - RESERVE { Err(Full) } else { Ok(()) }
    }

    /// As [`Arena::add`], from the reserve; for moving a row out of a chunk that is then released.
    pub(super) fn append(&mut self, row: &Row<'_>) -> Location {
        let length = row.laid();
        self.live += length;
        let chunk = self.room(length);
        let at = self.chunks[chunk].bytes.len();
        match self.chunks[chunk].bytes.own() {
            Some(bytes) => row.lay(bytes),
            None => debug_assert!(false, "a chunk that is mapped is never open"),
        }
        Location::new(chunk, at)
    }

    /// The chunk to which a row of this length goes.
    fn room(&mut self, length: usize) -> usize {
        let size = self.chunk_size();
        if has_its_own(length, size, self.chunks.len()) {
            return self.allocate(length);
        }
        let fits = |chunk: &Chunk| chunk.bytes.capacity() - chunk.bytes.len() >= length;
        match self.open {
            Some(open) if fits(&self.chunks[open]) => open,
            _ => {
                let opened = self.allocate(size);
                self.open = Some(opened);
                opened
            }
        }
    }

    fn chunk_size(&self) -> usize {
        (self.live / CHUNK_PART).next_power_of_two().clamp(MIN_CHUNK, MAX_CHUNK)
    }

    fn allocate(&mut self, size: usize) -> usize {
        self.hold(Chunk { bytes: Bytes::Own(Vec::with_capacity(size)), dead: 0 })
    }

    /// Gives a chunk a slot.
    fn hold(&mut self, chunk: Chunk) -> usize {
        self.allocated += chunk.bytes.capacity() + PER_ALLOCATION;
        match self.free.pop() {
            Some(slot) => {
                self.chunks[slot] = chunk;
                slot
            }
            None => {
                if self.chunks.len() == self.chunks.capacity() {
                    self.chunks.reserve_exact(self.chunks.len() / GROWTH_PART + 4);
                }
                self.chunks.push(chunk);
                self.chunks.len() - 1
            }
        }
    }

    /// The row at a location that [`Arena::add`] gave.
    pub(super) fn get(&self, location: Location) -> Option<Laid<'_>> {
        Row::at(self.chunks.get(location.chunk())?.bytes.get(location.at()..)?)
    }

    /// Asks for the beginning of what lies there, as far as most rows reach, without waiting for it.
    pub(super) fn touch(&self, location: Location) {
        if let Some(bytes) = self.chunks.get(location.chunk()).and_then(|chunk| chunk.bytes.get(location.at()..)) {
            bytes[..bytes.len().min(TOUCHED)].chunks(CACHE_LINE).filter_map(<[u8]>::first).for_each(prefetch);
        }
    }

    /// The bytes of the row at a location that [`Arena::add`] gave; none where there is none.
    pub(super) fn bytes(&self, location: Location) -> &[u8] {
        let length = self.get(location).map_or(0, |laid| laid.length);
        self.chunks
            .get(location.chunk())
            .and_then(|chunk| chunk.bytes.get(location.at()..location.at() + length))
            .unwrap_or_default()
    }

    /// Puts a row where another lies that takes exactly as many bytes; false when it does not, or may not be written to, and
    /// nothing changed.
    pub(super) fn overwrite(&mut self, location: Location, row: &Row<'_>, scratch: &mut Vec<u8>) -> bool {
        let length = row.laid();
        if self.get(location).is_none_or(|old| old.length != length) {
            return false;
        }
        let Some(bytes) = self.chunks[location.chunk()].bytes.own() else { return false };
        scratch.clear();
        row.lay(scratch);
        let at = location.at();
        bytes[at..at + length].copy_from_slice(scratch);
        true
    }

    /// Buries the row at a location. One that is mapped stays as it is until its chunk is cleared, and nobody finds it.
    pub(super) fn bury(&mut self, location: Location) {
        let Some(chunk) = self.chunks.get_mut(location.chunk()) else { return };
        let buried = match &mut chunk.bytes {
            Bytes::Own(bytes) => bytes.get_mut(location.at()..).map_or(0, bury),
            mapped @ Bytes::Mapped(..) => mapped.get(location.at()..).and_then(Row::at).map_or(0, |laid| laid.length),
        };
        chunk.dead += buried;
        self.dead += buried;
        self.live -= buried;
        if chunk.dead == chunk.bytes.len() && self.open != Some(location.chunk()) {
            self.take(location.chunk());
            self.release(location.chunk());
        }
    }

    /// The chunk to clear next; `None` while few enough bytes are dead.
    pub(super) fn to_clear(&self) -> Option<usize> {
        if self.dead <= self.live / DEAD_PART + MIN_CHUNK / 4 {
            return None;
        }
        let closed = self.chunks.iter().enumerate().filter(|(slot, _)| self.open != Some(*slot));
        closed.max_by_key(|(_, chunk)| chunk.dead).filter(|(_, chunk)| chunk.dead > 0).map(|(slot, _)| slot)
    }

    /// The next chunk that is mapped, from this slot on.
    pub(super) fn mapped(&self, from: usize) -> Option<usize> {
        let is_mapped = |slot: &usize| matches!(self.chunks[*slot].bytes, Bytes::Mapped(..));
        (from..self.chunks.len()).find(is_mapped)
    }

    /// Copies a chunk that is mapped into memory of its own, where its rows keep their locations; returns what it was mapped
    /// by, if it was.
    ///
    /// # Errors
    /// [`Damaged`], and nothing changed.
    pub(super) fn copy_in(&mut self, slot: usize) -> Result<Option<Bytes>, Damaged> {
        let chunk = &mut self.chunks[slot];
        let Bytes::Mapped(_, _, checksum) = &chunk.bytes else { return Ok(None) };
        let copy = chunk.bytes.to_vec();
        match crc32fast::hash(&copy) == *checksum {
            true => Ok(Some(std::mem::replace(&mut chunk.bytes, Bytes::Own(copy)))),
            false => Err(Damaged),
        }
    }

    /// Bytes of rows in a chunk that are dead.
    pub(super) fn dead_in(&self, slot: usize) -> usize {
        self.chunks[slot].dead
    }

    /// Takes a closed chunk out, to be cleared; its slot stays taken until it is released.
    pub(super) fn take(&mut self, slot: usize) -> Bytes {
        let chunk = std::mem::take(&mut self.chunks[slot]);
        self.allocated -= chunk.bytes.capacity() + PER_ALLOCATION;
        self.dead -= chunk.dead;
        self.live -= chunk.bytes.len() - chunk.dead;
        chunk.bytes
    }

    /// Lets the slot of a chunk that was taken out be used again.
    pub(super) fn release(&mut self, slot: usize) {
        self.free.push(slot);
    }

    /// Bytes of memory, what is dead and not yet used included.
    pub(super) fn memory(&self) -> usize {
        self.allocated
            + self.chunks.capacity() * size_of::<Chunk>()
            + self.free.capacity() * size_of::<usize>()
            + 2 * PER_ALLOCATION
    }

    #[cfg(test)]
    pub(super) fn mapped_chunks(&self) -> usize {
        self.chunks.iter().filter(|chunk| matches!(chunk.bytes, Bytes::Mapped(..))).count()
    }

    #[cfg(test)]
    pub(super) fn contains(&self, bytes: &[u8]) -> bool {
        self.chunks.iter().any(|chunk| chunk.bytes.windows(bytes.len()).any(|window| window == bytes))
    }
}

/// Whether a row of this length gets a chunk to itself, where shared ones have this size and there are so many.
fn has_its_own(length: usize, size: usize, chunks: usize) -> bool {
    // At the end of a shared chunk half a row is left over on average, and `size / length` rows share that. Where chunks
    // may run out, some more is left over.
    let is_cheaper = length * length / (2 * size) > OWN_CHUNK;
    length > size || (is_cheaper && (chunks < MAX_CHUNKS / 2 || length > size / 4))
}

/// Calls `each` with where it begins and what it says, for every row of a chunk, dead ones included.
pub(super) fn for_each_in(chunk: &[u8], mut each: impl FnMut(usize, Laid<'_>)) {
    let mut at = 0;
    while let Some(laid) = Row::at(&chunk[at..]) {
        each(at, laid);
        at += laid.length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_rows_have_chunks_of_their_own_while_there_are_many_left() {
        let many = MAX_CHUNKS / 2;
        for (length, chunks, own) in [
            (2_850, 0, false),
            (2_950, 0, true),
            (2_950, many, false),
            (MAX_CHUNK / 4, many, false),
            (MAX_CHUNK / 4 + 4, many, true),
            (MAX_CHUNK + 4, many, true),
        ] {
            assert_eq!(has_its_own(length, MAX_CHUNK, chunks), own, "{length} with {chunks} chunks");
        }
        assert!(has_its_own(MIN_CHUNK + 4, MIN_CHUNK, many), "it would not fit");
    }
}
