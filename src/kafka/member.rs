//! What a member of a group asks the cluster: where the group stands, where the logs begin and end, and whether someone
//! else is in the group under its name.
//!
//! Only asks, and may be asked on another thread than the one that polls: an answer about offsets can take long, because
//! others' open transactions are waited for, and the partitions that stay must not stop for that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::groups::GroupMemberInfo;
use rdkafka::topic_partition_list::Offset;

use super::acl::{Kind as On, Operation};
use super::consumer::{ConsumerFault, Context, SESSION_TIMEOUT};
use super::denied::{Denied, Right};
use super::joining::{Named, OwnIds};
use super::native;
use super::record::TopicPartition;
use super::transaction::TRANSACTION_TIMEOUT;
use crate::model::Timestamp;
use crate::telemetry::clock::steady_now;

/// How long one question may take; short, so that whoever asks hears soon that it is to stop.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// How long questions that may pass by themselves are asked again.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(50);
/// A member that went away without a word is in the group until its session is over.
const LINGERING: Duration = SESSION_TIMEOUT.saturating_add(Duration::from_secs(2));

/// Where a group stands in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Which partition.
    pub partition: TopicPartition,
    /// The group's committed offset, if it has one.
    pub committed: Option<i64>,
    /// The text committed with it.
    pub metadata: String,
}

/// What one partition's log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset that is still there.
    pub begins: i64,
    /// The offset after the last that readers of committed records see.
    pub ends: i64,
}

/// What a coordinator says of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Membership {
    /// It is in the group, and the only one of its name.
    Alone,
    /// It is not in the group, or was expelled and does not know it yet; nobody of its name is.
    Outside,
    /// Someone else is in the group under its name: the id of that member.
    Rival(String),
}

/// A member's view of the cluster.
pub struct Member {
    pub(super) inner: Arc<BaseConsumer<Context>>,
    pub(super) group: String,
    /// How its client id ends: what all lives of one member have in common.
    pub(super) name: String,
    pub(super) principal: String,
    pub(super) ids: OwnIds,
    /// Set when the member leaves: nobody waits for answers any more.
    pub(super) leaving: AtomicBool,
}

impl Member {
    /// The group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Where the group stands, as the coordinator knows it once pending transactions are resolved.
    ///
    /// # Errors
    /// [`ConsumerFault`] when it does not tell within 60 s.
    pub fn committed(&self, partitions: &[TopicPartition]) -> Result<Vec<Start>, ConsumerFault> {
        self.ask("fetching the group's offsets", || self.try_committed(partitions))
    }

    fn try_committed(&self, partitions: &[TopicPartition]) -> Result<Vec<Start>, KafkaError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let committed = self.inner.committed_offsets(list_of(partitions), CALL_TIMEOUT)?;
        let start = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            element.error()?;
            Ok(Start {
                partition: TopicPartition::new(element.topic(), element.partition()),
                committed: match element.offset() {
                    Offset::Offset(offset) => Some(offset),
                    _ => None,
                },
                metadata: element.metadata().to_owned(),
            })
        };
        committed.elements().iter().map(start).collect()
    }

    /// Where the logs of these partitions begin and end.
    ///
    /// # Errors
    /// [`ConsumerFault`] when the brokers do not tell within 60 s.
    pub fn bounds(&self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, Bounds>, ConsumerFault> {
        self.ask("asking where the logs begin and end", || {
            let (begins, ends) = (self.offsets(partitions, Offset::Beginning)?, self.offsets(partitions, Offset::End)?);
            let bounds = |(partition, begins): (TopicPartition, Option<i64>)| {
                let ends = ends.get(&partition).copied().flatten()?;
                Some((partition, Bounds { begins: begins?, ends }))
            };
            Ok(begins.into_iter().filter_map(bounds).collect())
        })
    }

    /// The first record written at or after a moment, by partition; `None` where there is none.
    ///
    /// # Errors
    /// [`ConsumerFault`] when the brokers do not tell within 60 s.
    pub fn offsets_at(
        &self,
        partitions: &[TopicPartition],
        moment: Timestamp,
    ) -> Result<BTreeMap<TopicPartition, Option<i64>>, ConsumerFault> {
        self.ask("asking for offsets by time", || self.offsets(partitions, Offset::Offset(moment.0)))
    }

    /// One request to each broker; `at` is a moment in milliseconds, or one of the ends.
    fn offsets(
        &self,
        partitions: &[TopicPartition],
        at: Offset,
    ) -> Result<BTreeMap<TopicPartition, Option<i64>>, KafkaError> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut asked = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            asked.add_partition_offset(&partition.topic, partition.partition, at)?;
        }
        let answer = self.inner.offsets_for_times(asked, CALL_TIMEOUT)?;
        let mut offsets = BTreeMap::new();
        for element in answer.elements() {
            element.error()?;
            let offset = match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            offsets.insert(TopicPartition::new(element.topic(), element.partition()), offset);
        }
        Ok(offsets)
    }

    /// Whether this member is in the group, and whether someone else is under its name, as the coordinator says.
    ///
    /// One that went away without a word is listed until its session is over, so that this waits for as long before it
    /// takes anyone else for alive.
    ///
    /// # Errors
    /// [`ConsumerFault`] when the coordinator does not tell within 60 s.
    pub fn membership(&self) -> Result<Membership, ConsumerFault> {
        let deadline = steady_now() + LINGERING;
        loop {
            let membership = self.ask("asking who is in the group", || self.try_membership())?;
            if !matches!(membership, Membership::Rival(_)) || steady_now() >= deadline {
                return Ok(membership);
            }
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    fn try_membership(&self) -> Result<Membership, KafkaError> {
        let groups = self.inner.fetch_group_list(Some(&self.group), CALL_TIMEOUT)?;
        let own = native::group::member_id(&self.inner);
        self.ids.add(&own);
        let group = groups.groups().iter().find(|group| group.name() == self.group);
        let members = group.map_or(&[][..], |group| group.members());
        Ok(match self.rival(members) {
            Some(rival) => Membership::Rival(rival.id().to_owned()),
            None if members.iter().any(|member| member.id() == own) => Membership::Alone,
            None => Membership::Outside,
        })
    }

    /// Who has this member's name, and is none of its lives in this process. What operators call their clients comes before the
    /// name, and may be another word on another machine.
    fn rival<'m>(&self, members: &'m [GroupMemberInfo]) -> Option<&'m GroupMemberInfo> {
        let is_named = |client_id: &str| {
            client_id.strip_suffix(&*self.name).is_some_and(|own| own.is_empty() || own.ends_with('.'))
        };
        members.iter().find(|member| is_named(member.client_id()) && !self.ids.contains(member.id()))
    }

    /// Who has the name of this static member now, if it is not this one. `None` when the group is not known where it was
    /// asked for, as while its coordinator moves.
    pub(super) fn try_successor(&self) -> Result<Option<Named>, KafkaError> {
        let groups = self.inner.fetch_group_list(Some(&self.group), CALL_TIMEOUT)?;
        self.note_id();
        let group = groups.groups().iter().find(|group| group.name() == self.group);
        // librdkafka takes the group for one without a state when its coordinator did not describe it.
        let Some(group) = group.filter(|group| !matches!(group.state(), "" | "Dead")) else { return Ok(None) };
        Ok(Some(self.rival(group.members()).map_or(Named::Nobody, |rival| Named::Another(rival.id().to_owned()))))
    }

    /// Whether the group knows it.
    pub(super) fn has_id(&self) -> bool {
        !native::group::member_id(&self.inner).is_empty()
    }

    /// Remembers the id that the group gave.
    pub(super) fn note_id(&self) {
        self.ids.add(&native::group::member_id(&self.inner));
    }

    /// Whether a new producer may follow one that was told, `age` after its transaction began, that it is fenced.
    ///
    /// A coordinator that gives a transaction up for its age bumps the producer's epoch, which looks as if a newer
    /// producer lived. The difference matters: whoever merely stood still may go on, but a zombie that takes its id
    /// back would fence the one that replaced it. Before its time-out, no transaction is given up for its age. After
    /// it, the group knows: who replaced this member joined under its name before it took up the id.
    ///
    /// # Errors
    /// As [`Member::membership`].
    pub fn may_follow_fenced(&self, age: Duration) -> Result<bool, ConsumerFault> {
        Ok(age >= TRANSACTION_TIMEOUT && !matches!(self.membership()?, Membership::Rival(_)))
    }

    /// Asks until there is an answer, a refusal, or no patience left.
    fn ask<T>(&self, doing: &'static str, question: impl Fn() -> Result<T, KafkaError>) -> Result<T, ConsumerFault> {
        let deadline = steady_now() + PATIENCE;
        loop {
            match question() {
                Ok(answer) => return Ok(answer),
                Err(error) if steady_now() < deadline && may_pass(&error) && !self.leaving.load(Ordering::SeqCst) => {
                    tracing::debug!(group = %self.group, doing, %error, "not known yet");
                    std::thread::sleep(PAUSE);
                }
                Err(error) => return Err(self.fault(doing, &error)),
            }
        }
    }

    pub(super) fn fault(&self, doing: &'static str, error: &KafkaError) -> ConsumerFault {
        if let Some(denied) = error.rdkafka_error_code().and_then(|code| self.denied(code)) {
            return ConsumerFault::Denied(denied);
        }
        let why = self.inner.context().diagnostics.explain(error);
        ConsumerFault::Kafka { group: self.group.clone(), doing, why }
    }

    /// The right that is missing, when a code says so.
    pub(super) fn denied(&self, code: RDKafkaErrorCode) -> Option<Denied> {
        match code {
            RDKafkaErrorCode::GroupAuthorizationFailed => {
                Some(Denied::lacks(&self.principal, Right::on(On::Group, &self.group, Operation::Read)))
            }
            // The topic's name is lost on the way here.
            RDKafkaErrorCode::TopicAuthorizationFailed => {
                Some(Denied::SomeTopic { principal: self.principal.clone(), operation: Operation::Read })
            }
            _ => None,
        }
    }
}

/// Errors that the cluster gives while a coordinator or leader moves, loads or waits for a transaction's end.
pub(super) fn may_pass(error: &KafkaError) -> bool {
    !matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::GroupAuthorizationFailed | RDKafkaErrorCode::TopicAuthorizationFailed)
    )
}

pub(super) fn list_of(partitions: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(&partition.topic, partition.partition);
    }
    list
}
