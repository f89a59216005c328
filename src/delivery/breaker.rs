//! Whether a provider may be called: what a [`crate::channel::Verdict::Halt`], or a storm of refusals, opens.
//!
//! Closed → (Halt, or a storm) → Open → (pause over) → half open: one probe, then two, four, eight → Closed; a probe
//! that fails opens it again.
//!
//! Invariant: pure; `now` is an argument, on any clock that does not jump. Calls that began before it opened neither
//! close it nor open it a second time.

use std::time::Duration;

use crate::model::{Reason, Timestamp};

/// Probes at once in the last round before it closes.
const LAST_ROUND: u32 = 8;

/// The window of a storm is counted in so many slots.
const SLOTS: usize = 10;

/// What opens it besides a Halt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storm {
    /// Answers of so long count together.
    pub window: Duration,
    /// Of a hundred answers, so many refusals are a storm.
    pub share_percent: u32,
    /// Fewer answers than this are no storm, whatever they say.
    pub at_least: u32,
}

/// When it opens and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Between opening and the first probe.
    pub pause: Duration,
    /// Absent where an answer speaks of one recipient's endpoint and not of the provider.
    pub storm: Option<Storm>,
}

/// What a call came to, as far as it concerns the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It works: it took the message, or refused it for what it is.
    Well,
    /// Overloaded or broken: it may be a storm.
    Strained {
        /// Why.
        reason: Reason,
        /// How long it asks to be left alone.
        after: Option<Duration>,
    },
    /// It cannot be used.
    Halted(Reason),
}

/// A change worth telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Calls stop.
    Opened(Reason),
    /// A probe starts.
    HalfOpened,
    /// A probe failed: calls stop again.
    Reopened(Reason),
    /// Calls go on.
    Closed,
}

/// A call that tries whether the provider is back, and since which opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe(u32);

/// One provider's.
#[derive(Debug, Clone)]
pub struct Breaker {
    settings: Settings,
    state: State,
    window: Window,
    /// How often it opened: an answer to a probe of an earlier time proves nothing.
    openings: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Timestamp, reason: Reason },
    HalfOpen { reason: Reason, round: u32, under_way: u32, passed: u32 },
}

impl Breaker {
    /// A closed one.
    pub fn new(settings: Settings) -> Self {
        Breaker { settings, state: State::Closed, window: Window::default(), openings: 0 }
    }

    /// Whether a call may start at `now`.
    pub fn may_call(&self, now: Timestamp) -> bool {
        match self.state {
            State::Closed => true,
            State::Open { until, .. } => now >= until,
            State::HalfOpen { round, under_way, passed, .. } => under_way + passed < round,
        }
    }

    /// A call starts; says whether it is a probe, and what changed.
    pub fn depart(&mut self) -> (Option<Probe>, Option<Change>) {
        let probe = Some(Probe(self.openings));
        match &mut self.state {
            State::Closed => (None, None),
            State::HalfOpen { under_way, .. } => {
                *under_way += 1;
                (probe, None)
            }
            State::Open { reason, .. } => {
                self.state = State::HalfOpen { reason: *reason, round: 1, under_way: 1, passed: 0 };
                (probe, Some(Change::HalfOpened))
            }
        }
    }

    /// A call ended; `probe` is what [`Breaker::depart`] said of it.
    pub fn heard(&mut self, probe: Option<Probe>, heard: Heard, now: Timestamp) -> Option<Change> {
        match self.state {
            State::Closed => self.heard_while_closed(heard, now),
            State::HalfOpen { .. } if probe == Some(Probe(self.openings)) => self.heard_of_probe(heard, now),
            // It began before.
            State::Open { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// A probe was not made after all.
    pub fn unused(&mut self, probe: Probe) {
        if let State::HalfOpen { under_way, .. } = &mut self.state
            && probe == Probe(self.openings)
        {
            *under_way = under_way.saturating_sub(1);
        }
    }

    /// Whether calls are stopped at `now`, and none of those that try it is due.
    pub fn is_open(&self, now: Timestamp) -> bool {
        matches!(self.state, State::Open { until, .. } if now < until)
    }

    /// Whether nothing is wrong.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Why the provider is given up for now: from the moment it opens until a probe passes.
    pub fn halted_because(&self) -> Option<Reason> {
        match self.state {
            State::Open { reason, .. } | State::HalfOpen { reason, round: 1, .. } => Some(reason),
            State::Closed | State::HalfOpen { .. } => None,
        }
    }

    fn heard_while_closed(&mut self, heard: Heard, now: Timestamp) -> Option<Change> {
        let (reason, after) = match heard {
            Heard::Halted(reason) => (reason, None),
            Heard::Well => {
                self.window.count(self.settings.storm?, false, now);
                return None;
            }
            Heard::Strained { reason, after } => {
                let storm = self.settings.storm?;
                self.window.count(storm, true, now);
                if !self.window.is_storm(storm) {
                    return None;
                }
                (reason, after)
            }
        };
        self.open(reason, after, now);
        Some(Change::Opened(reason))
    }

    fn heard_of_probe(&mut self, heard: Heard, now: Timestamp) -> Option<Change> {
        let (reason, after) = match heard {
            Heard::Halted(reason) => (reason, None),
            Heard::Strained { reason, after } if self.settings.storm.is_some() => (reason, after),
            Heard::Well | Heard::Strained { .. } => return self.probe_passed(),
        };
        self.open(reason, after, now);
        Some(Change::Reopened(reason))
    }

    fn probe_passed(&mut self) -> Option<Change> {
        let State::HalfOpen { round, under_way, passed, .. } = &mut self.state else { return None };
        *under_way = under_way.saturating_sub(1);
        *passed += 1;
        if *passed < *round {
            return None;
        }
        if *round >= LAST_ROUND {
            self.state = State::Closed;
            return Some(Change::Closed);
        }
        *round *= 2;
        *passed = 0;
        None
    }

    fn open(&mut self, reason: Reason, after: Option<Duration>, now: Timestamp) {
        let pause = self.settings.pause.max(after.unwrap_or_default());
        self.state = State::Open { until: now.plus(pause), reason };
        self.window = Window::default();
        self.openings = self.openings.wrapping_add(1);
    }
}

/// Answers of the last while, in slots of a tenth of it.
#[derive(Debug, Clone, Default)]
struct Window {
    slots: [Slot; SLOTS],
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// Which tenth since the clock's zero.
    number: i64,
    all: u32,
    strained: u32,
}

impl Window {
    fn count(&mut self, storm: Storm, strained: bool, now: Timestamp) {
        let width = i64::try_from(storm.window.as_millis()).unwrap_or(i64::MAX) / SLOTS as i64;
        let number = now.0.div_euclid(width.max(1));
        for slot in &mut self.slots {
            if slot.number <= number - SLOTS as i64 {
                *slot = Slot::default();
            }
        }
        let place = usize::try_from(number.rem_euclid(SLOTS as i64)).unwrap_or(0);
        let slot = &mut self.slots[place];
        if slot.number != number {
            *slot = Slot { number, ..Slot::default() };
        }
        slot.all = slot.all.saturating_add(1);
        slot.strained = slot.strained.saturating_add(u32::from(strained));
    }

    fn is_storm(&self, storm: Storm) -> bool {
        let sum = |of: fn(&Slot) -> u32| self.slots.iter().map(|slot| u64::from(of(slot))).sum::<u64>();
        let (all, strained) = (sum(|slot| slot.all), sum(|slot| slot.strained));
        all >= u64::from(storm.at_least) && strained * 100 >= all * u64::from(storm.share_percent)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);
    const STORM: Storm = Storm { window: Duration::from_secs(10), share_percent: 50, at_least: 20 };
    const TOO_MANY: Heard = Heard::Strained { reason: Reason::RateLimited, after: None };

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000)
    }

    fn breaker() -> Breaker {
        Breaker::new(Settings { pause: PAUSE, storm: Some(STORM) })
    }

    /// Halted at 0.
    fn halted() -> Breaker {
        let mut breaker = breaker();
        let change = breaker.heard(None, Heard::Halted(Reason::BadCredentials), at(0));
        assert_eq!(change, Some(Change::Opened(Reason::BadCredentials)));
        breaker
    }

    #[test]
    fn a_halt_stops_calls_until_the_pause_is_over_and_then_lets_one_through() {
        let mut breaker = halted();
        assert!(!breaker.may_call(at(9)) && breaker.is_open(at(9)));
        assert!(breaker.may_call(at(10)) && !breaker.is_open(at(10)));
        assert_eq!(breaker.depart(), (Some(Probe(1)), Some(Change::HalfOpened)));
        assert!(!breaker.may_call(at(11)), "one probe only");
        assert_eq!(breaker.halted_because(), Some(Reason::BadCredentials));
    }

    #[test]
    fn probes_grow_from_round_to_round_until_it_closes() {
        let mut breaker = halted();
        for round in [1, 2, 4, 8] {
            for _ in 0..round {
                assert!(breaker.may_call(at(10)));
                assert!(breaker.depart().0.is_some());
            }
            assert!(!breaker.may_call(at(10)), "{round} at once");
            let changes: Vec<_> =
                (0..round).filter_map(|_| breaker.heard(Some(Probe(1)), Heard::Well, at(11))).collect();
            assert_eq!(changes, if round == 8 { vec![Change::Closed] } else { vec![] });
            assert_eq!(breaker.halted_because(), None, "it works again");
        }
        assert_eq!(breaker.depart(), (None, None));
    }

    #[test]
    fn a_probe_that_fails_opens_it_again_for_a_whole_pause() {
        let mut breaker = halted();
        breaker.depart();
        let change = breaker.heard(Some(Probe(1)), Heard::Halted(Reason::ConnectFailed), at(12));
        assert_eq!(change, Some(Change::Reopened(Reason::ConnectFailed)));
        assert!(!breaker.may_call(at(21)) && breaker.may_call(at(22)));
    }

    #[test]
    fn calls_begun_before_it_opened_neither_close_nor_prolong_it() {
        let mut breaker = halted();
        assert_eq!(breaker.heard(None, Heard::Well, at(1)), None);
        assert_eq!(breaker.heard(None, Heard::Halted(Reason::ProviderError), at(8)), None);
        assert!(breaker.may_call(at(10)));
        breaker.depart();
        assert_eq!(breaker.heard(None, TOO_MANY, at(10)), None);
        assert_eq!(breaker.heard(Some(Probe(1)), Heard::Well, at(11)), None);
        assert_eq!(breaker.halted_because(), None);
    }

    #[test]
    fn a_probe_that_needed_no_call_leaves_the_next_record_to_try() {
        let mut breaker = halted();
        let (probe, _) = breaker.depart();
        breaker.unused(probe.unwrap());
        assert!(breaker.may_call(at(11)));
    }

    #[test]
    fn a_probe_of_an_earlier_time_proves_nothing() {
        let mut breaker = halted();
        breaker.depart();
        breaker.heard(Some(Probe(1)), Heard::Well, at(10));
        let (early, late) = (breaker.depart().0, breaker.depart().0);
        breaker.heard(late, Heard::Halted(Reason::ConnectFailed), at(11));
        let (probe, _) = breaker.depart();
        assert_eq!(breaker.heard(early, Heard::Well, at(21)), None);
        assert_eq!(breaker.halted_because(), Some(Reason::ConnectFailed));
        breaker.heard(probe, Heard::Well, at(21));
        assert_eq!(breaker.halted_because(), None);
    }

    #[test]
    fn a_storm_opens_it_once() {
        let mut breaker = breaker();
        let changes: Vec<_> = (0..200).filter_map(|_| breaker.heard(None, TOO_MANY, at(1))).collect();
        assert_eq!(changes, [Change::Opened(Reason::RateLimited)]);
        assert!(!breaker.may_call(at(10)) && breaker.may_call(at(11)));
    }

    #[test]
    fn it_stays_open_as_long_as_the_provider_asks() {
        let mut breaker = breaker();
        let asks = Heard::Strained { reason: Reason::RateLimited, after: Some(Duration::from_secs(120)) };
        for _ in 0..20 {
            breaker.heard(None, asks, at(0));
        }
        assert!(!breaker.may_call(at(119)) && breaker.may_call(at(120)));
    }

    #[test]
    fn a_few_refusals_among_many_answers_or_over_a_long_time_are_no_storm() {
        let mut breaker = breaker();
        for answer in 0..1_000 {
            let heard = if answer % 3 == 0 { TOO_MANY } else { Heard::Well };
            assert_eq!(breaker.heard(None, heard, Timestamp(answer * 10)), None, "a third: {answer}");
        }
        for seconds in 100..200 {
            assert_eq!(breaker.heard(None, TOO_MANY, at(seconds)), None, "ten in a window: {seconds}");
        }
    }

    #[test]
    fn where_answers_speak_of_one_endpoint_there_is_no_storm() {
        let mut breaker = Breaker::new(Settings { pause: PAUSE, storm: None });
        assert!((0..1_000).all(|_| breaker.heard(None, TOO_MANY, at(0)).is_none()));
        assert!(breaker.may_call(at(0)));
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Depart,
        End(usize, u8),
        Wait(i64),
    }

    proptest! {
        #[test]
        fn it_never_stays_shut_and_never_lets_more_than_a_round_through(
            steps in prop::collection::vec(prop_oneof![
                3 => Just(Step::Depart),
                3 => (any::<usize>(), 0u8..4).prop_map(|(call, came)| Step::End(call, came)),
                1 => (0i64..15_000).prop_map(Step::Wait),
            ], 1..400)
        ) {
            let (mut breaker, mut now, mut calls) = (breaker(), Timestamp(0), Vec::new());
            let mut open = false;
            for step in steps {
                match step {
                    Step::Depart if breaker.may_call(now) => calls.push(breaker.depart().0),
                    Step::End(call, came) if !calls.is_empty() => {
                        let probe = calls.swap_remove(call % calls.len());
                        let heard = match came {
                            0 => Heard::Halted(Reason::ConnectFailed),
                            1 => TOO_MANY,
                            _ => Heard::Well,
                        };
                        match breaker.heard(probe, heard, now) {
                            Some(Change::Opened(_)) => { prop_assert!(!open); open = true; }
                            Some(Change::Closed) => { prop_assert!(open); open = false; }
                            _ => {}
                        }
                    }
                    Step::Wait(ms) => now = Timestamp(now.0 + ms),
                    Step::Depart | Step::End(..) => {}
                }
                if matches!(breaker.state, State::HalfOpen { .. }) {
                    let State::HalfOpen { round, under_way, passed, .. } = breaker.state else { unreachable!() };
                    prop_assert!(under_way + passed <= round);
                }
                if calls.is_empty() {
                    prop_assert!(breaker.may_call(now.plus(PAUSE)), "nobody would ever try again");
                }
            }
        }
    }
}
