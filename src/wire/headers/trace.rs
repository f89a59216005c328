//! `traceparent` as W3C Trace Context level 1 has it.

use std::fmt;

use super::names;

/// A valid `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace_id: u128,
    parent_id: u64,
    flags: u8,
}

impl TraceParent {
    /// Reads a header's value; `None` when it is not valid (then, W3C says, it is as if it were absent). Of a
    /// version later than 00 the fields known today are read.
    pub fn parse(value: &str) -> Option<TraceParent> {
        let hex = |range: std::ops::Range<usize>| {
            let digits = value.get(range)?;
            let lower = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            u128::from_str_radix(digits, 16).ok().filter(|_| lower)
        };
        let dash = |at: usize| value.as_bytes().get(at) == Some(&b'-');
        let version = hex(0..2)?;
        let ends = value.len() == 55 || (version > 0 && dash(55));
        if version == 0xff || !ends || !dash(2) || !dash(35) || !dash(52) {
            return None;
        }
        let (trace_id, parent_id, flags) = (hex(3..35)?, hex(36..52)?, hex(53..55)?);
        let parsed =
            TraceParent { trace_id, parent_id: u64::try_from(parent_id).ok()?, flags: u8::try_from(flags).ok()? };
        (parsed.trace_id != 0 && parsed.parent_id != 0).then_some(parsed)
    }

    /// The valid `traceparent` of a record, if there is one.
    pub fn of<'a>(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Option<TraceParent> {
        let (_, value) = headers.into_iter().filter(|(name, _)| *name == names::TRACEPARENT).last()?;
        TraceParent::parse(std::str::from_utf8(value).ok()?)
    }

    /// The trace.
    pub const fn trace_id(self) -> u128 {
        self.trace_id
    }

    /// The span that caused this.
    pub const fn parent_id(self) -> u64 {
        self.parent_id
    }

    /// Whether the trace is recorded.
    pub const fn sampled(self) -> bool {
        self.flags & 1 == 1
    }
}

impl fmt::Display for TraceParent {
    /// As a header's value, in version 00.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Version 00 knows two flags; others are not passed on.
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.parent_id, self.flags & 0b11)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_one_is_carried_on() {
        let parent = TraceParent::parse(VALID).unwrap();
        assert_eq!(parent.to_string(), VALID);
        assert!(parent.sampled());
        assert_eq!(parent.trace_id(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(parent.parent_id(), 0x00f0_67aa_0ba9_02b7);
    }

    #[rstest]
    #[case::empty("")]
    #[case::short("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0")]
    #[case::long("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x")]
    #[case::upper_case("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01")]
    #[case::zero_trace("00-00000000000000000000000000000000-00f067aa0ba902b7-01")]
    #[case::zero_parent("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01")]
    #[case::version_ff("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]
    #[case::plus("00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]
    #[case::later_without_dash("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x")]
    fn an_invalid_one_is_as_absent(#[case] value: &str) {
        assert_eq!(TraceParent::parse(value), None);
    }

    #[test]
    fn a_later_version_may_say_more() {
        assert_eq!(TraceParent::parse(&VALID.replace("00-4b", "01-4b")), TraceParent::parse(VALID));
        assert!(TraceParent::parse(&format!("{}-more", VALID.replace("00-4b", "01-4b"))).is_some());
    }

    proptest! {
        #[test]
        fn no_text_panics(value: String) {
            let _ = TraceParent::parse(&value);
        }

        #[test]
        fn no_headers_panic(value: Vec<u8>) {
            let _ = TraceParent::of([("traceparent", value.as_slice())]);
        }
    }
}
