//! The cluster's side of topics as code: look, and take the plan's steps.

use std::collections::BTreeMap;
use std::path::Path;

use super::family::{Desired, Expansion, FamilyError, expand, families};
use super::plan::{Change, Plan};
use crate::config::Config;
use crate::kafka::admin::{Admin, AdminError, TopicState};
use crate::model::Topics;

/// Why topics cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum TopicsError {
    /// The families.
    #[error(transparent)]
    Family(#[from] FamilyError),
    /// The cluster.
    #[error(transparent)]
    Admin(#[from] AdminError),
}

/// What came of one step.
#[derive(Debug)]
pub struct Applied {
    /// The step.
    pub change: Change,
    /// Whether it was taken.
    pub result: Result<(), AdminError>,
}

/// What should exist, by the configuration and on a cluster of this many brokers. `dir` and `domains` come from
/// flags and win over the configuration.
pub fn desired_of(
    config: &Config,
    brokers: usize,
    dir: Option<&Path>,
    domains: &[String],
    replication: Option<u16>,
) -> Result<Vec<Desired>, FamilyError> {
    let settings = &config.topics;
    let replication = replication.or(settings.replication_factor).map_or(brokers.clamp(1, 3), usize::from);
    let expansion = Expansion {
        topics: Topics::new(&config.kafka.topic_prefix),
        domains: if domains.is_empty() { settings.domains.clone() } else { domains.to_vec() },
        channels: settings.channels.clone(),
        router_tiers: config.router.tiers.iter().map(|tier| tier.0).collect(),
        delivery_tiers: config.delivery.tiers.iter().map(|tier| tier.0).collect(),
        receipts_tiers: config.receipts.tiers.iter().map(|tier| tier.0).collect(),
        partitions: settings.partitions.clone(),
        replication: i32::try_from(replication).unwrap_or(i32::MAX),
    };
    expand(&families(dir.or(settings.dir.as_deref()))?, &expansion)
}

/// Those of the desired topics that exist.
pub async fn observe(admin: &Admin, desired: &[Desired]) -> Result<BTreeMap<String, TopicState>, AdminError> {
    let names: Vec<String> = desired.iter().map(|desired| desired.spec.name.clone()).collect();
    admin.describe(&names).await
}

/// Takes the steps; one that fails does not keep the others from being taken.
pub async fn apply(admin: &Admin, plan: Plan) -> Vec<Applied> {
    let mut done = Vec::new();
    let (creates, rest): (Vec<Change>, Vec<Change>) =
        plan.changes.into_iter().partition(|change| matches!(change, Change::Create { .. }));
    let specs = creates.iter().filter_map(|change| match change {
        Change::Create { spec } => Some(spec),
        _ => None,
    });
    let results = admin.create(&specs.collect::<Vec<_>>()).await;
    done.extend(creates.iter().cloned().zip(results).map(|(change, result)| Applied { change, result }));
    done.extend(alter(admin, &rest).await);
    for change in rest {
        if let Change::RaisePartitions { topic, to, .. } = &change {
            let result = admin.raise_partitions(topic, *to).await;
            done.push(Applied { change, result });
        }
    }
    done
}

/// All settings of a topic go in one call.
async fn alter(admin: &Admin, changes: &[Change]) -> Vec<Applied> {
    let mut by_topic: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::new();
    for change in changes {
        if let Change::AlterConfig { topic, key, to, .. } = change {
            by_topic.entry(topic).or_default().insert(key.clone(), to.clone());
        }
    }
    let mut done = Vec::new();
    for (topic, settings) in by_topic {
        let result = admin.alter(topic, &settings).await;
        let of_topic = |change: &&Change| matches!(change, Change::AlterConfig { topic: other, .. } if other == topic);
        let applied = |change: &Change| Applied { change: change.clone(), result: result.clone() };
        done.extend(changes.iter().filter(of_topic).map(applied));
    }
    done
}
