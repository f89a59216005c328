//! Topics of which nothing more is taken, because too much of them went to the dead letters or an operator said so.
//!
//! Invariants: a hold is written in the transaction that commits what was taken until then; while it lasts, nothing of
//! the topic is processed and its offsets stay where they are; it ends only when `notify.inputs` says so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::partitions::tier_delay;
use super::{Running, ShardEnd};
use crate::kafka::TopicPartition;
use crate::model::Hold;
use crate::router::holding::{Shares, Tally};
use crate::router::register::{Mark, Register};
use crate::telemetry::clock::{Clock, steady_now};
use crate::telemetry::metrics::input_held;

/// How often `notify.inputs` is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// What is held, and what is about to be.
pub(super) struct Holds {
    register: Register,
    group: String,
    clock: Clock,
    looked: Instant,
    held: BTreeMap<String, Held>,
    /// Topics that the open transaction has to hold.
    due: BTreeMap<String, Hold>,
}

/// How a hold is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// `notify.inputs` says so.
    Told,
    /// This shard wrote it; the register stood at this record then, and has only not come to the new one yet.
    Written(Mark),
}

impl Holds {
    pub(super) fn new(register: Register, group: &str, clock: Clock) -> Self {
        let (held, due) = (BTreeMap::new(), BTreeMap::new());
        Holds { register, group: group.to_owned(), clock, looked: steady_now(), held, due }
    }

    /// Whether nothing of this topic is taken.
    pub(super) fn holds(&self, topic: &str) -> bool {
        !self.held.is_empty() && self.held.contains_key(topic)
    }

    /// A record was processed: it may be the one that is too much.
    pub(super) fn note(&mut self, shares: &mut Shares, topic: &str, dead: bool, now: Instant) {
        let Some(Tally { seen, dead }) = shares.note(topic, dead, now) else { return };
        if self.holds(topic) {
            return;
        }
        let hold = Hold {
            since: self.clock.now().to_string(),
            by: "router".to_owned(),
            reason: Some(format!("{dead} of the last {seen} records went to the dead letters")),
            dead,
            seen,
        };
        self.due.insert(topic.to_owned(), hold);
    }

    /// Whether the open transaction has to end with a hold.
    pub(super) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// The holds to write.
    pub(super) fn due(&self) -> impl Iterator<Item = (&String, &Hold)> {
        self.due.iter()
    }

    /// The transaction was given up: its records come again, and are counted again.
    pub(super) fn given_up(&mut self) {
        self.due.clear();
    }

    /// The holds were committed: the topics that are held from now on.
    fn written(&mut self) -> Vec<String> {
        let topics: Vec<String> = std::mem::take(&mut self.due).into_keys().collect();
        for topic in &topics {
            let mark = self.register.hold(&self.group, topic).map(|(_, mark)| mark).unwrap_or_default();
            self.held.insert(topic.clone(), Held::Written(mark));
        }
        topics
    }

    /// Follows the register: which of these topics are held from now on, and which go on.
    fn follow<'t>(&mut self, topics: impl Iterator<Item = &'t str>) -> (Vec<String>, Vec<String>) {
        let (mut hold, mut resume) = (Vec::new(), Vec::new());
        for topic in topics {
            let Ok((says, mark)) = self.register.hold(&self.group, topic) else { continue };
            match (says.is_some(), self.held.get(topic)) {
                (true, None) => {
                    self.held.insert(topic.to_owned(), Held::Told);
                    hold.push(topic.to_owned());
                }
                (true, Some(Held::Written(_))) => drop(self.held.insert(topic.to_owned(), Held::Told)),
                (false, Some(Held::Written(before))) if *before == mark => {}
                (false, Some(_)) => {
                    self.held.remove(topic);
                    resume.push(topic.to_owned());
                }
                (true, Some(Held::Told)) | (false, None) => {}
            }
        }
        (hold, resume)
    }
}

impl Running {
    /// Takes nothing more of topics that `notify.inputs` holds, and goes on with those it does not hold any more.
    pub(super) fn follow_holds(&mut self, now: Instant) -> Result<(), ShardEnd> {
        if now.saturating_duration_since(self.holds.looked) < LOOK {
            return Ok(());
        }
        self.look_at_holds()
    }

    /// [`Running::follow_holds`], now; also for partitions that only just came.
    pub(super) fn look_at_holds(&mut self) -> Result<(), ShardEnd> {
        self.holds.looked = steady_now();
        let topics: BTreeSet<&str> = self.owned.keys().map(|partition| partition.topic.as_str()).collect();
        let (hold, resume) = self.holds.follow(topics.into_iter());
        if !hold.is_empty() {
            self.commit()?;
        }
        for topic in hold {
            self.hold(&topic)?;
        }
        for topic in resume {
            self.resume(&topic)?;
        }
        Ok(())
    }

    /// Stops those of our partitions that are of a held topic, old and new.
    pub(super) fn pause_held(&mut self) -> Result<(), ShardEnd> {
        self.look_at_holds()?;
        let held: Vec<TopicPartition> =
            self.owned.keys().filter(|partition| self.holds.holds(&partition.topic)).cloned().collect();
        self.pause(&held)
    }

    /// What the last transaction held is held.
    pub(super) fn hold_told(&mut self) -> Result<(), ShardEnd> {
        for topic in self.holds.written() {
            self.hold(&topic)?;
        }
        Ok(())
    }

    fn hold(&mut self, topic: &str) -> Result<(), ShardEnd> {
        tracing::error!(
            shard = self.shard.number,
            topic,
            "held: nothing more is taken from it until `notilog inputs resume {topic}`; see `notilog inputs ls`"
        );
        input_held(topic).set(1.0);
        let partitions = self.partitions_of(topic);
        self.pause(&partitions)
    }

    pub(super) fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), ShardEnd> {
        if partitions.is_empty() {
            return Ok(());
        }
        for partition in partitions {
            self.heads.remove(partition);
        }
        Ok(self.shard.consumer.pause(partitions)?)
    }

    fn resume(&mut self, topic: &str) -> Result<(), ShardEnd> {
        tracing::info!(shard = self.shard.number, topic, "goes on");
        input_held(topic).set(0.0);
        self.shard.shares.forget(topic);
        self.go_on(self.partitions_of(topic))
    }

    /// Goes on where the group stands, with those of these partitions that nothing else stops.
    pub(super) fn go_on(&mut self, mut partitions: Vec<TopicPartition>) -> Result<(), ShardEnd> {
        partitions.retain(|partition| !self.is_stopped(partition));
        if partitions.is_empty() {
            return Ok(());
        }
        for partition in &partitions {
            if let Some(delay) = tier_delay(&partition.topic) {
                self.heads.add(partition.clone(), delay);
            }
        }
        let to: Vec<(TopicPartition, i64)> =
            partitions.iter().filter_map(|partition| Some((partition.clone(), *self.owned.get(partition)?))).collect();
        self.shard.consumer.rewind(&to)?;
        Ok(self.shard.consumer.resume(&partitions)?)
    }

    /// Whether nothing of this partition is taken.
    pub(super) fn is_stopped(&self, partition: &TopicPartition) -> bool {
        self.holds.holds(&partition.topic) || self.awaiting.awaits(partition.partition)
    }

    fn partitions_of(&self, topic: &str) -> Vec<TopicPartition> {
        self.owned.keys().filter(|partition| partition.topic == topic).cloned().collect()
    }
}
