//! The Confluent wire format: 0x00, a 4-byte big-endian schema id, the Avro datum.

use std::fmt;

use super::WireError;

/// The registry's id of a writer's schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SchemaId(pub u32);

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Takes a value apart into the id of its writer's schema and the datum.
///
/// # Errors
/// [`WireError::NotFramed`] when it is too short or does not begin with 0x00.
pub fn split(value: &[u8]) -> Result<(SchemaId, &[u8]), WireError> {
    match value {
        [0, a, b, c, d, datum @ ..] => Ok((SchemaId(u32::from_be_bytes([*a, *b, *c, *d])), datum)),
        _ => Err(WireError::NotFramed { length: value.len(), first: value.first().copied() }),
    }
}

/// Appends the five bytes that precede a datum written with `id`.
pub(super) fn begin(id: SchemaId, out: &mut Vec<u8>) {
    out.push(0);
    out.extend_from_slice(&id.0.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn what_is_framed_comes_apart_again() {
        let mut value = Vec::new();
        begin(SchemaId(0x0102_0304), &mut value);
        assert_eq!(value.len(), 5);
        value.extend_from_slice(b"datum");
        assert_eq!(split(&value).unwrap(), (SchemaId(0x0102_0304), b"datum".as_slice()));
    }

    #[rstest]
    #[case::empty(b"", "the value is empty: not in the Confluent wire format")]
    #[case::short(b"\0\0\0\0", "the value has 4 bytes: too short for the Confluent wire format")]
    #[case::json(b"{\"id\":1}", "the value begins with 0x7b, not 0x00: not in the Confluent wire format")]
    fn what_is_not_framed_is_named(#[case] value: &[u8], #[case] message: &str) {
        assert_eq!(split(value).unwrap_err().to_string(), message);
    }
}
