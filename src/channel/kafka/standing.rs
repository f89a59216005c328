//! What is known of a topic of our own cluster before a transaction is risked on it: one record for a topic that is not
//! there, or may not be written, fails the transaction with all that stand beside it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config;
use crate::kafka::acl::{Allowed, Operation};
use crate::kafka::admin::Admin;
use crate::telemetry::clock::steady_now;

/// How long it counts that a topic may be written.
const FRESH: Duration = Duration::from_secs(15);
/// How long it counts that it may not: someone may be mending it, and the next attempt should see that.
const FRESH_REFUSAL: Duration = Duration::from_secs(1);

/// How a topic stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is there, and nothing is known against writing to it.
    Writable,
    /// It is not there.
    Missing,
    /// It may not be written, or not even be seen.
    Denied,
    /// The cluster could not be asked.
    Unknown,
}

/// Our own cluster.
pub(super) struct Home {
    kafka: Option<config::Kafka>,
    admin: Mutex<Option<Arc<Admin>>>,
    seen: Mutex<HashMap<String, (Standing, Instant)>>,
}

impl Home {
    pub(super) fn new(kafka: Option<config::Kafka>) -> Self {
        Home { kafka, admin: Mutex::default(), seen: Mutex::default() }
    }

    /// How a topic stood within the last seconds.
    pub(super) async fn standing(&self, topic: &str) -> Standing {
        let Some(kafka) = &self.kafka else { return Standing::Unknown };
        if let Some((standing, at)) = self.seen.lock().get(topic)
            && is_fresh(*standing, *at)
        {
            return *standing;
        }
        let asked = self.ask(kafka, topic).await;
        let mut seen = self.seen.lock();
        seen.retain(|_, (standing, at)| is_fresh(*standing, *at));
        if asked != Standing::Unknown {
            seen.insert(topic.to_owned(), (asked, steady_now()));
        }
        asked
    }

    async fn ask(&self, kafka: &config::Kafka, topic: &str) -> Standing {
        let Some(admin) = self.admin(kafka) else { return Standing::Unknown };
        let named = vec![topic.to_owned()];
        let asker = Arc::clone(&admin);
        // librdkafka's questions block.
        let allowed = tokio::task::spawn_blocking(move || asker.allowed(&named)).await;
        match allowed.ok().and_then(Result::ok).and_then(|mut allowed| allowed.remove(topic)) {
            Some(Allowed::Nothing) => return Standing::Denied,
            Some(Allowed::These(operations)) if !operations.contains(&Operation::Write) => return Standing::Denied,
            _ => {}
        }
        match admin.list(topic).await {
            Ok(topics) if topics.contains_key(topic) => Standing::Writable,
            Ok(_) => Standing::Missing,
            Err(_) => Standing::Unknown,
        }
    }

    fn admin(&self, kafka: &config::Kafka) -> Option<Arc<Admin>> {
        let mut admin = self.admin.lock();
        if admin.is_none() {
            *admin = Admin::new(kafka).ok().map(Arc::new);
        }
        admin.clone()
    }
}

fn is_fresh(standing: Standing, at: Instant) -> bool {
    at.elapsed() < if standing == Standing::Writable { FRESH } else { FRESH_REFUSAL }
}
