//! Which partitions are ours, and where the group stands in each.
//!
//! Invariants: a partition is taken up where the group stands, or at a beginning that is committed with what
//! `notify.inputs` has to tell of it before anything else of that partition is; finding out where that is does not stop the
//! shard's thread. (What stays is not fetched meanwhile: librdkafka waits for the assignment to be completed.)

use std::time::Duration;

use serde_json::json;

use super::awaiting::want;
use super::{Failure, Running, ShardEnd, Stage, open};
use crate::kafka::{ConsumerFault, OutRecord, Position, Rebalance, TopicPartition, Transaction};
use crate::model::{Action, AuditRecord, Begun, InputKey, parse_delay};
use crate::router::input::is_event_tier;
use crate::router::placing::{First, Placed};
use crate::router::standing::{Facts, Lost, Verdict, judge};
use crate::telemetry::clock::steady_now;
use crate::telemetry::faults::{self, Breakage};
use crate::telemetry::metrics::Rebalance as RebalanceKind;

/// So long offsets that were committed before may seem to be missing when the input is rewound (KAFKA-20416).
const PATIENCE: Duration = Duration::from_secs(10);

impl Running {
    /// The group's assignment changes. What comes is taken up once it is known where ([`Running::place`]).
    pub(super) fn rebalance(&mut self, rebalance: Rebalance) -> Result<(), ShardEnd> {
        let begun = steady_now();
        let kind = match &rebalance {
            Rebalance::Assigned(_) => RebalanceKind::Assigned,
            Rebalance::Revoked { lost: true, .. } => RebalanceKind::Lost,
            Rebalance::Revoked { .. } => RebalanceKind::Revoked,
        };
        match rebalance {
            Rebalance::Assigned(partitions) => {
                tracing::info!(shard = self.shard.number, partitions = partitions.len(), "assigned");
                self.assigned(partitions)?;
            }
            Rebalance::Revoked { partitions, lost } => {
                tracing::info!(shard = self.shard.number, partitions = partitions.len(), lost, "revoked");
                if lost {
                    self.give_up_lost(&partitions)?;
                } else {
                    self.commit()?;
                    self.forget(&partitions);
                }
                self.shard.consumer.release(&partitions)?;
                // Not before, so that what stays of them is not asked about while the group waits.
                self.place_no_more(&partitions)?;
                // Those that stay, as when one of several topics was deleted, were not taken back with what was given up.
                if self.rewind_due {
                    self.rewind()?;
                }
            }
        }
        (self.shard.assigned)(self.owned.len());
        self.shard.metrics.rebalanced(kind, begun.elapsed());
        Ok(())
    }

    /// Begins to find out where these start. The first partitions take up the transactional id: a member that has
    /// none fences nobody, and one that has some is in the group, where a zombie of its name can see it.
    fn assigned(&mut self, partitions: Vec<TopicPartition>) -> Result<(), ShardEnd> {
        if self.shard.consumer.is_eager() {
            self.begin_anew()?;
        }
        // Now, so that the table is restored while it is found out where they start.
        let known = self.owned.keys().chain(self.placings.partitions());
        want(&self.shard.table, self.shard.number, known.chain(&partitions));
        if partitions.is_empty() {
            return Ok(self.shard.consumer.begin(&[])?);
        }
        if matches!(self.stage, Stage::Gone) {
            self.stage = Stage::Ready(self.connect()?);
        }
        self.placings.begin(&self.shard.places, self.shard.consumer.member(), partitions).map_err(no_thread)
    }

    /// What comes now is all that is ours. librdkafka takes nothing away before it, when topics came or went while the last
    /// assignment waited to be completed.
    fn begin_anew(&mut self) -> Result<(), ShardEnd> {
        let placing: Vec<TopicPartition> = self.placings.partitions().cloned().collect();
        self.place_no_more(&placing)?;
        if self.owned.is_empty() {
            return Ok(());
        }
        let owned: Vec<TopicPartition> = self.owned.keys().cloned().collect();
        self.give_up_lost(&owned)
    }

    fn place_no_more(&mut self, gone: &[TopicPartition]) -> Result<(), ShardEnd> {
        self.placings.without(gone, &self.shard.places, self.shard.consumer.member()).map_err(no_thread)
    }

    /// Takes up the partitions that were assigned, once it is known where they start; later, while partitions are lost that are
    /// not forgotten yet, because librdkafka forgets the loss when something is assigned.
    pub(super) fn place(&mut self) -> Result<(), ShardEnd> {
        if self.placings.partitions().next().is_some() && self.shard.consumer.assignment_lost() {
            return Ok(());
        }
        let Some(placed) = self.placings.take() else { return Ok(()) };
        let begun = steady_now();
        let placed = placed?;
        let starts: Vec<_> = placed.iter().map(|placed| (placed.partition.clone(), placed.start)).collect();
        self.shard.consumer.begin(&starts)?;
        for Placed { partition, start, first } in placed {
            if let Some(delay) = tier_delay(&partition.topic) {
                self.heads.add(partition.clone(), delay);
            }
            self.owned.insert(partition.clone(), start);
            if let Some(first) = first {
                tell_of(&partition, start, &first);
                self.firsts.insert(partition, (start, first));
            }
        }
        self.pause_held()?;
        self.look_at_table()?;
        if !self.firsts.is_empty() {
            // At once, and not with the first record: from then on "no offset" means that it was lost.
            self.commit()?;
        }
        (self.shard.assigned)(self.owned.len());
        self.shard.metrics.placed(begun.elapsed());
        Ok(())
    }

    /// Puts what has to be told of into the open transaction, opening one if need be.
    pub(super) fn tell(&mut self) -> Result<(), ShardEnd> {
        if self.firsts.is_empty() && !self.holds.is_due() {
            return Ok(());
        }
        if let Err(failure) = self.write_told() {
            self.abort(failure, None)?;
        }
        Ok(())
    }

    fn write_told(&mut self) -> Result<(), Failure> {
        let Running { shard, stage, batch, firsts, holds, .. } = self;
        let group = shard.consumer.group().to_owned();
        let places = &shard.places;
        let transaction = open(stage, batch)?;
        let topic = &*places.register.topic;
        if !firsts.is_empty() && !places.register.begun(&group) {
            let begun = Begun { since: places.clock.now().to_string() };
            write(transaction, topic, &InputKey::Group(group.clone()).to_string(), &begun)?;
        }
        for (partition, (start, first)) in firsts.iter() {
            let key = InputKey::known(&group, &partition.topic, partition.partition);
            write(transaction, topic, &key.to_string(), &first.known)?;
            if let Some(audit) = audit_of(places, &group, partition, *start, first) {
                write(transaction, &places.audit, &audit.who, &audit)?;
            }
        }
        for (topic_held, hold) in holds.due() {
            let key = InputKey::hold(&group, topic_held);
            write(transaction, topic, &key.to_string(), hold)?;
        }
        Ok(())
    }

    /// What the group's offsets become with the open transaction.
    pub(super) fn positions(&mut self) -> Vec<Position> {
        let mut positions = self.batch.positions();
        let moved = |partition: &TopicPartition| positions.iter().any(|position| position.partition == *partition);
        let firsts = self.firsts.iter().filter(|(partition, _)| !moved(partition)).map(|(partition, (start, _))| {
            Position { partition: partition.clone(), offset: *start, metadata: String::new() }
        });
        let firsts: Vec<Position> = firsts.collect();
        positions.extend(firsts);
        positions
    }

    /// These offsets were committed.
    pub(super) fn stands(&mut self, positions: &[Position]) {
        self.firsts.clear();
        for Position { partition, offset, .. } in positions {
            if let Some(stands) = self.owned.get_mut(partition) {
                *stands = *offset;
            }
        }
    }

    /// Goes back to where the group stands; later, while partitions are lost that are not forgotten yet.
    pub(super) fn rewind(&mut self) -> Result<(), ShardEnd> {
        if self.shard.consumer.assignment_lost() {
            self.rewind_due = true;
            return Ok(());
        }
        if faults::broken(Breakage::NoRewind) {
            self.rewind_due = false;
            return Ok(());
        }
        self.heads.clear();
        let deadline = steady_now() + PATIENCE;
        let missing = loop {
            let missing = self.look_where_the_group_stands()?;
            if missing.is_empty() || steady_now() >= deadline {
                break missing;
            }
            if self.shard.consumer.assignment_lost() {
                // Theirs may be gone with a topic; they are taken away next.
                self.rewind_due = true;
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(500));
        };
        if !missing.is_empty() {
            return Err(self.lost(missing));
        }
        let to: Vec<(TopicPartition, i64)> = self
            .owned
            .iter()
            .filter(|(partition, _)| !self.is_stopped(partition))
            .map(|(partition, offset)| (partition.clone(), *offset))
            .collect();
        self.shard.consumer.rewind(&to)?;
        self.rewind_due = false;
        Ok(())
    }

    /// Asks the group; returns the partitions of which it says nothing although it once did.
    fn look_where_the_group_stands(&mut self) -> Result<Vec<TopicPartition>, ShardEnd> {
        let owned: Vec<TopicPartition> = self.owned.keys().cloned().collect();
        let mut missing = Vec::new();
        for start in self.shard.consumer.committed(&owned)? {
            let stands = match (self.firsts.get(&start.partition), start.committed) {
                // The beginning was not committed.
                (Some((at, first)), committed) if committed == first.instead_of => Some(*at),
                (_, committed) => {
                    self.firsts.remove(&start.partition);
                    committed
                }
            };
            match (stands, self.owned.get_mut(&start.partition)) {
                (Some(at), Some(known)) => *known = at,
                _ => missing.push(start.partition),
            }
        }
        Ok(missing)
    }

    /// What a fault of the consumer means: an offset that the log does not have is looked at more closely.
    pub(super) fn fault(&self, fault: ConsumerFault) -> ShardEnd {
        match fault {
            ConsumerFault::OffsetLost { .. } => match self.lost(Vec::new()) {
                ShardEnd::Lost(lost) if lost.places.is_empty() => fault.into(),
                lost => lost,
            },
            other => other.into(),
        }
    }

    /// Which places are lost: those without an offset, and those whose offset the log does not have.
    fn lost(&self, missing: Vec<TopicPartition>) -> ShardEnd {
        let member = self.shard.consumer.member();
        let owned: Vec<TopicPartition> = self.owned.keys().cloned().collect();
        let bounds = match member.bounds(&owned) {
            Ok(bounds) => bounds,
            Err(fault) => return fault.into(),
        };
        let mut places = Vec::new();
        for (partition, at) in &self.owned {
            let register = &self.shard.places.register;
            let Some(bounds) = bounds.get(partition).copied() else { continue };
            let known = register.known(member.group(), &partition.topic, partition.partition);
            let topic_id = known.as_ref().map_or("", |known| known.topic_id.as_str());
            let committed = (!missing.contains(partition)).then_some(*at);
            let facts = Facts {
                committed,
                bounds,
                topic_id,
                known: known.as_ref(),
                register_id: &register.id,
                begun: true,
                decided: true,
                marked: is_event_tier(&partition.topic),
            };
            if let Verdict::Lost(loss) = judge(&facts) {
                places.push((partition.clone(), loss));
            }
        }
        ShardEnd::Lost(Lost { group: member.group().to_owned(), places, worked: None })
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.owned.remove(partition);
            self.firsts.remove(partition);
            self.heads.remove(partition);
        }
    }

    /// Someone else may own them already: nothing of the open transaction may become visible.
    fn give_up_lost(&mut self, partitions: &[TopicPartition]) -> Result<(), ShardEnd> {
        // What is lost must not be sought when the rest is rewound.
        self.forget(partitions);
        self.abort(Failure::Group("the assignment was lost".to_owned()), None)
    }
}

fn no_thread(error: std::io::Error) -> ShardEnd {
    ShardEnd::Internal(format!("cannot start a thread: {error}"))
}

fn tell_of(partition: &TopicPartition, start: i64, first: &First) {
    match &first.told {
        None => tracing::info!(%partition, start, "begins for the first time"),
        Some((loss, when)) => {
            tracing::warn!(%partition, start, %loss, from = %when, "goes on where an operator said, its place was lost");
        }
    }
}

fn audit_of(
    places: &crate::router::placing::Places,
    group: &str,
    partition: &TopicPartition,
    start: i64,
    first: &First,
) -> Option<AuditRecord> {
    let (loss, when) = first.told?;
    Some(AuditRecord {
        at: places.clock.now().to_string(),
        who: places.restart.actor.clone(),
        action: Action::RouterFrom,
        target: partition.topic.clone(),
        reason: Some(loss.to_string()),
        details: json!({
            "group": group, "partition": partition.partition, "from": when.to_string(), "offset": start,
            "instead_of": first.instead_of,
        }),
    })
}

fn write(transaction: &mut Transaction, topic: &str, key: &str, value: &impl serde::Serialize) -> Result<(), Failure> {
    let value = serde_json::to_vec(value).map_err(|error| Failure::Kafka {
        id: String::new(),
        doing: "writing what is known of the inputs",
        why: error.to_string(),
    })?;
    transaction.send(&OutRecord {
        topic,
        partition: None,
        key: Some(key.as_bytes()),
        value: Some(&value),
        headers: &[],
        timestamp_ms: None,
    })
}

/// The delay of an event tier, by its topic's name.
pub(super) fn tier_delay(topic: &str) -> Option<Duration> {
    is_event_tier(topic).then(|| topic.rsplit('.').next()).flatten().and_then(|delay| parse_delay(delay).ok())
}
