//! What each role needs, from `topics/acls.toml`, and what this client lacks of it.
//!
//! Invariant: the file is the one list: what is granted from it is what roles check themselves against.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::Deserialize;

use super::acl::{Allowed, Kind, Operation, Pattern, Resource};
use super::admin::{Admin, AdminError};
use super::denied::{Denied, Right, principal_of};
use crate::config::{Config, Delay};
use crate::model::{Channel, Role, format_delay};

/// A right that a role needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// The right.
    pub right: Right,
    /// What for.
    pub why: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    roles: BTreeMap<Role, RoleEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleEntry {
    purpose: String,
    rights: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    on: Kind,
    /// A name, or how it begins: one of the two.
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    prefix: Option<String>,
    may: Vec<Operation>,
    why: String,
}

static FILE: LazyLock<File> = LazyLock::new(|| {
    toml::from_str(include_str!("../../topics/acls.toml")).expect("the embedded file is read by a test")
});

/// What a role is for.
pub fn purpose(role: Role) -> &'static str {
    FILE.roles.get(&role).map_or("", |entry| entry.purpose.as_str())
}

/// What `role` needs under `config`, for `channels` where it has to do with channels; in the file's order.
pub fn needs(role: Role, config: &Config, channels: &[Channel]) -> Vec<Need> {
    let values = values(config, channels);
    let entries = FILE.roles.get(&role).map_or(&[][..], |entry| &entry.rights);
    let mut all = Vec::new();
    for entry in entries {
        let (template, pattern) = match (&entry.name, &entry.prefix) {
            (Some(name), _) => (name, Pattern::Literal),
            (None, Some(prefix)) => (prefix, Pattern::Prefixed),
            (None, None) => continue,
        };
        for name in expand(template, &values) {
            let name = format!("{}{name}", config.kafka.topic_prefix);
            let resource = Resource { kind: entry.on, name, pattern };
            let need = |operation: &Operation| Need {
                right: Right { operation: *operation, resource: resource.clone() },
                why: entry.why.clone(),
            };
            all.extend(entry.may.iter().map(need));
        }
    }
    all
}

type Values = [(&'static str, Vec<String>); 6];

fn values(config: &Config, channels: &[Channel]) -> Values {
    let delays = |delays: &[Delay]| delays.iter().map(|delay| format_delay(delay.0)).collect();
    [
        ("{domain}", config.topics.domains.clone()),
        ("{channel}", channels.iter().map(|channel| channel.as_str().to_owned()).collect()),
        ("{router_tier}", delays(&config.router.tiers)),
        ("{delivery_tier}", delays(&config.delivery.tiers)),
        ("{router_group}", vec![config.router.group.clone()]),
        ("{delivery_group}", vec![config.delivery.group.clone()]),
    ]
}

/// Every name that a template stands for.
fn expand(template: &str, values: &Values) -> Vec<String> {
    values.iter().filter(|(placeholder, _)| template.contains(placeholder)).fold(
        vec![template.to_owned()],
        |names, (placeholder, values)| {
            let filled =
                |name: &String| values.iter().map(|value| name.replace(placeholder, value)).collect::<Vec<_>>();
            names.iter().flat_map(filled).collect()
        },
    )
}

/// Looks whether this client has the rights on topics that `role` needs. Those on its group and transactional id
/// show when it takes them up.
///
/// # Errors
/// [`AdminError::Denied`] with all that it lacks; another one when the cluster cannot be asked.
pub fn check(admin: &Admin, role: Role, config: &Config, channels: &[Channel]) -> Result<(), AdminError> {
    let needs: Vec<Right> = needs(role, config, channels)
        .into_iter()
        .map(|need| need.right)
        .filter(|right| right.resource.kind == Kind::Topic)
        .collect();
    let asked: BTreeSet<String> = needs.iter().flat_map(|right| probes(right, config)).collect();
    let allowed = admin.allowed(&asked.into_iter().collect::<Vec<_>>())?;
    let lacks = |right: &Right| {
        probes(right, config).iter().any(|topic| match allowed.get(topic) {
            Some(Allowed::Nothing) => true,
            Some(Allowed::These(operations)) => !operations.contains(&right.operation),
            Some(Allowed::Unknown) | None => false,
        })
    };
    let lacking: Vec<Right> = needs.iter().filter(|right| lacks(right)).cloned().collect();
    if lacking.is_empty() {
        return Ok(());
    }
    Err(AdminError::Denied(Denied::Rights { principal: principal_of(&config.kafka), lacking }))
}

/// Topics that show whether a right is there. What begins like one cannot be listed without the right to: the
/// configured domains stand for all.
fn probes(right: &Right, config: &Config) -> Vec<String> {
    match right.resource.pattern {
        Pattern::Literal => vec![right.resource.name.clone()],
        Pattern::Prefixed => {
            config.topics.domains.iter().map(|domain| format!("{}{domain}", right.resource.name)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LoadOptions, load};

    fn config() -> Config {
        load(&LoadOptions::default()).unwrap()
    }

    #[test]
    fn every_role_has_a_purpose_and_rights() {
        for role in Role::ALL {
            assert!(!purpose(role).is_empty(), "{role}");
            assert!(!needs(role, &config(), &[Channel::Email]).is_empty(), "{role}");
        }
    }

    #[test]
    fn each_right_has_a_name_or_a_prefix_and_a_reason() {
        for entry in FILE.roles.values().flat_map(|role| &role.rights) {
            assert!(entry.name.is_some() != entry.prefix.is_some(), "{entry:?}");
            assert!(!entry.may.is_empty() && !entry.why.is_empty(), "{entry:?}");
        }
    }

    #[test]
    fn no_placeholder_is_left_and_no_right_stands_twice() {
        for role in Role::ALL {
            let mut rights: Vec<Right> =
                needs(role, &config(), Channel::ALL).into_iter().map(|need| need.right).collect();
            assert!(rights.iter().all(|right| !right.resource.name.contains('{')), "{rights:?}");
            let count = rights.len();
            rights.sort();
            rights.dedup();
            assert_eq!(rights.len(), count, "{role}");
        }
    }

    #[test]
    fn what_delivery_by_one_channel_needs() {
        let config = config();
        let rights: Vec<String> =
            needs(Role::Deliver, &config, &[Channel::Email]).iter().map(|need| need.right.to_string()).collect();
        insta::assert_snapshot!(rights.join("\n"));
    }
}
