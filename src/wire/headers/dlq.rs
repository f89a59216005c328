//! The headers of dead letters (names of KIP-1191) and of replays.

use super::{HeaderError, HeaderFault, names, number, text};
use crate::model::{Open, Reason};

/// Why a record died. The DLQ's record has the original key, value and headers, and these besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DlqHeaders<'a> {
    /// The topic it was read from.
    pub topic: &'a str,
    /// The partition it was read from.
    pub partition: i32,
    /// The offset it was read at.
    pub offset: i64,
    /// The consumer group that gave it up.
    pub group: &'a str,
    /// How often it was tried.
    pub delivery_count: u32,
    /// What was wrong, in words that hold no personal data.
    pub message: &'a str,
    /// What was wrong, as a code.
    pub reason: Open<'a, Reason>,
}

impl<'a> DlqHeaders<'a> {
    /// Every header of this group: those to drop on a redrive.
    pub const NAMES: [&'static str; 7] = [
        names::DLQ_TOPIC,
        names::DLQ_PARTITION,
        names::DLQ_OFFSET,
        names::DLQ_GROUP,
        names::DLQ_DELIVERY_COUNT,
        names::DLQ_MESSAGE,
        names::REASON,
    ];

    /// Reads the group; the last of headers with the same name counts.
    ///
    /// # Errors
    /// Names the header that cannot be read or is missing. `message` may be missing: it is for people.
    pub fn parse(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Self, HeaderError> {
        let (mut topic, mut group, mut reason, mut message) = (None, None, None, "");
        let (mut partition, mut offset, mut delivery_count) = (None, None, None);
        for (name, value) in headers {
            match name {
                names::DLQ_TOPIC => topic = Some(text(names::DLQ_TOPIC, value)?),
                names::DLQ_PARTITION => partition = Some(number(names::DLQ_PARTITION, value)?),
                names::DLQ_OFFSET => offset = Some(number(names::DLQ_OFFSET, value)?),
                names::DLQ_GROUP => group = Some(text(names::DLQ_GROUP, value)?),
                names::DLQ_DELIVERY_COUNT => delivery_count = Some(number(names::DLQ_DELIVERY_COUNT, value)?),
                names::DLQ_MESSAGE => message = text(names::DLQ_MESSAGE, value)?,
                names::REASON => reason = Some(text(names::REASON, value)?),
                _ => {}
            }
        }
        let missing = |header| HeaderError::new(header, HeaderFault::Missing);
        let reason = reason.ok_or(missing(names::REASON))?;
        Ok(DlqHeaders {
            topic: topic.ok_or(missing(names::DLQ_TOPIC))?,
            partition: partition.ok_or(missing(names::DLQ_PARTITION))?,
            offset: offset.ok_or(missing(names::DLQ_OFFSET))?,
            group: group.ok_or(missing(names::DLQ_GROUP))?,
            delivery_count: delivery_count.ok_or(missing(names::DLQ_DELIVERY_COUNT))?,
            message,
            reason: reason.parse().map_or(Open::Other(reason), Open::Known),
        })
    }

    /// Appends the group.
    pub fn write(&self, out: &mut Vec<(&'static str, String)>) {
        out.extend([
            (names::DLQ_TOPIC, self.topic.to_owned()),
            (names::DLQ_PARTITION, self.partition.to_string()),
            (names::DLQ_OFFSET, self.offset.to_string()),
            (names::DLQ_GROUP, self.group.to_owned()),
            (names::DLQ_DELIVERY_COUNT, self.delivery_count.to_string()),
            (names::DLQ_MESSAGE, self.message.to_owned()),
            (names::REASON, self.reason.as_str().to_owned()),
        ]);
    }
}

/// Which replay a record belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayHeaders<'a> {
    /// The replay.
    pub id: &'a str,
    /// Makes the notification ids of the replay other ones.
    pub nonce: &'a str,
}

impl<'a> ReplayHeaders<'a> {
    /// Both headers, or none.
    ///
    /// # Errors
    /// Names the one that is missing or cannot be read.
    pub fn parse(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Option<Self>, HeaderError> {
        let (mut id, mut nonce) = (None, None);
        for (name, value) in headers {
            match name {
                names::REPLAY_ID => id = Some(text(names::REPLAY_ID, value)?),
                names::REPLAY_NONCE => nonce = Some(text(names::REPLAY_NONCE, value)?),
                _ => {}
            }
        }
        match (id, nonce) {
            (None, None) => Ok(None),
            (Some(id), Some(nonce)) => Ok(Some(ReplayHeaders { id, nonce })),
            (None, Some(_)) => Err(HeaderError::new(names::REPLAY_ID, HeaderFault::Missing)),
            (Some(_), None) => Err(HeaderError::new(names::REPLAY_NONCE, HeaderFault::Missing)),
        }
    }

    /// Appends both.
    pub fn write(&self, out: &mut Vec<(&'static str, String)>) {
        out.extend([(names::REPLAY_ID, self.id.to_owned()), (names::REPLAY_NONCE, self.nonce.to_owned())]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn letter() -> DlqHeaders<'static> {
        DlqHeaders {
            topic: "notify.events.shop",
            partition: 2,
            offset: 41,
            group: "notilog-router",
            delivery_count: 1,
            message: "the value is empty: not in the Confluent wire format",
            reason: Reason::NotAnEvent.into(),
        }
    }

    #[test]
    fn a_dead_letter_says_where_it_came_from_and_why() {
        let mut written = Vec::new();
        letter().write(&mut written);
        let lines: Vec<String> = written.iter().map(|(name, value)| format!("{name}={value}")).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        __dlq.errors.topic=notify.events.shop
        __dlq.errors.partition=2
        __dlq.errors.offset=41
        __dlq.errors.group=notilog-router
        __dlq.errors.delivery.count=1
        __dlq.errors.message=the value is empty: not in the Confluent wire format
        notify-reason=not_an_event
        ");
        assert_eq!(written.iter().map(|(name, _)| *name).collect::<Vec<_>>(), DlqHeaders::NAMES);
        let read = DlqHeaders::parse(written.iter().map(|(name, value)| (*name, value.as_bytes())));
        assert_eq!(read.unwrap(), letter());
    }

    #[test]
    fn a_reason_of_a_newer_version_is_kept() {
        let mut written = Vec::new();
        letter().write(&mut written);
        let headers = written.iter().map(|(name, value)| (*name, value.as_bytes()));
        let read = DlqHeaders::parse(headers.chain([("notify-reason", b"moonlight".as_slice())])).unwrap();
        assert_eq!(read.reason, Open::Other("moonlight"));
    }

    #[rstest]
    #[case("__dlq.errors.topic")]
    #[case("__dlq.errors.partition")]
    #[case("__dlq.errors.offset")]
    #[case("__dlq.errors.group")]
    #[case("__dlq.errors.delivery.count")]
    #[case("notify-reason")]
    fn a_missing_header_is_named(#[case] absent: &str) {
        let mut written = Vec::new();
        letter().write(&mut written);
        let rest = written.iter().filter(|(name, _)| *name != absent);
        let error = DlqHeaders::parse(rest.map(|(name, value)| (*name, value.as_bytes()))).unwrap_err();
        assert_eq!((error.header, error.fault), (absent, HeaderFault::Missing));
    }

    #[test]
    fn a_replay_has_both_headers_or_none() {
        let mut written = Vec::new();
        ReplayHeaders { id: "r", nonce: "n" }.write(&mut written);
        let headers: Vec<(&str, &[u8])> = written.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        assert_eq!(ReplayHeaders::parse(headers.clone()).unwrap(), Some(ReplayHeaders { id: "r", nonce: "n" }));
        assert_eq!(ReplayHeaders::parse([]).unwrap(), None);
        assert_eq!(ReplayHeaders::parse([headers[0]]).unwrap_err().header, "notify-replay-nonce");
        assert_eq!(ReplayHeaders::parse([headers[1]]).unwrap_err().header, "notify-replay-id");
    }
}
