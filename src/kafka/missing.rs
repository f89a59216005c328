//! Topics that the cluster does not have, remembered: a record for one of them fails at once and by itself, instead of
//! taking a whole transaction with it after librdkafka's wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::telemetry::clock::steady_now;

/// After this the cluster is asked again: someone may have created the topic.
const ASK_AFTER: Duration = Duration::from_secs(10);

/// Shared by the successive producers of one transactional id, or by more.
#[derive(Debug, Clone, Default)]
pub struct MissingTopics(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// How often `noted` changed.
    changes: AtomicU64,
    /// How many are noted: asked for every record, and almost always none.
    count: AtomicUsize,
    noted: Mutex<HashMap<String, Instant>>,
}

impl MissingTopics {
    /// The cluster does not have it.
    pub fn note(&self, topic: &str) {
        let mut noted = self.0.noted.lock();
        if noted.insert(topic.to_owned(), steady_now()).is_none() {
            self.0.changed(noted.len());
        }
    }

    /// Changes with every topic that goes missing or is found; zero while none ever was missing.
    pub fn changes(&self) -> u64 {
        self.0.changes.load(Ordering::Acquire)
    }

    /// Whether the cluster did not have it when it was asked last.
    pub fn is_noted(&self, topic: &str) -> bool {
        self.0.has_some() && self.0.noted.lock().contains_key(topic)
    }

    /// Whether the cluster does not have it; `exists` asks, and is called now and then only, for a noted topic.
    pub(super) fn lacks(&self, topic: &str, exists: impl FnOnce() -> bool) -> bool {
        if !self.0.has_some() {
            return false;
        }
        let noted = self.0.noted.lock().get(topic).copied();
        match noted {
            None => false,
            Some(at) if at.elapsed() < ASK_AFTER => true,
            Some(_) if exists() => {
                let mut noted = self.0.noted.lock();
                noted.remove(topic);
                self.0.changed(noted.len());
                false
            }
            Some(_) => {
                self.note(topic);
                true
            }
        }
    }
}

/// What one thread knows of the topics that it writes to: asked for every record, without a lock while nothing changes.
#[derive(Debug)]
pub(super) struct Destinations {
    missing: MissingTopics,
    /// Known to be there, as of when `missing` had changed so often.
    there: Vec<String>,
    changes: u64,
}

impl Destinations {
    /// More would be slower to search than the lock is to take.
    const MOST: usize = 32;

    pub(super) fn new(missing: MissingTopics) -> Self {
        Destinations { missing, there: Vec::new(), changes: 0 }
    }

    /// See [`MissingTopics::lacks`].
    pub(super) fn lack(&mut self, topic: &str, exists: impl FnOnce() -> bool) -> bool {
        let changes = self.missing.changes();
        if self.changes != changes {
            (self.there, self.changes) = (Vec::new(), changes);
        }
        if self.there.iter().any(|there| there == topic) {
            return false;
        }
        if self.missing.lacks(topic, exists) {
            return true;
        }
        if self.there.len() == Self::MOST {
            self.there.clear();
        }
        self.there.push(topic.to_owned());
        false
    }
}

impl Inner {
    fn has_some(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    fn changed(&self, count: usize) {
        self.count.store(count, Ordering::Release);
        self.changes.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_to_be_there_is_asked_for_again_after_every_change() {
        let missing = MissingTopics::default();
        let mut destinations = Destinations::new(missing.clone());
        missing.note("gone");
        assert!(destinations.lack("gone", || true) && !destinations.lack("t", || true));
        missing.note("t");
        assert!(destinations.lack("t", || true));
        missing.0.noted.lock().insert("t".to_owned(), steady_now() - ASK_AFTER);
        assert!(!destinations.lack("t", || true) && destinations.there.contains(&"t".to_owned()));
        (0..100).for_each(|number| assert!(!destinations.lack(&number.to_string(), || true)));
        assert!(destinations.there.len() <= Destinations::MOST && destinations.lack("gone", || true));
    }

    #[test]
    fn a_noted_topic_is_asked_for_again_only_after_a_while_and_forgotten_once_it_is_there() {
        let missing = MissingTopics::default();
        assert!(!missing.lacks("t", || panic!("nobody noted it")));
        missing.note("t");
        assert!(missing.lacks("t", || panic!("it was only just asked for")) && !missing.lacks("other", || true));
        missing.0.noted.lock().insert("t".to_owned(), steady_now() - ASK_AFTER);
        assert!(missing.lacks("t", || false));
        let before = missing.changes();
        missing.0.noted.lock().insert("t".to_owned(), steady_now() - ASK_AFTER);
        assert!(!missing.lacks("t", || true) && !missing.is_noted("t") && missing.changes() > before);
        assert!(!missing.lacks("t", || panic!("it is no longer noted")));
    }
}
