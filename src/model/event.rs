//! What happened, as a producer said it.

use serde::{Deserialize, Deserializer, Serialize};

use super::{Channel, Open, Priority, Timestamp};

/// The most recipients one event may name; more is refused whole.
pub const MAX_RECIPIENTS: usize = 1_000;

/// Something that happened; identified by `(tenant, source, id)`.
///
/// Fields that a producer's older or own schema may lack, or have as null, have defaults, so that what is missing
/// is judged by the chain with a reason and not by the decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event<'a> {
    /// Unique within the source.
    #[serde(borrow)]
    pub id: &'a str,
    /// Who says so, for example `shop/orders` (CloudEvents `source`).
    pub source: &'a str,
    /// What kind of thing happened, for example `order.shipped` (CloudEvents `type`).
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// When it happened.
    pub time: Timestamp,
    /// Whose it is.
    #[serde(default = "default_tenant", deserialize_with = "tenant_or_default")]
    pub tenant: &'a str,
    /// What recipients opt in to or out of; required, empty when a writer left it out.
    #[serde(default, deserialize_with = "null_or")]
    pub category: &'a str,
    /// How urgent.
    #[serde(default, deserialize_with = "null_or")]
    pub priority: Priority,
    /// The users to tell, at most [`MAX_RECIPIENTS`].
    #[serde(default, deserialize_with = "null_or")]
    pub recipients: Vec<&'a str>,
    /// A group to tell; refused until group expansion exists.
    #[serde(default)]
    pub audience: Option<&'a str>,
    /// Restricts the channels, when given.
    #[serde(default)]
    pub channels: Option<Vec<Open<'a, Channel>>>,
    /// Template name; the category's policy chooses when absent.
    #[serde(default)]
    pub template: Option<&'a str>,
    /// A JSON object as text, for the templates; empty means `{}`.
    #[serde(default, deserialize_with = "null_or")]
    pub data: &'a str,
    /// BCP 47 tag that overrides the recipient's.
    #[serde(default)]
    pub locale: Option<&'a str>,
    /// Not to be sent before.
    #[serde(default)]
    pub not_before: Option<Timestamp>,
    /// Worthless after.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// Later notifications of the same key supersede waiting ones.
    #[serde(default)]
    pub collapse_key: Option<&'a str>,
}

fn default_tenant() -> &'static str {
    "default"
}

fn tenant_or_default<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<&'a str, D::Error> {
    Ok(Option::<&'a str>::deserialize(deserializer)?.unwrap_or(default_tenant()))
}

/// The value, or the type's default for null.
fn null_or<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
