//! Dead letters: count them, look at one, put them back.
//!
//! Invariant: a redrive opens the next run of a record under a nonce of its own, changes no value, and is remembered
//! in `notify.audit`, so that the same letter is not put back twice by accident.

mod letter;
mod redrive;
mod show;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde::Serialize;

use super::documents::Moment;
use super::session::{OpsError, Session};
use crate::kafka::admin::Admin;
use crate::kafka::reader::{From, Scan};
use crate::model::{Channel, Timestamp};

pub use letter::{Letter, Target, Unredrivable};
pub use redrive::{Again, RedrivePlan, Skipped, plan, redrive};
pub use show::{Personal, Shown, show};

/// Which letters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Dead-letter topics, prefix included; all when empty.
    pub topics: Vec<String>,
    /// With this reason code only.
    pub reason: Option<String>,
    /// Written since then only.
    pub since: Option<Timestamp>,
    /// This place only.
    pub at: Option<(i32, i64)>,
}

/// Letters of one topic with one reason.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Count {
    /// The dead-letter topic.
    pub topic: String,
    /// The reason code; `unknown` where the headers do not say.
    pub reason: String,
    /// How many.
    pub letters: u64,
    /// How many of them were put back.
    pub redriven: u64,
    /// When the first was written.
    pub oldest: Option<Moment>,
    /// When the last was written.
    pub newest: Option<Moment>,
}

/// The dead-letter topic that a short name (`events`, `preferences`, a channel) or a full one means.
pub fn topic_named(session: &Session, name: &str) -> String {
    match name {
        "events" => session.topics.dlq_events(),
        "preferences" => session.topics.dlq_preferences(),
        _ => match name.parse::<Channel>() {
            Ok(channel) => session.topics.dlq_outbound(channel),
            Err(()) => name.to_owned(),
        },
    }
}

/// Counts letters by topic and reason.
///
/// # Errors
/// When a topic cannot be read.
pub async fn list(session: &Session, filter: &Filter) -> Result<Vec<Count>, OpsError> {
    let topics = topics(session, filter).await?;
    let filter = filter.clone();
    session
        .blocking(move |session| {
            let redriven = redrive::remembered(session)?;
            let mut counts: BTreeMap<(String, String), Count> = BTreeMap::new();
            for topic in topics {
                each(session, &topic, &filter, |letter| {
                    let key = (topic.clone(), letter.reason.clone());
                    let count = counts.entry(key).or_insert_with(|| Count {
                        topic: topic.clone(),
                        reason: letter.reason.clone(),
                        letters: 0,
                        redriven: 0,
                        oldest: None,
                        newest: None,
                    });
                    count.letters += 1;
                    count.redriven += u64::from(redriven.contains(&letter.place()));
                    let at = letter.written_at.map(Moment);
                    count.oldest = count.oldest.min(at).or(at);
                    count.newest = count.newest.max(at);
                })?;
            }
            Ok(counts.into_values().collect())
        })
        .await
}

/// The topics that a filter means: those it names, or every dead-letter topic there is.
async fn topics(session: &Session, filter: &Filter) -> Result<Vec<String>, OpsError> {
    if !filter.topics.is_empty() {
        return Ok(filter.topics.clone());
    }
    let prefix = session.topics.named("dlq.notify.");
    let found = Admin::new(session.kafka())?.list(&prefix).await?;
    Ok(found.into_keys().collect())
}

/// Hands every letter of a topic that the filter lets through.
fn each(session: &Session, topic: &str, filter: &Filter, mut take: impl FnMut(Letter)) -> Result<(), OpsError> {
    let from = match (filter.at, filter.since) {
        (Some((_, offset)), _) => From::Offset(offset),
        (None, Some(since)) => From::Time(since),
        (None, None) => From::Beginning,
    };
    let scan = Scan { topic, key: None, partition: filter.at.map(|(partition, _)| partition), from };
    session.scan(scan, |record| {
        if filter.at.is_some_and(|(_, offset)| record.offset != offset) {
            return ControlFlow::Break(());
        }
        let letter = Letter::of(record);
        if filter.reason.as_deref().is_none_or(|reason| letter.reason == reason) {
            take(letter);
        }
        ControlFlow::Continue(())
    })
}
