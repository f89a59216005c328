//! Topics that the cluster does not have, remembered: a record for one of them fails at once and by itself, instead of
//! taking a whole transaction with it after librdkafka's wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    noted: Mutex<HashMap<String, Instant>>,
}

impl MissingTopics {
    /// The cluster does not have it.
    pub fn note(&self, topic: &str) {
        if self.0.noted.lock().insert(topic.to_owned(), steady_now()).is_none() {
            self.0.changes.fetch_add(1, Ordering::Release);
        }
    }

    /// Changes with every topic that goes missing or is found; zero while none ever was missing.
    pub fn changes(&self) -> u64 {
        self.0.changes.load(Ordering::Acquire)
    }

    /// Whether the cluster did not have it when it was asked last.
    pub fn is_noted(&self, topic: &str) -> bool {
        self.changes() > 0 && self.0.noted.lock().contains_key(topic)
    }

    /// Whether the cluster does not have it; `exists` asks, and is called now and then only, for a noted topic.
    pub(super) fn lacks(&self, topic: &str, exists: impl FnOnce() -> bool) -> bool {
        if self.changes() == 0 {
            return false;
        }
        let noted = self.0.noted.lock().get(topic).copied();
        match noted {
            None => false,
            Some(at) if at.elapsed() < ASK_AFTER => true,
            Some(_) if exists() => {
                self.0.noted.lock().remove(topic);
                self.0.changes.fetch_add(1, Ordering::Release);
                false
            }
            Some(_) => {
                self.note(topic);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
