//! When a waiting record may be handled, and what has become of the notification meanwhile.
//!
//! Invariant: pure. Nothing is handled before its tier's delay is over nor before its `notify-not-before-ms`, whatever
//! the wall clock does: how long a record has waited is fixed at first sight by whichever clock says less, and grows
//! with the steady clock alone from then on.

use std::time::Duration;

use crate::decide::{Circumstances, EndpointAnswer, Recipient, Subject, decide_endpoint};
use crate::kafka::OwnedRecord;
use crate::model::{Channel, Endpoint, Outbound, Policy, Reason, Timestamp};
use crate::wire::TierHeaders;

use super::retry::RunLimits;

/// A decision of the router is taken as it is for so long; an older one is made anew, because the recipient may have
/// changed their mind while the record waited in its topic.
const DECISION_HOLDS: Duration = Duration::from_secs(60);

/// Both clocks, read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// May jump.
    pub wall: Timestamp,
    /// Never jumps.
    pub steady: Timestamp,
}

/// The head of a tier's partition, held until it is due. A tier's delay is the same for all its records, so none
/// behind the head is due before it.
#[derive(Debug)]
pub struct Held {
    record: OwnedRecord,
    delay: Duration,
    sighted: Timestamp,
    age_when_sighted: Duration,
}

impl Held {
    /// Holds a record that was just read from a tier of this delay (LogAppendTime).
    pub fn new(record: OwnedRecord, delay: Duration, now: Now) -> Self {
        let written = Timestamp(record.timestamp_ms);
        let age_when_sighted = now.wall.min(now.steady).since(written);
        Held { record, delay, sighted: now.steady, age_when_sighted }
    }

    /// Whether the tier's delay is over.
    pub fn is_due(&self, now: Now) -> bool {
        self.age(now) >= self.delay
    }

    /// How much longer it has to wait than its tier let it; zero when it may be handled.
    pub fn remaining(&self, not_before: Option<Timestamp>, now: Now) -> Duration {
        let Some(not_before) = not_before else { return Duration::ZERO };
        let asked_for = not_before.since(Timestamp(self.record.timestamp_ms));
        let by_age = asked_for.saturating_sub(self.age(now));
        // The writer's clock may run ahead of the broker's: its date holds too, by either of our clocks.
        let by_date = not_before.since(now.wall).min(not_before.since(now.steady));
        by_age.max(by_date)
    }

    /// The record.
    pub fn record(&self) -> &OwnedRecord {
        &self.record
    }

    /// The record, to be handled.
    pub fn into_record(self) -> OwnedRecord {
        self.record
    }

    fn age(&self, now: Now) -> Duration {
        self.age_when_sighted.saturating_add(now.steady.since(self.sighted))
    }
}

/// What is to be done with a record whose turn has come.
#[derive(Debug, Clone, PartialEq)]
pub enum Judgement<'p> {
    /// Call the provider.
    Call,
    /// Too late.
    Expired,
    /// Not wanted any more.
    Cancelled(Reason),
    /// Its address is gone; these took its place.
    Superseded(Vec<&'p Endpoint<'p>>),
    /// Not now: wait until then.
    Wait {
        /// Why.
        reason: Reason,
        /// When to ask again.
        until: Timestamp,
    },
    /// It is of another channel than its topic.
    Misplaced,
}

/// What the judgement needs to know about the record besides its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The topic's channel.
    pub channel: Channel,
    /// It waited in a tier.
    pub waited: bool,
    /// When a redrive opened its run.
    pub run_started: Option<Timestamp>,
}

impl Turn {
    /// The turn of a record with these headers; `waited` when it comes from a tier.
    pub fn of(channel: Channel, waited: bool, headers: &TierHeaders, record: &OwnedRecord) -> Self {
        let first_written = headers.original.as_ref().map_or(Timestamp(record.timestamp_ms), |origin| origin.timestamp);
        Turn { channel, waited, run_started: (headers.run > 0).then_some(first_written) }
    }

    /// Whether the chain is asked again: always after a wait or a redrive, when the decision is old, for what stands in
    /// for another notification, and for the inbox, where what is written stays: nothing may come there once an erase has
    /// emptied it.
    pub fn needs_decision(&self, outbound: &Outbound<'_>, now: Timestamp) -> bool {
        let stays = self.channel == Channel::Inbox;
        let stands_in = outbound.fallback_of.is_some();
        stays
            || stands_in
            || self.waited
            || self.run_started.is_some()
            || now.since(outbound.decided_at) > DECISION_HOLDS
    }

    /// What bounds the run.
    pub fn limits(&self, outbound: &Outbound<'_>, policy: &Policy) -> RunLimits {
        RunLimits::of(&Subject::of_outbound(outbound, self.run_started), policy)
    }

    /// Judges a record whose turn has come; `recipient` is asked for only when the chain is.
    pub fn judge<'p>(
        &self,
        outbound: &Outbound<'_>,
        policy: &Policy,
        recipient: impl FnOnce() -> Recipient<'p>,
        at: &Circumstances<'_>,
    ) -> Judgement<'p> {
        if outbound.channel.known() != Some(self.channel) {
            return Judgement::Misplaced;
        }
        if !self.needs_decision(outbound, at.now) {
            let expired = self.limits(outbound, policy).expired(at.now);
            return if expired { Judgement::Expired } else { Judgement::Call };
        }
        match decide_endpoint(outbound, self.run_started, policy, recipient(), at) {
            EndpointAnswer::Send => Judgement::Call,
            EndpointAnswer::AddressChanged { endpoints } => Judgement::Superseded(endpoints),
            EndpointAnswer::Cancel { reason, .. } => Judgement::Cancelled(reason),
            EndpointAnswer::Expired => Judgement::Expired,
            EndpointAnswer::Wait { reason, until } => Judgement::Wait { reason, until },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::decide::Zones;
    use crate::delivery::samples;
    use crate::model::{CategoryPolicy, Ordering, Preferences};

    const DELAY: Duration = Duration::from_secs(10);

    fn now(wall: i64, steady: i64) -> Now {
        Now { wall: Timestamp(wall), steady: Timestamp(steady) }
    }

    fn held(written: i64, wall: i64, steady: i64) -> Held {
        let record = OwnedRecord { timestamp_ms: written, ..samples::record("t.retry.10s", 0, 0) };
        Held::new(record, DELAY, now(wall, steady))
    }

    #[rstest]
    #[case::read_at_once(held(0, 0, 0), now(9_999, 9_999), false)]
    #[case::the_delay_is_over(held(0, 0, 0), now(10_000, 10_000), true)]
    #[case::it_waited_while_nobody_ran(held(0, 60_000, 60_000), now(60_000, 60_000), true)]
    #[case::the_wall_jumps_forward_while_held(held(0, 0, 0), now(3_600_000, 9_999), false)]
    #[case::the_wall_had_jumped_forward_before_sight(held(0, 3_600_000, 100), now(3_600_000, 9_899), false)]
    #[case::the_wall_had_jumped_back(held(-3_600_000, -3_600_000, 0), now(-3_590_001, 9_999), false)]
    #[case::the_wall_had_jumped_back_and_it_waited(held(-3_600_000, -3_600_000, 0), now(-3_590_000, 10_000), true)]
    #[case::the_broker_is_ahead(held(5_000, 0, 0), now(10_000, 10_000), true)]
    fn a_head_is_due(#[case] held: Held, #[case] now: Now, #[case] due: bool) {
        assert_eq!(held.is_due(now), due);
    }

    #[rstest]
    #[case::no_date(None, 10_000, 10_000, 0)]
    #[case::the_date_is_reached(Some(10_000), 10_000, 10_000, 0)]
    #[case::it_hops(Some(30_000), 10_000, 10_000, 20_000)]
    #[case::a_jump_of_the_wall_makes_nothing_early(Some(30_000), 3_600_000, 10_000, 20_000)]
    #[case::a_wall_set_back_for_good_holds_nothing(Some(10_000), -3_590_000, 10_000, 0)]
    fn what_remains_after_the_tier(
        #[case] not_before: Option<i64>,
        #[case] wall: i64,
        #[case] steady: i64,
        #[case] remaining_ms: u64,
    ) {
        let remaining = held(0, 0, 0).remaining(not_before.map(Timestamp), now(wall, steady));
        assert_eq!(remaining, Duration::from_millis(remaining_ms));
    }

    proptest! {
        #[test]
        fn nothing_is_ever_early(
            read_after in 0i64..60_000, waits in 0i64..60_000, jump in -7_200_000i64..7_200_000, jump_at in 0i64..60_000,
        ) {
            // True time starts at 0, when the record is written by a broker on the same clock as this process; the
            // wall jumps once, at any moment after the writing, and the process reads the record at `read_after`.
            let at = |time: i64| now(if time >= jump_at { time + jump } else { time }, time);
            let record = OwnedRecord { timestamp_ms: 0, ..samples::record("t.retry.10s", 0, 0) };
            let held = Held::new(record, DELAY, at(read_after));
            let time = read_after + waits;
            if held.is_due(at(time)) {
                prop_assert!(time >= 10_000);
            }
            if waits >= 10_000 {
                prop_assert!(held.is_due(at(time)), "late by no more than the delay after it was read");
            }
            let remaining = held.remaining(Some(Timestamp(25_000)), at(time));
            if remaining.is_zero() {
                prop_assert!(time >= 25_000);
            }
        }
    }

    fn policy() -> Policy {
        let shipping = CategoryPolicy {
            allowed: vec![Channel::Email],
            default: vec![Channel::Email],
            mandatory: false,
            max_age: Duration::from_secs(24 * 60 * 60),
            template: "order".to_owned(),
            templates: BTreeMap::new(),
            ordering: Ordering::Relaxed,
            max_attempts: 5,
            fallback: Vec::new(),
        };
        Policy { version: "v".to_owned(), categories: BTreeMap::from([("orders".to_owned(), shipping)]), default: None }
    }

    fn endpoint(address: &'static str) -> Endpoint<'static> {
        Endpoint { channel: Channel::Email.into(), address, verified: true, label: None }
    }

    fn preferences(endpoints: Vec<Endpoint<'static>>) -> Preferences<'static> {
        Preferences {
            tenant: "default",
            user_id: "ada",
            locale: "en",
            timezone: "UTC",
            endpoints,
            channels: Default::default(),
            categories: Default::default(),
            quiet_hours: Vec::new(),
            paused_until: None,
            version: 1,
            updated_at: Timestamp(0),
            updated_by: "test",
        }
    }

    /// The sample's event happened, and was decided, at 1,000,000 s.
    const DECIDED_MS: i64 = 1_000_000_000;

    fn turn(waited: bool) -> Turn {
        Turn { channel: Channel::Email, waited, run_started: None }
    }

    fn judge(turn: Turn, preferences: &Preferences<'_>, after_s: i64) -> String {
        let zones = Zones::bundled();
        let at = Circumstances::new(Timestamp(DECIDED_MS + after_s * 1_000), &zones);
        format!("{:?}", turn.judge(&samples::outbound(), &policy(), || Recipient::Known(preferences), &at))
    }

    #[test]
    fn a_fresh_first_attempt_is_made_without_asking_again() {
        let nowhere = preferences(Vec::new());
        assert_eq!(judge(turn(false), &nowhere, 1), "Call");
    }

    #[test]
    fn a_decision_that_grew_old_in_the_topic_is_made_anew() {
        assert_eq!(judge(turn(false), &preferences(Vec::new()), 61), "Cancelled(NoEndpoint)");
    }

    #[test]
    fn what_comes_into_the_inbox_stays_and_is_decided_anew_however_fresh_the_decision() {
        let (outbound, just_now) = (samples::outbound(), Timestamp(DECIDED_MS + 1));
        assert!(Turn { channel: Channel::Inbox, ..turn(false) }.needs_decision(&outbound, just_now));
        assert!(!turn(false).needs_decision(&outbound, just_now));
    }

    #[test]
    fn the_same_address_is_sent_to_after_a_wait() {
        assert_eq!(judge(turn(true), &preferences(vec![endpoint("ada@example.org")]), 10), "Call");
    }

    #[test]
    fn another_address_supersedes_the_old_one() {
        let moved = preferences(vec![endpoint("ada@new.example.org")]);
        assert!(judge(turn(true), &moved, 10).starts_with("Superseded"));
    }

    #[test]
    fn a_pause_makes_it_wait() {
        let mut paused = preferences(vec![endpoint("ada@example.org")]);
        paused.paused_until = Some(Timestamp(DECIDED_MS + 3_600_000));
        assert_eq!(judge(turn(true), &paused, 10), "Wait { reason: Paused, until: Timestamp(1003600000) }");
    }

    #[rstest]
    #[case::first_attempt(turn(false))]
    #[case::after_a_wait(turn(true))]
    fn what_is_too_old_expires(#[case] turn: Turn) {
        assert_eq!(judge(turn, &preferences(vec![endpoint("ada@example.org")]), 24 * 3_600 + 1), "Expired");
    }

    #[test]
    fn age_counts_from_the_redrive() {
        let redriven = Turn { run_started: Some(Timestamp(DECIDED_MS + 100_000_000)), ..turn(false) };
        assert_eq!(judge(redriven, &preferences(vec![endpoint("ada@example.org")]), 100_001), "Call");
    }

    #[test]
    fn a_record_of_another_channel_is_not_sent() {
        let misplaced = Turn { channel: Channel::Webhook, ..turn(false) };
        assert_eq!(judge(misplaced, &preferences(Vec::new()), 1), "Misplaced");
    }
}
