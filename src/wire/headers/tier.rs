//! The headers of records that wait: retries, deferrals, the sign-up race, redrives.

use super::{HeaderError, HeaderFault, names, number, text};
use crate::model::Timestamp;

/// Where a record was first written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its first topic.
    pub topic: String,
    /// Its first partition.
    pub partition: i32,
    /// Its first offset.
    pub offset: i64,
    /// Its timestamp there.
    pub timestamp: Timestamp,
}

/// What the headers of a tier's record say. A record without any (a first attempt) gives the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TierHeaders {
    /// Attempts made so far in this run.
    pub attempt: u32,
    /// Not to be handled before.
    pub not_before: Option<Timestamp>,
    /// Where it was first written.
    pub original: Option<Origin>,
    /// Why it waits: a reason code.
    pub error_code: Option<String>,
    /// Which life of the notification: 0 is the first.
    pub run: u32,
    /// Makes the run's idempotency key another one; set by a redrive.
    pub redrive_nonce: Option<String>,
    /// Place in the recipient's lane (strict order).
    pub lane_seq: Option<u64>,
    /// The provider that alone may be asked: the outcome of an attempt by it is unknown.
    pub provider: Option<String>,
    /// Indexes into the event's recipients that still wait, rising; `None` means all.
    pub recipients: Option<Vec<u16>>,
}

impl TierHeaders {
    /// Every header that belongs to this group: those to drop before writing the group anew.
    pub const NAMES: [&'static str; 12] = [
        names::ATTEMPT,
        names::NOT_BEFORE_MS,
        names::ORIGINAL_TOPIC,
        names::ORIGINAL_PARTITION,
        names::ORIGINAL_OFFSET,
        names::ORIGINAL_TIMESTAMP_MS,
        names::ERROR_CODE,
        names::RUN,
        names::REDRIVE_NONCE,
        names::LANE_SEQ,
        names::PROVIDER,
        names::RECIPIENTS,
    ];

    /// Reads the group from a record's headers; of headers with the same name the last counts.
    ///
    /// # Errors
    /// Names the header that cannot be read, or that is missing beside its companions.
    pub fn parse<'a>(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Self, HeaderError> {
        let mut tier = TierHeaders::default();
        let mut original = PartialOrigin::default();
        for (name, value) in headers {
            match name {
                names::ATTEMPT => tier.attempt = number(names::ATTEMPT, value)?,
                names::NOT_BEFORE_MS => {
                    tier.not_before = Some(Timestamp(number(names::NOT_BEFORE_MS, value)?));
                }
                names::ORIGINAL_TOPIC => original.topic = Some(text(names::ORIGINAL_TOPIC, value)?),
                names::ORIGINAL_PARTITION => original.partition = Some(number(names::ORIGINAL_PARTITION, value)?),
                names::ORIGINAL_OFFSET => original.offset = Some(number(names::ORIGINAL_OFFSET, value)?),
                names::ORIGINAL_TIMESTAMP_MS => {
                    original.timestamp = Some(Timestamp(number(names::ORIGINAL_TIMESTAMP_MS, value)?));
                }
                names::ERROR_CODE => tier.error_code = Some(text(names::ERROR_CODE, value)?.to_owned()),
                names::RUN => tier.run = number(names::RUN, value)?,
                names::REDRIVE_NONCE => tier.redrive_nonce = Some(text(names::REDRIVE_NONCE, value)?.to_owned()),
                names::LANE_SEQ => tier.lane_seq = Some(number(names::LANE_SEQ, value)?),
                names::PROVIDER => tier.provider = Some(text(names::PROVIDER, value)?.to_owned()),
                names::RECIPIENTS => tier.recipients = Some(indexes(value)?),
                _ => {}
            }
        }
        tier.original = original.complete()?;
        Ok(tier)
    }

    /// Appends the group; what is absent or zero by nature is left out.
    pub fn write(&self, out: &mut Vec<(&'static str, String)>) {
        out.push((names::ATTEMPT, self.attempt.to_string()));
        if let Some(not_before) = self.not_before {
            out.push((names::NOT_BEFORE_MS, not_before.0.to_string()));
        }
        if let Some(original) = &self.original {
            out.push((names::ORIGINAL_TOPIC, original.topic.clone()));
            out.push((names::ORIGINAL_PARTITION, original.partition.to_string()));
            out.push((names::ORIGINAL_OFFSET, original.offset.to_string()));
            out.push((names::ORIGINAL_TIMESTAMP_MS, original.timestamp.0.to_string()));
        }
        if let Some(code) = &self.error_code {
            out.push((names::ERROR_CODE, code.clone()));
        }
        if self.run > 0 {
            out.push((names::RUN, self.run.to_string()));
        }
        if let Some(nonce) = &self.redrive_nonce {
            out.push((names::REDRIVE_NONCE, nonce.clone()));
        }
        if let Some(seq) = self.lane_seq {
            out.push((names::LANE_SEQ, seq.to_string()));
        }
        if let Some(provider) = &self.provider {
            out.push((names::PROVIDER, provider.clone()));
        }
        if let Some(recipients) = &self.recipients {
            let list: Vec<String> = recipients.iter().map(u16::to_string).collect();
            out.push((names::RECIPIENTS, list.join(",")));
        }
    }
}

#[derive(Default)]
struct PartialOrigin<'a> {
    topic: Option<&'a str>,
    partition: Option<i32>,
    offset: Option<i64>,
    timestamp: Option<Timestamp>,
}

impl PartialOrigin<'_> {
    fn complete(self) -> Result<Option<Origin>, HeaderError> {
        let missing = |header| HeaderError::new(header, HeaderFault::Missing);
        if self.topic.is_none() && self.partition.is_none() && self.offset.is_none() && self.timestamp.is_none() {
            return Ok(None);
        }
        Ok(Some(Origin {
            topic: self.topic.ok_or(missing(names::ORIGINAL_TOPIC))?.to_owned(),
            partition: self.partition.ok_or(missing(names::ORIGINAL_PARTITION))?,
            offset: self.offset.ok_or(missing(names::ORIGINAL_OFFSET))?,
            timestamp: self.timestamp.ok_or(missing(names::ORIGINAL_TIMESTAMP_MS))?,
        }))
    }
}

/// Rising, so that a list has one spelling and no index counts twice. An empty value is an empty list.
fn indexes(value: &[u8]) -> Result<Vec<u16>, HeaderError> {
    let wrong = || HeaderError::new(names::RECIPIENTS, HeaderFault::NotIndexes);
    let text = text(names::RECIPIENTS, value)?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut list: Vec<u16> = Vec::new();
    for part in text.split(',') {
        let index = number(names::RECIPIENTS, part.as_bytes()).map_err(|_| wrong())?;
        if list.last().is_some_and(|last| *last >= index) {
            return Err(wrong());
        }
        list.push(index);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn parse(headers: &[(&str, &str)]) -> Result<TierHeaders, HeaderError> {
        TierHeaders::parse(headers.iter().map(|(name, value)| (*name, value.as_bytes())))
    }

    #[test]
    fn a_record_without_headers_is_at_its_first_attempt() {
        assert_eq!(parse(&[("traceparent", "x"), ("ce_id", "1")]).unwrap(), TierHeaders::default());
    }

    #[test]
    fn the_contract_spells_the_headers() {
        let tier = TierHeaders {
            attempt: 2,
            not_before: Some(Timestamp(1_700_000_000_000)),
            original: Some(Origin { topic: "t".into(), partition: 3, offset: 44, timestamp: Timestamp(5) }),
            error_code: Some("timeout".into()),
            run: 1,
            redrive_nonce: Some("n".into()),
            lane_seq: Some(9),
            provider: Some("main".into()),
            recipients: Some(vec![0, 7, 999]),
        };
        let mut written = Vec::new();
        tier.write(&mut written);
        let lines: Vec<String> = written.iter().map(|(name, value)| format!("{name}={value}")).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        notify-attempt=2
        notify-not-before-ms=1700000000000
        notify-original-topic=t
        notify-original-partition=3
        notify-original-offset=44
        notify-original-timestamp-ms=5
        notify-error-code=timeout
        notify-run=1
        notify-redrive-nonce=n
        notify-lane-seq=9
        notify-provider=main
        notify-recipients=0,7,999
        ");
        assert!(written.iter().all(|(name, _)| TierHeaders::NAMES.contains(name)));
        assert_eq!(written.len(), TierHeaders::NAMES.len());
    }

    #[rstest]
    #[case("notify-attempt", "two", "header `notify-attempt` is not a whole number in its range")]
    #[case("notify-attempt", "-1", "header `notify-attempt` is not a whole number in its range")]
    #[case("notify-attempt", "+1", "header `notify-attempt` is not a whole number in its range")]
    #[case("notify-attempt", "", "header `notify-attempt` is not a whole number in its range")]
    #[case("notify-run", "4294967296", "header `notify-run` is not a whole number in its range")]
    #[case("notify-not-before-ms", "1.5", "header `notify-not-before-ms` is not a whole number in its range")]
    #[case("notify-recipients", "1,,2", "header `notify-recipients` is not a list of rising indexes")]
    #[case("notify-recipients", "2,1", "header `notify-recipients` is not a list of rising indexes")]
    #[case("notify-recipients", "1,1", "header `notify-recipients` is not a list of rising indexes")]
    #[case("notify-recipients", "65536", "header `notify-recipients` is not a list of rising indexes")]
    #[case("notify-original-offset", "7", "header `notify-original-topic` is missing beside its companions")]
    fn a_malformed_header_is_named(#[case] name: &str, #[case] value: &str, #[case] message: &str) {
        assert_eq!(parse(&[(name, value)]).unwrap_err().to_string(), message);
    }

    #[test]
    fn of_two_headers_the_last_counts() {
        assert_eq!(parse(&[("notify-attempt", "1"), ("notify-attempt", "2")]).unwrap().attempt, 2);
    }

    fn any_origin() -> impl Strategy<Value = Origin> {
        (".*", any::<i32>(), any::<i64>(), any::<i64>()).prop_map(|(topic, partition, offset, timestamp)| Origin {
            topic,
            partition,
            offset,
            timestamp: Timestamp(timestamp),
        })
    }

    prop_compose! {
        fn any_tier()(
            attempt: u32,
            not_before: Option<i64>,
            original in proptest::option::of(any_origin()),
            error_code: Option<String>,
            run: u32,
            redrive_nonce: Option<String>,
            lane_seq: Option<u64>,
            provider: Option<String>,
            recipients in proptest::option::of(proptest::collection::btree_set(any::<u16>(), 0..50)),
        ) -> TierHeaders {
            TierHeaders {
                attempt, not_before: not_before.map(Timestamp), original, error_code, run, redrive_nonce, lane_seq, provider,
                recipients: recipients.map(|set| set.into_iter().collect()),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(tier in any_tier()) {
            let mut written = Vec::new();
            tier.write(&mut written);
            let read = TierHeaders::parse(written.iter().map(|(name, value)| (*name, value.as_bytes())));
            prop_assert_eq!(read.unwrap(), tier);
        }

        #[test]
        fn no_bytes_panic(which in 0..TierHeaders::NAMES.len(), value: Vec<u8>) {
            let _ = TierHeaders::parse([(TierHeaders::NAMES[which], value.as_slice())]);
        }
    }
}
