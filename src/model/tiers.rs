//! Which tier a record waits in: one rule for retries and deferrals.

use std::time::Duration;

/// The longest tier that is not longer than what remains, else the shortest: never late by more than the
/// shortest tier, and with as few hops as the tiers allow. What comes due early in a short tier hops on.
///
/// `tiers` may be in any order. The configuration refuses an empty list; if there is none all the same, the answer
/// is `remaining`, whose topic does not exist, and writing to it fails loudly.
pub fn choose_tier(tiers: &[Duration], remaining: Duration) -> Duration {
    let fitting = tiers.iter().copied().filter(|tier| *tier <= remaining).max();
    fitting.or_else(|| tiers.iter().copied().min()).unwrap_or(remaining)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    const TIERS: [Duration; 4] =
        [Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(600), Duration::from_secs(3_600)];

    #[rstest]
    #[case::nothing_left(0, 10_000)]
    #[case::less_than_the_shortest(9_999, 10_000)]
    #[case::exactly_a_tier(60_000, 60_000)]
    #[case::just_below_a_tier(59_999, 10_000)]
    #[case::between_tiers(599_000, 60_000)]
    #[case::far_beyond_the_longest(86_400_000, 3_600_000)]
    fn the_longest_that_fits_else_the_shortest(#[case] remaining_ms: u64, #[case] tier_ms: u64) {
        assert_eq!(choose_tier(&TIERS, Duration::from_millis(remaining_ms)), Duration::from_millis(tier_ms));
    }

    proptest! {
        #[test]
        fn hopping_ends_at_most_one_shortest_tier_late(remaining_ms in 0u64..1_000_000_000) {
            let target = Duration::from_millis(remaining_ms);
            let mut waited = Duration::ZERO;
            while waited < target {
                waited += choose_tier(&TIERS, target - waited);
            }
            prop_assert!(waited < target + TIERS[0]);
        }
    }
}
