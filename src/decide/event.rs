//! Rules 1 and 2: the event itself.

use serde::de::IgnoredAny;

use crate::model::{CategoryPolicy, Event, MAX_RECIPIENTS, Open, Policy, Reason, Rule, SourceRule, Timestamp, Verdict};

use super::Subject;

/// Why an event as a whole goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventVerdict {
    /// REJECTED by rule 1, SUPPRESSED by rule 2.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// The rule that decided.
    pub rule: Rule,
}

impl EventVerdict {
    /// The event is refused by rule 1.
    pub fn rejected(reason: Reason) -> Self {
        EventVerdict { verdict: Verdict::Rejected, reason, rule: Rule::Valid }
    }

    fn expired() -> Self {
        EventVerdict { verdict: Verdict::Suppressed, reason: Reason::Expired, rule: Rule::Expiry }
    }

    /// Whether the record also becomes a dead letter, besides the decision that is written in any case: a breach of
    /// the contract does, since a mended policy or producer may want it again. What the source may not say, what
    /// this version does not support and what came too late does not.
    pub const fn goes_to_dlq(&self) -> bool {
        matches!(
            self.reason,
            Reason::InvalidEvent
                | Reason::NoCategory
                | Reason::UnknownCategory
                | Reason::TooManyRecipients
                | Reason::NoRecipients
                | Reason::UnknownChannel
                | Reason::InvalidData
                | Reason::NotKeyedByRecipient
        )
    }
}

/// Judges an event by rules 1 and 2 and gives the rules of its category.
///
/// `topic` is the one that the producer wrote to, without the installation's prefix (for an event that waited in
/// `notify.retry.events.*` the original one). Without `sources` everything is allowed; with some, one of them must
/// allow all that the event claims.
///
/// # Errors
/// The verdict, when the event goes no further; see [`EventVerdict::goes_to_dlq`].
pub fn judge_event<'p>(
    event: &Event<'_>,
    topic: &str,
    sources: &[SourceRule],
    policy: &'p Policy,
    now: Timestamp,
) -> Result<&'p CategoryPolicy, EventVerdict> {
    let category = well_formed(event, policy).map_err(EventVerdict::rejected)?;
    if !sources.is_empty() && !sources.iter().any(|rule| rule.allows(topic, event)) {
        return Err(EventVerdict::rejected(Reason::NotAllowed));
    }
    if Subject::of_event(event).is_expired(category, now) {
        return Err(EventVerdict::expired());
    }
    Ok(category)
}

/// The contract of an event, in the order in which its breaches are named.
fn well_formed<'p>(event: &Event<'_>, policy: &'p Policy) -> Result<&'p CategoryPolicy, Reason> {
    let named = [event.id, event.source, event.kind, event.tenant];
    if named.iter().any(|text| text.is_empty()) {
        return Err(Reason::InvalidEvent);
    }
    if event.category.is_empty() {
        return Err(Reason::NoCategory);
    }
    let category = policy.category(event.category).ok_or(Reason::UnknownCategory)?;
    if event.recipients.len() > MAX_RECIPIENTS {
        return Err(Reason::TooManyRecipients);
    }
    if event.audience.is_some() {
        return Err(Reason::Unsupported);
    }
    if event.recipients.is_empty() {
        return Err(Reason::NoRecipients);
    }
    if event.recipients.iter().any(|user| user.is_empty()) {
        return Err(Reason::InvalidEvent);
    }
    if event.channels.iter().flatten().any(|channel| matches!(channel, Open::Other(_))) {
        return Err(Reason::UnknownChannel);
    }
    if !is_json_object(event.data) {
        return Err(Reason::InvalidData);
    }
    Ok(category)
}

/// Whether `data` is a JSON object, found without building one; the empty text means `{}`.
fn is_json_object(data: &str) -> bool {
    if data.is_empty() {
        return true;
    }
    data.trim_ascii_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(data).is_ok()
}

#[cfg(test)]
mod tests;
