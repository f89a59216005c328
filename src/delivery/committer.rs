//! Transactions: what is completed, and how far each partition is, in one.
//!
//! Invariants: a transaction holds completed records only. After one that was not committed, or whose end is
//! unknown, the group's offsets are read again before anything is written, so that nothing is written twice; a
//! producer of unknown state is never used again. The transactional id is taken up as a member of the group only, and
//! again only while nobody else is there under this worker's name.

use std::time::{Duration, Instant};

use super::ledger::{Ledger, Output};
use super::progress::Committed;
use crate::config;
use crate::kafka::{
    ConsumerFault, Ended, Failure, GroupConsumer, Member, Membership, MissingTopics, OutRecord, Position, RecordFault,
    Start, TopicPartition, Transaction, TransactionalProducer,
};
use crate::model::{Reason, Topics};
use crate::telemetry::clock::steady_now;
use crate::telemetry::metrics::{Histogram, Role, commit_seconds, transaction_aborts};

/// How long librdkafka gathers records into a batch: a commit waits at most this for the last one.
const LINGER: Duration = Duration::from_millis(1);

/// The first pause after a transaction that failed; doubles with each one that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is committed besides what is completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The positions that moved.
    Moved,
    /// All positions: the group says whether the partitions are still ours.
    All,
}

/// How a commit went.
#[derive(Debug)]
pub enum Went {
    /// All of it is committed.
    Through,
    /// There was nothing to commit.
    Idle,
    /// It is to be tried again after a pause; [`Committer::is_well`] says when it went through.
    NotYet,
    /// A completed record cannot be written: replace its outputs, then try again.
    Unwritable {
        /// Which of the ledger's.
        index: usize,
        /// Why.
        reason: Reason,
        /// Where it should have gone.
        topic: String,
    },
}

/// Why commits are of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum CommitEnd {
    /// A newer producer with the same transactional id lives.
    #[error("{0}")]
    Fenced(Failure),
    /// Another worker took this one's name: a replacement lives.
    #[error("member `{0}` of the group has this worker's name: it was replaced and stops")]
    Replaced(String),
    /// A right is missing.
    #[error("{0}")]
    Denied(Failure),
    /// The group's offsets cannot be read.
    #[error(transparent)]
    Consumer(#[from] ConsumerFault),
}

/// One worker's transactional producer and what is known of its last transaction.
pub struct Committer {
    kafka: config::Kafka,
    id: String,
    missing: MissingTopics,
    producer: Option<TransactionalProducer>,
    /// The next producer takes the id over from whoever had it: the first one of a process does.
    takes_over: bool,
    /// The group's offsets must be read before the next transaction.
    in_doubt: bool,
    failures: u32,
    not_before: Option<Instant>,
    seconds: Histogram,
}

impl Committer {
    /// A committer under a transactional id, which it does not take up yet.
    pub fn new(kafka: &config::Kafka, id: &str, takes_over: bool) -> Self {
        Committer {
            producer: None,
            takes_over,
            kafka: kafka.clone(),
            id: id.to_owned(),
            missing: MissingTopics::default(),
            in_doubt: false,
            failures: 0,
            not_before: None,
            seconds: commit_seconds(Role::Deliver),
        }
    }

    /// Takes up the transactional id, unless it has: whoever used it before is fenced, and what they left open is
    /// resolved. For a member of the group that was given partitions.
    ///
    /// # Errors
    /// [`CommitEnd`] when there is no use in trying again.
    pub fn take_up(&mut self, member: &Member) -> Result<(), CommitEnd> {
        self.producer = self.producer(member)?;
        Ok(())
    }

    /// Whether the last commit went through: while it did not, no call should start, because its answer might not be
    /// kept either.
    pub fn is_well(&self) -> bool {
        self.failures == 0
    }

    /// Whether a commit that failed may be tried again now.
    pub fn may_try(&self) -> bool {
        self.not_before.is_none_or(|at| steady_now() >= at)
    }

    /// Commits what the ledger owes, and with it what is `owed` besides: what follows from all that is completed.
    ///
    /// # Errors
    /// [`CommitEnd`] when there is no use in trying again.
    pub fn commit(
        &mut self,
        consumer: &GroupConsumer,
        ledger: &mut Ledger,
        owed: &[Output],
        scope: Scope,
    ) -> Result<Went, CommitEnd> {
        // The group may not even have told this member its id, which it would take for a rival's.
        if ledger.owned().next().is_none() && ledger.completed().is_empty() {
            self.went_through();
            return Ok(Went::Idle);
        }
        let member = consumer.member();
        let Some(producer) = self.producer(&member)? else { return Ok(Went::NotYet) };
        if self.in_doubt {
            let owned: Vec<TopicPartition> = ledger.owned().cloned().collect();
            ledger.reconcile(&standing(&consumer.committed(&owned)?));
            self.in_doubt = false;
        }
        let positions = match scope {
            Scope::Moved => ledger.positions(),
            Scope::All => ledger.all_positions(),
        };
        // What is owed besides goes only with positions: the group refuses those of a member it expelled, and with them
        // the rest.
        if positions.is_empty() && ledger.completed().is_empty() {
            self.producer = Some(producer);
            self.went_through();
            return Ok(Went::Idle);
        }
        let began = steady_now();
        let group = consumer.group_metadata()?;
        if consumer.assignment_lost() {
            // A broker takes offsets from a member without id and generation, as a member just expelled is.
            self.producer = Some(producer);
            return Ok(Went::NotYet);
        }
        let ended = match write(producer, ledger, owed) {
            Ok(transaction) => transaction.commit(&positions, &group),
            Err(ended) => ended,
        };
        let took = began.elapsed();
        self.seconds.record(took.as_secs_f64());
        let ended = match ended {
            Ended::Fenced(failure) if member.may_follow_fenced(took)? => Ended::Unknown(failure),
            other => other,
        };
        self.ended(ended, ledger, positions)
    }

    fn ended(&mut self, ended: Ended, ledger: &mut Ledger, positions: Vec<Position>) -> Result<Went, CommitEnd> {
        let failure = match ended {
            Ended::Committed(producer) => {
                self.producer = Some(producer);
                ledger.committed(positions);
                self.went_through();
                return Ok(Went::Through);
            }
            Ended::CommittedLast => {
                ledger.committed(positions);
                self.went_through();
                return Ok(Went::Through);
            }
            Ended::Fenced(failure) => return Err(CommitEnd::Fenced(failure)),
            Ended::Aborted(producer, failure) => {
                self.producer = Some(producer);
                failure
            }
            Ended::Unknown(failure) => failure,
        };
        if matches!(failure, Failure::Denied(_)) {
            return Err(CommitEnd::Denied(failure));
        }
        self.in_doubt = true;
        self.failed(&failure);
        let own = Topics::new(&self.kafka.topic_prefix);
        Ok(culprit(&failure, ledger, &own).map_or(Went::NotYet, |(index, reason, topic)| Went::Unwritable {
            index,
            reason,
            topic: topic.to_owned(),
        }))
    }

    /// The producer; a new one of the same id when the last one is gone.
    fn producer(&mut self, member: &Member) -> Result<Option<TransactionalProducer>, CommitEnd> {
        if let Some(producer) = self.producer.take() {
            return Ok(Some(producer));
        }
        if !self.takes_over {
            match member.membership() {
                Ok(Membership::Alone) => {}
                Ok(Membership::Rival(id)) => return Err(CommitEnd::Replaced(id)),
                // Once it is in the group again.
                Ok(Membership::Outside) => return Ok(None),
                Err(fault @ ConsumerFault::Denied(_)) => return Err(fault.into()),
                Err(fault) => {
                    self.failed(&Failure::Group(fault.to_string()));
                    return Ok(None);
                }
            }
        }
        self.takes_over = false;
        match TransactionalProducer::connect(&self.kafka, &self.id, LINGER, self.missing.clone()) {
            Ok(producer) => Ok(Some(producer)),
            Err(failure @ Failure::Fenced { .. }) => Err(CommitEnd::Fenced(failure)),
            Err(failure @ Failure::Denied(_)) => Err(CommitEnd::Denied(failure)),
            Err(failure) => {
                self.failed(&failure);
                Ok(None)
            }
        }
    }

    fn went_through(&mut self) {
        if self.failures > 0 {
            tracing::info!(id = self.id, "transactions go through again");
        }
        self.failures = 0;
        self.not_before = None;
    }

    fn failed(&mut self, failure: &Failure) {
        let pause = (FIRST_PAUSE * 2u32.pow(self.failures.min(10))).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(steady_now() + pause);
        transaction_aborts(Role::Deliver, cause_of(failure)).increment(1);
        match failure {
            // Part of any rebalance.
            Failure::Group(_) => tracing::info!(id = self.id, %failure, "transaction not committed"),
            _ => tracing::warn!(id = self.id, %failure, ?pause, "transaction not committed; it is tried again"),
        }
    }
}

/// Writes all outputs into a transaction.
fn write(producer: TransactionalProducer, ledger: &Ledger, owed: &[Output]) -> Result<Transaction, Ended> {
    let mut transaction = producer.begin().map_err(|failure| match failure {
        Failure::Fenced { .. } => Ended::Fenced(failure),
        _ => Ended::Unknown(failure),
    })?;
    for output in ledger.completed().iter().flat_map(|completed| &completed.outputs).chain(owed) {
        if let Err(failure) = send(&mut transaction, output) {
            return Err(transaction.abort(failure));
        }
    }
    Ok(transaction)
}

fn send(transaction: &mut Transaction, output: &Output) -> Result<(), Failure> {
    let headers: Vec<(&str, &[u8])> =
        output.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    transaction.send(&OutRecord {
        topic: &output.topic,
        partition: output.partition,
        key: output.key.as_deref(),
        value: output.value.as_deref(),
        headers: &headers,
        timestamp_ms: None,
    })
}

/// The completed record whose output is at fault, and its topic, when it is the record's fault and not the topic's: a
/// topic of ours that is missing is for an operator to mend, and everything waits. A customer's may be missing, and
/// nobody else waits for it.
fn culprit<'f>(failure: &'f Failure, ledger: &Ledger, own: &Topics) -> Option<(usize, Reason, &'f str)> {
    let Failure::Record { topic, bytes, why } = failure else { return None };
    let reason = match why {
        RecordFault::TooLarge => Reason::TooLarge,
        RecordFault::Refused => Reason::MessageRefused,
        RecordFault::TopicMissing if own.owns(topic) => return None,
        RecordFault::TopicMissing => Reason::TopicMissing,
    };
    let at_fault = |output: &Output| output.topic == *topic && output.value.as_ref().map_or(0, Vec::len) == *bytes;
    let index = ledger.completed().iter().position(|completed| completed.outputs.iter().any(at_fault))?;
    Some((index, reason, topic))
}

/// Where the group stands, by partition. What it never committed stands nowhere: none of it was written.
pub fn standing(starts: &[Start]) -> Vec<(TopicPartition, Committed)> {
    starts.iter().filter_map(|start| Some((start.partition.clone(), committed(start)?))).collect()
}

/// Where the group stands in one partition, if it ever saw it.
pub fn committed(start: &Start) -> Option<Committed> {
    let position = start.committed?;
    Some(Committed::decode(position, &start.metadata).unwrap_or_else(|error| {
        tracing::warn!(partition = %start.partition, position, %error, "an offset's metadata cannot be used");
        Committed::at(position)
    }))
}

/// A word for the metric.
fn cause_of(failure: &Failure) -> &'static str {
    match failure {
        Failure::Record { .. } => "record",
        Failure::Fenced { .. } => "fenced",
        Failure::Group(_) => "group",
        Failure::Denied(_) => "authorization",
        Failure::Kafka { .. } => "kafka",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::samples;
    use crate::kafka::{Assignor, OwnIds, Settings};

    fn start(offset: Option<i64>, metadata: &str) -> Start {
        Start { partition: TopicPartition::new("t", 0), committed: offset, metadata: metadata.to_owned() }
    }

    #[test]
    fn a_partition_without_an_offset_stands_nowhere() {
        assert!(standing(&[start(None, "")]).is_empty());
        assert_eq!(standing(&[start(Some(4), "")]), [(TopicPartition::new("t", 0), Committed::at(4))]);
    }

    #[test]
    fn who_has_no_partitions_commits_without_asking_who_is_in_the_group() {
        let bootstrap_servers = "127.0.0.1:1".to_owned();
        let kafka = config::Kafka { bootstrap_servers, topic_prefix: String::new(), properties: [].into() };
        let consumer = GroupConsumer::subscribe(&Settings {
            kafka: &kafka,
            group: "g",
            topics: &["t".to_owned()],
            name: "n",
            is_static: true,
            ids: OwnIds::default(),
            assignor: Assignor::Range,
            queue_kib: 1_024,
            split: |_| true,
            tells_ends: true,
            ahead: 1,
        });
        let (consumer, mut committer) = (consumer.unwrap(), Committer::new(&kafka, "n", false));
        for scope in [Scope::Moved, Scope::All] {
            let went = committer.commit(&consumer, &mut Ledger::default(), &[], scope);
            assert!(matches!(went, Ok(Went::Idle)), "{scope:?}: {went:?}");
        }
    }

    #[test]
    fn foreign_metadata_counts_as_none() {
        assert_eq!(committed(&start(Some(4), "someone else's")), Some(Committed::at(4)));
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        let partition = TopicPartition::new("notify.outbound.email", 0);
        ledger.assign(partition.clone(), Some(&Committed::at(0)));
        for (offset, bytes) in [(0, 10), (1, 20)] {
            ledger.take(&partition, offset);
            let output = Output {
                topic: "notify.outbound.email.retry.10s".to_owned(),
                partition: Some(0),
                key: None,
                value: Some(vec![0; bytes]),
                headers: Vec::new(),
            };
            ledger.complete(samples::work(samples::record("notify.outbound.email", 0, offset)), vec![output], true);
        }
        ledger
    }

    fn failure(why: RecordFault) -> Failure {
        Failure::Record { topic: "notify.outbound.email.retry.10s".to_owned(), bytes: 20, why }
    }

    #[test]
    fn the_record_that_is_too_large_is_found() {
        let found = culprit(&failure(RecordFault::TooLarge), &ledger(), &Topics::new(""))
            .map(|(index, reason, _)| (index, reason));
        assert_eq!(found, Some((1, Reason::TooLarge)));
    }

    #[test]
    fn a_missing_topic_is_nobodys_fault_but_the_operators() {
        assert_eq!(culprit(&failure(RecordFault::TopicMissing), &ledger(), &Topics::new("")), None);
    }

    #[test]
    fn a_customers_topic_that_is_missing_is_its_records_fault() {
        // Seen from an installation with a prefix, the topic is somebody else's.
        let missing = failure(RecordFault::TopicMissing);
        let found = culprit(&missing, &ledger(), &Topics::new("acme."));
        assert_eq!(found, Some((1, Reason::TopicMissing, "notify.outbound.email.retry.10s")));
    }
}
