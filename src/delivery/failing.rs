//! Customers' endpoints that have answered nothing but errors for long: after that they are left alone for good, until an
//! operator says otherwise.
//!
//! Invariants: pure. An endpoint is dead only when all calls for it failed since the first of at least [`AT_LEAST`], and
//! that was long enough ago. What is known of it is one worker's, and begins anew with the worker: in doubt it lives.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use hashbrown::HashMap;

use crate::model::Timestamp;

/// Fewer failures say nothing, however long they are apart.
pub const AT_LEAST: u32 = 10;

/// So many are kept before those that were not called for long are looked for.
const FEW: usize = 1_024;

/// See the module.
#[derive(Debug)]
pub struct Failing {
    /// How long an endpoint may fail; none is given up when not set.
    after: Option<Duration>,
    /// By a hash of tenant and address: two that have the same would be given up together, one in 2^64.
    failures: HashMap<u64, Failures>,
    hasher: RandomState,
    prune_at: usize,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    first: Timestamp,
    last: Timestamp,
    count: u32,
}

impl Failing {
    /// Nothing is known yet.
    pub fn new(after: Option<Duration>) -> Self {
        Failing { after, failures: HashMap::new(), hasher: RandomState::new(), prune_at: FEW }
    }

    /// An endpoint took a message.
    pub fn works(&mut self, tenant: &str, address: &str) {
        if !self.failures.is_empty() {
            self.failures.remove(&self.hasher.hash_one((tenant, address)));
        }
    }

    /// A call for an endpoint failed.
    pub fn fails(&mut self, tenant: &str, address: &str, now: Timestamp) {
        let Some(after) = self.after else { return };
        if self.failures.len() >= self.prune_at {
            // Who is called again after that begins anew: nothing was heard of it for as long as it may fail.
            self.failures.retain(|_, failures| now.since(failures.last) <= after);
            self.prune_at = FEW.max(self.failures.len() * 2);
        }
        let first = Failures { first: now, last: now, count: 0 };
        let failures = self.failures.entry(self.hasher.hash_one((tenant, address))).or_insert(first);
        (failures.last, failures.count) = (now, failures.count.saturating_add(1));
    }

    /// Whether an endpoint is dead. Whoever is told forgets it: if it is tried again all the same, it has its time anew.
    pub fn gives_up(&mut self, tenant: &str, address: &str, now: Timestamp) -> bool {
        let Some(after) = self.after else { return false };
        let endpoint = self.hasher.hash_one((tenant, address));
        let is_dead = |failures: &Failures| failures.count >= AT_LEAST && now.since(failures.first) >= after;
        let dead = self.failures.get(&endpoint).is_some_and(is_dead);
        if dead {
            self.failures.remove(&endpoint);
        }
        dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn failing() -> Failing {
        Failing::new(Some(Duration::from_secs(10 * 3_600)))
    }

    fn fail_hourly(failing: &mut Failing, hours: std::ops::RangeInclusive<i64>) {
        hours.for_each(|hour| failing.fails("default", "https://a.example/hook", Timestamp(hour * HOUR)));
    }

    fn gives_up(failing: &mut Failing, hour: i64) -> bool {
        failing.gives_up("default", "https://a.example/hook", Timestamp(hour * HOUR))
    }

    #[test]
    fn an_endpoint_that_failed_for_long_and_often_is_dead_once() {
        let mut failing = failing();
        fail_hourly(&mut failing, 0..=9);
        assert!(!gives_up(&mut failing, 9), "not long enough");
        fail_hourly(&mut failing, 10..=10);
        assert!(gives_up(&mut failing, 10));
        assert!(!gives_up(&mut failing, 10), "it has its time anew");
        fail_hourly(&mut failing, 11..=20);
        assert!(!gives_up(&mut failing, 20));
    }

    #[test]
    fn one_answer_is_enough_to_live() {
        let mut failing = failing();
        fail_hourly(&mut failing, 0..=10);
        failing.works("default", "https://a.example/hook");
        fail_hourly(&mut failing, 11..=20);
        assert!(!gives_up(&mut failing, 20));
    }

    #[test]
    fn a_few_failures_long_apart_say_nothing() {
        let mut failing = failing();
        (0..9).for_each(|n| fail_hourly(&mut failing, n * 5..=n * 5));
        assert!(!gives_up(&mut failing, 45));
    }

    #[test]
    fn tenants_and_addresses_are_told_apart() {
        let mut failing = failing();
        fail_hourly(&mut failing, 0..=20);
        assert!(!failing.gives_up("other", "https://a.example/hook", Timestamp(20 * HOUR)));
        assert!(!failing.gives_up("default", "https://b.example/hook", Timestamp(20 * HOUR)));
    }

    #[test]
    fn without_a_time_none_is_given_up_and_nothing_is_kept() {
        let mut failing = Failing::new(None);
        fail_hourly(&mut failing, 0..=1_000);
        assert!(!gives_up(&mut failing, 1_000) && failing.failures.is_empty());
    }

    #[test]
    fn who_is_not_called_any_more_is_forgotten() {
        let mut failing = failing();
        for n in 0..10_000i64 {
            failing.fails("default", &format!("https://{n}.example"), Timestamp(n * HOUR / 100));
        }
        assert!(failing.failures.len() <= 2 * 1_001, "{}", failing.failures.len());
    }
}
