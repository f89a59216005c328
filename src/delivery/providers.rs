//! Which of a channel's providers a message goes to.
//!
//! Invariants: pure. A lower priority number goes before a higher one, and weights share among equals; who cannot be
//! called is passed over. The same message at the same attempt is given to the same provider as long as the same ones
//! can be called, so that a repeat after a crash goes where it went before. After an attempt of unknown outcome only
//! the provider that made it is asked again ([`pin_after`]): any other could not know that it is a repeat.

use sha2::{Digest as _, Sha256};

use crate::channel::Verdict;

/// So many providers may a channel have.
pub const MAX_PROVIDERS: usize = 64;

/// Some of a channel's providers, by their place in the configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Set(u64);

impl Set {
    /// All of `count` providers.
    pub fn all(count: usize) -> Self {
        (0..count).collect()
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this one is among them.
    pub fn contains(self, provider: usize) -> bool {
        provider < MAX_PROVIDERS && self.0 & (1 << provider) != 0
    }

    /// Those in both.
    pub fn and(self, other: Set) -> Set {
        Set(self.0 & other.0)
    }

    /// Whether each of these is among `others`.
    pub fn is_within(self, others: Set) -> bool {
        self.0 & !others.0 == 0
    }
}

impl FromIterator<usize> for Set {
    fn from_iter<I: IntoIterator<Item = usize>>(places: I) -> Self {
        Set(places.into_iter().filter(|place| *place < MAX_PROVIDERS).fold(0, |set, place| set | 1 << place))
    }
}

/// Whom a record may go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Those that take its address, and that are not ruled out by an attempt of unknown outcome.
    pub able: Set,
    /// Tells records apart: see [`spread`].
    pub spread: u64,
}

impl Default for Route {
    /// Anybody: nothing is known of the record.
    fn default() -> Self {
        Route { able: Set(u64::MAX), spread: 0 }
    }
}

/// When a provider's turn is, from the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rank {
    /// Lower ones first.
    pub priority: u32,
    /// Its share among equals; at least 1.
    pub weight: u32,
}

/// The provider for a message, out of `able`: those that take its address and can be called now. `spread` tells
/// messages apart.
pub fn choose(ranks: &[Rank], able: Set, spread: u64) -> Option<usize> {
    let able = || ranks.iter().enumerate().filter(|(place, _)| able.contains(*place));
    let first = able().map(|(_, rank)| rank.priority).min()?;
    let equals = || able().filter(|(_, rank)| rank.priority == first);
    let total: u64 = equals().map(|(_, rank)| u64::from(rank.weight.max(1))).sum();
    let mut point = (u128::from(spread) * u128::from(total)) >> 64;
    for (place, rank) in equals() {
        let share = u128::from(rank.weight.max(1));
        if point < share {
            return Some(place);
        }
        point -= share;
    }
    None
}

/// Where a message falls among the shares: the same for the same attempt, another for the next.
pub fn spread(message: &[u8], attempt: u32) -> u64 {
    let digest = Sha256::new().chain_update(attempt.to_be_bytes()).chain_update(message).finalize();
    digest.iter().take(8).fold(0, |spread, byte| spread << 8 | u64::from(*byte))
}

/// The provider that alone may be asked after an attempt: the one whose outcome is unknown. `before` is what held
/// until now. A known answer frees the message only where the provider speaks of all attempts under the same id.
pub fn pin_after<'a>(before: Option<&'a str>, asked: &'a str, idempotent: bool, came: &Verdict) -> Option<&'a str> {
    if came.is_unknown() {
        // Whom the first unknown outcome pinned is still the one that is asked.
        Some(asked)
    } else if idempotent && before == Some(asked) {
        None
    } else {
        before
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::model::Reason;

    fn rank(priority: u32, weight: u32) -> Rank {
        Rank { priority, weight }
    }

    #[rstest]
    #[case::the_first_priority(&[0, 1, 2], Some(0))]
    #[case::the_next_when_it_cannot_be_called(&[1, 2], Some(1))]
    #[case::the_last(&[2], Some(2))]
    #[case::nobody(&[], None)]
    fn priorities_go_in_their_order(#[case] able: &[usize], #[case] chosen: Option<usize>) {
        let ranks = [rank(0, 1), rank(1, 1), rank(2, 1_000_000)];
        assert_eq!(choose(&ranks, able.iter().copied().collect(), 12_345), chosen);
    }

    #[test]
    fn weights_share_among_equals() {
        let ranks = [rank(0, 1), rank(0, 3), rank(1, 9)];
        let mut taken = [0; 3];
        for message in 0..10_000_u32 {
            taken[choose(&ranks, Set::all(3), spread(&message.to_be_bytes(), 0)).unwrap()] += 1;
        }
        assert_eq!(taken[2], 0);
        assert!((2_300..2_700).contains(&taken[0]), "a quarter of {taken:?}");
    }

    #[test]
    fn a_message_goes_where_it_went_and_the_next_attempt_may_go_elsewhere() {
        let ranks = [rank(0, 1); 2];
        let of = |message: u32, attempt| choose(&ranks, Set::all(2), spread(&message.to_be_bytes(), attempt)).unwrap();
        assert!((0..100).all(|message| of(message, 0) == of(message, 0)));
        assert!((0..100).any(|message| of(message, 0) != of(message, 1)));
    }

    proptest! {
        #[test]
        fn whoever_is_chosen_is_able_and_nobody_able_goes_before(
            ranks in prop::collection::vec((0u32..4, 1u32..5).prop_map(|(p, w)| rank(p, w)), 1..10),
            able in prop::collection::vec(0usize..10, 0..10),
            spread: u64,
        ) {
            let able: Set = able.into_iter().filter(|place| *place < ranks.len()).collect();
            match choose(&ranks, able, spread) {
                None => prop_assert!(able.is_empty()),
                Some(chosen) => {
                    prop_assert!(able.contains(chosen));
                    let before = |place: &usize| able.contains(*place) && ranks[*place].priority < ranks[chosen].priority;
                    prop_assert!(!(0..ranks.len()).any(|place| before(&place)));
                }
            }
        }
    }

    fn retry(reason: Reason) -> Verdict {
        Verdict::Retry { reason, after: Some(Duration::ZERO) }
    }

    #[rstest]
    #[case::no_answer(None, false, retry(Reason::Timeout), Some("a"))]
    #[case::broken_off(None, true, retry(Reason::Interrupted), Some("a"))]
    #[case::a_known_no(None, false, retry(Reason::ProviderBusy), None)]
    #[case::a_known_no_says_nothing_of_the_first_attempt(Some("a"), false, retry(Reason::ProviderBusy), Some("a"))]
    #[case::unless_the_provider_knows_both(Some("a"), true, retry(Reason::ProviderBusy), None)]
    #[case::it_knows_nothing_of_anothers(Some("b"), true, retry(Reason::ProviderBusy), Some("b"))]
    fn after_an_unknown_outcome_nobody_else_is_asked(
        #[case] before: Option<&str>,
        #[case] idempotent: bool,
        #[case] came: Verdict,
        #[case] pinned: Option<&str>,
    ) {
        assert_eq!(pin_after(before, "a", idempotent, &came), pinned);
    }
}
