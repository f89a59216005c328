//! How a row lies in memory and in a snapshot: one contiguous piece that describes itself. Bytes only: who may see a
//! row, and when, is not decided here.
//!
//! `[offset: 8][timestamp: 6][partition][key length][value length + 1, or 0: erased][key][value][0 to 3 zeros]`, fixed
//! widths little-endian, the three in the middle LEB128. Rows begin at multiples of [`ALIGN`].

/// Rows begin at multiples of so many bytes.
pub(super) const ALIGN: usize = 4;

/// What one look brings into the processor's cache.
pub(super) const CACHE_LINE: usize = 64;

/// Stands in the place of the offset of a row that is no longer one.
const DEAD: [u8; 8] = [0xff; 8];

const OFFSET: usize = 8;
const TIMESTAMP: usize = 6;
/// Milliseconds that fit: until the year 10889.
const LAST_TIMESTAMP: i64 = (1 << (8 * TIMESTAMP)) - 1;

/// What is known of a key: its newest record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row<'a> {
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// The record's own, in milliseconds since 1970; 0 when it has none.
    pub(super) timestamp: i64,
    pub(super) key: &'a [u8],
    /// `None` for a tombstone.
    pub(super) value: Option<&'a [u8]>,
}

/// A piece of memory or of a snapshot, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Laid<'a> {
    pub(super) row: Row<'a>,
    /// Bytes that it takes, padding included.
    pub(super) length: usize,
    pub(super) dead: bool,
}

impl<'a> Row<'a> {
    /// Whether this record, of the same key, comes before `other`. In one partition offsets tell; a key in two
    /// partitions was moved when partitions were added, and then the records' own times tell.
    pub(super) fn is_before(&self, other: &Row<'_>) -> bool {
        if self.partition == other.partition { self.offset < other.offset } else { self.timestamp < other.timestamp }
    }

    /// Bytes of key and value, as the topic has them.
    pub(super) fn raw(&self) -> usize {
        self.key.len() + self.value.map_or(0, <[u8]>::len)
    }

    /// Bytes that [`Row::lay`] will add.
    pub(super) fn laid(&self) -> usize {
        let head = OFFSET + TIMESTAMP;
        let lengths = varint_len(self.partition_word()) + varint_len(word(self.key.len())) + varint_len(self.kind());
        (head + lengths + self.raw()).next_multiple_of(ALIGN)
    }

    /// Adds the row to `out`, whose length is a multiple of [`ALIGN`].
    pub(super) fn lay(&self, out: &mut Vec<u8>) {
        debug_assert!(out.len().is_multiple_of(ALIGN), "rows are aligned");
        let mut head = Head::default();
        head.add(&self.offset.to_le_bytes());
        head.add(&self.timestamp.clamp(0, LAST_TIMESTAMP).to_le_bytes()[..TIMESTAMP]);
        head.add_varint(self.partition_word());
        head.add_varint(word(self.key.len()));
        head.add_varint(self.kind());
        out.extend_from_slice(head.bytes());
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.value.unwrap_or_default());
        let padding = out.len().next_multiple_of(ALIGN) - out.len();
        out.extend_from_slice(&[0; ALIGN][..padding]);
    }

    /// Partitions are never negative.
    fn partition_word(&self) -> u64 {
        u64::from(self.partition.unsigned_abs())
    }

    fn kind(&self) -> u64 {
        self.value.map_or(0, |value| word(value.len()) + 1)
    }

    /// Takes the row at the beginning of `bytes` apart; `None` when no row lies there.
    pub(super) fn at(bytes: &'a [u8]) -> Option<Laid<'a>> {
        let offset: [u8; OFFSET] = bytes.get(..OFFSET)?.try_into().ok()?;
        let mut timestamp = [0; 8];
        timestamp[..TIMESTAMP].copy_from_slice(bytes.get(OFFSET..OFFSET + TIMESTAMP)?);
        let mut at = OFFSET + TIMESTAMP;
        let partition = i32::try_from(take_varint(bytes, &mut at)?).ok()?;
        let key_length = usize::try_from(take_varint(bytes, &mut at)?).ok()?;
        let kind = take_varint(bytes, &mut at)?;
        let key = bytes.get(at..at.checked_add(key_length)?)?;
        at += key_length;
        let value = match kind.checked_sub(1) {
            None => None,
            Some(length) => {
                let value = bytes.get(at..at.checked_add(usize::try_from(length).ok()?)?)?;
                at += value.len();
                Some(value)
            }
        };
        let length = at.next_multiple_of(ALIGN);
        bytes.get(at..length)?;
        let (offset, timestamp, dead) = (i64::from_le_bytes(offset), i64::from_le_bytes(timestamp), offset == DEAD);
        Some(Laid { row: Row { partition, offset, timestamp, key, value }, length, dead })
    }
}

/// Marks the row at the beginning of `bytes` as dead and wipes its value: what was erased must not stay in memory.
/// Returns the bytes that it takes.
pub(super) fn bury(bytes: &mut [u8]) -> usize {
    let Some(laid) = Row::at(bytes) else { return 0 };
    let (length, value) = (laid.length, laid.row.value.map_or(0, <[u8]>::len));
    let padding = length - laid_without_padding(&laid);
    bytes[..OFFSET].copy_from_slice(&DEAD);
    bytes[length - padding - value..length - padding].fill(0);
    length
}

fn laid_without_padding(laid: &Laid<'_>) -> usize {
    let row = &laid.row;
    let lengths = varint_len(row.partition_word()) + varint_len(word(row.key.len())) + varint_len(row.kind());
    OFFSET + TIMESTAMP + lengths + row.raw()
}

fn word(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// What stands before the key, on the stack: a growing vector would be asked for room for each part of it.
struct Head {
    bytes: [u8; Head::MOST],
    length: usize,
}

impl Default for Head {
    fn default() -> Self {
        Head { bytes: [0; Head::MOST], length: 0 }
    }
}

impl Head {
    /// Three numbers of ten bytes at most.
    const MOST: usize = OFFSET + TIMESTAMP + 3 * 10;

    fn add(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    fn add_varint(&mut self, value: u64) {
        each_of_varint(value, |byte| self.add(&[byte]));
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

pub(super) fn put_varint(out: &mut Vec<u8>, value: u64) {
    each_of_varint(value, |byte| out.push(byte));
}

/// The bytes of a LEB128 number, in order.
fn each_of_varint(mut value: u64, mut each: impl FnMut(u8)) {
    while value >= 0x80 {
        each(low_seven(value) | 0x80);
        value >>= 7;
    }
    each(low_seven(value));
}

fn low_seven(value: u64) -> u8 {
    u8::try_from(value & 0x7f).unwrap_or(0x7f)
}

fn varint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// Reads a LEB128 number at `at` and moves on; `None` when it is not complete or too long.
pub(super) fn take_varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_row() -> impl Strategy<Value = (i32, i64, i64, Vec<u8>, Option<Vec<u8>>)> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..300);
        (0..i32::MAX, 0..i64::MAX, 0..=LAST_TIMESTAMP, bytes(), proptest::option::of(bytes()))
    }

    proptest! {
        #[test]
        fn what_was_laid_is_read_again_and_takes_what_was_announced(
            (partition, offset, timestamp, key, value) in any_row(),
        ) {
            let row = Row { partition, offset, timestamp, key: &key, value: value.as_deref() };
            let mut bytes = Vec::new();
            row.lay(&mut bytes);
            prop_assert_eq!(bytes.len(), row.laid());
            prop_assert_eq!(Row::at(&bytes), Some(Laid { row, length: bytes.len(), dead: false }));
        }

        #[test]
        fn a_buried_row_is_dead_keeps_its_length_and_has_lost_its_value(
            (partition, offset, timestamp, key, value) in any_row(),
        ) {
            let row = Row { partition, offset, timestamp, key: &key, value: value.as_deref() };
            let mut bytes = Vec::new();
            row.lay(&mut bytes);
            prop_assert_eq!(bury(&mut bytes), bytes.len());
            let laid = Row::at(&bytes).unwrap();
            prop_assert!(laid.dead && laid.length == bytes.len() && laid.row.key == key);
            prop_assert!(laid.row.value.unwrap_or_default().iter().all(|byte| *byte == 0));
        }

        #[test]
        fn hostile_bytes_are_no_row_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(laid) = Row::at(&bytes) {
                prop_assert!(laid.length <= bytes.len());
            }
        }
    }

    #[test]
    fn offsets_order_records_of_one_partition_and_times_those_of_two() {
        let row = |partition, offset, timestamp| Row { partition, offset, timestamp, key: b"k", value: None };
        assert!(row(1, 4, 900).is_before(&row(1, 5, 100)));
        assert!(!row(1, 5, 100).is_before(&row(1, 5, 100)));
        assert!(row(1, 90, 100).is_before(&row(2, 3, 101)));
        assert!(!row(1, 90, 101).is_before(&row(2, 3, 101)));
    }
}
