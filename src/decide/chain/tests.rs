use rstest::rstest;

use super::*;
use crate::decide::fixtures::{HOUR, NOW, ada, at, category, endpoint, mandatory, zones};
use crate::model::{CategoryChoice, QuietHours, SmallMap};

mod properties;

/// One question to the chain, with all that can be changed about it. The category goes by e-mail alone, so that each
/// reason shows itself once.
struct Case<'a> {
    category: CategoryPolicy,
    subject: Subject<'a>,
    preferences: Preferences<'a>,
    choice: CategoryChoice<'a>,
    stranger: Option<Recipient<'a>>,
    suppressed: bool,
}

impl Case<'_> {
    fn new(mut category: CategoryPolicy) -> Self {
        category.default = vec![Channel::Email];
        let subject = Subject { category: "orders", age_from: NOW, expires_at: None, not_before: None, channels: None };
        let choice = CategoryChoice { enabled: true, channels: None, digest: None };
        Case { category, subject, preferences: ada(), choice, stranger: None, suppressed: false }
    }

    /// The conclusions as (channel, has an endpoint, verdict, reason, rule, until).
    fn decide(mut self) -> Vec<Told> {
        self.preferences.categories = SmallMap(vec![("orders", self.choice)]);
        let recipient = self.stranger.unwrap_or(Recipient::Known(&self.preferences));
        let suppressed = |_: Channel, _: &str| self.suppressed;
        let at = Circumstances { now: NOW, zones: zones(), suppressed: &suppressed };
        let mut out = Conclusions::new();
        decide_recipient(&self.subject, &self.category, recipient, &at, &mut out);
        out.iter().map(told).collect()
    }
}

type Told = (Option<Channel>, bool, Verdict, Reason, u8, Option<Timestamp>);

fn told(conclusion: &Conclusion<'_>) -> Told {
    let Conclusion { channel, endpoint, verdict, reason, rule, until } = *conclusion;
    (channel, endpoint.is_some(), verdict, reason, rule as u8, until)
}

/// What can stand against a notification, in the order of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Obstacle {
    InGrace,
    NoChannel,
    OptedOutOfCategory,
    OptedOutOfChannel,
    NoEndpoint,
    Unverified,
    Suppressed,
    Paused,
    Quiet,
    NotBefore,
}

impl Obstacle {
    const ALL: [Obstacle; 10] = [
        Obstacle::InGrace,
        Obstacle::NoChannel,
        Obstacle::OptedOutOfCategory,
        Obstacle::OptedOutOfChannel,
        Obstacle::NoEndpoint,
        Obstacle::Unverified,
        Obstacle::Suppressed,
        Obstacle::Paused,
        Obstacle::Quiet,
        Obstacle::NotBefore,
    ];

    fn put_into(self, case: &mut Case<'_>) {
        match self {
            Obstacle::InGrace => case.stranger = Some(Recipient::Unknown { grace_until: NOW.plus(HOUR) }),
            Obstacle::NoChannel => case.subject.channels = Some(&[Open::Known(Channel::Sms)]),
            Obstacle::OptedOutOfCategory => case.choice.enabled = false,
            Obstacle::OptedOutOfChannel => case.preferences.channels = SmallMap(vec![("email", false)]),
            Obstacle::NoEndpoint => case.preferences.endpoints.retain(|one| one.channel != Channel::Email.into()),
            Obstacle::Unverified => case.preferences.endpoints.iter_mut().for_each(|one| one.verified = false),
            Obstacle::Suppressed => case.suppressed = true,
            Obstacle::Paused => case.preferences.paused_until = Some(NOW.plus(HOUR)),
            // 12:00 UTC is 13:00 in Berlin.
            Obstacle::Quiet => {
                case.preferences.quiet_hours = vec![QuietHours { days: vec![], from: "12:00", to: "14:00" }];
            }
            Obstacle::NotBefore => case.subject.not_before = Some(NOW.plus(HOUR)),
        }
    }

    fn answer(self) -> Told {
        use {Reason as R, Verdict as V};
        let (email, later) = (Some(Channel::Email), Some(NOW.plus(HOUR)));
        match self {
            Obstacle::InGrace => (None, false, V::Deferred, R::UnknownRecipient, 4, later),
            Obstacle::NoChannel => (None, false, V::Suppressed, R::NoChannel, 5, None),
            Obstacle::OptedOutOfCategory => (None, false, V::Suppressed, R::OptedOutCategory, 7, None),
            Obstacle::OptedOutOfChannel => (email, false, V::Suppressed, R::OptedOutChannel, 7, None),
            Obstacle::NoEndpoint => (email, false, V::Suppressed, R::NoEndpoint, 8, None),
            Obstacle::Unverified => (email, true, V::Suppressed, R::EndpointUnverified, 8, None),
            Obstacle::Suppressed => (email, true, V::Suppressed, R::AddressSuppressed, 9, None),
            Obstacle::Paused => (email, true, V::Deferred, R::Paused, 10, later),
            Obstacle::Quiet => (email, true, V::Deferred, R::QuietHours, 10, later),
            Obstacle::NotBefore => (email, true, V::Deferred, R::NotBefore, 10, later),
        }
    }

    /// A mandatory category does not look at it.
    fn is_the_recipients_choice(self) -> bool {
        use Obstacle::{NotBefore, OptedOutOfCategory, OptedOutOfChannel, Paused, Quiet};
        matches!(self, OptedOutOfCategory | OptedOutOfChannel | Paused | Quiet | NotBefore)
    }
}

const ROUTED: Told = (Some(Channel::Email), true, Verdict::Routed, Reason::Routed, 13, None);

#[test]
fn what_nothing_stands_against_is_routed() {
    assert_eq!(Case::new(category()).decide(), [ROUTED]);
    assert_eq!(Case::new(mandatory()).decide(), [ROUTED]);
}

#[test]
fn each_obstacle_has_its_answer_and_of_two_the_earlier_one_is_named() {
    for first in Obstacle::ALL {
        for second in Obstacle::ALL.into_iter().filter(|second| first <= *second) {
            let mut case = Case::new(category());
            second.put_into(&mut case);
            first.put_into(&mut case);
            assert_eq!(case.decide(), [first.answer()], "{first:?} before {second:?}");
        }
    }
}

#[test]
fn a_mandatory_category_passes_over_the_recipients_wishes_and_over_nothing_else() {
    for first in Obstacle::ALL {
        for second in Obstacle::ALL.into_iter().filter(|second| first <= *second) {
            let mut case = Case::new(mandatory());
            second.put_into(&mut case);
            first.put_into(&mut case);
            let stands = [first, second].into_iter().find(|obstacle| !obstacle.is_the_recipients_choice());
            assert_eq!(case.decide(), [stands.map_or(ROUTED, Obstacle::answer)], "{first:?}, {second:?}");
        }
    }
}

#[rstest]
#[case::erased(Recipient::Erased, Reason::Erased)]
#[case::not_decodable(Recipient::Invalid, Reason::InvalidPreferences)]
#[case::grace_over(Recipient::Unknown { grace_until: NOW }, Reason::UnknownRecipient)]
fn to_whom_is_not_known_nothing_is_sent(
    #[case] stranger: Recipient<'static>,
    #[case] reason: Reason,
    #[values(category(), mandatory())] category: CategoryPolicy,
) {
    let case = Case { stranger: Some(stranger), ..Case::new(category) };
    assert_eq!(case.decide(), [(None, false, Verdict::Suppressed, reason, 4, None)]);
}

#[rstest]
fn preferences_that_cannot_be_used_get_nothing_sent(#[values(category(), mandatory())] category: CategoryPolicy) {
    let mut case = Case::new(category);
    case.preferences.timezone = "Mars/Olympus";
    assert_eq!(case.decide(), [(None, false, Verdict::Suppressed, Reason::InvalidPreferences, 4, None)]);
}

/// The channels that come out, whatever becomes of them.
fn channels_of(case: Case<'_>) -> Vec<&'static str> {
    case.decide().iter().filter_map(|told| told.0).map(Channel::as_str).collect()
}

const NO_CHANNEL: &[Open<'_, Channel>] = &[];
const SMS_TOO: &[Open<'_, Channel>] = &[Open::Known(Channel::Sms), Open::Known(Channel::Webhook)];

#[rstest]
#[case::policys_default(None, None, &["email"])]
#[case::the_recipient_chose_another(Some(vec![Channel::Telegram.into()]), None, &["telegram"])]
#[case::the_recipient_chose_more(Some(vec![Channel::Webhook.into(), Channel::Email.into()]), None, &["email", "webhook"])]
#[case::the_policy_does_not_allow_it(Some(vec![Channel::Sms.into(), Channel::Email.into()]), None, &["email"])]
#[case::a_newer_versions_channel(Some(vec![Open::Other("fax"), Channel::Email.into()]), None, &["email"])]
#[case::the_recipient_chose_none(Some(vec![]), None, &[])]
#[case::the_event_restricts(Some(vec![Channel::Webhook.into(), Channel::Email.into()]), Some(SMS_TOO), &["webhook"])]
#[case::the_event_does_not_extend(None, Some(SMS_TOO), &[])]
#[case::the_event_allows_none(None, Some(NO_CHANNEL), &[])]
fn channels_are_what_recipient_policy_and_event_agree_on(
    #[case] chosen: Option<Vec<Open<'static, Channel>>>,
    #[case] asked: Option<&'static [Open<'static, Channel>]>,
    #[case] expected: &[&str],
) {
    let mut case = Case::new(category());
    case.choice.channels = chosen;
    case.subject.channels = asked;
    assert_eq!(channels_of(case), expected);
}

#[test]
fn a_mandatory_category_goes_by_the_policys_channels_whatever_the_recipient_chose() {
    let mut case = Case::new(mandatory());
    case.choice.channels = Some(vec![Channel::Telegram.into()]);
    assert_eq!(channels_of(case), ["email"]);
}

#[test]
fn every_verified_endpoint_of_a_channel_is_used_once_and_the_others_are_named() {
    let mut case = Case::new(category());
    case.preferences.endpoints = vec![
        endpoint(Channel::Email, "a@example.org", false),
        endpoint(Channel::Email, "b@example.org", true),
        endpoint(Channel::Email, "a@example.org", true),
        endpoint(Channel::Email, "c@example.org", false),
        endpoint(Channel::Email, "b@example.org", false),
    ];
    let unverified = (ROUTED.0, true, Verdict::Suppressed, Reason::EndpointUnverified, 8, None);
    assert_eq!(case.decide(), [ROUTED, ROUTED, unverified]);
}

#[test]
fn one_channel_that_is_opted_out_of_leaves_the_others() {
    let mut case = Case::new(category());
    case.category.default = vec![Channel::Telegram, Channel::Email];
    case.preferences.channels = SmallMap(vec![("email", false), ("telegram", true)]);
    let answers: Vec<_> = case.decide().into_iter().map(|told| (told.0, told.3)).collect();
    let expected = [(Some(Channel::Email), Reason::OptedOutChannel), (Some(Channel::Telegram), Reason::Routed)];
    assert_eq!(answers, expected);
}

#[test]
fn one_suppressed_address_leaves_the_others() {
    let preferences = Preferences {
        endpoints: vec![endpoint(Channel::Email, "a@x", true), endpoint(Channel::Email, "b@x", true)],
        ..ada()
    };
    let suppressed = |channel: Channel, address: &str| channel == Channel::Email && address == "a@x";
    let at = Circumstances { now: NOW, zones: zones(), suppressed: &suppressed };
    let case = Case::new(category());
    let mut out = Conclusions::new();
    decide_recipient(&case.subject, &case.category, Recipient::Known(&preferences), &at, &mut out);
    let answers: Vec<_> = out.iter().map(|one| (one.endpoint.map(|endpoint| endpoint.address), one.reason)).collect();
    assert_eq!(answers, [(Some("a@x"), Reason::AddressSuppressed), (Some("b@x"), Reason::Routed)]);
}

/// Berlin is an hour ahead of UTC on that day: the clock reads 13:00.
#[rstest]
#[case::pause_ends_in_quiet_hours(Some("2026-03-10T21:30:00Z"), &[("22:00", "07:00")], None, Reason::Paused, "2026-03-11T06:00:00Z")]
#[case::pause_outlasts_quiet_hours(Some("2026-03-10T15:00:00Z"), &[("12:00", "14:00")], None, Reason::Paused, "2026-03-10T15:00:00Z")]
#[case::due_in_quiet_hours(None, &[("22:00", "07:00")], Some("2026-03-10T23:00:00Z"), Reason::NotBefore, "2026-03-11T06:00:00Z")]
#[case::due_after_quiet_hours(None, &[("12:00", "14:00")], Some("2026-03-10T17:00:00Z"), Reason::QuietHours, "2026-03-10T17:00:00Z")]
#[case::quiet_now_and_when_due(None, &[("12:00", "14:00"), ("17:00", "19:00")], Some("2026-03-10T17:00:00Z"), Reason::QuietHours, "2026-03-10T18:00:00Z")]
#[case::due_before_the_pause_ends(Some("2026-03-10T15:00:00Z"), &[], Some("2026-03-10T14:00:00Z"), Reason::Paused, "2026-03-10T15:00:00Z")]
#[case::due_after_the_pause_ends(Some("2026-03-10T15:00:00Z"), &[], Some("2026-03-10T16:00:00Z"), Reason::Paused, "2026-03-10T16:00:00Z")]
fn a_deferral_lasts_until_nothing_of_it_holds_any_more(
    #[case] paused_until: Option<&str>,
    #[case] quiet: &[(&'static str, &'static str)],
    #[case] not_before: Option<&str>,
    #[case] reason: Reason,
    #[case] until: &str,
) {
    let mut case = Case::new(category());
    case.preferences.paused_until = paused_until.map(at);
    case.preferences.quiet_hours = quiet.iter().map(|(from, to)| QuietHours { days: vec![], from, to }).collect();
    case.subject.not_before = not_before.map(at);
    assert_eq!(case.decide(), [(ROUTED.0, true, Verdict::Deferred, reason, 10, Some(at(until)))]);
}

#[rstest]
#[case::pause_over(Some(NOW), None)]
#[case::due_now(None, Some(NOW))]
fn what_ends_now_holds_nothing_back(#[case] paused_until: Option<Timestamp>, #[case] not_before: Option<Timestamp>) {
    let mut case = Case::new(category());
    case.preferences.paused_until = paused_until;
    case.subject.not_before = not_before;
    assert_eq!(case.decide(), [ROUTED]);
}

#[test]
fn a_pause_without_end_breaks_nothing() {
    let mut case = Case::new(category());
    case.preferences.paused_until = Some(Timestamp(i64::MAX));
    case.preferences.quiet_hours = vec![QuietHours { days: vec![], from: "22:00", to: "07:00" }];
    let [(_, _, Verdict::Deferred, Reason::Paused, 10, Some(until))] = case.decide()[..] else { panic!("not paused") };
    assert!(until > NOW);
}
