//! Finds out where partitions that became ours begin, on a thread of its own: the partitions that stay go on meanwhile.
//!
//! What may pass by itself is asked again for a while before a place counts as lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::input::is_event_tier;
use super::register::Register;
use super::standing::{Facts, Loss, Lost, Restart, Verdict, When, judge, resolve};
use crate::kafka::admin::{Admin, AdminError};
use crate::kafka::reader::{self, ReadError};
use crate::kafka::{Bounds, ConsumerFault, Member, Start, TopicPartition};
use crate::model::{Known, Timestamp};
use crate::telemetry::clock::{Clock, steady_now};

/// So long a place that seems lost is looked at again.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// Where a partition begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Which.
    pub partition: TopicPartition,
    /// The next offset to read.
    pub start: i64,
    /// What has to be committed before anything of it counts, when it begins for the first time, or anew.
    pub first: Option<First>,
}

/// A beginning that `notify.inputs` and the group's offsets have to tell of, in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    /// What is known of the partition from then on.
    pub known: Known,
    /// The committed offset that this one takes the place of: as long as the group still has it, this was not
    /// committed.
    pub instead_of: Option<i64>,
    /// An operator said so, because this was lost.
    pub told: Option<(Loss, When)>,
}

/// Why a place cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum PlacingError {
    /// An operator has to say where to go on.
    #[error(transparent)]
    Lost(Lost),
    /// The group or the logs.
    #[error(transparent)]
    Consumer(#[from] ConsumerFault),
    /// The topics.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// `notify.inputs`.
    #[error(transparent)]
    Register(#[from] ReadError),
    /// The thread panicked.
    #[error("the thread that asks panicked; the cause was written to stderr")]
    Broken,
}

/// What all placings of a process share.
#[derive(Clone)]
pub struct Places {
    /// What is known.
    pub register: Register,
    /// Asked for topics' ids.
    pub admin: Arc<Admin>,
    /// What an operator said.
    pub restart: Arc<Restart>,
    /// The installation's prefix.
    pub prefix: Arc<str>,
    /// `notify.decisions`: whether anyone has routed here.
    pub decisions: Arc<str>,
    /// `notify.audit`.
    pub audit: Arc<str>,
    /// Time.
    pub clock: Clock,
}

/// All that a shard has under way, each for what was assigned at once: the group may give more, or take some back, before it is
/// known where the first ones begin.
#[derive(Default)]
pub struct Placings(Vec<Placing>);

impl Placings {
    /// Begins to find out where these start.
    ///
    /// # Errors
    /// The system's words when there can be no thread.
    pub fn begin(
        &mut self,
        places: &Places,
        member: Arc<Member>,
        partitions: Vec<TopicPartition>,
    ) -> std::io::Result<()> {
        self.0.push(Placing::begin(places, member, partitions)?);
        Ok(())
    }

    /// What was assigned and has not begun.
    pub fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.0.iter().flat_map(|placing| &placing.partitions)
    }

    /// What one of them found, once it did.
    pub fn take(&mut self) -> Option<Result<Vec<Placed>, PlacingError>> {
        loop {
            let mut found = self.0.iter_mut().enumerate().filter_map(|(at, placing)| Some((at, placing.take()?)));
            let (at, found) = found.next()?;
            if !self.0.swap_remove(at).partitions.is_empty() {
                return Some(found);
            }
        }
    }

    /// These are ours no longer. What was asked about together with them is asked about anew: one topic that is gone leaves the
    /// whole question without an answer.
    ///
    /// # Errors
    /// As [`Placings::begin`].
    pub fn without(&mut self, gone: &[TopicPartition], places: &Places, member: Arc<Member>) -> std::io::Result<()> {
        let is_gone = |partition: &TopicPartition| gone.contains(partition);
        let touched = self.0.iter_mut().filter(|placing| placing.partitions.iter().any(is_gone));
        let stay: Vec<_> = touched.flat_map(Placing::give_up).filter(|partition| !is_gone(partition)).collect();
        if stay.is_empty() { Ok(()) } else { self.begin(places, member, stay) }
    }
}

/// Under way. Dropping it waits for the thread, which asks short questions only.
struct Placing {
    /// None once nobody wants to know any more.
    partitions: Vec<TopicPartition>,
    answer: Receiver<Result<Vec<Placed>, PlacingError>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Placing {
    fn begin(places: &Places, member: Arc<Member>, partitions: Vec<TopicPartition>) -> std::io::Result<Self> {
        let (sender, answer) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let inquiry =
            Inquiry { places: places.clone(), member, partitions: partitions.clone(), stop: Arc::clone(&stop) };
        let thread = std::thread::Builder::new().name("placing".to_owned()).spawn(move || {
            let found = inquiry.run();
            drop(inquiry);
            // Nobody waits for it any more when the shard ended.
            let _ = sender.send(found);
        })?;
        Ok(Placing { partitions, answer, stop, thread: Some(thread) })
    }

    /// What was found, once it was.
    fn take(&mut self) -> Option<Result<Vec<Placed>, PlacingError>> {
        match self.answer.try_recv() {
            Ok(found) => Some(found),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(PlacingError::Broken)),
        }
    }

    /// Nobody wants to know any more; gives what was asked about.
    fn give_up(&mut self) -> Vec<TopicPartition> {
        self.stop.store(true, Ordering::SeqCst);
        std::mem::take(&mut self.partitions)
    }
}

impl Drop for Placing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Inquiry {
    places: Places,
    member: Arc<Member>,
    partitions: Vec<TopicPartition>,
    stop: Arc<AtomicBool>,
}

/// What was seen of all partitions in one look.
struct Seen {
    starts: Vec<Start>,
    bounds: BTreeMap<TopicPartition, Bounds>,
    ids: BTreeMap<String, String>,
    verdicts: Vec<Verdict>,
}

impl Seen {
    fn losses(&self) -> impl Iterator<Item = Loss> {
        self.verdicts.iter().filter_map(|verdict| match verdict {
            Verdict::Lost(loss) => Some(*loss),
            Verdict::Goes(_) | Verdict::First(_) => None,
        })
    }
}

impl Inquiry {
    fn run(&self) -> Result<Vec<Placed>, PlacingError> {
        let began = steady_now();
        loop {
            let seen = match self.look() {
                // A topic that is being deleted, or was only just created.
                Err(PlacingError::Admin(AdminError::Refused { .. })) if self.may_look_again(began) => {
                    std::thread::sleep(PAUSE);
                    continue;
                }
                seen => seen?,
            };
            if !seen.losses().any(Loss::may_pass) || !self.may_look_again(began) {
                return self.place(&seen);
            }
            tracing::warn!(group = self.member.group(), "committed offsets seem to be lost; looking again");
            std::thread::sleep(PAUSE);
        }
    }

    fn may_look_again(&self, began: Instant) -> bool {
        began.elapsed() < PATIENCE && !self.stop.load(Ordering::SeqCst)
    }

    fn look(&self) -> Result<Seen, PlacingError> {
        let ids = self.topic_ids()?;
        let starts = self.member.committed(&self.partitions)?;
        let bounds = self.member.bounds(&self.partitions)?;
        let mut seen = Seen { starts, bounds, ids, verdicts: Vec::new() };
        let register = &self.places.register;
        let known = |topic: &str, partition| register.known(self.member.group(), topic, partition);
        seen.verdicts = self.judge(&seen, known, true, false);
        if seen.verdicts.iter().all(|verdict| matches!(verdict, Verdict::Goes(_))) {
            return Ok(seen);
        }
        // In this order: who began before the register was read, and decided, is in it.
        let decided = reader::ends(&register.kafka, &self.places.decisions)?.values().any(|end| *end > 0);
        let contents = register.read()?;
        let known = |topic: &str, partition| contents.known(self.member.group(), topic, partition);
        seen.verdicts = self.judge(&seen, known, contents.begun(self.member.group()), decided);
        Ok(seen)
    }

    fn topic_ids(&self) -> Result<BTreeMap<String, String>, AdminError> {
        let topics: BTreeSet<String> = self.partitions.iter().map(|partition| partition.topic.clone()).collect();
        let topics: Vec<String> = topics.into_iter().collect();
        let ids = self.places.admin.topic_ids(&topics)?;
        match topics.into_iter().find(|topic| !ids.contains_key(topic)) {
            None => Ok(ids),
            Some(topic) => {
                Err(AdminError::Refused { action: "describe", topic, cause: "the cluster does not show it".to_owned() })
            }
        }
    }

    fn judge(
        &self,
        seen: &Seen,
        known: impl Fn(&str, i32) -> Option<Known>,
        begun: bool,
        decided: bool,
    ) -> Vec<Verdict> {
        let judged = |start: &Start| {
            let TopicPartition { topic, partition } = &start.partition;
            let known = known(topic, *partition);
            judge(&Facts {
                committed: start.committed,
                bounds: bounds_of(seen, &start.partition),
                topic_id: seen.ids.get(topic).map_or("", String::as_str),
                known: known.as_ref(),
                register_id: &self.places.register.id,
                begun,
                decided,
                marked: is_event_tier(topic),
            })
        };
        seen.starts.iter().map(judged).collect()
    }

    fn place(&self, seen: &Seen) -> Result<Vec<Placed>, PlacingError> {
        let (mut placed, mut lost) = (Vec::with_capacity(seen.starts.len()), Vec::new());
        for (start, verdict) in seen.starts.iter().zip(&seen.verdicts) {
            let partition = start.partition.clone();
            match verdict {
                Verdict::Goes(at) => placed.push(Placed { partition, start: *at, first: None }),
                Verdict::First(at) => {
                    let first = self.first(seen, start, *at, None);
                    placed.push(Placed { partition, start: *at, first: Some(first) });
                }
                Verdict::Lost(loss) => match self.told(seen, &partition, *loss)? {
                    Some((at, when)) => {
                        let first = self.first(seen, start, at, Some((*loss, when)));
                        placed.push(Placed { partition, start: at, first: Some(first) });
                    }
                    None => lost.push((partition, *loss)),
                },
            }
        }
        if lost.is_empty() {
            return Ok(placed);
        }
        let worked = self.worked();
        Err(PlacingError::Lost(Lost { group: self.member.group().to_owned(), places: lost, worked }))
    }

    fn first(&self, seen: &Seen, start: &Start, at: i64, told: Option<(Loss, When)>) -> First {
        let known = Known {
            topic_id: seen.ids.get(&start.partition.topic).cloned().unwrap_or_default(),
            register_id: self.places.register.id.to_string(),
            since: self.places.clock.now().to_string(),
            start: at,
        };
        First { known, instead_of: start.committed, told }
    }

    /// Where an operator wants a lost partition to go on.
    fn told(&self, seen: &Seen, partition: &TopicPartition, loss: Loss) -> Result<Option<(i64, When)>, PlacingError> {
        let Some(when) = self.places.restart.of(&partition.topic, &self.places.prefix) else { return Ok(None) };
        let at = match when {
            When::At(moment) => {
                let found = self.member.offsets_at(std::slice::from_ref(partition), moment)?;
                found.get(partition).copied().flatten()
            }
            When::Earliest | When::Latest | When::Committed => None,
        };
        Ok(resolve(when, loss, bounds_of(seen, partition), at).map(|offset| (offset, when)))
    }

    /// When a decision was written last, to the second: found by asking for offsets by time, because reading the topic
    /// would take a right that the router needs for nothing else. `None` when that cannot be told.
    fn worked(&self) -> Option<Timestamp> {
        let ends = reader::ends(&self.places.register.kafka, &self.places.decisions).ok()?;
        let partitions: Vec<TopicPartition> =
            ends.keys().map(|partition| TopicPartition::new(&*self.places.decisions, *partition)).collect();
        let written_since = |moment: Timestamp| {
            let found = self.member.offsets_at(&partitions, moment).ok()?;
            Some(found.values().any(|offset| offset.is_some_and(|offset| offset >= 0)))
        };
        last_moment(self.places.clock.now(), written_since)
    }
}

/// The last moment, to the second, since which something was written; `None` when nothing was within 90 days.
fn last_moment(now: Timestamp, written_since: impl Fn(Timestamp) -> Option<bool>) -> Option<Timestamp> {
    const SECOND: Duration = Duration::from_secs(1);
    const LONGEST: u32 = 90 * 24 * 60 * 60;
    let ago = |seconds: u32| now.minus(SECOND * seconds);
    if !written_since(ago(LONGEST))? {
        return None;
    }
    // Nothing was written since `none` seconds ago, something since `some`.
    let (mut none, mut some) = (0, LONGEST);
    while some - none > 1 {
        let middle = none + (some - none) / 2;
        match written_since(ago(middle))? {
            true => some = middle,
            false => none = middle,
        }
    }
    Some(Timestamp(ago(some).0 / 1_000 * 1_000))
}

/// A partition whose bounds the brokers did not tell cannot be judged by them.
fn bounds_of(seen: &Seen, partition: &TopicPartition) -> Bounds {
    seen.bounds.get(partition).copied().unwrap_or(Bounds { begins: 0, ends: i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_last_moment_is_found_to_the_second(seconds in 1u32..90 * 24 * 60 * 60) {
            let now = Timestamp(1_763_748_000_000);
            let written = now.minus(Duration::from_secs(u64::from(seconds)));
            prop_assert_eq!(last_moment(now, |moment| Some(moment <= written)), Some(written));
        }
    }

    #[test]
    fn where_nothing_was_written_or_nobody_answers_there_is_no_last_moment() {
        assert_eq!(last_moment(Timestamp(1_763_748_000_000), |_| Some(false)), None);
        assert_eq!(last_moment(Timestamp(1_763_748_000_000), |_| None), None);
    }
}
