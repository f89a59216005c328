//! Puts letters back and remembers which.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::letter::{Letter, Target, Unredrivable};
use super::{Filter, each, topics};
use crate::kafka::producer::{Outgoing, Producer};
use crate::kafka::reader::Scan;
use crate::ops::audit::{self, Action, AuditRecord};
use crate::ops::session::{OpsError, Session};
use crate::telemetry::random;

/// After so many letters the audit record is written: a crash repeats at most these, under the same nonces.
const BATCH: usize = 200;

/// Whether letters that were put back before go again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// No.
    Skip,
    /// Yes, as a run of their own.
    Repeat,
}

/// Letters that stay, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// They were put back before.
    pub already_redriven: u64,
    /// They cannot go back, by cause.
    pub unredrivable: BTreeMap<String, u64>,
}

/// What a redrive would do.
#[derive(Debug, Default)]
pub struct RedrivePlan {
    letters: Vec<(Letter, Target)>,
    /// Letters that stay.
    pub skipped: Skipped,
}

impl RedrivePlan {
    /// How many letters would go back.
    pub fn len(&self) -> usize {
        self.letters.len()
    }

    /// Whether none would.
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// How many letters would go to each topic.
    pub fn by_target(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for (_, target) in &self.letters {
            *counts.entry(target.topic.clone()).or_default() += 1;
        }
        counts
    }
}

/// What an audit record of a redrive remembers.
#[derive(Debug, Serialize, Deserialize)]
struct Details {
    /// Partition and offset in the dead-letter topic.
    letters: Vec<(i32, i64)>,
}

/// Finds the letters that would go back, at most `limit`.
///
/// # Errors
/// When a topic cannot be read.
pub async fn plan(
    session: &Session,
    filter: &Filter,
    again: Again,
    limit: Option<usize>,
) -> Result<RedrivePlan, OpsError> {
    let topics = topics(session, filter).await?;
    let filter = filter.clone();
    session
        .blocking(move |session| {
            let done = remembered(session)?;
            let mut plan = RedrivePlan::default();
            for topic in topics {
                each(session, &topic, &filter, |letter| plan.take(session, letter, &done, again, limit))?;
            }
            Ok(plan)
        })
        .await
}

impl RedrivePlan {
    fn take(
        &mut self,
        session: &Session,
        letter: Letter,
        done: &HashSet<(String, i32, i64)>,
        again: Again,
        limit: Option<usize>,
    ) {
        if limit.is_some_and(|limit| self.letters.len() >= limit) {
            return;
        }
        let before = done.contains(&letter.place());
        if before && again == Again::Skip {
            self.skipped.already_redriven += 1;
            return;
        }
        let nonce = if before { random::uuid().to_string() } else { letter.nonce() };
        match letter.target(&session.topics, nonce) {
            Ok(target) => self.letters.push((letter, target)),
            Err(cause) => self.stays(cause),
        }
    }

    fn stays(&mut self, cause: Unredrivable) {
        *self.skipped.unredrivable.entry(cause.to_string()).or_default() += 1;
    }
}

/// Puts the plan's letters back: key and value as they are, headers as planned.
///
/// # Errors
/// What Kafka refuses; letters before that are back and remembered, up to the last batch.
pub async fn redrive(
    session: &Session,
    plan: &RedrivePlan,
    reason: Option<&str>,
    mut progress: impl FnMut(),
) -> Result<usize, OpsError> {
    let producer = Producer::new(session.kafka())?;
    for batch in plan.letters.chunks(BATCH) {
        let producer = &producer;
        let mut sending = futures::stream::iter(batch)
            .map(|(letter, target)| async move {
                let record = Outgoing {
                    topic: &target.topic,
                    key: letter.key.as_deref(),
                    value: letter.value.as_deref(),
                    headers: &target.headers,
                    partition: None,
                };
                producer.send(record).await
            })
            .buffered(BATCH);
        while let Some(written) = sending.next().await {
            written?;
            progress();
        }
        remember(session, producer, batch, reason).await?;
    }
    Ok(plan.letters.len())
}

async fn remember(
    session: &Session,
    producer: &Producer,
    batch: &[(Letter, Target)],
    reason: Option<&str>,
) -> Result<(), OpsError> {
    let mut by_topic: BTreeMap<&str, Vec<(i32, i64)>> = BTreeMap::new();
    for (letter, _) in batch {
        by_topic.entry(&letter.topic).or_default().push((letter.partition, letter.offset));
    }
    for (topic, letters) in by_topic {
        let details = json!(Details { letters });
        audit::record(session, producer, Action::DlqRedrive, topic, reason, details).await?;
    }
    Ok(())
}

/// The places of all letters that were put back, as `notify.audit` remembers them.
pub(super) fn remembered(session: &Session) -> Result<HashSet<(String, i32, i64)>, OpsError> {
    let topic = session.topics.audit();
    let mut done = HashSet::new();
    session.scan(Scan { topic: &topic, ..Scan::default() }, |record| {
        let audit = record.value.as_deref().and_then(|value| serde_json::from_slice::<AuditRecord>(value).ok());
        if let Some(audit) = audit.filter(|audit| audit.action == Action::DlqRedrive)
            && let Ok(details) = serde_json::from_value::<Details>(audit.details)
        {
            let place = |(partition, offset)| (audit.target.clone(), partition, offset);
            done.extend(details.letters.into_iter().map(place));
        }
        ControlFlow::Continue(())
    })?;
    Ok(done)
}
