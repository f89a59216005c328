//! What a static member (KIP-345) finds out before it joins its group again.
//!
//! A group gives a static name to whoever joins last, and takes the place of whoever had it. librdkafka joins again by itself,
//! without an id, when by its own clock the session is over: a process that stood still would take its name back from the one
//! that replaced it. It does so once a revocation is completed, and so does a member that is made anew, when it subscribes:
//! both wait here until the group says that nobody else has the name, or is gone. Who cannot be asked is asked again, and
//! nothing fails. docs/guarantees.md says when librdkafka joins all the same.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::consumer::ConsumerFault;
use super::member::{Member, may_pass};
use super::record::TopicPartition;
use crate::telemetry::clock::steady_now;

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(500);
/// Who waits for longer says so.
const LONG: Duration = Duration::from_secs(5);
/// A group that no broker knows for so long is there no more: an operator deleted it.
const GONE_AFTER: Duration = Duration::from_secs(60);

/// The ids that a group gave to the lives of one member in this process: whoever has one of them is no rival. Clones are
/// the same ids.
#[derive(Debug, Clone, Default)]
pub struct OwnIds(Arc<Mutex<VecDeque<String>>>);

impl OwnIds {
    /// More than the group can still have: it forgets an id when the session of its last life is over.
    const MOST: usize = 16;

    pub(super) fn add(&self, id: &str) {
        let mut ids = self.0.lock();
        if id.is_empty() || ids.iter().any(|own| own == id) {
            return;
        }
        if ids.len() == Self::MOST {
            ids.pop_front();
        }
        ids.push_back(id.to_owned());
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.0.lock().iter().any(|own| own == id)
    }

    /// Whether the group never gave one.
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}

/// Who has a static member's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// Nobody, or an earlier life of it in this process.
    Nobody,
    /// A newer member, with this id.
    Another(String),
}

/// What makes librdkafka join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// To subscribe to these topics.
    Subscribe(Vec<String>),
    /// To complete the revocation of these partitions.
    Release(Vec<TopicPartition>),
}

/// A step that waits for the group's word.
pub(super) struct Joining {
    step: Step,
    /// The group is not asked before.
    at: Instant,
    began: Instant,
    has_warned: bool,
    /// Since when no broker knows the group.
    unknown_since: Option<Instant>,
}

impl Joining {
    pub(super) fn new(step: Step) -> Self {
        let now = steady_now();
        Joining { step, at: now, began: now, has_warned: false, unknown_since: None }
    }

    /// The partitions whose revocation waits.
    pub(super) fn into_released(self) -> Vec<TopicPartition> {
        match self.step {
            Step::Release(partitions) => partitions,
            Step::Subscribe(_) => Vec::new(),
        }
    }

    /// Asks, unless that was only just done; gives the step once it may be taken.
    ///
    /// # Errors
    /// [`ConsumerFault::Replaced`], or what refuses the question.
    pub(super) fn ask(&mut self, member: &Member) -> Result<Option<&Step>, ConsumerFault> {
        if steady_now() < self.at {
            return Ok(None);
        }
        let answer = member.try_successor();
        let now = steady_now();
        self.at = now + PAUSE;
        if !matches!(answer, Ok(None)) {
            self.unknown_since = None;
        }
        match answer {
            Ok(Some(Named::Nobody)) => return Ok(Some(&self.step)),
            Ok(Some(Named::Another(id))) => return Err(replaced(member, &id)),
            Ok(None) if now.duration_since(*self.unknown_since.get_or_insert(now)) >= GONE_AFTER => {
                return Ok(Some(&self.step));
            }
            Ok(None) => self.waits(member, now, "no broker knows the group"),
            Err(error) if may_pass(&error) => self.waits(member, now, &error.to_string()),
            Err(error) => return Err(member.fault("asking who is in the group", &error)),
        }
        Ok(None)
    }

    fn waits(&mut self, member: &Member, now: Instant, why: &str) {
        if self.has_warned || now.duration_since(self.began) < LONG {
            return;
        }
        self.has_warned = true;
        tracing::warn!(
            group = member.group(),
            why,
            "a static member waits to hear whether another has its name, and joins the group only then; all brokers are asked"
        );
    }
}

/// What it means that the group refuses a member for its name. It does so also when the session was over by this member's clock
/// alone: then nobody else has the name, and the next life may join.
pub(super) fn fenced(member: &Member, why: String) -> ConsumerFault {
    member.note_id();
    match member.try_successor() {
        Ok(Some(Named::Another(id))) => replaced(member, &id),
        _ => ConsumerFault::Kafka { group: member.group().to_owned(), doing: "polling", why },
    }
}

fn replaced(member: &Member, id: &str) -> ConsumerFault {
    ConsumerFault::Replaced { group: member.group().to_owned(), member: id.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_of_earlier_lives_are_known_to_later_ones() {
        let ids = OwnIds::default();
        assert!(ids.is_empty());
        let later = ids.clone();
        ids.add("m-1");
        assert!(later.contains("m-1") && !later.contains("m-2"));
    }

    #[test]
    fn a_member_without_an_id_has_none() {
        let ids = OwnIds::default();
        ids.add("");
        assert!(ids.is_empty() && !ids.contains(""));
    }

    #[test]
    fn only_the_last_ids_are_kept() {
        let ids = OwnIds::default();
        (0..=OwnIds::MOST).for_each(|n| ids.add(&format!("m-{n}")));
        ids.add("m-1");
        assert!(!ids.contains("m-0") && (1..=OwnIds::MOST).all(|n| ids.contains(&format!("m-{n}"))));
    }
}
