//! What a receipt comes to: a new state, nothing, or waiting for the message it speaks of.
//!
//! Invariant: pure. What is told follows [`State::may_precede`] from SENT on, whatever order receipts come in and however
//! often; nothing is told twice.

use std::time::Duration;

use crate::model::{State, Timestamp, choose_tier};

/// What is to be done with a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// The message is in this state now.
    Tell(State),
    /// It says nothing new, or what cannot follow what is known.
    Stale,
    /// The message is not known yet: look again after this tier's delay.
    Wait(Duration),
    /// The message was not known for as long as receipts wait.
    Unknown,
    /// The receipt says nothing that a status could.
    Meaningless,
}

/// How long a receipt has waited, and how long it may.
#[derive(Debug, Clone, Copy)]
pub struct Patience<'a> {
    /// When it first came in.
    pub since: Timestamp,
    /// Now.
    pub now: Timestamp,
    /// For so long it waits for its message.
    pub longest: Duration,
    /// Delays of the tiers.
    pub tiers: &'a [Duration],
}

impl Patience<'_> {
    /// The tier to wait in for a message that is not known; `None` when it was waited for long enough.
    pub fn wait(&self) -> Option<Duration> {
        let waited = self.now.since(self.since);
        let left = self.longest.checked_sub(waited).filter(|left| !left.is_zero())?;
        // As long again as it has waited: soon at first, and few hops in the end.
        Some(choose_tier(self.tiers, waited.min(left)))
    }
}

/// Judges a receipt that says `said` about a message whose state is `known`, if it is known at all.
pub fn judge(known: Option<State>, said: Option<State>, patience: Patience<'_>) -> Judgement {
    let Some(said @ (State::Delivered | State::Bounced | State::Complained)) = said else {
        return Judgement::Meaningless;
    };
    match known {
        Some(known) if known.may_precede(said) => Judgement::Tell(said),
        Some(_) => Judgement::Stale,
        None => patience.wait().map_or(Judgement::Unknown, Judgement::Wait),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const TIERS: [Duration; 3] = [Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(600)];

    fn after(waited_s: u64) -> Patience<'static> {
        Patience {
            since: Timestamp(0),
            now: Timestamp(0).plus(Duration::from_secs(waited_s)),
            longest: Duration::from_secs(3_600),
            tiers: &TIERS,
        }
    }

    #[rstest]
    #[case::arrived(Some(State::Sent), State::Delivered, Judgement::Tell(State::Delivered))]
    #[case::came_back(Some(State::Sent), State::Bounced, Judgement::Tell(State::Bounced))]
    #[case::arrived_and_came_back(Some(State::Delivered), State::Bounced, Judgement::Tell(State::Bounced))]
    #[case::complained(Some(State::Delivered), State::Complained, Judgement::Tell(State::Complained))]
    #[case::twice(Some(State::Delivered), State::Delivered, Judgement::Stale)]
    #[case::too_late(Some(State::Bounced), State::Delivered, Judgement::Stale)]
    #[case::on_its_way(Some(State::Sent), State::Sent, Judgement::Meaningless)]
    #[case::too_early(None, State::Delivered, Judgement::Wait(Duration::from_secs(10)))]
    fn a_receipt_comes_to(#[case] known: Option<State>, #[case] said: State, #[case] expected: Judgement) {
        assert_eq!(judge(known, Some(said), after(0)), expected);
    }

    #[rstest]
    #[case(0, Judgement::Wait(TIERS[0]))]
    #[case(59, Judgement::Wait(TIERS[0]))]
    #[case(60, Judgement::Wait(TIERS[1]))]
    #[case(700, Judgement::Wait(TIERS[2]))]
    #[case(3_550, Judgement::Wait(TIERS[0]))]
    #[case(3_600, Judgement::Unknown)]
    fn who_waits_longer_is_looked_at_less_often(#[case] waited_s: u64, #[case] expected: Judgement) {
        assert_eq!(judge(None, Some(State::Delivered), after(waited_s)), expected);
    }

    #[test]
    fn a_word_of_a_newer_version_says_nothing() {
        assert_eq!(judge(Some(State::Sent), None, after(0)), Judgement::Meaningless);
    }

    proptest! {
        #[test]
        fn whatever_comes_the_states_told_follow_each_other_and_none_is_told_twice(
            said in prop::collection::vec(0usize..State::ALL.len(), 0..30)
        ) {
            let (mut known, mut told) = (State::Sent, Vec::new());
            for said in said {
                if let Judgement::Tell(state) = judge(Some(known), Some(State::ALL[said]), after(0)) {
                    prop_assert!(known.may_precede(state));
                    prop_assert!(!told.contains(&state), "{told:?}");
                    told.push(state);
                    known = state;
                }
            }
        }

        #[test]
        fn a_receipt_without_a_message_ends_and_not_before_its_time(longest_s in 1u64..100_000) {
            let (mut waited, longest) = (Duration::ZERO, Duration::from_secs(longest_s));
            for hops in 0.. {
                prop_assert!(hops < 10_500, "it ends");
                let now = Timestamp(0).plus(waited);
                let patience = Patience { since: Timestamp(0), now, longest, tiers: &TIERS };
                match judge(None, Some(State::Bounced), patience) {
                    Judgement::Wait(tier) => waited += tier,
                    other => {
                        prop_assert_eq!(other, Judgement::Unknown);
                        break;
                    }
                }
            }
            prop_assert!(waited >= longest && waited <= longest + TIERS[0]);
        }
    }
}
