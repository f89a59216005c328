//! Avro's binary encoding, appended value by value (Avro 1.12 specification, "Binary encoding").

use crate::model::{NotificationId, Timestamp};

/// Where values are appended.
pub(super) struct Put<'o>(pub(super) &'o mut Vec<u8>);

impl Put<'_> {
    /// `int` and `long`: zig-zag, seven bits a byte, the lowest first. An enum's symbol is its number.
    pub(super) fn long(&mut self, value: i64) {
        let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while rest >= 0x80 {
            self.0.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.long(text.len() as i64);
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(super) fn texts<const N: usize>(&mut self, texts: [&str; N]) {
        texts.into_iter().for_each(|text| self.text(text));
    }

    pub(super) fn time(&mut self, time: Timestamp) {
        self.long(time.0);
    }

    /// As text with hyphens.
    pub(super) fn id(&mut self, id: NotificationId) {
        let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
        self.text(id.0.hyphenated().encode_lower(&mut buffer));
    }

    /// A union of null and another.
    pub(super) fn option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.long(value.is_some().into());
        if let Some(value) = value {
            put(self, value);
        }
    }

    /// One block, as serde_avro_fast writes it.
    pub(super) fn array<T>(&mut self, items: &[T], mut put: impl FnMut(&mut Self, &T)) {
        if !items.is_empty() {
            self.long(items.len() as i64);
            items.iter().for_each(|item| put(self, item));
        }
        self.long(0);
    }
}
