//! Why someone was told, or was not: a decision in words, with the setting that decided.
//!
//! The pure half: records in, explanation out; who calls reads the topics. Invariant: it shows what was recorded and
//! never decides anew, and it names no address: an endpoint is its hash and its place in the record.

mod settings;
mod text;

use compact_str::CompactString;
use serde::Serialize;

use crate::decide::Zones;
use crate::model::{
    Decision, DecisionOutcome, NotificationId, Open, Policy, Preferences, PreferencesRef, Reason, Rule, Suppression,
};

pub use settings::Setting;

/// What is at hand besides the decision.
#[derive(Clone, Copy)]
pub struct Evidence<'a> {
    /// The preferences records that outcomes point at, as far as the topic still has them.
    pub preferences: &'a [(PreferencesRef, Preferences<'a>)],
    /// The policy bundle of the decision's `policy_version`, from `notify.policies`.
    pub policy: Option<&'a Policy>,
    /// The suppression list's entries of endpoints, by [`crate::model::endpoint_hash`], as far as they still stand.
    pub suppressions: &'a [(String, Suppression<'a>)],
    /// For quiet hours.
    pub zones: &'a Zones,
}

impl<'a> Evidence<'a> {
    /// The record that an outcome was decided from.
    fn record(&self, outcome: &DecisionOutcome<'_>) -> Option<&'a Preferences<'a>> {
        let place = outcome.preferences?;
        self.preferences.iter().find(|(known, _)| *known == place).map(|(_, record)| record)
    }
}

/// One decision, explained. [`std::fmt::Display`] is for people, [`Serialize`] for programs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The event's id.
    pub event_id: String,
    /// The event's source.
    pub source: String,
    /// The event's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The event's tenant.
    pub tenant: String,
    /// The event's category.
    pub category: String,
    /// RFC 3339.
    pub event_time: String,
    /// RFC 3339.
    pub decided_at: String,
    /// The policy bundle that decided.
    pub policy_version: String,
    /// Set when the event came by a replay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay_id: Option<String>,
    /// In the order of the decision.
    pub outcomes: Vec<ExplainedOutcome>,
}

/// One conclusion and what it came from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExplainedOutcome {
    /// The recipient; `None` when the event as a whole is judged.
    pub user_id: Option<String>,
    /// The channel, when one is concerned.
    pub channel: Option<String>,
    /// The endpoint, when one is concerned.
    pub endpoint_hash: Option<CompactString>,
    /// `ROUTED`, `SUPPRESSED`, …
    pub verdict: String,
    /// The reason code.
    pub reason: String,
    /// What the code means.
    pub meaning: &'static str,
    /// The rule's number in the chain.
    pub rule: i32,
    /// What the rule asks.
    pub question: &'static str,
    /// Where the preferences record stands, and whether it could be read.
    pub preferences: Option<ExplainedPreferences>,
    /// The settings that decided, as far as the records are at hand.
    pub decided_by: Vec<Setting>,
    /// Set when an outbound record was written.
    pub notification_id: Option<NotificationId>,
    /// When it is decided anew, RFC 3339.
    pub until: Option<String>,
}

/// The place of a preferences record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ExplainedPreferences {
    /// Partition, offset and version.
    #[serde(flatten)]
    pub place: PreferencesRef,
    /// False when the record could not be read: compaction has taken it since, or it is the erasure itself.
    pub at_hand: bool,
}

/// Explains every outcome of a decision.
pub fn explain(decision: &Decision<'_>, evidence: &Evidence<'_>) -> Explanation {
    Explanation {
        event_id: decision.event_id.to_owned(),
        source: decision.source.to_owned(),
        kind: decision.kind.to_owned(),
        tenant: decision.tenant.to_owned(),
        category: decision.category.to_owned(),
        event_time: decision.event_time.to_string(),
        decided_at: decision.decided_at.to_string(),
        policy_version: decision.policy_version.to_owned(),
        replay_id: decision.replay_id.map(str::to_owned),
        outcomes: decision.outcomes.iter().map(|outcome| explain_outcome(decision, outcome, evidence)).collect(),
    }
}

fn explain_outcome(
    decision: &Decision<'_>,
    outcome: &DecisionOutcome<'_>,
    evidence: &Evidence<'_>,
) -> ExplainedOutcome {
    let record = evidence.record(outcome);
    ExplainedOutcome {
        user_id: (!outcome.user_id.is_empty()).then(|| outcome.user_id.to_owned()),
        channel: outcome.channel.map(|channel| channel.as_str().to_owned()),
        endpoint_hash: outcome.endpoint_hash.clone(),
        verdict: outcome.verdict.as_str().to_owned(),
        reason: outcome.reason.as_str().to_owned(),
        meaning: meaning(outcome.reason),
        rule: outcome.rule,
        question: Rule::question(outcome.rule),
        preferences: outcome.preferences.map(|place| ExplainedPreferences { place, at_hand: record.is_some() }),
        decided_by: settings::deciding(decision, outcome, record, evidence),
        notification_id: outcome.notification_id,
        until: outcome.until.map(|until| until.to_string()),
    }
}

/// A reason of the chain in words.
fn meaning(reason: Open<'_, Reason>) -> &'static str {
    let Open::Known(reason) = reason else { return "A reason of a newer version." };
    match reason {
        Reason::NotAnEvent => "The value is not an Avro Event.",
        Reason::UnknownSchema => "The value's schema is not in the registry.",
        Reason::InvalidEvent => "The event's id, source, type, tenant or one of its recipients is empty.",
        Reason::NoCategory => "The event has no category.",
        Reason::UnknownCategory => "The policy does not know the event's category and has no default.",
        Reason::UnknownChannel => "The event names a channel that does not exist.",
        Reason::InvalidData => "The event's data is not a JSON object.",
        Reason::NoRecipients => "The event names nobody to tell.",
        Reason::TooManyRecipients => "The event names more than 1,000 recipients.",
        Reason::Unsupported => "The event names an audience; groups are not expanded yet.",
        Reason::NotAllowed => "No entry of [[sources]] lets this topic claim the tenant, category and priority.",
        Reason::NotKeyedByRecipient => {
            "The router holds only the preferences of its partitions, and the record was not keyed by its one recipient."
        }
        Reason::Expired => "The event came past its expires_at, or is older than its category's max_age.",
        Reason::UnknownRecipient => "There is no preferences record for the recipient.",
        Reason::Erased => "The recipient's preferences were erased.",
        Reason::InvalidPreferences => "The recipient's preferences record cannot be used, so nothing is sent.",
        Reason::NoChannel => "The recipient, the policy and the event agree on no channel.",
        Reason::OptedOutCategory => "The recipient opted out of the category.",
        Reason::OptedOutChannel => "The recipient opted out of the channel.",
        Reason::NoEndpoint => "The recipient has no endpoint on the channel.",
        Reason::EndpointUnverified => "The recipient did not prove that the endpoint is theirs.",
        Reason::AddressSuppressed => "The address bounced for good or its owner complained.",
        Reason::Paused => "The recipient paused everything; it is decided anew when the pause ends.",
        Reason::QuietHours => "It is the recipient's quiet hours; it is decided anew when they end.",
        Reason::NotBefore => "The event is not to be sent yet; it is decided anew when it is due.",
        Reason::Fallback => {
            "It stands by: it is sent if the step before it fails, or is not delivered or seen in time."
        }
        Reason::OtherEndpoint => "The fallback chain goes to another endpoint of the recipient on this channel.",
        Reason::Routed => "Nothing stands against it: an outbound record was written.",
        Reason::TooLarge => "An output is above its topic's max.message.bytes; the event is a dead letter.",
        Reason::TopicMissing => "An output's topic does not exist; the event is a dead letter.",
        _ => "See the reason code.",
    }
}

#[cfg(test)]
mod tests;
