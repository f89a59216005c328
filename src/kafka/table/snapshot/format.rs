//! The bytes of a snapshot: a header, blocks of rows, an end. Knows no files.
//!
//! ```text
//! "notitabl" [version: 4] [length: 4] [checksum: 4] [header]      checksum over all before it and the header
//! [length: 4] [checksum: 4] [rows]                                once for each block
//! [0: 4] [checksum: 4] [rows in all: 8]                           the end; nothing follows
//! ```
//!
//! Fixed widths little-endian; rows as [`Row::lay`](super::super::row::Row::lay) lays them. A block's checksum also
//! covers the header's and the block's number, so that a block of another snapshot, or in another place, is none.
//! CRC-32 finds every error within 32 bits, whatever the length, and all others but one in 2^32.

use std::io::{self, Write};
use std::ops::Deref;

use super::Distrust;
use super::trust::Identity;
use crate::kafka::table::row::{put_varint, take_varint};
use crate::model::Timestamp;
use crate::telemetry::faults::{self, Breakage};

const MAGIC: &[u8; 8] = b"notitabl";
/// Raised with every change of the format or of how rows lie.
const VERSION: u32 = 2;
const ENDS_EARLY: Distrust = Distrust::Damaged("it ends early");
/// A header is never longer: ten thousand partitions and names of Kafka's greatest length fit.
const MAX_HEADER: usize = 1 << 20;

/// What a snapshot says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kafka::table) struct Header {
    /// Of which topic it is.
    pub(in crate::kafka::table) identity: Identity,
    /// All that the topic held at this moment is in the snapshot or after its offsets.
    pub(in crate::kafka::table) as_of: Timestamp,
    /// Where to read on, by partition; `None` for one that is not in the snapshot.
    pub(in crate::kafka::table) next: Vec<Option<i64>>,
    /// About how many rows follow.
    pub(in crate::kafka::table) rows: u64,
    /// What the table hashes by: a block holds what hashes alike.
    pub(in crate::kafka::table) seed: u64,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for text in [&self.identity.cluster, &self.identity.topic, &self.identity.id] {
            put_varint(&mut out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
        put_varint(&mut out, self.as_of.0.cast_unsigned());
        put_varint(&mut out, self.rows);
        put_varint(&mut out, self.seed);
        put_varint(&mut out, self.next.len() as u64);
        for next in &self.next {
            // Offsets are never negative, and none is the greatest.
            put_varint(&mut out, next.map_or(0, |next| next.cast_unsigned() + 1));
        }
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut at = 0;
        let mut text = || {
            let length = usize::try_from(take_varint(bytes, &mut at)?).ok()?;
            let text = bytes.get(at..at.checked_add(length)?)?;
            at += length;
            String::from_utf8(text.to_vec()).ok()
        };
        let (cluster, topic, id) = (text()?, text()?, text()?);
        let as_of = Timestamp(take_varint(bytes, &mut at)?.cast_signed());
        let (rows, seed) = (take_varint(bytes, &mut at)?, take_varint(bytes, &mut at)?);
        let partitions = usize::try_from(take_varint(bytes, &mut at)?).ok().filter(|count| *count <= bytes.len())?;
        let mut next = Vec::with_capacity(partitions);
        for _ in 0..partitions {
            next.push(take_varint(bytes, &mut at)?.checked_sub(1).map(u64::cast_signed));
        }
        let identity = Identity { cluster, topic, id, partitions };
        (at == bytes.len()).then_some(Header { identity, as_of, next, rows, seed })
    }
}

/// Writes a snapshot.
pub(super) struct Writer<W> {
    out: W,
    seal: Seal,
    rows: u64,
    bytes: u64,
}

impl<W: Write> Writer<W> {
    /// Begins with the header.
    pub(super) fn new(mut out: W, header: &Header) -> io::Result<Self> {
        let header = header.encode();
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&VERSION.to_le_bytes());
        head.extend_from_slice(&length(&header)?.to_le_bytes());
        let checksum = checksum(&[&head, &header]);
        out.write_all(&head)?;
        out.write_all(&checksum.to_le_bytes())?;
        out.write_all(&header)?;
        let bytes = (head.len() + 4 + header.len()) as u64;
        Ok(Writer { out, seal: Seal { header: checksum, block: 0 }, rows: 0, bytes })
    }

    /// Adds so many rows; none at all are no block.
    pub(super) fn block(&mut self, rows: usize, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.rows += rows as u64;
        let length = length(bytes)?.to_le_bytes();
        self.sealed(length, bytes)
    }

    /// Ends; returns what it wrote to, and how many bytes.
    pub(super) fn end(mut self) -> io::Result<(W, u64)> {
        let rows = self.rows.to_le_bytes();
        self.sealed([0; 4], &rows)?;
        self.out.flush()?;
        Ok((self.out, self.bytes))
    }

    fn sealed(&mut self, length: [u8; 4], bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(&length)?;
        self.out.write_all(&self.seal.next().of(length, bytes).to_le_bytes())?;
        self.out.write_all(bytes)?;
        self.bytes += 8 + bytes.len() as u64;
        Ok(())
    }
}

fn length(bytes: &[u8]) -> io::Result<u32> {
    u32::try_from(bytes.len()).map_err(|_| io::Error::other("more than 4 GiB of rows in one block"))
}

/// What a snapshot is read from, by several threads at once.
pub(super) trait Source: Clone {
    /// A part of it in memory.
    type Piece: Deref<Target = [u8]>;
    /// Fills `bytes` with what lies there.
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()>;
    /// So many bytes that lie there.
    fn piece(&self, at: u64, length: usize) -> io::Result<Self::Piece>;
}

/// Reads a snapshot of so many bytes: says where its blocks lie, which are then read by whoever wants them.
pub(super) struct Reader<S> {
    source: S,
    at: u64,
    length: u64,
    seal: Seal,
    rows: u64,
}

/// A block that is not read yet.
#[must_use = "a block counts only once it is read and checked"]
pub(super) struct Unread<S> {
    source: S,
    at: u64,
    length: [u8; 4],
    seal: Seal,
    expected: u32,
}

impl<S: Source> Reader<S> {
    /// Reads the header; `length` is that of the whole snapshot.
    pub(super) fn new(source: S, length: u64) -> Result<(Header, Self), Distrust> {
        let mut reader = Reader { source, at: 0, length, seal: Seal { header: 0, block: 0 }, rows: 0 };
        let (head, expected) = (reader.take::<16>()?, u32::from_le_bytes(reader.take()?));
        let (magic, words) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(Distrust::Damaged("it does not begin as a snapshot does"));
        }
        let word =
            |at: usize| words.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_le_bytes);
        let (version, length) = (word(0), word(4) as usize);
        if version != VERSION {
            return Err(Distrust::Format(version));
        }
        if length > MAX_HEADER {
            return Err(Distrust::Damaged("its header is longer than any"));
        }
        let at = reader.pass(length as u64)?;
        let mut header = vec![0; length];
        reader.source.read_at(&mut header, at).map_err(|error| unreadable(&error))?;
        let actual = checksum(&[&head, &header]);
        if !is_intact(expected, actual) {
            return Err(Distrust::Damaged("its header's checksum differs"));
        }
        reader.seal.header = actual;
        let header = Header::decode(&header).ok_or(Distrust::Damaged("its header makes no sense"))?;
        Ok((header, reader))
    }

    /// The next block; `None` at the end, which is checked.
    pub(super) fn next(&mut self) -> Result<Option<Unread<S>>, Distrust> {
        let length: [u8; 4] = self.take()?;
        let expected = u32::from_le_bytes(self.take()?);
        let seal = self.seal.next();
        if length != [0; 4] {
            let at = self.pass(u32::from_le_bytes(length).into())?;
            return Ok(Some(Unread { source: self.source.clone(), at, length, seal, expected }));
        }
        let rows: [u8; 8] = self.take()?;
        check(expected, seal.of(length, &rows))?;
        self.rows = u64::from_le_bytes(rows);
        if self.at == self.length { Ok(None) } else { Err(Distrust::Damaged("something follows its end")) }
    }

    /// How many rows it holds, once its end was read.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Where so many bytes lie that come next.
    fn pass(&mut self, length: u64) -> Result<u64, Distrust> {
        let at = self.at;
        // Not more than there is: a damaged length must not take all memory.
        self.at = at.checked_add(length).filter(|end| *end <= self.length).ok_or(ENDS_EARLY)?;
        Ok(at)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Distrust> {
        let (at, mut bytes) = (self.pass(N as u64)?, [0; N]);
        self.source.read_at(&mut bytes, at).map_err(|error| unreadable(&error))?;
        Ok(bytes)
    }
}

impl<S: Source> Unread<S> {
    /// Its bytes, if they are those that were written.
    pub(super) fn read(self) -> Result<S::Piece, Distrust> {
        let block = self.source.piece(self.at, u32::from_le_bytes(self.length) as usize);
        let block = block.map_err(|error| unreadable(&error))?;
        check(self.expected, self.seal.of(self.length, &block))?;
        Ok(block)
    }
}

fn unreadable(error: &io::Error) -> Distrust {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ENDS_EARLY,
        _ => Distrust::Unreadable(error.to_string()),
    }
}

fn check(written: u32, actual: u32) -> Result<(), Distrust> {
    if is_intact(written, actual) { Ok(()) } else { Err(Distrust::Damaged("a block's checksum differs")) }
}

/// Binds a block to its snapshot and its place there.
#[derive(Clone, Copy)]
struct Seal {
    header: u32,
    block: u64,
}

impl Seal {
    fn next(&mut self) -> Seal {
        let now = *self;
        self.block += 1;
        now
    }

    fn of(self, length: [u8; 4], bytes: &[u8]) -> u32 {
        checksum(&[&self.header.to_le_bytes(), &self.block.to_le_bytes(), &length, bytes])
    }
}

fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// Whether a checksum is the one that was written: the only place that says so.
fn is_intact(written: u32, actual: u32) -> bool {
    written == actual || faults::broken(Breakage::SnapshotChecksum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> Header {
        Header {
            identity: Identity {
                cluster: "4L6g3nShT-eMCtK--X86sw".to_owned(),
                topic: "notify.preferences".to_owned(),
                id: "Pf0yQ1rjSJOz0O1S7-Xx3Q".to_owned(),
                partitions: 3,
            },
            as_of: Timestamp(1_763_900_000_123),
            next: vec![Some(0), Some(i64::MAX), None],
            rows: 4,
            seed: u64::MAX,
        }
    }

    fn written(blocks: &[&[u8]]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), &header()).unwrap();
        for block in blocks {
            writer.block(2, block).unwrap();
        }
        let (bytes, length) = writer.end().unwrap();
        assert_eq!(bytes.len() as u64, length);
        bytes
    }

    impl<'a> Source for &'a [u8] {
        type Piece = &'a [u8];

        fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
            bytes.copy_from_slice(self.piece(at, bytes.len())?);
            Ok(())
        }

        fn piece(&self, at: u64, length: usize) -> io::Result<&'a [u8]> {
            let there = usize::try_from(at).ok().and_then(|at| self.get(at..)?.get(..length));
            there.ok_or(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn read(bytes: &[u8]) -> Result<(Header, Vec<Vec<u8>>, u64), Distrust> {
        let (header, mut reader) = Reader::new(bytes, bytes.len() as u64)?;
        let mut blocks = Vec::new();
        while let Some(unread) = reader.next()? {
            blocks.push(unread.read()?.to_vec());
        }
        Ok((header, blocks, reader.rows()))
    }

    #[test]
    fn what_was_written_is_read_again() {
        let blocks: [&[u8]; 2] = [b"some rows", b"others"];
        let expected = blocks.iter().map(|block| block.to_vec()).collect::<Vec<_>>();
        assert_eq!(read(&written(&blocks)), Ok((header(), expected, 4)));
        assert_eq!(read(&written(&[])), Ok((header(), Vec::new(), 0)));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = written(&[b"some rows", b"others"]);
        for (at, bit) in (0..bytes.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            assert!(read(&flipped).is_err(), "bit {bit} of byte {at}");
        }
    }

    #[test]
    fn a_snapshot_that_was_cut_anywhere_or_goes_on_is_damaged() {
        let bytes = written(&[b"some rows", b"others"]);
        for length in 0..bytes.len() {
            assert!(matches!(read(&bytes[..length]), Err(Distrust::Damaged(_))), "cut to {length}");
        }
        assert_eq!(read(&[&bytes[..], b"x"].concat()), Err(Distrust::Damaged("something follows its end")));
    }

    #[test]
    fn blocks_in_another_order_or_of_another_snapshot_are_found() {
        let damaged = Err(Distrust::Damaged("a block's checksum differs"));
        let bytes = written(&[b"first", b"other"]);
        let head = written(&[]).len() - 16;
        let (first, second, end) = (&bytes[head..head + 13], &bytes[head + 13..head + 26], &bytes[head + 26..]);
        assert_eq!(read(&[&bytes[..head], second, first, end].concat()), damaged);
        let mut other = header();
        other.as_of = Timestamp(1);
        let mut writer = Writer::new(Vec::new(), &other).unwrap();
        writer.block(2, b"first").unwrap();
        let (theirs, _) = writer.end().unwrap();
        let head = theirs.len() - 16 - 13;
        assert_eq!(read(&[&theirs[..head], first, second, end].concat()), damaged);
    }

    #[test]
    fn another_format_is_named() {
        let mut bytes = written(&[]);
        bytes[8] = 1;
        assert_eq!(read(&bytes), Err(Distrust::Format(1)));
    }

    proptest! {
        #[test]
        fn whatever_happens_to_a_few_bytes_is_found(
            rows in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..200), 0..4),
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), 1u8..), 1..6),
        ) {
            let bytes = written(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let mut changed = bytes.clone();
            for (at, by) in changes {
                let at = at.index(changed.len());
                changed[at] ^= by;
            }
            prop_assume!(changed != bytes);
            prop_assert!(read(&changed).is_err());
        }

        #[test]
        fn hostile_bytes_are_no_snapshot_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(read(&bytes).is_err());
            let bytes = [&MAGIC[..], &VERSION.to_le_bytes(), &bytes].concat();
            prop_assert!(read(&bytes).is_err());
        }
    }
}
