//! What holds for every recipient, category and moment.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::decide::EndpointAnswer;
use crate::decide::decide_endpoint;
use crate::decide::fixtures::{outbound, policy};

const ADDRESSES: [&str; 4] = ["one", "two", "three", "four"];
const ZONES: [&str; 5] = ["", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"];
const WEEKDAYS: [&str; 7] = ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];
const SOME_CHANNELS: [Open<'static, Channel>; 5] = [
    Open::Known(Channel::Email),
    Open::Known(Channel::Telegram),
    Open::Known(Channel::Webhook),
    Open::Known(Channel::Sms),
    Open::Other("fax"),
];

/// `HH:MM` of every minute of a day.
static CLOCK: LazyLock<Vec<String>> =
    LazyLock::new(|| (0..1_440).map(|minute| format!("{:02}:{:02}", minute / 60, minute % 60)).collect());

#[derive(Debug, Clone)]
struct World {
    category: CategoryPolicy,
    preferences: Preferences<'static>,
    channels: Option<Vec<Open<'static, Channel>>>,
    not_before: Option<Timestamp>,
    suppressed: Vec<&'static str>,
    now: Timestamp,
}

impl World {
    fn subject(&self) -> Subject<'_> {
        let channels = self.channels.as_deref();
        Subject { category: "orders", age_from: self.now, expires_at: None, not_before: self.not_before, channels }
    }

    fn decide_at(&self, now: Timestamp) -> Vec<Conclusion<'_>> {
        let suppressed = |_: Channel, address: &str| self.suppressed.contains(&address);
        let at = Circumstances { now, zones: zones(), suppressed: &suppressed };
        let mut out = Conclusions::new();
        decide_recipient(&self.subject(), &self.category, Recipient::Known(&self.preferences), &at, &mut out);
        out.to_vec()
    }

    fn decide(&self) -> Vec<Conclusion<'_>> {
        self.decide_at(self.now)
    }
}

fn channels() -> impl Strategy<Value = Vec<Open<'static, Channel>>> {
    prop::sample::subsequence(SOME_CHANNELS.to_vec(), 0..=SOME_CHANNELS.len())
}

fn known_channels() -> impl Strategy<Value = Vec<Channel>> {
    channels().prop_map(|channels| channels.into_iter().filter_map(Open::known).collect())
}

fn endpoint() -> impl Strategy<Value = Endpoint<'static>> {
    (prop::sample::select(&SOME_CHANNELS[..]), prop::sample::select(&ADDRESSES[..]), prop::bool::weighted(0.7))
        .prop_map(|(channel, address, verified)| Endpoint { channel, address, verified, label: None })
}

fn quiet_hours() -> impl Strategy<Value = QuietHours<'static>> {
    (prop::sample::subsequence(WEEKDAYS.to_vec(), 0..=7), 0..1_440_usize, 0..1_440_usize)
        .prop_map(|(days, from, to)| QuietHours { days, from: &CLOCK[from], to: &CLOCK[to] })
}

fn preferences(now: Timestamp) -> impl Strategy<Value = Preferences<'static>> {
    let choice = (prop::bool::weighted(0.8), prop::option::weighted(0.3, channels()));
    let choice = choice.prop_map(|(enabled, channels)| CategoryChoice { enabled, channels, digest: None });
    (
        prop::sample::select(&ZONES[..]),
        prop::collection::vec(endpoint(), 0..6),
        prop::collection::vec((prop::sample::select(vec!["email", "telegram", "fax"]), any::<bool>()), 0..3),
        prop::option::of(choice),
        prop::collection::vec(quiet_hours(), 0..3),
        prop::option::weighted(0.2, -86_400_000..86_400_000_i64),
    )
        .prop_map(move |(timezone, endpoints, channels, choice, quiet_hours, pause)| Preferences {
            timezone,
            endpoints,
            channels: SmallMap(channels),
            categories: SmallMap(choice.map(|choice| ("orders", choice)).into_iter().collect()),
            quiet_hours,
            paused_until: pause.map(|by| Timestamp(now.0 + by)),
            ..ada()
        })
}

fn world() -> impl Strategy<Value = World> {
    // 2020 to 2034.
    (1_577_836_800_000..2_019_686_400_000_i64).prop_map(Timestamp).prop_flat_map(|now| {
        (
            (known_channels(), known_channels(), prop::bool::weighted(0.3)),
            preferences(now),
            prop::option::weighted(0.3, channels()),
            prop::option::weighted(0.2, -86_400_000..86_400_000_i64),
            prop::sample::subsequence(ADDRESSES.to_vec(), 0..2),
        )
            .prop_map(move |((allowed, default, mandatory), preferences, channels, due, suppressed)| World {
                category: CategoryPolicy { allowed, default, mandatory, ..category() },
                preferences,
                channels,
                not_before: due.map(|by| Timestamp(now.0 + by)),
                suppressed,
                now,
            })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn who_opted_out_gets_nothing_that_is_not_mandatory(mut world in world()) {
        world.category.mandatory = false;
        world.preferences.categories =
            SmallMap(vec![("orders", CategoryChoice { enabled: false, channels: None, digest: None })]);
        prop_assert!(world.decide().iter().all(|one| one.verdict == Verdict::Suppressed));
    }

    #[test]
    fn an_opted_out_channel_gets_nothing_that_is_not_mandatory(mut world in world()) {
        world.category.mandatory = false;
        world.preferences.channels = SmallMap(vec![("email", false)]);
        let email = |one: &&Conclusion<'_>| one.channel == Some(Channel::Email);
        prop_assert!(world.decide().iter().filter(email).all(|one| one.reason == Reason::OptedOutChannel));
    }

    #[test]
    fn every_routed_endpoint_is_verified_allowed_asked_for_and_used_once(world in world()) {
        let mut used = Vec::new();
        for one in world.decide().iter().filter(|one| one.verdict == Verdict::Routed) {
            let (Some(channel), Some(endpoint)) = (one.channel, one.endpoint) else { panic!("routed nowhere") };
            prop_assert!(endpoint.verified && endpoint.channel == Open::Known(channel));
            prop_assert!(world.preferences.endpoints.contains(endpoint));
            prop_assert!(world.category.allowed.contains(&channel));
            prop_assert!(world.channels.as_ref().is_none_or(|asked| asked.contains(&Open::Known(channel))));
            prop_assert!(!world.suppressed.contains(&endpoint.address));
            prop_assert!(!used.contains(&(channel, endpoint.address)));
            used.push((channel, endpoint.address));
        }
    }

    #[test]
    fn the_same_question_gets_the_same_answer_and_there_is_always_one(world in world()) {
        prop_assert!(!world.decide().is_empty());
        prop_assert_eq!(world.decide(), world.decide());
    }

    #[test]
    fn a_deferral_is_the_last_one_for_its_reason(world in world()) {
        for one in world.decide().iter().filter(|one| one.verdict == Verdict::Deferred) {
            let until = one.until.expect("a deferral says until when");
            prop_assert!(until > world.now && one.endpoint.is_some() && !world.category.mandatory);
            // Quiet without an end is looked at again after eight days.
            let endless = until.since(world.now) >= 7 * 24 * HOUR;
            let then = world.decide_at(until);
            prop_assert!(endless || then.iter().all(|one| one.verdict != Verdict::Deferred));
        }
    }

    #[test]
    fn timing_changes_when_but_never_whether(world in world()) {
        let awake = World {
            preferences: Preferences { quiet_hours: vec![], paused_until: None, ..world.preferences.clone() },
            not_before: None,
            ..world.clone()
        };
        let sent = |conclusions: Vec<Conclusion<'_>>| -> Vec<String> {
            let kept = conclusions.into_iter().filter(|one| one.verdict != Verdict::Suppressed);
            kept.map(|one| format!("{:?}", one.endpoint)).collect()
        };
        prop_assert_eq!(sent(world.decide()), sent(awake.decide()));
    }

    #[test]
    fn deciding_anew_at_the_same_moment_changes_nothing(world in world()) {
        let mut policy = policy();
        policy.categories.insert("orders".to_owned(), world.category.clone());
        let suppressed = |_: Channel, address: &str| world.suppressed.contains(&address);
        let at = Circumstances { now: world.now, zones: zones(), suppressed: &suppressed };
        for one in world.decide() {
            let (Some(channel), Some(endpoint)) = (one.channel, one.endpoint) else { continue };
            let mut outbound = outbound(channel, endpoint.address);
            (outbound.event_time, outbound.not_before) = (world.now, world.not_before);
            let answer = decide_endpoint(&outbound, None, &policy, Recipient::Known(&world.preferences), &at);
            let expected = match (one.verdict, one.until) {
                (Verdict::Routed, _) => EndpointAnswer::Send,
                (_, Some(until)) => EndpointAnswer::Wait { reason: one.reason, until },
                _ => EndpointAnswer::Cancel { reason: one.reason, rule: one.rule },
            };
            prop_assert_eq!(answer, expected);
        }
    }
}
