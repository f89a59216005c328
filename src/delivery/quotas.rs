//! How often each recipient is called for on a channel.
//!
//! Invariants: pure. No recipient gets more than the rate gives, counted from when calls start; memory follows those who
//! were called for lately.

use std::time::Duration;

use hashbrown::HashMap;

use super::bucket::{Bucket, Rate};
use crate::model::Timestamp;

/// So many buckets are kept before the full ones are looked for.
const FEW: usize = 1_024;

/// A bucket for each recipient; one that is not here is full.
#[derive(Debug)]
pub struct Quotas {
    rate: Option<Rate>,
    buckets: HashMap<Box<[u8]>, Bucket>,
    /// With so many, the full ones are dropped.
    prune_at: usize,
}

impl Quotas {
    /// Without a rate nobody is limited.
    pub fn new(rate: Option<Rate>) -> Self {
        Quotas { rate, buckets: HashMap::new(), prune_at: FEW }
    }

    /// Whether the recipient may not be called for now.
    pub fn limit(&self, recipient: &[u8], now: Timestamp) -> bool {
        let Some(rate) = self.rate else { return false };
        self.buckets.get(recipient).is_some_and(|bucket| bucket.wait(rate, now) > Duration::ZERO)
    }

    /// A call for the recipient starts.
    pub fn take(&mut self, recipient: &[u8], now: Timestamp) {
        let Some(rate) = self.rate else { return };
        if self.buckets.len() >= self.prune_at {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            self.prune_at = FEW.max(self.buckets.len() * 2);
        }
        match self.buckets.get_mut(recipient) {
            Some(bucket) => bucket.take(rate, now),
            None => {
                let mut bucket = Bucket::default();
                bucket.take(rate, now);
                self.buckets.insert(recipient.into(), bucket);
            }
        }
    }

    /// A call for the recipient was not made after all.
    pub fn give_back(&mut self, recipient: &[u8]) {
        if let (Some(rate), Some(bucket)) = (self.rate, self.buckets.get_mut(recipient)) {
            bucket.give_back(rate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quotas() -> Quotas {
        Quotas::new(Some(Rate::new(2, Duration::from_secs(60), 2)))
    }

    #[test]
    fn each_recipient_has_a_quota_of_their_own() {
        let mut quotas = quotas();
        let at = |ms| Timestamp(ms);
        quotas.take(b"ada", at(0));
        assert!(!quotas.limit(b"ada", at(0)));
        quotas.take(b"ada", at(0));
        assert!(quotas.limit(b"ada", at(0)) && !quotas.limit(b"bob", at(0)));
        assert!(quotas.limit(b"ada", at(29_999)));
        assert!(!quotas.limit(b"ada", at(30_000)));
    }

    #[test]
    fn a_call_that_was_not_made_costs_nothing() {
        let mut quotas = quotas();
        for _ in 0..10 {
            quotas.take(b"ada", Timestamp(0));
            quotas.give_back(b"ada");
        }
        assert!(!quotas.limit(b"ada", Timestamp(0)));
    }

    #[test]
    fn without_a_rate_nobody_is_limited() {
        let mut quotas = Quotas::new(None);
        (0..1_000).for_each(|_| quotas.take(b"ada", Timestamp(0)));
        assert!(!quotas.limit(b"ada", Timestamp(0)));
    }

    #[test]
    fn recipients_whose_quota_is_whole_again_are_forgotten() {
        let mut quotas = quotas();
        for n in 0..100_000i64 {
            quotas.take(&n.to_be_bytes(), Timestamp(n * 100));
        }
        // One token comes back in 30 s, in which 300 others were called for.
        assert!(quotas.buckets.len() <= FEW, "{}", quotas.buckets.len());
        assert!(quotas.buckets.contains_key(&99_999i64.to_be_bytes()[..]));
    }
}
