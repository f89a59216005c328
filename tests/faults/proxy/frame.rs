//! What a request's bytes say, as far as a fault needs it.

use std::collections::HashMap;

/// The APIs that faults are about (KIP-482's "api key").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Api {
    Produce = 0,
    Fetch = 1,
    Metadata = 3,
    OffsetFetch = 9,
    FindCoordinator = 10,
    JoinGroup = 11,
    Heartbeat = 12,
    ListGroups = 16,
    /// ApiVersions: the first on each connection.
    Versions = 18,
    InitProducerId = 22,
    AddPartitionsToTxn = 24,
    AddOffsetsToTxn = 25,
    EndTxn = 26,
    TxnOffsetCommit = 28,
}

const ALL: [Api; 14] = [
    Api::Produce,
    Api::Fetch,
    Api::Metadata,
    Api::OffsetFetch,
    Api::FindCoordinator,
    Api::JoinGroup,
    Api::Heartbeat,
    Api::ListGroups,
    Api::Versions,
    Api::InitProducerId,
    Api::AddPartitionsToTxn,
    Api::AddOffsetsToTxn,
    Api::EndTxn,
    Api::TxnOffsetCommit,
];

/// A request as far as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// None for an API that no fault is about.
    pub api: Option<Api>,
    pub version: i16,
    pub correlation: i32,
    /// The client's id, empty when it gives none.
    pub client: String,
    /// What follows the header's client id; flexible headers still have their tags before it.
    pub body: Vec<u8>,
}

impl Request {
    /// Reads the header of a frame without its length.
    pub fn parse(frame: &[u8]) -> Option<Request> {
        let mut reader = Reader(frame);
        let key = reader.i16()?;
        let (version, correlation, client) = (reader.i16()?, reader.i32()?, reader.string()?);
        let api = ALL.into_iter().find(|api| *api as i16 == key);
        Some(Request { api, version, correlation, client, body: reader.0.to_vec() })
    }

    /// Whether an EndTxn commits.
    pub fn commits(&self) -> bool {
        self.api == Some(Api::EndTxn) && self.body.last() == Some(&1)
    }
}

/// A frame with its length before it.
pub fn framed(frame: &[u8]) -> Vec<u8> {
    let length = u32::try_from(frame.len()).expect("frames are small");
    [&length.to_be_bytes()[..], frame].concat()
}

/// Puts other ports behind the address 127.0.0.1, wherever a broker is named. Lengths stay as they are: host and
/// port stand side by side in every version of Metadata and FindCoordinator, the port as four bytes.
pub fn replace_ports(frame: &mut [u8], ports: &HashMap<u16, u16>) {
    const HOST: &[u8] = b"127.0.0.1";
    let mut at = 0;
    while let Some(found) = frame[at..].windows(HOST.len()).position(|window| window == HOST) {
        at += found + HOST.len();
        let Some(bytes) = frame.get_mut(at..at + 4) else { return };
        let port = u32::from_be_bytes(bytes.try_into().expect("four bytes"));
        if let Some(new) = u16::try_from(port).ok().and_then(|port| ports.get(&port)) {
            bytes.copy_from_slice(&u32::from(*new).to_be_bytes());
        }
    }
}

/// Reads Kafka's primitive types; what is left is public.
pub struct Reader<'b>(pub &'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    pub fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// Unsigned variable-length integer.
    pub fn varint(&mut self) -> Option<u32> {
        let (mut value, mut shift) = (0u32, 0);
        loop {
            let byte = self.take(1)?[0];
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
            shift += 7;
        }
    }

    /// A string with a two-byte length; null reads as empty.
    pub fn string(&mut self) -> Option<String> {
        let length = usize::try_from(self.i16()?).unwrap_or(0);
        Some(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    /// A string with a variable length, plus one; null reads as empty.
    pub fn compact_string(&mut self) -> Option<String> {
        let length = self.varint()?.saturating_sub(1) as usize;
        Some(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    /// The count of a compact array; null reads as 0.
    pub fn compact_count(&mut self) -> Option<u32> {
        Some(self.varint()?.saturating_sub(1))
    }

    /// Passes over tagged fields.
    pub fn tags(&mut self) -> Option<()> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let length = self.varint()? as usize;
            self.take(length)?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_of_a_transaction_is_read_with_who_asks_for_what() {
        // EndTxn v1, correlation 7, client "c", transactional id "t", producer 9, epoch 2, commit.
        let frame = [
            &26i16.to_be_bytes()[..],
            &1i16.to_be_bytes(),
            &7i32.to_be_bytes(),
            &1i16.to_be_bytes(),
            b"c",
            &1i16.to_be_bytes(),
            b"t",
            &9i64.to_be_bytes(),
            &2i16.to_be_bytes(),
            &[1],
        ]
        .concat();
        let request = Request::parse(&frame).unwrap();
        assert_eq!((request.api, request.version, request.correlation), (Some(Api::EndTxn), 1, 7));
        assert_eq!(request.client, "c");
        assert!(request.commits());
        let abort = [&frame[..frame.len() - 1], &[0]].concat();
        assert!(!Request::parse(&abort).unwrap().commits());
    }

    #[test]
    fn a_frame_that_ends_too_early_is_no_request() {
        assert_eq!(Request::parse(&[0, 26, 0, 1, 0, 0]), None);
    }

    #[test]
    fn only_the_ports_of_known_brokers_are_replaced() {
        let named = |port: u32| [&b"\x0a127.0.0.1"[..], &port.to_be_bytes()].concat();
        let mut frame = [named(9092), vec![1, 2, 3], named(9999)].concat();
        replace_ports(&mut frame, &HashMap::from([(9092, 40_000)]));
        assert_eq!(frame, [named(40_000), vec![1, 2, 3], named(9999)].concat());
    }
}
