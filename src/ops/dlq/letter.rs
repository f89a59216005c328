//! One dead letter, and where it would go back to. Pure.

use uuid::Uuid;

use crate::kafka::reader::Record;
use crate::model::{Timestamp, Topics};
use crate::wire::{DlqHeaders, TierHeaders, names};

/// The namespace of redrive nonces, fixed for ever.
const NAMESPACE: Uuid = Uuid::from_u128(0x6e6f_7469_6c6f_675f_7265_6472_6976_6531);

/// A record of a dead-letter topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The dead-letter topic, partition, offset.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// When it was written.
    pub written_at: Option<Timestamp>,
    /// The original key.
    pub key: Option<Vec<u8>>,
    /// The original value.
    pub value: Option<Vec<u8>>,
    /// All headers, the original ones first.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// The reason code; `unknown` where the headers do not say.
    pub reason: String,
    /// Where it died, as far as the headers say.
    pub died_in: Option<DiedIn>,
}

/// What the letter's own headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiedIn {
    /// The topic that it was read from.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The consumer group that gave it up.
    pub group: String,
    /// How often it was tried.
    pub delivery_count: u32,
    /// What was wrong, in words.
    pub message: String,
}

/// A letter made ready to go back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The topic that it was first written to.
    pub topic: String,
    /// The headers to write.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Why a letter cannot go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unredrivable {
    /// Its headers do not say where it came from.
    #[error("its headers do not say where it came from; write it to its topic by hand")]
    NoOrigin,
    /// It would overwrite what a recipient chose since.
    #[error("preferences are not put back: they would overwrite newer ones; write them with `notilog prefs set`")]
    Preferences,
    /// It names a topic outside of this installation.
    #[error("its origin is no topic of this installation (kafka.topic_prefix)")]
    Foreign,
}

impl Letter {
    /// Reads what the headers say; a letter without them is one all the same.
    pub fn of(record: Record) -> Self {
        let parsed = DlqHeaders::parse(pairs(&record.headers)).ok();
        let reason = record.header(names::REASON).unwrap_or("unknown").to_owned();
        let died_in = parsed.map(|headers| DiedIn {
            topic: headers.topic.to_owned(),
            partition: headers.partition,
            offset: headers.offset,
            group: headers.group.to_owned(),
            delivery_count: headers.delivery_count,
            message: headers.message.to_owned(),
        });
        Letter {
            topic: record.topic,
            partition: record.partition,
            offset: record.offset,
            written_at: record.timestamp,
            key: record.key,
            value: record.value,
            headers: record.headers,
            reason,
            died_in,
        }
    }

    /// Where it stands.
    pub fn place(&self) -> (String, i32, i64) {
        (self.topic.clone(), self.partition, self.offset)
    }

    /// A nonce that is the same however often this letter is put back after a crash, and another one for the letter
    /// that the next run may leave.
    pub fn nonce(&self) -> String {
        let place = super::super::session::place(&self.topic, self.partition, self.offset);
        Uuid::new_v5(&NAMESPACE, place.as_bytes()).to_string()
    }

    /// Where it goes back to and with which headers: those of the letter and of its waiting are dropped, attempts begin
    /// anew, and the run is the next one.
    ///
    /// # Errors
    /// Why it cannot go back.
    pub fn target(&self, topics: &Topics, nonce: String) -> Result<Target, Unredrivable> {
        let died_in = self.died_in.as_ref().ok_or(Unredrivable::NoOrigin)?;
        // Unreadable headers of the waiting may be why it died: without them it begins as a first attempt would.
        let waited = TierHeaders::parse(pairs(&self.headers)).unwrap_or_default();
        let topic = waited.original.map_or_else(|| died_in.topic.clone(), |origin| origin.topic);
        if topic == topics.preferences() {
            return Err(Unredrivable::Preferences);
        }
        let is_event = topic.starts_with(&topics.events_prefix());
        if !is_event && !topic.starts_with(&topics.named("notify.outbound.")) {
            return Err(Unredrivable::Foreign);
        }
        if topic.contains(".retry.") {
            return Err(Unredrivable::NoOrigin);
        }
        let next = TierHeaders {
            run: waited.run.saturating_add(1),
            redrive_nonce: Some(nonce),
            // Of an event, the recipients that were done are not to be told again.
            recipients: waited.recipients.filter(|_| is_event),
            ..TierHeaders::default()
        };
        let mut own = Vec::new();
        next.write(&mut own);
        let dropped = |name: &str| DlqHeaders::NAMES.contains(&name) || TierHeaders::NAMES.contains(&name);
        let kept = self.headers.iter().filter(|(name, _)| !dropped(name)).cloned();
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), Some(value.into_bytes())));
        Ok(Target { topic, headers: kept.chain(own).collect() })
    }
}

fn pairs(headers: &[(String, Option<Vec<u8>>)]) -> impl Iterator<Item = (&str, &[u8])> {
    headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_deref()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(died_in: &str, extra: &[(&str, &str)]) -> Letter {
        let mut headers: Vec<(String, Option<Vec<u8>>)> = [("traceparent", "00-a-b-01")]
            .iter()
            .chain(extra)
            .map(|(name, value)| ((*name).to_owned(), Some(value.as_bytes().to_vec())))
            .collect();
        let mut own = Vec::new();
        DlqHeaders {
            topic: died_in,
            partition: 2,
            offset: 41,
            group: "g",
            delivery_count: 8,
            message: "m",
            reason: crate::model::Reason::AttemptsExhausted.into(),
        }
        .write(&mut own);
        headers.extend(own.into_iter().map(|(name, value)| (name.to_owned(), Some(value.into_bytes()))));
        Letter::of(Record {
            topic: "t.dlq.notify.outbound.email".to_owned(),
            partition: 0,
            offset: 7,
            timestamp: None,
            key: None,
            value: None,
            headers,
        })
    }

    fn spelled(target: &Target) -> Vec<String> {
        let line = |(name, value): &(String, Option<Vec<u8>>)| {
            format!("{name}={}", String::from_utf8_lossy(value.as_deref().unwrap_or_default()))
        };
        target.headers.iter().map(line).collect()
    }

    #[test]
    fn a_letter_goes_back_to_its_first_topic_with_its_attempts_forgotten() {
        let waited = [
            ("notify-attempt", "8"),
            ("notify-run", "1"),
            ("notify-not-before-ms", "5"),
            ("notify-error-code", "timeout"),
            ("notify-original-topic", "t.notify.outbound.email.urgent"),
            ("notify-original-partition", "2"),
            ("notify-original-offset", "9"),
            ("notify-original-timestamp-ms", "1"),
        ];
        let target =
            letter("t.notify.outbound.email.retry.1h", &waited).target(&Topics::new("t."), "n".to_owned()).unwrap();
        assert_eq!(target.topic, "t.notify.outbound.email.urgent");
        assert_eq!(
            spelled(&target),
            ["traceparent=00-a-b-01", "notify-attempt=0", "notify-run=2", "notify-redrive-nonce=n"]
        );
    }

    #[test]
    fn an_event_keeps_the_recipients_that_still_wait() {
        let target =
            letter("t.notify.events.shop", &[("notify-recipients", "3,4")]).target(&Topics::new("t."), "n".to_owned());
        assert!(spelled(&target.unwrap()).contains(&"notify-recipients=3,4".to_owned()));
    }

    #[test]
    fn what_cannot_go_back_says_why() {
        let topics = Topics::new("t.");
        let why = |letter: Letter| letter.target(&topics, String::new()).unwrap_err();
        assert_eq!(why(letter("t.notify.preferences", &[])), Unredrivable::Preferences);
        assert_eq!(why(letter("other.notify.events.shop", &[])), Unredrivable::Foreign);
        assert_eq!(why(letter("t.notify.outbound.email.retry.1h", &[])), Unredrivable::NoOrigin);
        let bare = Letter { died_in: None, ..letter("t.notify.events.shop", &[]) };
        assert_eq!(why(bare), Unredrivable::NoOrigin);
    }

    #[test]
    fn a_nonce_belongs_to_the_letter() {
        let (one, other) = (letter("t.notify.events.shop", &[]), letter("t.notify.events.bank", &[]));
        assert_eq!(one.nonce(), other.nonce(), "the same place");
        assert_ne!(one.nonce(), Letter { offset: 8, ..one.clone() }.nonce());
    }
}
