//! The shape of a channel's providers: one table (`[channels.email]`) or several (`[[channels.email]]`), each with the
//! keys of its kind and those that every provider has.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use toml::{Table, Value};

/// One provider of a channel.
#[derive(Debug, Clone, Serialize)]
pub struct Provider<T> {
    /// What every provider has.
    #[serde(flatten)]
    pub common: Common,
    /// What this kind of provider has.
    #[serde(flatten)]
    pub settings: T,
}

/// The keys that every provider has, whatever its kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Common {
    /// Its name in statuses, metrics and logs; its kind when not set. Unique within the channel.
    pub name: Option<String>,
    /// Lower ones are asked first; those of a higher one only when none of a lower one can be called.
    pub priority: u32,
    /// Its share among those of equal priority.
    pub weight: u32,
    /// Whether it sends.
    pub mode: Mode,
    /// How many calls it takes.
    pub limit: Option<RateLimit>,
}

impl Default for Common {
    fn default() -> Self {
        Common { name: None, priority: 0, weight: 1, mode: Mode::Live, limit: None }
    }
}

/// Whether a provider sends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It sends.
    #[default]
    Live,
    /// It records what it would send, and sends nothing.
    Sandbox,
}

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Calls a second, on average.
    pub per_second: u32,
    /// Calls at once after a pause; as many as `per_second` when not set.
    #[serde(default)]
    pub burst: Option<u32>,
}

impl<T> From<T> for Provider<T> {
    fn from(settings: T) -> Self {
        Provider { common: Common::default(), settings }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Provider<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (common, settings) =
            Table::deserialize(deserializer)?.into_iter().partition::<Table, _>(|(key, _)| is_common(key));
        Ok(Provider {
            common: typed(common).map_err(D::Error::custom)?,
            settings: typed(settings).map_err(D::Error::custom)?,
        })
    }
}

fn is_common(key: &str) -> bool {
    super::schema::find(super::schema::COMMON, key).is_some()
}

fn typed<T: DeserializeOwned>(table: Table) -> Result<T, String> {
    Value::Table(table).try_into().map_err(|error: toml::de::Error| error.message().to_owned())
}

/// Reads one table, or a list of them.
pub(super) fn one_or_several<'de, D, T>(deserializer: D) -> Result<Vec<Provider<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let tables = match Value::deserialize(deserializer)? {
        Value::Array(tables) => tables,
        table => vec![table],
    };
    let typed = |table: Value| table.try_into().map_err(|error: toml::de::Error| D::Error::custom(error.message()));
    tables.into_iter().map(typed).collect()
}
