//! What would have to change for the cluster to be as the families say. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::family::Desired;
use crate::kafka::admin::{TopicSpec, TopicState};

/// Whether partitions may be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitions {
    /// No: a key's records would from then on land elsewhere than its earlier ones.
    Keep,
    /// Yes, the operator said so; not to compacted topics.
    Raise,
    /// To compacted topics too. What a key had before stays in its old partition, where compaction never meets what
    /// follows: once the tombstone of an erase is dropped, the old value is the newest again.
    RaiseCompacted,
}

/// A step that `apply` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Change {
    /// The topic does not exist.
    Create {
        /// What to create.
        #[serde(flatten)]
        spec: TopicSpec,
    },
    /// A setting differs.
    AlterConfig {
        /// Of which topic.
        topic: String,
        /// Which.
        key: String,
        /// Its effective value now, if the broker knows the setting.
        from: Option<String>,
        /// What it should be.
        to: String,
    },
    /// There are too few partitions, and they may be raised.
    RaisePartitions {
        /// Of which topic.
        topic: String,
        /// How many there are.
        from: i32,
        /// How many there should be.
        to: i32,
    },
}

impl Change {
    /// The topic that it concerns.
    pub fn topic(&self) -> &str {
        match self {
            Change::Create { spec } => &spec.name,
            Change::AlterConfig { topic, .. } | Change::RaisePartitions { topic, .. } => topic,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Create { spec } => {
                write!(f, "create with {} partitions, {} replicas", spec.partitions, spec.replication)
            }
            Change::AlterConfig { key, from, to, .. } => {
                write!(f, "set {key} from {} to {to}", from.as_deref().unwrap_or("(unset)"))
            }
            Change::RaisePartitions { from, to, .. } => write!(f, "raise partitions from {from} to {to}; keys move"),
        }
    }
}

/// A difference that `apply` leaves alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "drift", rename_all = "snake_case")]
pub enum Drift {
    /// Too few partitions, and they may not be raised.
    TooFewPartitions {
        /// Of which topic.
        topic: String,
        /// How many there are.
        have: i32,
        /// How many there should be.
        want: i32,
    },
    /// Too few partitions of a topic that keeps a key's newest record, and they may not be raised.
    TooFewCompacted {
        /// Of which topic.
        topic: String,
        /// How many there are.
        have: i32,
        /// How many there should be.
        want: i32,
    },
    /// Too many partitions: Kafka cannot take any away.
    TooManyPartitions {
        /// Of which topic.
        topic: String,
        /// How many there are.
        have: i32,
        /// How many there should be.
        want: i32,
    },
    /// Topics that must have equal counts do not.
    UnequalPartitions {
        /// Topics and their counts as they would be after the changes.
        counts: BTreeMap<String, i32>,
    },
    /// Another number of replicas.
    Replication {
        /// Of which topic.
        topic: String,
        /// How many there are.
        have: i32,
        /// How many there should be.
        want: i32,
    },
    /// Partitions that nobody leads: they can be neither read nor written.
    NoLeader {
        /// Of which topic.
        topic: String,
        /// How many.
        partitions: usize,
    },
}

impl Drift {
    /// The topic that it concerns, the first of several.
    pub fn topic(&self) -> &str {
        match self {
            Drift::TooFewPartitions { topic, .. }
            | Drift::TooFewCompacted { topic, .. }
            | Drift::TooManyPartitions { topic, .. }
            | Drift::Replication { topic, .. }
            | Drift::NoLeader { topic, .. } => topic,
            Drift::UnequalPartitions { counts } => counts.keys().next().map_or("", String::as_str),
        }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Drift::TooFewPartitions { have, want, .. } => write!(
                f,
                "has {have} partitions, not {want}; `--raise-partitions` adds them, but keys move: a recipient's \
                 notifications under way may be overtaken"
            ),
            Drift::TooFewCompacted { have, want, .. } => write!(
                f,
                "has {have} partitions, not {want}, and keeps the newest record of each key: added partitions take keys \
                 over, and what those had before stays where it is and comes back after they are erased; set \
                 topics.partitions to {have}. `--raise-compacted` adds them all the same: then write every key again, \
                 erases included, and erase what is left in the old partitions"
            ),
            Drift::TooManyPartitions { have, want, .. } => write!(
                f,
                "has {have} partitions, not {want}, and Kafka takes none away; set topics.partitions to {have}, or \
                 drain the topic, delete it and apply"
            ),
            Drift::UnequalPartitions { counts } => {
                let counts: Vec<String> = counts.iter().map(|(topic, count)| format!("{topic}: {count}")).collect();
                write!(
                    f,
                    "a channel's topics must have equal partition counts, or retries leave their recipient's worker \
                     ({}); raise the smaller ones with `--raise-partitions`",
                    counts.join(", ")
                )
            }
            Drift::Replication { have, want, .. } => write!(
                f,
                "has {have} replicas, not {want}; move it with kafka-reassign-partitions.sh, or set \
                 topics.replication_factor"
            ),
            Drift::NoLeader { partitions, .. } => {
                write!(f, "{partitions} partitions have no leader; bring their brokers back")
            }
        }
    }
}

/// What to do, and what cannot be done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Steps, in order.
    pub changes: Vec<Change>,
    /// Differences that stay.
    pub drift: Vec<Drift>,
}

impl Plan {
    /// Whether the cluster is as the families say.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.drift.is_empty()
    }
}

/// Compares what should be with what is.
pub fn plan(desired: &[Desired], actual: &BTreeMap<String, TopicState>, partitions: Partitions) -> Plan {
    let mut plan = Plan::default();
    for Desired { spec, .. } in desired {
        match actual.get(&spec.name) {
            None => plan.changes.push(Change::Create { spec: spec.clone() }),
            Some(state) => compare(&mut plan, spec, state, partitions),
        }
    }
    unequal(&mut plan, desired, actual, partitions);
    plan
}

fn compare(plan: &mut Plan, spec: &TopicSpec, state: &TopicState, partitions: Partitions) {
    let topic = spec.name.clone();
    let (have, want) = (state.partitions, spec.partitions);
    match (have.cmp(&want), partitions) {
        (std::cmp::Ordering::Less, _) if may_raise(spec, partitions) => {
            plan.changes.push(Change::RaisePartitions { topic: topic.clone(), from: have, to: want });
        }
        (std::cmp::Ordering::Less, _) if is_compacted(spec) => {
            plan.drift.push(Drift::TooFewCompacted { topic: topic.clone(), have, want });
        }
        (std::cmp::Ordering::Less, _) => {
            plan.drift.push(Drift::TooFewPartitions { topic: topic.clone(), have, want });
        }
        (std::cmp::Ordering::Greater, _) => {
            plan.drift.push(Drift::TooManyPartitions { topic: topic.clone(), have, want });
        }
        (std::cmp::Ordering::Equal, _) => {}
    }
    if state.replication != spec.replication {
        plan.drift.push(Drift::Replication { topic: topic.clone(), have: state.replication, want: spec.replication });
    }
    if state.leaderless > 0 {
        plan.drift.push(Drift::NoLeader { topic: topic.clone(), partitions: state.leaderless });
    }
    for (key, to) in &spec.config {
        let from = state.config.get(key).map(|setting| setting.value.clone());
        if from.as_deref().is_none_or(|from| canonical(from) != canonical(to)) {
            plan.changes.push(Change::AlterConfig { topic: topic.clone(), key: key.clone(), from, to: to.clone() });
        }
    }
}

fn may_raise(spec: &TopicSpec, partitions: Partitions) -> bool {
    match partitions {
        Partitions::Keep => false,
        Partitions::Raise => !is_compacted(spec),
        Partitions::RaiseCompacted => true,
    }
}

/// Whether a key's newest record is kept for ever; one that is deleted for its age as well goes by itself.
fn is_compacted(spec: &TopicSpec) -> bool {
    spec.config.get("cleanup.policy").is_some_and(|policy| canonical(policy) == ["compact"])
}

/// Lists (`compact,delete`) mean the same in any order.
fn canonical(value: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = value.split(',').map(str::trim).collect();
    parts.sort_unstable();
    parts
}

/// Groups whose topics would have different counts even after the changes.
fn unequal(plan: &mut Plan, desired: &[Desired], actual: &BTreeMap<String, TopicState>, partitions: Partitions) {
    let mut groups: BTreeMap<&str, BTreeMap<String, i32>> = BTreeMap::new();
    for Desired { spec, group } in desired {
        let Some(group) = group else { continue };
        let count = match actual.get(&spec.name) {
            None => spec.partitions,
            Some(state) if may_raise(spec, partitions) => state.partitions.max(spec.partitions),
            Some(state) => state.partitions,
        };
        groups.entry(group).or_default().insert(spec.name.clone(), count);
    }
    for counts in groups.into_values() {
        let mut values = counts.values();
        let first = values.next();
        if values.any(|count| Some(count) != first) {
            plan.drift.push(Drift::UnequalPartitions { counts });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::admin::TopicSetting;

    fn desired(name: &str, partitions: i32, group: Option<&str>) -> Desired {
        let config = BTreeMap::from([("cleanup.policy".to_owned(), "compact,delete".to_owned())]);
        let spec = TopicSpec { name: name.to_owned(), partitions, replication: 1, config };
        Desired { spec, group: group.map(str::to_owned) }
    }

    fn present(name: &str, partitions: i32, cleanup: &str) -> (String, TopicState) {
        let setting = TopicSetting { value: cleanup.to_owned(), own: true };
        let config = BTreeMap::from([("cleanup.policy".to_owned(), setting)]);
        (name.to_owned(), TopicState { partitions, replication: 1, leaderless: 0, config })
    }

    #[test]
    fn nothing_changes_where_everything_is_as_it_should_be() {
        let actual = BTreeMap::from([present("a", 3, "delete,compact")]);
        assert!(plan(&[desired("a", 3, None)], &actual, Partitions::Keep).is_empty());
    }

    #[test]
    fn missing_topics_are_created_and_other_settings_altered() {
        let actual = BTreeMap::from([present("a", 3, "delete")]);
        let found = plan(&[desired("a", 3, None), desired("b", 1, None)], &actual, Partitions::Keep);
        assert_eq!(
            found.changes.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["set cleanup.policy from delete to compact,delete", "create with 1 partitions, 1 replicas",]
        );
        assert!(found.drift.is_empty());
    }

    #[test]
    fn partitions_are_raised_only_when_told_so() {
        let actual = BTreeMap::from([present("a", 2, "compact,delete")]);
        let wanted = [desired("a", 3, None)];
        let kept = plan(&wanted, &actual, Partitions::Keep);
        assert!(kept.changes.is_empty());
        assert_eq!(kept.drift, [Drift::TooFewPartitions { topic: "a".to_owned(), have: 2, want: 3 }]);
        let raised = plan(&wanted, &actual, Partitions::Raise);
        assert_eq!(raised.changes, [Change::RaisePartitions { topic: "a".to_owned(), from: 2, to: 3 }]);
        assert!(raised.drift.is_empty());
    }

    #[test]
    fn a_compacted_topics_partitions_are_raised_only_by_who_was_told_that_the_erased_come_back() {
        let compacted = || {
            let mut wanted = desired("notify.preferences", 6, None);
            wanted.spec.config.insert("cleanup.policy".to_owned(), "compact".to_owned());
            [wanted]
        };
        let actual = BTreeMap::from([present("notify.preferences", 3, "compact")]);
        for partitions in [Partitions::Keep, Partitions::Raise] {
            let found = plan(&compacted(), &actual, partitions);
            assert!(found.changes.is_empty());
            let [drift @ Drift::TooFewCompacted { have: 3, want: 6, .. }] = &found.drift[..] else {
                panic!("{found:?}");
            };
            assert!(drift.to_string().contains("--raise-compacted"), "{drift}");
        }
        let raised = plan(&compacted(), &actual, Partitions::RaiseCompacted);
        assert_eq!(
            raised.changes,
            [Change::RaisePartitions { topic: "notify.preferences".to_owned(), from: 3, to: 6 }]
        );
        assert!(raised.drift.is_empty());
    }

    #[test]
    fn too_many_partitions_cannot_be_mended() {
        let actual = BTreeMap::from([present("a", 9, "compact,delete")]);
        let found = plan(&[desired("a", 3, None)], &actual, Partitions::Raise);
        assert_eq!(found.drift, [Drift::TooManyPartitions { topic: "a".to_owned(), have: 9, want: 3 }]);
    }

    #[test]
    fn a_channels_topics_must_have_equal_counts() {
        let group = Some("outbound:email");
        let wanted = [desired("main", 3, group), desired("urgent", 3, group), desired("tier", 3, group)];
        let actual = BTreeMap::from([present("main", 6, "compact,delete"), present("urgent", 3, "compact,delete")]);
        let found = plan(&wanted, &actual, Partitions::Raise);
        let unequal = found.drift.iter().any(
            |drift| matches!(drift, Drift::UnequalPartitions { counts } if counts["tier"] == 3 && counts["main"] == 6),
        );
        assert!(unequal, "{found:?}");
    }
}
