//! What can go wrong between bytes and model. No variant holds a value of the record.

use super::{RecordType, SchemaError};

/// A record that cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not 0x00 and a schema id.
    #[error("{}", not_framed(*length, *first))]
    NotFramed {
        /// Bytes of the value.
        length: usize,
        /// Its first byte.
        first: Option<u8>,
    },
    /// The writer's schema cannot be had or used.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The value is of another type than its topic's.
    #[error("the value is a `{found}`, not a `{}`", .expected.name())]
    WrongRecord {
        /// What the topic carries.
        expected: RecordType,
        /// The full name in the writer's schema.
        found: String,
    },
    /// The writer's schema says something that ours cannot be read from.
    #[error("the writer's `{}` cannot be read: {why}", .record.name())]
    Incompatible {
        /// What was to be read.
        record: RecordType,
        /// Which field, and how it differs.
        why: String,
    },
    /// The datum does not fit the writer's schema, or a required field is missing.
    #[error("the datum is not a valid `{}`: {why}", .record.name())]
    Malformed {
        /// What was to be read.
        record: RecordType,
        /// Without any value of the record.
        why: String,
    },
    /// Bytes are left after the record.
    #[error("{bytes} bytes are left after the `{}`: was it written with another schema?", .record.name())]
    Trailing {
        /// What was read.
        record: RecordType,
        /// How many are left.
        bytes: usize,
    },
    /// A value of ours does not fit our own schema.
    #[error("a `{}` cannot be written: {why}", .record.name())]
    Encode {
        /// What was to be written.
        record: RecordType,
        /// Without any value of the record.
        why: String,
    },
}

/// Whose fault a [`WireError`] is, and so what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The record's: it goes to the DLQ (`not_an_event`, `not_an_outbound`, `invalid_preferences`).
    Record,
    /// The record names a schema that the registry does not know: DLQ, `unknown_schema`.
    UnknownSchema,
    /// Nobody knows yet: the registry cannot be asked. Wait and try the same record again.
    Registry,
}

impl WireError {
    /// Whose fault this is.
    pub fn blame(&self) -> Blame {
        match self {
            WireError::Schema(SchemaError::Unavailable { .. }) => Blame::Registry,
            WireError::Schema(SchemaError::Unknown(_)) => Blame::UnknownSchema,
            _ => Blame::Record,
        }
    }
}

fn not_framed(length: usize, first: Option<u8>) -> String {
    match first {
        None => "the value is empty: not in the Confluent wire format".to_owned(),
        Some(0) => format!("the value has {length} bytes: too short for the Confluent wire format"),
        Some(byte) => {
            format!("the value begins with {byte:#04x}, not 0x00: not in the Confluent wire format")
        }
    }
}

/// serde's messages quote what they found; this keeps the kind of the thing and drops the thing.
pub(super) fn without_values(message: &str) -> String {
    let expected = message.rsplit_once(", expected ").map(|(_, expected)| expected);
    for start in ["invalid type: ", "invalid value: ", "invalid length "] {
        if let Some(rest) = message.strip_prefix(start) {
            let kind = rest.split(['"', '`', ',']).next().unwrap_or_default().trim();
            return format!("{start}{kind}, expected {}", expected.unwrap_or("something else"));
        }
    }
    if message.starts_with("unknown variant ") {
        return format!("unknown symbol, expected {}", expected.unwrap_or("another"));
    }
    if message.contains('"') {
        return message.split('"').next().unwrap_or_default().trim().to_owned();
    }
    message.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(r#"invalid type: string "ada@example.org", expected i64"#, "invalid type: string, expected i64")]
    #[case(r#"invalid type: string "a, expected b", expected i64"#, "invalid type: string, expected i64")]
    #[case("invalid type: integer `491701234`, expected a string", "invalid type: integer, expected a string")]
    #[case(
        "invalid type: unit value, expected a borrowed string",
        "invalid type: unit value, expected a borrowed string"
    )]
    #[case("unknown variant `ada@x`, expected one of `LOW`, `HIGH`", "unknown symbol, expected one of `LOW`, `HIGH`")]
    #[case("missing field `id`", "missing field `id`")]
    #[case("Unexpected end of slice while deserializing", "Unexpected end of slice while deserializing")]
    fn values_never_reach_an_error(#[case] message: &str, #[case] shown: &str) {
        assert_eq!(without_values(message), shown);
    }

    #[test]
    fn only_an_unreachable_registry_is_worth_waiting_for() {
        let id = super::super::SchemaId(7);
        let unavailable = SchemaError::Unavailable { id, why: "connection refused".into() };
        assert_eq!(WireError::from(unavailable).blame(), Blame::Registry);
        assert_eq!(WireError::from(SchemaError::Unknown(id)).blame(), Blame::UnknownSchema);
        assert_eq!(WireError::NotFramed { length: 0, first: None }.blame(), Blame::Record);
    }
}
