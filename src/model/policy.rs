//! The operator's rules for categories, as loaded from files by `policy/`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Channel;

/// All categories under one content hash.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The content hash: what decisions and outbound records carry as `policy_version`.
    pub version: String,
    /// Rules by category.
    pub categories: BTreeMap<String, CategoryPolicy>,
    /// For categories that are not listed; `None` refuses them.
    pub default: Option<CategoryPolicy>,
}

impl Policy {
    /// Whether a category of this name keeps strict order.
    pub fn is_strict(&self, name: &str) -> bool {
        self.category(name).is_some_and(|category| category.ordering == Ordering::Strict)
    }

    /// Whether any category keeps strict order.
    pub fn any_strict(&self) -> bool {
        self.categories.values().chain(&self.default).any(|category| category.ordering == Ordering::Strict)
    }

    /// The rules of a category.
    pub fn category(&self, name: &str) -> Option<&CategoryPolicy> {
        self.categories.get(name).or(self.default.as_ref())
    }

    /// The categories that have a fallback chain; `[default]` for the one that is not listed.
    pub fn with_fallback(&self) -> impl Iterator<Item = &str> {
        let listed = self.categories.iter().map(|(name, rules)| (name.as_str(), rules));
        let all = listed.chain(self.default.iter().map(|rules| ("[default]", rules)));
        all.filter(|(_, rules)| !rules.fallback.is_empty()).map(|(name, _)| name)
    }
}

/// The rules of one category.
#[derive(Debug, Clone, PartialEq)]
pub struct CategoryPolicy {
    /// The channels it may go by.
    pub allowed: Vec<Channel>,
    /// The channels it goes by when the recipient chose none.
    pub default: Vec<Channel>,
    /// The recipient cannot opt out, pause or be quiet.
    pub mandatory: bool,
    /// Older events are `expired`.
    pub max_age: Duration,
    /// The template when neither the event nor its type names one.
    pub template: String,
    /// Template by event type.
    pub templates: BTreeMap<String, String>,
    /// The order of a recipient's notifications through retries.
    pub ordering: Ordering,
    /// Attempts per run before a notification is dead.
    pub max_attempts: u32,
    /// Channels of which only the first that can be used is, and a later one when that is not delivered or seen in time.
    /// None, or at least two, none twice; the first one's wait is zero.
    pub fallback: Vec<FallbackStep>,
}

/// A channel of a fallback chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FallbackStep {
    /// The way it goes.
    pub channel: Channel,
    /// How long after the SENT of the one before it.
    pub after: Duration,
}

impl CategoryPolicy {
    /// The template of an event: the one it names, else its type's, else the category's.
    pub fn template_for<'a>(&'a self, kind: &str, named: Option<&'a str>) -> &'a str {
        named.unwrap_or_else(|| self.templates.get(kind).unwrap_or(&self.template))
    }
}

/// How the order of one recipient's notifications is kept through retries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ordering {
    /// A retry lets followers pass.
    #[default]
    Relaxed,
    /// Followers wait behind a parked head, each recipient's and class's behind their own.
    Strict,
}
