//! Topics that the cluster said it does not have, remembered for a while: the next record for one of them fails at
//! once and by itself, instead of taking a whole transaction with it after librdkafka's wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::telemetry::clock::steady_now;

/// After this the cluster is asked again: someone may have created the topic.
const FORGET_AFTER: Duration = Duration::from_secs(10);

/// Shared by the successive producers of one transactional id.
#[derive(Debug, Clone, Default)]
pub struct MissingTopics(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    any: AtomicBool,
    since: Mutex<HashMap<String, Instant>>,
}

impl MissingTopics {
    /// The cluster does not have it.
    pub(super) fn note(&self, topic: &str) {
        self.0.since.lock().insert(topic.to_owned(), steady_now());
        self.0.any.store(true, Ordering::Release);
    }

    /// Whether the cluster did not have it a moment ago.
    pub(super) fn contains(&self, topic: &str) -> bool {
        if !self.0.any.load(Ordering::Acquire) {
            return false;
        }
        let mut since = self.0.since.lock();
        since.retain(|_, noted| noted.elapsed() < FORGET_AFTER);
        self.0.any.store(!since.is_empty(), Ordering::Release);
        since.contains_key(topic)
    }
}
