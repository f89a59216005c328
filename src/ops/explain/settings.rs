//! Which setting decided, named as it is written in the record or file it stands in.

use serde::Serialize;

use crate::decide::{quiet_until, validate};
use crate::model::{
    Channel, Decision, DecisionOutcome, Open, Preferences, QuietHours, Reason, Suppression, endpoint_hash, format_delay,
};

use super::Evidence;

/// One setting and its value at the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// `preferences`, `policy`, `event` or `suppressions`.
    pub of: &'static str,
    /// As in `categories.marketing.enabled`.
    pub path: String,
    /// As in `false`; `absent` when it is not set.
    pub value: String,
}

fn setting(of: &'static str, path: impl Into<String>, value: impl ToString) -> Setting {
    Setting { of, path: path.into(), value: value.to_string() }
}

const ABSENT: &str = "absent";

/// The settings that led to an outcome, as far as the records are at hand.
pub(super) fn deciding(
    decision: &Decision<'_>,
    outcome: &DecisionOutcome<'_>,
    record: Option<&Preferences<'_>>,
    evidence: &Evidence<'_>,
) -> Vec<Setting> {
    let Open::Known(reason) = outcome.reason else { return Vec::new() };
    let mut settings = match reason {
        Reason::Expired => vec![setting("event", "time", decision.event_time)],
        Reason::NoCategory | Reason::UnknownCategory => vec![setting("event", "category", quoted(decision.category))],
        Reason::AddressSuppressed => suppression(outcome, evidence),
        _ => Vec::new(),
    };
    if let Some(record) = record {
        settings.extend(of_preferences(reason, decision, outcome, record, evidence));
    }
    settings.extend(of_policy(reason, decision, evidence));
    settings
}

/// The entry that stands against the endpoint, if it still does and the key to find it is at hand.
fn suppression(outcome: &DecisionOutcome<'_>, evidence: &Evidence<'_>) -> Vec<Setting> {
    let of = "suppressions";
    let is_it = |(hash, _): &&(String, Suppression<'_>)| Some(hash.as_str()) == outcome.endpoint_hash.as_deref();
    let Some((_, entry)) = evidence.suppressions.iter().find(is_it) else {
        return vec![setting(of, "address", "suppressed then; no entry stands now, or none can be found")];
    };
    let code = entry.code.map(|code| setting(of, "code", code));
    let told =
        [setting(of, "reason", entry.reason), setting(of, "since", entry.since), setting(of, "source", entry.source)];
    told.into_iter().chain(code).collect()
}

fn of_preferences(
    reason: Reason,
    decision: &Decision<'_>,
    outcome: &DecisionOutcome<'_>,
    record: &Preferences<'_>,
    evidence: &Evidence<'_>,
) -> Vec<Setting> {
    let of = "preferences";
    let choice = record.categories.get(decision.category);
    let channel = outcome.channel.map_or("", |channel| channel.as_str());
    match reason {
        Reason::InvalidPreferences => {
            validate(record, evidence.zones).err().map(|wrong| setting(of, "record", wrong)).into_iter().collect()
        }
        Reason::NoChannel => vec![category_channels(decision, record)],
        Reason::OptedOutCategory => {
            let value = choice.map_or(ABSENT.to_owned(), |choice| choice.enabled.to_string());
            vec![setting(of, format!("categories.{}.enabled", decision.category), value)]
        }
        Reason::OptedOutChannel => {
            let value = record.channels.get(channel).map_or(ABSENT.to_owned(), bool::to_string);
            vec![setting(of, format!("channels.{channel}"), value)]
        }
        Reason::NoEndpoint => vec![setting(of, format!("endpoints ({channel})"), "none")],
        Reason::EndpointUnverified => verified(outcome, record).into_iter().collect(),
        Reason::Paused => {
            let until = record.paused_until.map_or(ABSENT.to_owned(), |until| until.to_string());
            vec![setting(of, "paused_until", until)]
        }
        Reason::QuietHours => quiet(decision, record, evidence),
        Reason::Routed | Reason::Fallback | Reason::OtherEndpoint => {
            [Some(category_channels(decision, record)), verified(outcome, record)].into_iter().flatten().collect()
        }
        _ => Vec::new(),
    }
}

/// What the recipient chose for the category's channels.
fn category_channels(decision: &Decision<'_>, record: &Preferences<'_>) -> Setting {
    let chosen = record.categories.get(decision.category).and_then(|choice| choice.channels.as_ref());
    let value = chosen.map_or(ABSENT.to_owned(), |channels| list(channels.iter().map(|channel| channel.as_str())));
    setting("preferences", format!("categories.{}.channels", decision.category), value)
}

/// The endpoint's place in the record and whether it is verified.
fn verified(outcome: &DecisionOutcome<'_>, record: &Preferences<'_>) -> Option<Setting> {
    let hash = outcome.endpoint_hash.as_deref()?;
    let is_it = |endpoint: &crate::model::Endpoint<'_>| {
        endpoint_hash(record.tenant, record.user_id, endpoint.channel.as_str(), endpoint.address) == hash
    };
    let found =
        |wanted: bool| record.endpoints.iter().position(|endpoint| endpoint.verified == wanted && is_it(endpoint));
    // An address that is listed twice counts as verified when one of its entries is.
    let (place, value) = found(true).map(|place| (place, true)).or_else(|| found(false).map(|place| (place, false)))?;
    Some(setting("preferences", format!("endpoints[{place}].verified"), value))
}

/// The spans that were quiet when it was decided, and the zone they are read in.
fn quiet(decision: &Decision<'_>, record: &Preferences<'_>, evidence: &Evidence<'_>) -> Vec<Setting> {
    let Some(zone) = evidence.zones.get(record.timezone) else { return Vec::new() };
    let was_quiet =
        |hours: &QuietHours<'_>| quiet_until(std::slice::from_ref(hours), zone, decision.decided_at).is_some();
    let spans = record.quiet_hours.iter().enumerate().filter(|(_, hours)| was_quiet(hours));
    let spans = spans.map(|(place, hours)| {
        let days = if hours.days.is_empty() { "every day".to_owned() } else { hours.days.join(" ") };
        setting("preferences", format!("quiet_hours[{place}]"), format!("{days} {} to {}", hours.from, hours.to))
    });
    let timezone = if record.timezone.is_empty() { "absent (UTC)".to_owned() } else { quoted(record.timezone) };
    let reading = zone.to_datetime(decision.decided_at.to_jiff()).strftime("%a %H:%M").to_string();
    spans.chain([setting("preferences", "timezone", format!("{timezone}, where it was {reading}"))]).collect()
}

fn of_policy(reason: Reason, decision: &Decision<'_>, evidence: &Evidence<'_>) -> Vec<Setting> {
    let Some(policy) = evidence.policy else { return Vec::new() };
    let Some(rules) = policy.category(decision.category) else {
        let known = list(policy.categories.keys().map(String::as_str));
        return match reason {
            Reason::UnknownCategory => {
                vec![setting("policy", "categories", known), setting("policy", "default", ABSENT)]
            }
            _ => Vec::new(),
        };
    };
    let table = match policy.categories.contains_key(decision.category) {
        true => format!("categories.{}", decision.category),
        false => "default".to_owned(),
    };
    let channels = |channels: &[Channel]| list(channels.iter().map(|channel| channel.as_str()));
    let one = |key: &str, value: String| setting("policy", format!("{table}.{key}"), value);
    let mandatory = rules.mandatory.then(|| one("mandatory", "true".to_owned()));
    match reason {
        Reason::Expired => vec![one("max_age", format_delay(rules.max_age))],
        Reason::NoChannel => {
            let both = [one("allowed", channels(&rules.allowed)), one("default", channels(&rules.default))];
            both.into_iter().chain(mandatory).collect()
        }
        Reason::Routed => [one("default", channels(&rules.default))].into_iter().chain(mandatory).collect(),
        _ => Vec::new(),
    }
}

fn list<'w>(words: impl Iterator<Item = &'w str>) -> String {
    format!("[{}]", words.collect::<Vec<_>>().join(", "))
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}
