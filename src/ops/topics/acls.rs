//! Rights as code: what `topics/acls.toml` gives each role, compared with what the cluster grants.
//!
//! Invariant: what is granted beyond that is told, and taken away only when told so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::config::Config;
use crate::kafka::acl::{Acl, Kind, Pattern, Permission};
use crate::kafka::admin::{Admin, AdminError};
use crate::kafka::rights::needs;
use crate::model::Share;

/// Who plays which part: `User:router` the router, several producers, …
pub type Principals = BTreeMap<Share, BTreeSet<String>>;

/// Whether rights beyond those needed stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extra {
    /// They are told.
    Keep,
    /// They are taken away.
    Remove,
}

/// A step that `apply` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum AclChange {
    /// A right is missing.
    Grant {
        /// The right.
        #[serde(flatten)]
        acl: Acl,
        /// What for.
        why: String,
    },
    /// A right is granted that no role needs.
    Revoke {
        /// The right.
        #[serde(flatten)]
        acl: Acl,
    },
}

impl AclChange {
    /// The right.
    pub fn acl(&self) -> &Acl {
        match self {
            AclChange::Grant { acl, .. } | AclChange::Revoke { acl } => acl,
        }
    }
}

impl fmt::Display for AclChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AclChange::Grant { acl, why } => write!(f, "grant {}: {why}", words(acl)),
            AclChange::Revoke { acl } => write!(f, "take away {}", words(acl)),
        }
    }
}

/// What to do about rights, and what is left alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AclPlan {
    /// Steps.
    pub changes: Vec<AclChange>,
    /// Rights of our principals that no role needs.
    pub extra: Vec<Acl>,
}

impl AclPlan {
    /// Whether the cluster grants what is needed, and no more.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.extra.is_empty()
    }
}

/// Why rights cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum AclsError {
    /// Nobody plays any part.
    #[error(
        "no principal is known; name who plays which part with --principal router=User:router, or in \
         [topics.principals]"
    )]
    NoPrincipal,
    /// The configuration names what is no role; it is checked before.
    #[error("topics.principals: {0}")]
    Share(String),
    /// The cluster.
    #[error(transparent)]
    Admin(#[from] AdminError),
}

/// Who plays which part: `flags` win, for the parts that they name, over the configuration.
///
/// # Errors
/// [`AclsError`] when nobody does.
pub fn principals(config: &Config, flags: &[(Share, String)]) -> Result<Principals, AclsError> {
    let mut all = Principals::new();
    for (share, principal) in flags {
        all.entry(*share).or_default().insert(principal.clone());
    }
    for (share, principals) in &config.topics.principals {
        let share: Share = share.parse().map_err(AclsError::Share)?;
        if flags.iter().all(|(named, _)| *named != share) {
            all.entry(share).or_default().extend(principals.iter().cloned());
        }
    }
    if all.is_empty() { Err(AclsError::NoPrincipal) } else { Ok(all) }
}

/// What should be granted, with what for.
pub fn wanted(config: &Config, principals: &Principals) -> BTreeMap<Acl, String> {
    let mut all = BTreeMap::new();
    for (share, principals) in principals {
        let one = share.channel.map(|channel| vec![channel]);
        let needs = needs(share.role, config, &one.unwrap_or_else(|| config.topics.channels.clone()));
        for principal in principals {
            for need in &needs {
                let acl = Acl::allow(principal, need.right.resource.clone(), need.right.operation);
                all.insert(acl, need.why.clone());
            }
        }
    }
    all
}

/// Compares what should be granted with what is. Rights of principals that play no part, and those on names of other
/// installations (`prefix` is ours), are not looked at.
pub fn plan(
    wanted: &BTreeMap<Acl, String>,
    principals: &Principals,
    prefix: &str,
    actual: &[Acl],
    extra: Extra,
) -> AclPlan {
    let missing = wanted.iter().filter(|(acl, _)| !actual.contains(acl));
    let mut changes: Vec<AclChange> =
        missing.map(|(acl, why)| AclChange::Grant { acl: acl.clone(), why: why.clone() }).collect();
    let ours =
        |acl: &&Acl| reaches(acl, prefix) && principals.values().any(|principals| principals.contains(&acl.principal));
    let beyond = actual.iter().filter(ours).filter(|acl| !wanted.contains_key(acl)).cloned();
    match extra {
        Extra::Keep => AclPlan { changes, extra: beyond.collect() },
        Extra::Remove => {
            changes.extend(beyond.map(|acl| AclChange::Revoke { acl }));
            AclPlan { changes, extra: Vec::new() }
        }
    }
}

/// Whether a right is about names under `prefix`, alone or among others.
fn reaches(acl: &Acl, prefix: &str) -> bool {
    let name = acl.resource.name.as_str();
    let wide = match acl.resource.pattern {
        Pattern::Literal => name == "*" || acl.resource.kind == Kind::Cluster,
        Pattern::Prefixed => prefix.starts_with(name),
    };
    wide || name.starts_with(prefix)
}

/// What came of one step.
#[derive(Debug)]
pub struct AclApplied {
    /// The step.
    pub change: AclChange,
    /// Whether it was taken.
    pub result: Result<(), AdminError>,
}

/// Takes the steps, what is missing first; one that fails does not keep the others from being taken.
pub fn apply(admin: &Admin, plan: AclPlan) -> Vec<AclApplied> {
    let (grants, revokes): (Vec<AclChange>, Vec<AclChange>) =
        plan.changes.into_iter().partition(|change| matches!(change, AclChange::Grant { .. }));
    let acls = |changes: &[AclChange]| changes.iter().map(|change| change.acl().clone()).collect::<Vec<Acl>>();
    let mut results = Vec::new();
    if !grants.is_empty() {
        results.extend(admin.grant(&acls(&grants)));
    }
    if !revokes.is_empty() {
        results.extend(admin.revoke(&acls(&revokes)));
    }
    let changes = grants.into_iter().chain(revokes);
    changes.zip(results).map(|(change, result)| AclApplied { change, result }).collect()
}

/// A right in words, without whose.
pub fn words(acl: &Acl) -> String {
    let denies = match acl.permission {
        Permission::Allow => "",
        Permission::Deny => "DENIED ",
    };
    let from = if acl.host == "*" { String::new() } else { format!(" from {}", acl.host) };
    let all =
        acl.resource.pattern == Pattern::Literal && acl.resource.name == "*" && acl.resource.kind != Kind::Cluster;
    let wide = if all { " (stands for all)" } else { "" };
    format!("{denies}{} on {}{wide}{from}", acl.operation, acl.resource)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LoadOptions, load};
    use crate::kafka::acl::{Operation, Resource};
    use crate::model::{Channel, Role};

    fn config() -> Config {
        load(&LoadOptions::default()).unwrap()
    }

    fn share(text: &str) -> Share {
        text.parse().unwrap()
    }

    fn producer() -> Principals {
        principals(&config(), &[(share("producer"), "User:shop".to_owned())]).unwrap()
    }

    fn acl(principal: &str, topic: &str) -> Acl {
        Acl::allow(principal, Resource::literal(Kind::Topic, topic), Operation::Write)
    }

    #[test]
    fn what_is_missing_is_granted_and_then_nothing_is_left_to_do() {
        let (who, wanted) = (producer(), wanted(&config(), &producer()));
        let found = plan(&wanted, &who, "", &[], Extra::Keep);
        let lines: Vec<String> = found.changes.iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["grant Write on topic `notify.events.default`: events"]);
        let granted: Vec<Acl> = found.changes.iter().map(|change| change.acl().clone()).collect();
        assert!(plan(&wanted, &who, "", &granted, Extra::Keep).is_empty());
    }

    #[test]
    fn what_is_granted_beyond_is_told_and_taken_away_only_when_told_so() {
        let (who, wanted) = (producer(), wanted(&config(), &producer()));
        let beyond = acl("User:shop", "notify.decisions");
        let actual = [acl("User:shop", "notify.events.default"), beyond.clone(), acl("User:stranger", "x")];
        let kept = plan(&wanted, &who, "", &actual, Extra::Keep);
        assert_eq!((kept.changes, kept.extra), (Vec::new(), vec![beyond.clone()]));
        let removed = plan(&wanted, &who, "", &actual, Extra::Remove);
        assert_eq!((removed.changes, removed.extra), (vec![AclChange::Revoke { acl: beyond }], Vec::new()));
    }

    #[rstest::rstest]
    #[case("acme.notify.decisions", Pattern::Literal, true)]
    #[case("other.notify.decisions", Pattern::Literal, false)]
    #[case("*", Pattern::Literal, true)]
    #[case("ac", Pattern::Prefixed, true)]
    #[case("acme.notify.", Pattern::Prefixed, true)]
    #[case("other.", Pattern::Prefixed, false)]
    fn only_rights_that_reach_our_names_are_ours_to_judge(
        #[case] name: &str,
        #[case] pattern: Pattern,
        #[case] ours: bool,
    ) {
        let resource = Resource { pattern, ..Resource::literal(Kind::Topic, name) };
        let found = reaches(&Acl::allow("User:shop", resource, Operation::Write), "acme.");
        assert_eq!(found, ours);
    }

    #[test]
    fn a_right_that_is_denied_stands_out() {
        let denied = Acl { permission: Permission::Deny, ..acl("User:shop", "notify.events.default") };
        let denials = std::slice::from_ref(&denied);
        let found = plan(&wanted(&config(), &producer()), &producer(), "", denials, Extra::Keep);
        assert_eq!(found.changes.len(), 1, "a denial grants nothing");
        assert_eq!(words(&found.extra[0]), "DENIED Write on topic `notify.events.default`");
    }

    #[test]
    fn each_channel_can_have_a_principal_of_its_own() {
        let flags = [(share("deliver.email"), "User:mailer".to_owned())];
        let all = wanted(&config(), &principals(&config(), &flags).unwrap());
        assert!(all.keys().all(|acl| acl.principal == "User:mailer" && !acl.resource.name.contains("webhook")));
        let whole = needs(Role::Deliver, &config(), &[Channel::Email]);
        assert_eq!(all.len(), whole.len());
    }

    #[test]
    fn flags_win_over_the_configuration_for_the_parts_that_they_name() {
        let mut config = config();
        config.topics.principals.insert("router".to_owned(), vec!["User:a".to_owned()]);
        config.topics.principals.insert("producer".to_owned(), vec!["User:b".to_owned(), "User:c".to_owned()]);
        let found = principals(&config, &[(share("router"), "User:d".to_owned())]).unwrap();
        assert_eq!(found[&share("router")], BTreeSet::from(["User:d".to_owned()]));
        assert_eq!(found[&share("producer")].len(), 2);
    }

    #[test]
    fn without_any_principal_it_says_how_to_name_one() {
        let error = principals(&config(), &[]).unwrap_err().to_string();
        assert!(error.contains("--principal router=User:router"), "{error}");
    }
}
