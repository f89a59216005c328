//! A block of a snapshot, whose rows lie in memory already: they are looked through and stay where they are.

use std::ops::Range;
use std::sync::Arc;

use memmap2::Mmap;

use super::arena::MAX_CHUNK;
use super::hashing::Hashing;
use super::row::Row;

/// Rows next to each other, as many as a [`Location`](super::arena::Location) reaches.
pub(super) struct Piece {
    pub(super) range: Range<u32>,
    /// Bytes of rows that are not wanted.
    pub(super) dead: usize,
    /// CRC-32 of its bytes.
    pub(super) checksum: u32,
}

/// Where a wanted row lies.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) hash: u64,
    /// Number of its piece.
    pub(super) piece: u32,
    /// Where it begins in the piece.
    pub(super) at: u32,
}

/// A block that was looked through.
pub(super) struct Block {
    pub(super) bytes: Arc<Mmap>,
    pub(super) pieces: Vec<Piece>,
    /// Those that are wanted.
    pub(super) places: Vec<Place>,
    /// How many there are, wanted or not.
    pub(super) rows: usize,
    /// Bytes of keys and values of those that are wanted.
    pub(super) raw: usize,
    /// How many of those that are wanted have no value.
    pub(super) erased: usize,
}

/// Why a block was not taken whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unput<E> {
    /// See [`Full`](super::arena::Full).
    Full,
    /// Something in it is no row.
    NoRow,
    /// One of its rows cannot be.
    Refused(E),
}

impl Block {
    /// Looks through all rows, whose keys differ; leaves out those that `keep` does not want.
    pub(super) fn of<E>(
        bytes: Mmap,
        hashing: &Hashing,
        keep: impl Fn(&Row<'_>) -> Result<bool, E>,
    ) -> Result<Self, Unput<E>> {
        let mut block =
            Block { bytes: Arc::new(bytes), pieces: Vec::new(), places: Vec::new(), rows: 0, raw: 0, erased: 0 };
        let bytes = Arc::clone(&block.bytes);
        let mut at = 0;
        while at < bytes.len() {
            let laid = Row::at(&bytes[at..]).filter(|laid| !laid.dead).ok_or(Unput::NoRow)?;
            block.add(at, laid.length).ok_or(Unput::NoRow)?;
            if keep(&laid.row).map_err(Unput::Refused)? {
                block.want(at, hashing.of(laid.row.key), &laid.row);
            } else if let Some(piece) = block.pieces.last_mut() {
                piece.dead += laid.length;
            }
            at += laid.length;
        }
        for piece in &mut block.pieces {
            piece.checksum = crc32fast::hash(&bytes[piece.range.start as usize..piece.range.end as usize]);
        }
        Ok(block)
    }

    /// Counts a row in, in this piece or the next; `None` where no file has a block so large.
    fn add(&mut self, at: usize, length: usize) -> Option<()> {
        self.rows += 1;
        let (begin, end) = (u32::try_from(at).ok()?, u32::try_from(at + length).ok()?);
        match self.pieces.last_mut() {
            Some(piece) if (end - piece.range.start) as usize <= MAX_CHUNK => piece.range.end = end,
            _ => self.pieces.push(Piece { range: begin..end, dead: 0, checksum: 0 }),
        }
        Some(())
    }

    #[expect(clippy::cast_possible_truncation, reason = "a block is shorter than 4 GiB: `add` looked")]
    fn want(&mut self, at: usize, hash: u64, row: &Row<'_>) {
        let begin = self.pieces.last().map_or(0, |piece| piece.range.start);
        self.places.push(Place { hash, piece: self.pieces.len() as u32 - 1, at: at as u32 - begin });
        self.raw += row.raw();
        self.erased += usize::from(row.value.is_none());
    }

    /// The row at a place.
    pub(super) fn row(&self, place: Place) -> Option<Row<'_>> {
        let begin = self.pieces.get(place.piece as usize)?.range.start + place.at;
        Row::at(self.bytes.get(begin as usize..)?).map(|laid| laid.row)
    }
}
