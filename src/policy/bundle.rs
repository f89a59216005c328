//! The canonical form of a policy: what is hashed, and what `notify.policies` holds.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

use crate::model::{CategoryPolicy, Channel, FallbackStep, Ordering, Policy};

/// Why a bundle cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("not a policy bundle ({0}): the record of `notify.policies` was not written by `notilog`")]
pub struct BundleError(#[from] serde_json::Error);

/// The value of `notify.policies`, whose key is the policy's version: canonical JSON, the same for equal rules.
pub fn bundle_json(policy: &Policy) -> String {
    canonical(&policy.categories, policy.default.as_ref())
}

/// Reads a value of `notify.policies` back. The version is the hash of `json`; keys and channels of a newer version
/// are ignored.
///
/// # Errors
/// `json` is not a bundle.
pub fn from_bundle_json(json: &str) -> Result<Policy, BundleError> {
    let bundle: Bundle<'_> = serde_json::from_str(json)?;
    let categories = bundle.categories.into_iter().map(|(name, rules)| (name.into_owned(), rules.into())).collect();
    Ok(Policy { version: version_of(json), categories, default: bundle.default.map(Into::into) })
}

/// Rules under their content hash. Channels are sets: their order and repetitions do not count.
pub(super) fn seal(mut categories: BTreeMap<String, CategoryPolicy>, mut default: Option<CategoryPolicy>) -> Policy {
    for rules in categories.values_mut().chain(default.as_mut()) {
        for channels in [&mut rules.allowed, &mut rules.default] {
            channels.sort();
            channels.dedup();
        }
    }
    let version = version_of(&canonical(&categories, default.as_ref()));
    Policy { version, categories, default }
}

fn canonical(categories: &BTreeMap<String, CategoryPolicy>, default: Option<&CategoryPolicy>) -> String {
    let bundle = Bundle {
        categories: categories.iter().map(|(name, rules)| (Cow::Borrowed(name.as_str()), rules.into())).collect(),
        default: default.map(Into::into),
    };
    serde_json::to_string(&bundle).expect("strings, numbers and maps with string keys always have a JSON form")
}

/// SHA-256 in hexadecimal.
fn version_of(json: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(json.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The order of the fields is part of the hash: add new ones at the end, left out while they have their default.
#[derive(Serialize, Deserialize)]
struct Bundle<'a> {
    #[serde(borrow)]
    categories: BTreeMap<Cow<'a, str>, Rules>,
    default: Option<Rules>,
}

/// See [`Bundle`].
#[derive(Serialize, Deserialize)]
struct Rules {
    #[serde(deserialize_with = "known_channels")]
    allowed: Vec<Channel>,
    #[serde(deserialize_with = "known_channels")]
    default: Vec<Channel>,
    mandatory: bool,
    max_age_ms: u64,
    template: String,
    templates: BTreeMap<String, String>,
    ordering: Order,
    max_attempts: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "known_steps")]
    fallback: Vec<Step>,
}

/// See [`Bundle`].
#[derive(Serialize)]
struct Step {
    channel: Channel,
    after_ms: u64,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    Relaxed,
    Strict,
}

/// Leaves out the channels that only a newer version knows.
fn known_channels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Channel>, D::Error> {
    let words = Vec::<Cow<'_, str>>::deserialize(deserializer)?;
    Ok(words.iter().filter_map(|word| word.parse().ok()).collect())
}

/// Leaves out the steps by channels that only a newer version knows.
fn known_steps<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Step>, D::Error> {
    #[derive(Deserialize)]
    struct AnyStep<'a> {
        #[serde(borrow)]
        channel: Cow<'a, str>,
        after_ms: u64,
    }
    let steps = Vec::<AnyStep<'_>>::deserialize(deserializer)?;
    let known = |step: &AnyStep<'_>| Some(Step { channel: step.channel.parse().ok()?, after_ms: step.after_ms });
    Ok(steps.iter().filter_map(known).collect())
}

impl From<&CategoryPolicy> for Rules {
    fn from(policy: &CategoryPolicy) -> Self {
        Rules {
            allowed: policy.allowed.clone(),
            default: policy.default.clone(),
            mandatory: policy.mandatory,
            max_age_ms: u64::try_from(policy.max_age.as_millis()).unwrap_or(u64::MAX),
            template: policy.template.clone(),
            templates: policy.templates.clone(),
            ordering: match policy.ordering {
                Ordering::Relaxed => Order::Relaxed,
                Ordering::Strict => Order::Strict,
            },
            max_attempts: policy.max_attempts,
            fallback: policy.fallback.iter().map(Step::from).collect(),
        }
    }
}

impl From<&FallbackStep> for Step {
    fn from(step: &FallbackStep) -> Self {
        Step { channel: step.channel, after_ms: u64::try_from(step.after.as_millis()).unwrap_or(u64::MAX) }
    }
}

impl From<Rules> for CategoryPolicy {
    fn from(rules: Rules) -> Self {
        CategoryPolicy {
            allowed: rules.allowed,
            default: rules.default,
            mandatory: rules.mandatory,
            max_age: Duration::from_millis(rules.max_age_ms),
            template: rules.template,
            templates: rules.templates,
            ordering: match rules.ordering {
                Order::Relaxed => Ordering::Relaxed,
                Order::Strict => Ordering::Strict,
            },
            max_attempts: rules.max_attempts,
            fallback: rules.fallback.iter().map(step).collect(),
        }
    }
}

fn step(step: &Step) -> FallbackStep {
    FallbackStep { channel: step.channel, after: Duration::from_millis(step.after_ms) }
}
