//! Families of topics: TOML files, embedded or in a folder, and the topics that they stand for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::kafka::admin::TopicSpec;
use crate::model::{Channel, Topics, format_delay, parse_delay};

/// The families that the binary carries, by name.
const EMBEDDED: &[(&str, &str)] = &[
    ("audit", include_str!("../../../topics/audit.toml")),
    ("decisions", include_str!("../../../topics/decisions.toml")),
    ("delivery-status", include_str!("../../../topics/delivery-status.toml")),
    ("dlq", include_str!("../../../topics/dlq.toml")),
    ("events", include_str!("../../../topics/events.toml")),
    ("inbox", include_str!("../../../topics/inbox.toml")),
    ("inputs", include_str!("../../../topics/inputs.toml")),
    ("outbound", include_str!("../../../topics/outbound.toml")),
    ("policies", include_str!("../../../topics/policies.toml")),
    ("preferences", include_str!("../../../topics/preferences.toml")),
    ("receipts", include_str!("../../../topics/receipts.toml")),
    ("retry-events", include_str!("../../../topics/retry-events.toml")),
    ("suppressions", include_str!("../../../topics/suppressions.toml")),
];

/// One file: topics that share a purpose and settings.
#[derive(Debug, Clone)]
pub struct Family {
    /// The file's name without `.toml`.
    pub name: String,
    file: File,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[expect(dead_code, reason = "for those who read the file")]
    purpose: String,
    partitions: u32,
    #[serde(default)]
    equal_partitions_per: Option<Placeholder>,
    topics: Vec<Entry>,
    #[serde(default)]
    config: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    config: BTreeMap<String, String>,
}

/// What a name may hold in braces; each value makes a topic of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Placeholder {
    Domain,
    Channel,
    RouterTier,
    DeliveryTier,
    ReceiptsTier,
}

impl Placeholder {
    const ALL: [Placeholder; 5] = [
        Placeholder::Domain,
        Placeholder::Channel,
        Placeholder::RouterTier,
        Placeholder::DeliveryTier,
        Placeholder::ReceiptsTier,
    ];

    const fn text(self) -> &'static str {
        match self {
            Placeholder::Domain => "{domain}",
            Placeholder::Channel => "{channel}",
            Placeholder::RouterTier => "{router_tier}",
            Placeholder::DeliveryTier => "{delivery_tier}",
            Placeholder::ReceiptsTier => "{receipts_tier}",
        }
    }
}

/// Why families cannot be read or expanded.
#[derive(Debug, thiserror::Error)]
pub enum FamilyError {
    /// The folder or a file in it.
    #[error("cannot read topic families from {path}: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The folder is empty.
    #[error("{0} holds no *.toml; leave topics.dir and --dir out to use the embedded families")]
    Empty(PathBuf),
    /// A file is not a family.
    #[error("topic family {family}: {problem}")]
    Wrong {
        /// Which.
        family: String,
        /// What is wrong with it.
        problem: String,
    },
    /// `topics.partitions` names a family that does not exist.
    #[error("topics.partitions names `{0}`, which is not a family; known: {1}")]
    UnknownFamily(String, String),
}

/// What the placeholders stand for.
#[derive(Debug, Clone)]
pub struct Expansion {
    /// Names and their prefix.
    pub topics: Topics,
    /// Event domains.
    pub domains: Vec<String>,
    /// Channels.
    pub channels: Vec<Channel>,
    /// Delays of the router's tiers.
    pub router_tiers: Vec<Duration>,
    /// Delays of delivery's tiers.
    pub delivery_tiers: Vec<Duration>,
    /// Delays of the tiers of receipts.
    pub receipts_tiers: Vec<Duration>,
    /// Partitions by family, in place of the family's own count.
    pub partitions: BTreeMap<String, u32>,
    /// Replicas of each partition.
    pub replication: i32,
}

/// A topic that should exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// What it should be.
    pub spec: TopicSpec,
    /// Topics of the same group must have equal partition counts.
    pub group: Option<String>,
}

/// The embedded families, or those of a folder.
pub fn families(dir: Option<&Path>) -> Result<Vec<Family>, FamilyError> {
    let Some(dir) = dir else {
        return EMBEDDED.iter().map(|(name, text)| parse(name, text)).collect();
    };
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| FamilyError::Unreadable { path, source }
    };
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable(dir))? {
        files.push(entry.map_err(unreadable(dir))?.path());
    }
    // Rights lie beside the families, and are none.
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml") && !path.ends_with("acls.toml"));
    files.sort();
    if files.is_empty() {
        return Err(FamilyError::Empty(dir.to_owned()));
    }
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).map_err(unreadable(path))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        parse(&name, &text)
    };
    files.iter().map(read).collect()
}

fn parse(name: &str, text: &str) -> Result<Family, FamilyError> {
    let wrong = |problem| FamilyError::Wrong { family: name.to_owned(), problem };
    let file: File = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
    if file.partitions == 0 {
        return Err(wrong("partitions must be at least 1".to_owned()));
    }
    Ok(Family { name: name.to_owned(), file })
}

/// All topics that should exist, by name.
pub fn expand(families: &[Family], expansion: &Expansion) -> Result<Vec<Desired>, FamilyError> {
    if let Some(unknown) = expansion.partitions.keys().find(|name| families.iter().all(|family| family.name != **name))
    {
        let known: Vec<&str> = families.iter().map(|family| family.name.as_str()).collect();
        return Err(FamilyError::UnknownFamily(unknown.clone(), known.join(", ")));
    }
    let mut all = Vec::new();
    for family in families {
        for entry in &family.file.topics {
            for (name, values) in expansion.names(&entry.name) {
                let group = family.file.equal_partitions_per.map(|per| {
                    let value = values.iter().find(|(placeholder, _)| *placeholder == per);
                    format!("{}:{}", family.name, value.map_or("", |(_, value)| value))
                });
                all.push(Desired { spec: expansion.spec(family, entry, &name)?, group });
            }
        }
    }
    all.sort_by(|one, other| one.spec.name.cmp(&other.spec.name));
    Ok(all)
}

/// A name with its placeholders filled, and what filled them.
type Filled = (String, Vec<(Placeholder, String)>);

impl Expansion {
    /// Every name that a template stands for.
    fn names(&self, template: &str) -> Vec<Filled> {
        let start = vec![(template.to_owned(), Vec::new())];
        Placeholder::ALL.into_iter().fold(start, |filled: Vec<Filled>, placeholder| {
            if !template.contains(placeholder.text()) {
                return filled;
            }
            let values = self.values(placeholder);
            let with = |(name, so_far): &Filled, value: &String| {
                let mut so_far = so_far.clone();
                so_far.push((placeholder, value.clone()));
                (name.replace(placeholder.text(), value), so_far)
            };
            filled.iter().flat_map(|one| values.iter().map(move |value| with(one, value))).collect()
        })
    }

    fn values(&self, placeholder: Placeholder) -> Vec<String> {
        let delays = |tiers: &[Duration]| tiers.iter().map(|delay| format_delay(*delay)).collect();
        match placeholder {
            Placeholder::Domain => self.domains.clone(),
            Placeholder::Channel => self.channels.iter().map(|channel| channel.as_str().to_owned()).collect(),
            Placeholder::RouterTier => delays(&self.router_tiers),
            Placeholder::DeliveryTier => delays(&self.delivery_tiers),
            Placeholder::ReceiptsTier => delays(&self.receipts_tiers),
        }
    }

    fn spec(&self, family: &Family, entry: &Entry, name: &str) -> Result<TopicSpec, FamilyError> {
        let wrong = |problem| FamilyError::Wrong { family: family.name.clone(), problem };
        if name.contains('{') {
            return Err(wrong(format!(
                "`{name}` holds a placeholder that is not one of {{domain}}, {{channel}}, {{router_tier}}, {{delivery_tier}}, {{receipts_tier}}"
            )));
        }
        let mut config = BTreeMap::new();
        for (key, value) in family.file.config.iter().chain(&entry.config) {
            config.insert(key.clone(), self.setting(key, value).map_err(wrong)?);
        }
        let partitions = self.partitions.get(&family.name).copied().unwrap_or(family.file.partitions);
        Ok(TopicSpec {
            name: self.topics.named(name),
            partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
            replication: self.replication,
            config,
        })
    }

    /// Settings in milliseconds may be written as durations; the replicas that must have a record follow from how many
    /// there are: one less, so that one broker may fail, but with fewer than three all there is.
    fn setting(&self, key: &str, value: &str) -> Result<String, String> {
        if value == "{min_insync_replicas}" {
            return Ok((if self.replication >= 3 { self.replication - 1 } else { 1 }).to_string());
        }
        if key.ends_with(".ms") && value.ends_with(|c: char| c.is_ascii_alphabetic()) {
            return parse_delay(value)
                .map(|delay| delay.as_millis().to_string())
                .map_err(|error| format!("{key}: {error}"));
        }
        Ok(value.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn expansion() -> Expansion {
        let delays = |texts: &[&str]| texts.iter().map(|text| parse_delay(text).unwrap()).collect();
        Expansion {
            topics: Topics::new("t."),
            domains: vec!["shop".to_owned(), "bank".to_owned()],
            channels: vec![Channel::Email, Channel::Webhook],
            router_tiers: delays(&["10s", "1m"]),
            delivery_tiers: delays(&["10s", "1h"]),
            receipts_tiers: delays(&["10s"]),
            partitions: BTreeMap::from([("events".to_owned(), 12)]),
            replication: 3,
        }
    }

    #[test]
    fn the_example_names_families_that_exist() {
        let example: toml::Table = include_str!("../../../examples/company/notilog.toml").parse().unwrap();
        let named = example["topics"]["partitions"].as_table().unwrap().keys();
        let partitions = named.map(|name| (name.clone(), 1)).collect();
        expand(&families(None).unwrap(), &Expansion { partitions, ..expansion() }).unwrap();
    }

    #[test]
    fn the_embedded_families_make_the_topics_of_the_contract() {
        let all = expand(&families(None).unwrap(), &expansion()).unwrap();
        let lines: Vec<String> = all
            .iter()
            .map(|Desired { spec, group }| {
                let config: Vec<String> = spec.config.iter().map(|(key, value)| format!("{key}={value}")).collect();
                let group = group.as_deref().map_or(String::new(), |group| format!(" [{group}]"));
                format!("{} {}x{}{group} {}", spec.name, spec.partitions, spec.replication, config.join(" "))
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn the_names_are_those_that_the_roles_use() {
        let expansion = expansion();
        let all = expand(&families(None).unwrap(), &expansion).unwrap();
        let topics = &expansion.topics;
        let ten = Duration::from_secs(10);
        let email = Channel::Email;
        for name in [
            topics.events("shop"),
            topics.retry_events(ten),
            topics.preferences(),
            topics.policies(),
            topics.decisions(),
            topics.delivery_status(),
            topics.audit(),
            topics.outbound(email, crate::model::Class::Main),
            topics.outbound(email, crate::model::Class::Urgent),
            topics.outbound_tier(email, ten),
            topics.dlq_events(),
            topics.dlq_preferences(),
            topics.dlq_outbound(email),
            topics.suppressions(),
            topics.receipts(),
            topics.receipts_inbox(),
            topics.receipts_tier(ten),
            topics.dlq_receipts(),
        ] {
            assert!(all.iter().any(|desired| desired.spec.name == name), "{name}");
        }
    }

    #[test]
    fn embedded_files_are_all_the_files() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("topics");
        let names = |families: Vec<Family>| families.into_iter().map(|family| family.name).collect::<Vec<_>>();
        assert_eq!(names(families(Some(&dir)).unwrap()), names(families(None).unwrap()));
    }

    #[test]
    fn a_wrong_family_is_named_with_its_fault() {
        let wrong = |text: &str| match parse("x", text)
            .and_then(|family| expand(&[family], &Expansion { partitions: BTreeMap::new(), ..expansion() }))
        {
            Err(error) => error.to_string(),
            Ok(all) => panic!("{all:?}"),
        };
        assert!(wrong("purpose = \"p\"\npartitions = 1\ntopics = [{ name = \"a.{user}\" }]").contains("a.{user}"));
        assert!(wrong("purpose = \"p\"\npartitions = 0\ntopics = []").contains("at least 1"));
        assert!(wrong("purpose = \"p\"\npartitions = 1\ntopics = []\nretention = 3").contains("retention"));
        let unknown = Expansion { partitions: BTreeMap::from([("evnts".to_owned(), 1)]), ..expansion() };
        assert!(expand(&families(None).unwrap(), &unknown).unwrap_err().to_string().contains("`evnts`"));
    }
}
