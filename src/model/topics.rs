//! The names of all topics, in one place.

use std::time::Duration;

use super::{Channel, Priority};

/// The class of an outbound record: urgent topics are served first, and order holds within a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// LOW and NORMAL.
    Main,
    /// HIGH and CRITICAL.
    Urgent,
}

impl From<Priority> for Class {
    fn from(priority: Priority) -> Self {
        if priority >= Priority::High { Class::Urgent } else { Class::Main }
    }
}

/// Topic names under an optional prefix (`acme.` makes `acme.notify.preferences`), so that several installations
/// can share a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topics {
    prefix: String,
}

impl Topics {
    /// Names under `prefix`; empty for none.
    pub fn new(prefix: &str) -> Self {
        Topics { prefix: prefix.to_owned() }
    }

    /// The prefix.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// `name` under the prefix.
    pub fn named(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// `notify.events.<domain>`.
    pub fn events(&self, domain: &str) -> String {
        self.named(&format!("notify.events.{domain}"))
    }

    /// The start of every event topic's name.
    pub fn events_prefix(&self) -> String {
        self.named("notify.events.")
    }

    /// The regular expression, in librdkafka's form, that all event topics match.
    pub fn events_pattern(&self) -> String {
        format!("^{}.+", self.events_prefix().replace('.', "\\."))
    }

    /// `notify.retry.events.<delay>`.
    pub fn retry_events(&self, delay: Duration) -> String {
        self.named(&format!("notify.retry.events.{}", format_delay(delay)))
    }

    /// `notify.preferences`.
    pub fn preferences(&self) -> String {
        self.named("notify.preferences")
    }

    /// `notify.suppressions`.
    pub fn suppressions(&self) -> String {
        self.named("notify.suppressions")
    }

    /// `notify.receipts`.
    pub fn receipts(&self) -> String {
        self.named("notify.receipts")
    }

    /// `notify.receipts.inbox`.
    pub fn receipts_inbox(&self) -> String {
        self.named("notify.receipts.inbox")
    }

    /// `notify.receipts.retry.<delay>`.
    pub fn receipts_tier(&self, delay: Duration) -> String {
        self.named(&format!("notify.receipts.retry.{}", format_delay(delay)))
    }

    /// `dlq.notify.receipts`.
    pub fn dlq_receipts(&self) -> String {
        self.named("dlq.notify.receipts")
    }

    /// `notify.policies`.
    pub fn policies(&self) -> String {
        self.named("notify.policies")
    }

    /// `notify.inputs`.
    pub fn inputs(&self) -> String {
        self.named("notify.inputs")
    }

    /// `notify.decisions`.
    pub fn decisions(&self) -> String {
        self.named("notify.decisions")
    }

    /// `notify.delivery-status`.
    pub fn delivery_status(&self) -> String {
        self.named("notify.delivery-status")
    }

    /// `notify.inbox`.
    pub fn inbox(&self) -> String {
        self.named("notify.inbox")
    }

    /// Whether a topic is, or could be, one of notilog's own.
    pub fn owns(&self, topic: &str) -> bool {
        topic
            .strip_prefix(self.prefix.as_str())
            .is_some_and(|name| name.starts_with("notify.") || name.starts_with("dlq.notify."))
    }

    /// `notify.audit`.
    pub fn audit(&self) -> String {
        self.named("notify.audit")
    }

    /// `notify.outbound.<channel>[.urgent]`.
    pub fn outbound(&self, channel: Channel, class: Class) -> String {
        match class {
            Class::Main => self.named(&format!("notify.outbound.{channel}")),
            Class::Urgent => self.named(&format!("notify.outbound.{channel}.urgent")),
        }
    }

    /// `notify.outbound.<channel>.retry.<delay>`.
    pub fn outbound_tier(&self, channel: Channel, delay: Duration) -> String {
        self.named(&format!("notify.outbound.{channel}.retry.{}", format_delay(delay)))
    }

    /// `notify.lanes.<channel>`.
    pub fn lanes(&self, channel: Channel) -> String {
        self.named(&format!("notify.lanes.{channel}"))
    }

    /// `dlq.notify.events`.
    pub fn dlq_events(&self) -> String {
        self.named("dlq.notify.events")
    }

    /// `dlq.notify.preferences`.
    pub fn dlq_preferences(&self) -> String {
        self.named("dlq.notify.preferences")
    }

    /// `dlq.notify.outbound.<channel>`.
    pub fn dlq_outbound(&self, channel: Channel) -> String {
        self.named(&format!("dlq.notify.outbound.{channel}"))
    }
}

/// A delay as it stands in topic names and configuration: the largest unit that divides it (`10s`, `1m`, `1h`).
pub fn format_delay(delay: Duration) -> String {
    let ms = delay.as_millis();
    match ms {
        _ if ms == 0 || !ms.is_multiple_of(1_000) => format!("{ms}ms"),
        _ if ms.is_multiple_of(86_400_000) => format!("{}d", ms / 86_400_000),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ => format!("{}s", ms / 1_000),
    }
}

/// Reads `500ms`, `10s`, `1m`, `1h`, `30d`.
pub fn parse_delay(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration; write a whole number and ms, s, m, h or d, as in `10s`");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn delays_read_as_the_contract_names_them() {
        for text in ["10s", "1m", "10m", "1h", "500ms", "2d", "90s"] {
            assert_eq!(format_delay(parse_delay(text).unwrap()), text);
        }
        for text in ["", "s", "10", "1 m", "-1s", "1w", "99999999999999999999s"] {
            assert!(parse_delay(text).unwrap_err().contains("is not a duration"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_delay_survives_its_name(ms in 0u64..10_000_000_000) {
            let delay = Duration::from_millis(ms);
            prop_assert_eq!(parse_delay(&format_delay(delay)).unwrap(), delay);
        }
    }

    #[test]
    fn high_and_critical_are_urgent() {
        let topics = Topics::new("");
        assert_eq!(topics.outbound(Channel::Email, Priority::Critical.into()), "notify.outbound.email.urgent");
        assert_eq!(topics.outbound(Channel::Email, Priority::Normal.into()), "notify.outbound.email");
        assert_eq!(Topics::new("t1.").events_pattern(), "^t1\\.notify\\.events\\..+");
    }
}
