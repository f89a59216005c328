//! Events and preferences as people write them: JSON with RFC 3339 times, owned, every key known.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::decide::{Zones, validate};
use crate::model::{
    CategoryChoice, Channel, Endpoint, Event, Open, Preferences, Priority, QuietHours, SmallMap, Timestamp,
};

/// A moment as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub Timestamp);

impl Serialize for Moment {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl std::str::FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |_| format!("`{text}` is not a moment; write RFC 3339, as in `2026-11-21T18:00:00Z`");
        text.parse::<jiff::Timestamp>().map(|at| Moment(at.into())).map_err(wrong)
    }
}

fn default_tenant() -> String {
    "default".to_owned()
}

/// An event to emit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventDocument {
    /// Random when absent.
    #[serde(default)]
    pub id: Option<String>,
    /// Who says so.
    #[serde(default)]
    pub source: String,
    /// What kind of thing happened.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// When; now when absent.
    #[serde(default)]
    pub time: Option<Moment>,
    /// Whose it is.
    #[serde(default = "default_tenant")]
    pub tenant: String,
    /// What recipients opt in to or out of.
    #[serde(default)]
    pub category: String,
    /// How urgent.
    #[serde(default)]
    pub priority: Priority,
    /// Whom to tell.
    #[serde(default)]
    pub recipients: Vec<String>,
    /// A group; refused until group expansion exists.
    #[serde(default)]
    pub audience: Option<String>,
    /// Restricts the channels.
    #[serde(default)]
    pub channels: Option<Vec<String>>,
    /// Template name.
    #[serde(default)]
    pub template: Option<String>,
    /// For the templates.
    #[serde(default)]
    pub data: Map<String, Value>,
    /// Overrides the recipient's.
    #[serde(default)]
    pub locale: Option<String>,
    /// Not before.
    #[serde(default)]
    pub not_before: Option<Moment>,
    /// Worthless after.
    #[serde(default)]
    pub expires_at: Option<Moment>,
    /// Later ones supersede waiting ones.
    #[serde(default)]
    pub collapse_key: Option<String>,
}

impl EventDocument {
    /// As the record; `data` is the JSON text of its own, kept by the caller.
    pub fn as_event<'a>(&'a self, id: &'a str, data: &'a str, now: Timestamp) -> Event<'a> {
        let moment = |at: Option<Moment>| at.map(|at| at.0);
        Event {
            id,
            source: &self.source,
            kind: &self.kind,
            time: moment(self.time).unwrap_or(now),
            tenant: &self.tenant,
            category: &self.category,
            priority: self.priority,
            recipients: self.recipients.iter().map(String::as_str).collect(),
            audience: self.audience.as_deref(),
            channels: self.channels.as_deref().map(open_channels),
            template: self.template.as_deref(),
            data,
            locale: self.locale.as_deref(),
            not_before: moment(self.not_before),
            expires_at: moment(self.expires_at),
            collapse_key: self.collapse_key.as_deref(),
        }
    }

    /// `data` as the record carries it; empty for `{}`.
    pub fn data_text(&self) -> String {
        if self.data.is_empty() { String::new() } else { Value::Object(self.data.clone()).to_string() }
    }
}

/// A recipient's choices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreferencesDocument {
    /// Whose user.
    #[serde(default = "default_tenant")]
    pub tenant: String,
    /// The user.
    pub user_id: String,
    /// BCP 47 tag.
    #[serde(default)]
    pub locale: String,
    /// IANA name.
    #[serde(default)]
    pub timezone: String,
    /// Where the recipient can be reached.
    #[serde(default)]
    pub endpoints: Vec<EndpointDocument>,
    /// Channel to wanted at all.
    #[serde(default)]
    pub channels: BTreeMap<String, bool>,
    /// Category to choice.
    #[serde(default)]
    pub categories: BTreeMap<String, CategoryDocument>,
    /// When not to disturb.
    #[serde(default)]
    pub quiet_hours: Vec<QuietDocument>,
    /// Nothing until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_until: Option<Moment>,
    /// Grows with each change; set when written.
    #[serde(default)]
    pub version: i64,
    /// Set when written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Moment>,
    /// Set when written.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub updated_by: String,
}

/// One address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointDocument {
    /// Its channel.
    pub channel: String,
    /// Personal data.
    pub address: String,
    /// Whether it is proven.
    #[serde(default)]
    pub verified: bool,
    /// The recipient's name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// One category's choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CategoryDocument {
    /// False opts out.
    pub enabled: bool,
    /// In place of the policy's default channels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<String>>,
    /// Digest name; without effect for now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// A daily span of silence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuietDocument {
    /// `MON` … `SUN`; empty means every day.
    #[serde(default)]
    pub days: Vec<String>,
    /// `HH:MM`.
    pub from: String,
    /// `HH:MM`.
    pub to: String,
}

impl PreferencesDocument {
    /// A recipient who chose nothing yet.
    pub fn new(tenant: &str, user_id: &str) -> Self {
        PreferencesDocument {
            tenant: tenant.to_owned(),
            user_id: user_id.to_owned(),
            locale: String::new(),
            timezone: String::new(),
            endpoints: Vec::new(),
            channels: BTreeMap::new(),
            categories: BTreeMap::new(),
            quiet_hours: Vec::new(),
            paused_until: None,
            version: 0,
            updated_at: None,
            updated_by: String::new(),
        }
    }

    /// The record that was read.
    pub fn of(record: &Preferences<'_>) -> Self {
        let endpoint = |endpoint: &Endpoint<'_>| EndpointDocument {
            channel: endpoint.channel.as_str().to_owned(),
            address: endpoint.address.to_owned(),
            verified: endpoint.verified,
            label: endpoint.label.map(str::to_owned),
        };
        let category = |(name, choice): &(&str, CategoryChoice<'_>)| {
            let words = |list: &Vec<Open<'_, Channel>>| list.iter().map(|word| word.as_str().to_owned()).collect();
            let channels = choice.channels.as_ref().map(words);
            let digest = choice.digest.map(str::to_owned);
            ((*name).to_owned(), CategoryDocument { enabled: choice.enabled, channels, digest })
        };
        let quiet = |span: &QuietHours<'_>| QuietDocument {
            days: span.days.iter().map(|day| (*day).to_owned()).collect(),
            from: span.from.to_owned(),
            to: span.to.to_owned(),
        };
        PreferencesDocument {
            tenant: record.tenant.to_owned(),
            user_id: record.user_id.to_owned(),
            locale: record.locale.to_owned(),
            timezone: record.timezone.to_owned(),
            endpoints: record.endpoints.iter().map(endpoint).collect(),
            channels: record.channels.0.iter().map(|(name, wanted)| ((*name).to_owned(), *wanted)).collect(),
            categories: record.categories.0.iter().map(category).collect(),
            quiet_hours: record.quiet_hours.iter().map(quiet).collect(),
            paused_until: record.paused_until.map(Moment),
            version: record.version,
            updated_at: Some(Moment(record.updated_at)),
            updated_by: record.updated_by.to_owned(),
        }
    }

    /// As the record.
    pub fn as_preferences(&self) -> Preferences<'_> {
        Preferences {
            tenant: &self.tenant,
            user_id: &self.user_id,
            locale: &self.locale,
            timezone: &self.timezone,
            endpoints: self.endpoints.iter().map(EndpointDocument::as_endpoint).collect(),
            channels: SmallMap(self.channels.iter().map(|(name, wanted)| (name.as_str(), *wanted)).collect()),
            categories: SmallMap(
                self.categories.iter().map(|(name, choice)| (name.as_str(), choice.as_choice())).collect(),
            ),
            quiet_hours: self.quiet_hours.iter().map(QuietDocument::as_quiet).collect(),
            paused_until: self.paused_until.map(|at| at.0),
            version: self.version,
            updated_at: self.updated_at.map_or(Timestamp(0), |at| at.0),
            updated_by: &self.updated_by,
        }
    }

    /// What is wrong with it, for the one who wrote it; stricter than what a router takes, which must live with words
    /// of newer versions.
    pub fn problem(&self, zones: &Zones) -> Option<String> {
        if let Err(error) = validate(&self.as_preferences(), zones) {
            return Some(error.to_string());
        }
        let of_endpoints = self.endpoints.iter().map(|endpoint| &endpoint.channel);
        let of_categories = self.categories.values().flat_map(|choice| choice.channels.iter().flatten());
        let unknown = of_endpoints.chain(self.channels.keys()).chain(of_categories).find(|name| !known(name))?;
        let all: Vec<&str> = Channel::ALL.iter().map(|channel| channel.as_str()).collect();
        Some(format!("`{unknown}` is not a channel; known: {}", all.join(", ")))
    }
}

fn known(channel: &str) -> bool {
    channel.parse::<Channel>().is_ok()
}

fn open_channels(names: &[String]) -> Vec<Open<'_, Channel>> {
    names.iter().map(|name| open_channel(name)).collect()
}

fn open_channel(name: &str) -> Open<'_, Channel> {
    name.parse().map_or(Open::Other(name), Open::Known)
}

impl EndpointDocument {
    fn as_endpoint(&self) -> Endpoint<'_> {
        Endpoint {
            channel: open_channel(&self.channel),
            address: &self.address,
            verified: self.verified,
            label: self.label.as_deref(),
        }
    }
}

impl CategoryDocument {
    fn as_choice(&self) -> CategoryChoice<'_> {
        CategoryChoice {
            enabled: self.enabled,
            channels: self.channels.as_deref().map(open_channels),
            digest: self.digest.as_deref(),
        }
    }
}

impl QuietDocument {
    fn as_quiet(&self) -> QuietHours<'_> {
        QuietHours { days: self.days.iter().map(String::as_str).collect(), from: &self.from, to: &self.to }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"{"tenant":"t","user_id":"ada","locale":"de","timezone":"Europe/Berlin",
        "endpoints":[{"channel":"email","address":"a@example.org","verified":true,"label":"work"}],
        "channels":{"telegram":false},
        "categories":{"orders":{"enabled":true,"channels":["email"]},"news":{"enabled":false}},
        "quiet_hours":[{"days":["MON"],"from":"22:00","to":"07:00"}],
        "paused_until":"2026-11-21T18:00:00Z","version":3}"#;

    #[test]
    fn preferences_survive_the_way_through_the_record() {
        let document: PreferencesDocument = serde_json::from_str(FULL).unwrap();
        let again = PreferencesDocument::of(&document.as_preferences());
        assert_eq!(PreferencesDocument { updated_at: None, ..again }, document);
        assert_eq!(document.problem(&Zones::bundled()), None);
    }

    #[test]
    fn what_is_wrong_is_said_to_the_one_who_wrote_it() {
        let zones = Zones::bundled();
        let change = |from: &str, to: &str| {
            let document: PreferencesDocument = serde_json::from_str(&FULL.replace(from, to)).unwrap();
            document.problem(&zones).unwrap_or_default()
        };
        assert!(change("Europe/Berlin", "Europe/Atlantis").contains("Europe/Atlantis"));
        assert!(change("telegram", "telegramm").contains("`telegramm` is not a channel"));
        assert!(change("22:00", "25:00").contains("25:00"));
        assert!(serde_json::from_str::<PreferencesDocument>(r#"{"user_id":"a","timezon":"x"}"#).is_err());
    }

    #[test]
    fn an_event_takes_its_data_as_an_object_and_times_as_text() {
        let text = r#"{"source":"s","type":"t","category":"c","recipients":["\u0061da"],"data":{"n":1},"expires_at":"2030-01-01T00:00:00Z"}"#;
        let document: EventDocument = serde_json::from_str(text).unwrap();
        let data = document.data_text();
        let event = document.as_event("id", &data, Timestamp(7));
        assert_eq!(
            (event.data, event.time, event.tenant, event.recipients[0]),
            (r#"{"n":1}"#, Timestamp(7), "default", "ada")
        );
        assert!(serde_json::from_str::<EventDocument>(r#"{"data":"text"}"#).is_err());
        assert!("yesterday".parse::<Moment>().unwrap_err().contains("RFC 3339"));
    }
}
