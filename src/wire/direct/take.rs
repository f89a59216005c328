//! Avro's binary encoding, taken value by value (Avro 1.12 specification, "Binary encoding"). Whatever is not as writers
//! usually make it is `None`, be it wrong or only rare.

use crate::model::Timestamp;

/// What is left of a datum.
pub(super) struct Take<'a>(&'a [u8]);

impl<'a> Take<'a> {
    pub(super) fn new(datum: &'a [u8]) -> Self {
        Take(datum)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// At most nine bytes: the largest numbers are rare.
    pub(super) fn long(&mut self) -> Option<i64> {
        let mut zigzag = 0;
        for (at, byte) in self.0.iter().enumerate().take(9) {
            zigzag |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.0 = &self.0[at + 1..];
                return Some((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed());
            }
        }
        None
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.long()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    pub(super) fn time(&mut self) -> Option<Timestamp> {
        self.long().map(Timestamp)
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        match byte {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// A union of null and another.
    pub(super) fn option<T>(&mut self, take: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.long()? {
            0 => Some(None),
            1 => take(self).map(Some),
            _ => None,
        }
    }

    /// An array, or a map with its keys as part of the items. Every item has at least one byte, so that no block can
    /// ask for much more memory than the datum has; blocks that tell their size are left to others.
    pub(super) fn array<T>(&mut self, mut take: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut items = Vec::new();
        loop {
            let count = usize::try_from(self.long()?).ok()?;
            if count == 0 {
                return Some(items);
            }
            if count > self.0.len() {
                return None;
            }
            items.reserve(count.min(64));
            for _ in 0..count {
                items.push(take(self)?);
            }
        }
    }
}
