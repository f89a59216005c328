//! Fallback chains: whether what follows a notification is written, now, later or not at all.
//!
//! Invariant: pure. What follows is written at most once, whatever is said in whatever order and however often; never
//! because time is up before it is, and never once the notification was delivered or seen.

use std::time::Duration;

use super::judge::Patience;
use crate::model::{Reason, State, Timestamp, UNSEEN, choose_tier};

/// What is said of a notification that something follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It was delivered, shown, read or complained about: somebody has it.
    Reached(State),
    /// It came back.
    CameBack,
    /// Time is up: nothing more is waited for.
    TimeUp,
    /// Delivery gave it up before any provider took it, in this state; what follows comes along.
    GivenUp(State),
}

impl Said {
    /// What a receipt's word says; `None` when it says nothing here.
    pub fn of(word: &str) -> Option<Self> {
        if word == UNSEEN {
            return Some(Said::TimeUp);
        }
        match word.parse().ok()? {
            state @ (State::Delivered | State::Complained) => Some(Said::Reached(state)),
            State::Bounced => Some(Said::CameBack),
            state @ (State::Failed | State::Dead | State::Expired | State::Cancelled) => Some(Said::GivenUp(state)),
            State::Sent | State::Retrying | State::Waiting => None,
        }
    }
}

/// What is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its state, by its own entry.
    pub state: State,
    /// Something still may follow.
    pub pending: bool,
    /// What its provider's receipts said, by the entry of the provider's message id; SENT when there is none.
    pub by_provider: State,
}

/// Why what follows is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// Time was up.
    Unseen,
    /// It came back.
    Bounced,
    /// Delivery gave it up.
    GivenUp(State),
}

impl Because {
    /// A word for logs and the metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Because::Unseen => "unseen",
            Because::Bounced => "bounced",
            Because::GivenUp(State::Failed) => "failed",
            Because::GivenUp(State::Dead) => "dead",
            Because::GivenUp(State::Expired) => "expired",
            Because::GivenUp(_) => "cancelled",
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// What follows is written, and nothing more may.
    GoOn(Because),
    /// It is in this state now, and nothing follows any more.
    Close(State),
    /// It is in this state now, which changes nothing else: what follows was written or not needed before.
    Note(State),
    /// Nothing new.
    Nothing,
    /// Not yet: look again after this tier's delay.
    Wait(Duration),
    /// It was not known for as long as receipts wait.
    Unknown,
}

/// How long a notification's time still is: by whichever clock says less, so that neither a wall clock that is or jumps
/// ahead, nor one that was ahead when the process began, makes anything early.
pub fn remaining(due: Option<Timestamp>, wall: Timestamp, steady: Timestamp) -> Duration {
    due.map_or(Duration::ZERO, |due| due.since(wall.min(steady)))
}

/// Judges what is said of a notification.
pub fn step(known: Option<Known>, said: Said, remaining: Duration, patience: Patience<'_>) -> Step {
    match (said, known) {
        (Said::TimeUp, _) if !remaining.is_zero() => Step::Wait(choose_tier(patience.tiers, remaining)),
        // Said once, by the transaction that gave it up; nothing else is ever said of it.
        (Said::GivenUp(state), None) => Step::GoOn(Because::GivenUp(state)),
        (Said::GivenUp(_), Some(_)) => Step::Nothing,
        (_, None) => patience.wait().map_or(Step::Unknown, Step::Wait),
        (Said::TimeUp, Some(known)) if known.pending => match known.by_provider {
            State::Bounced => Step::GoOn(Because::Bounced),
            State::Sent => Step::GoOn(Because::Unseen),
            reached => Step::Close(reached),
        },
        (Said::TimeUp, Some(_)) => Step::Nothing,
        (Said::CameBack, Some(known)) if known.pending => Step::GoOn(Because::Bounced),
        (Said::Reached(state), Some(known)) if known.pending => Step::Close(state),
        (Said::CameBack, Some(known)) => note(known.state, State::Bounced),
        (Said::Reached(state), Some(known)) => note(known.state, state),
    }
}

fn note(known: State, said: State) -> Step {
    if known.may_precede(said) { Step::Note(said) } else { Step::Nothing }
}

/// Why a notification is in a state, where its own id was named: by the app, and not by a provider.
pub const fn reason(state: State) -> Reason {
    match state {
        State::Complained => Reason::Complained,
        State::Bounced => Reason::Bounced,
        _ => Reason::Seen,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const TIERS: [Duration; 3] = [Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(600)];

    fn patience(waited: Duration) -> Patience<'static> {
        let since = Timestamp(0);
        Patience { since, now: since.plus(waited), longest: Duration::from_secs(3_600), tiers: &TIERS }
    }

    const PENDING: Known = Known { state: State::Sent, pending: true, by_provider: State::Sent };
    const OVER: Known = Known { pending: false, ..PENDING };

    #[rstest]
    #[case::unseen(Some(PENDING), Said::TimeUp, Step::GoOn(Because::Unseen))]
    #[case::seen_in_time(Some(PENDING), Said::Reached(State::Delivered), Step::Close(State::Delivered))]
    #[case::complained_about(Some(PENDING), Said::Reached(State::Complained), Step::Close(State::Complained))]
    #[case::came_back(Some(PENDING), Said::CameBack, Step::GoOn(Because::Bounced))]
    #[case::time_is_up_after_it_was_seen(Some(OVER), Said::TimeUp, Step::Nothing)]
    #[case::came_back_after_time_was_up(Some(OVER), Said::CameBack, Step::Note(State::Bounced))]
    #[case::seen_after_time_was_up(Some(OVER), Said::Reached(State::Delivered), Step::Note(State::Delivered))]
    #[case::seen_twice(
        Some(Known { state: State::Delivered, ..OVER }), Said::Reached(State::Delivered), Step::Nothing
    )]
    #[case::the_provider_said_so_and_its_word_is_under_way(
        Some(Known { by_provider: State::Delivered, ..PENDING }), Said::TimeUp, Step::Close(State::Delivered)
    )]
    #[case::the_provider_said_it_came_back(
        Some(Known { by_provider: State::Bounced, ..PENDING }), Said::TimeUp, Step::GoOn(Because::Bounced)
    )]
    #[case::failed(None, Said::GivenUp(State::Failed), Step::GoOn(Because::GivenUp(State::Failed)))]
    #[case::dead(None, Said::GivenUp(State::Dead), Step::GoOn(Because::GivenUp(State::Dead)))]
    #[case::seen_before_its_sent(None, Said::Reached(State::Delivered), Step::Wait(TIERS[0]))]
    #[case::time_is_up_before_the_table_has_it(None, Said::TimeUp, Step::Wait(TIERS[0]))]
    fn what_is_said_comes_to(#[case] known: Option<Known>, #[case] said: Said, #[case] expected: Step) {
        assert_eq!(step(known, said, Duration::ZERO, patience(Duration::ZERO)), expected);
    }

    #[rstest]
    #[case(300, TIERS[1])]
    #[case(60, TIERS[1])]
    #[case(59, TIERS[0])]
    #[case(1, TIERS[0])]
    fn while_time_is_left_it_waits_on(#[case] left_s: u64, #[case] tier: Duration) {
        for known in [None, Some(PENDING), Some(OVER)] {
            let left = Duration::from_secs(left_s);
            assert_eq!(step(known, Said::TimeUp, left, patience(Duration::ZERO)), Step::Wait(tier));
        }
    }

    #[test]
    fn what_is_said_of_nobody_ends() {
        let said = Said::Reached(State::Delivered);
        assert_eq!(step(None, said, Duration::ZERO, patience(Duration::from_secs(3_600))), Step::Unknown);
    }

    #[rstest]
    #[case::both_agree(100, 100, 0)]
    #[case::not_yet(99, 99, 1)]
    #[case::the_wall_jumped_ahead(3_600, 99, 1)]
    #[case::the_wall_was_ahead_at_the_start_and_was_set_right(99, 3_600, 1)]
    fn no_clock_that_is_ahead_makes_it_early(#[case] wall_s: i64, #[case] steady_s: i64, #[case] left_s: u64) {
        let at = |seconds: i64| Timestamp(seconds * 1_000);
        assert_eq!(remaining(Some(at(100)), at(wall_s), at(steady_s)), Duration::from_secs(left_s));
    }

    /// What a worker keeps of a notification that was sent at 0 and has until 300 s.
    struct Kept {
        known: Known,
        wrote: Vec<Because>,
    }

    impl Kept {
        fn hears(&mut self, said: Said, at_s: u64) {
            let now = Timestamp(0).plus(Duration::from_secs(at_s));
            let left = remaining(Some(Timestamp(300_000)), now, now);
            match step(Some(self.known), said, left, patience(Duration::ZERO)) {
                Step::GoOn(because) => {
                    self.known.pending = false;
                    self.wrote.push(because);
                }
                Step::Close(state) => self.known = Known { state, pending: false, ..self.known },
                Step::Note(state) => self.known.state = state,
                Step::Nothing | Step::Wait(_) => {}
                Step::Unknown => panic!("it is known"),
            }
        }
    }

    fn heard() -> impl Strategy<Value = (Said, u64)> {
        let said = prop_oneof![
            Just(Said::TimeUp),
            Just(Said::CameBack),
            Just(Said::Reached(State::Delivered)),
            Just(Said::Reached(State::Complained)),
        ];
        (said, 0u64..600)
    }

    proptest! {
        /// The oracle is a sentence: it follows if the first that counts is a bounce, or time that is up.
        #[test]
        fn in_whatever_order_and_however_often_things_are_said_it_follows_once_or_not_at_all(
            mut story in prop::collection::vec(heard(), 0..20),
        ) {
            story.sort_by_key(|(_, at)| *at);
            let mut kept = Kept { known: PENDING, wrote: Vec::new() };
            for (said, at) in &story {
                kept.hears(*said, *at);
            }
            let counts = |(said, at): &&(Said, u64)| *said != Said::TimeUp || *at >= 300;
            let expected: Vec<Because> = match story.iter().find(counts) {
                Some((Said::TimeUp, _)) => vec![Because::Unseen],
                Some((Said::CameBack, _)) => vec![Because::Bounced],
                _ => Vec::new(),
            };
            prop_assert_eq!(kept.wrote, expected);
        }

        #[test]
        fn waiting_in_tiers_ends_in_time_and_never_early(wait_ms in 0u64..10_000_000) {
            let due = Timestamp(0).plus(Duration::from_millis(wait_ms));
            let mut now = Timestamp(0);
            while let Step::Wait(tier) =
                step(Some(PENDING), Said::TimeUp, remaining(Some(due), now, now), patience(Duration::ZERO))
            {
                now = now.plus(tier);
            }
            prop_assert!(now >= due && now.since(due) < TIERS[0]);
        }
    }
}
