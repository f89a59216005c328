//! What each role needs, from `topics/acls.toml`, and what this client lacks of it.
//!
//! Invariant: the file is the one list: what is granted from it is what roles check themselves against.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde::Deserialize;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::acl::{Allowed, Kind, Operation, Pattern, Resource};
use super::admin::{Admin, AdminError};
use super::denied::{Denied, Right, principal_of};
use crate::config::{Config, Delay};
use crate::model::{Channel, Role, format_delay};

/// How often a role that runs is looked after.
const INTERVAL: Duration = Duration::from_secs(5);

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
    /// Only those who have to do with this channel need it.
    #[serde(default)]
    channel: Option<Channel>,
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
    let concerned = |entry: &&Entry| entry.channel.is_none_or(|channel| channels.contains(&channel));
    for entry in entries.iter().filter(concerned) {
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

type Values = [(&'static str, Vec<String>); 8];

fn values(config: &Config, channels: &[Channel]) -> Values {
    let delays = |delays: &[Delay]| delays.iter().map(|delay| format_delay(delay.0)).collect();
    [
        ("{domain}", config.topics.domains.clone()),
        ("{channel}", channels.iter().map(|channel| channel.as_str().to_owned()).collect()),
        ("{router_tier}", delays(&config.router.tiers)),
        ("{delivery_tier}", delays(&config.delivery.tiers)),
        ("{router_group}", vec![config.router.group.clone()]),
        ("{delivery_group}", vec![config.delivery.group.clone()]),
        ("{receipts_tier}", delays(&config.receipts.tiers)),
        ("{receipts_group}", vec![config.receipts.group.clone()]),
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

/// Looks now and then whether a role still has its rights, and stops it when it has not: a topic that may not be
/// described any more leaves a subscription by pattern without a word.
pub struct RightsWatch {
    stop: CancellationToken,
    question: Question,
    looking: JoinHandle<AdminError>,
}

/// What is asked, again and again.
#[derive(Clone)]
struct Question {
    role: Role,
    config: Arc<Config>,
    channels: Vec<Channel>,
    admin: Arc<Admin>,
}

impl RightsWatch {
    /// Looks for the first time, and then every [`INTERVAL`] until it is ended. Stops with `stop`, and does not stop
    /// others that listen to it.
    ///
    /// # Errors
    /// [`AdminError::Denied`] with all that is missing; another one when the cluster cannot be asked.
    pub async fn start(
        role: Role,
        config: &Arc<Config>,
        channels: &[Channel],
        stop: &CancellationToken,
    ) -> Result<Self, AdminError> {
        let admin = Arc::new(Admin::new(&config.kafka)?);
        let question = Question { role, config: Arc::clone(config), channels: channels.to_vec(), admin };
        question.ask().await?;
        let stop = stop.child_token();
        let looking = tokio::spawn({
            let (question, stop) = (question.clone(), stop.clone());
            async move {
                let denied = question.until_denied().await;
                stop.cancel();
                denied
            }
        });
        Ok(RightsWatch { stop, question, looking })
    }

    /// Cancelled to stop the role.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Ends the watch when the role has ended; `failed` when it did so by itself.
    ///
    /// # Errors
    /// [`AdminError::Denied`] when missing rights, or a refused login, were the cause.
    pub async fn end(self, failed: bool) -> Result<(), AdminError> {
        if self.looking.is_finished() {
            return match self.looking.await {
                Ok(denied) => Err(denied),
                Err(_) => Ok(()),
            };
        }
        self.looking.abort();
        match self.question.ask().await {
            Err(denied @ AdminError::Denied(_)) if failed => Err(denied),
            _ => Ok(()),
        }
    }
}

impl Question {
    async fn ask(&self) -> Result<(), AdminError> {
        let question = self.clone();
        let asked = tokio::task::spawn_blocking(move || {
            check(&question.admin, question.role, &question.config, &question.channels)
        });
        // It is cancelled only when the process ends.
        asked.await.unwrap_or(Ok(()))
    }

    /// A missing right counts at once, a refused login when it was refused twice: a broker that starts may refuse one.
    async fn until_denied(&self) -> AdminError {
        let mut refused = false;
        loop {
            tokio::time::sleep(INTERVAL).await;
            match self.ask().await {
                Err(denied @ AdminError::Denied(Denied::Rights { .. })) => return denied,
                Err(denied @ AdminError::Denied(_)) if refused => return denied,
                Err(AdminError::Denied(_)) => refused = true,
                Ok(()) | Err(_) => refused = false,
            }
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

    /// The table of the manual, from the file.
    fn manual() -> String {
        let mut text = String::new();
        for role in Role::ALL {
            text += &format!("### `{role}`\n\n{}\n\n| on | may | what for |\n|---|---|---|\n", purpose(role));
            for entry in &FILE.roles[&role].rights {
                let (name, many) = match (&entry.name, &entry.prefix) {
                    (Some(name), _) => (name, ""),
                    (None, prefix) => (prefix.as_ref().unwrap(), "…"),
                };
                let on = match entry.on {
                    Kind::Topic => "topic",
                    Kind::Group => "group",
                    Kind::Cluster => "cluster",
                    Kind::TransactionalId => "transactional id",
                };
                let may: Vec<&str> = entry.may.iter().map(|operation| operation.as_str()).collect();
                text += &format!("| {on} `{name}{many}` | {} | {} |\n", may.join(", "), entry.why);
            }
            text += "\n";
        }
        text
    }

    #[test]
    fn the_manual_has_the_rights_of_the_file() {
        let manual = manual();
        let page = include_str!("../../docs/security.md");
        assert!(page.contains(manual.trim()), "put this into docs/security.md:\n{manual}");
    }

    #[test]
    fn what_delivery_by_one_channel_needs() {
        let config = config();
        let rights: Vec<String> =
            needs(Role::Deliver, &config, &[Channel::Email]).iter().map(|need| need.right.to_string()).collect();
        insta::assert_snapshot!(rights.join("\n"));
    }
}
