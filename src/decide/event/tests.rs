use rstest::rstest;

use super::*;
use crate::decide::fixtures::{HOUR, NOW, event, policy};
use crate::model::{Channel, Priority};

const TOPIC: &str = "notify.events.shop";

/// Ways in which an event can be wrong, in the order in which the chain asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    NoId,
    NoCategory,
    UnknownCategory,
    TooManyRecipients,
    Audience,
    NoRecipients,
    NamelessRecipient,
    UnknownChannel,
    DataNotAnObject,
    TenantNotAllowed,
    TooOld,
}

impl Fault {
    const ALL: [Fault; 11] = [
        Fault::NoId,
        Fault::NoCategory,
        Fault::UnknownCategory,
        Fault::TooManyRecipients,
        Fault::Audience,
        Fault::NoRecipients,
        Fault::NamelessRecipient,
        Fault::UnknownChannel,
        Fault::DataNotAnObject,
        Fault::TenantNotAllowed,
        Fault::TooOld,
    ];

    fn put_into(self, event: &mut Event<'_>) {
        match self {
            Fault::NoId => event.id = "",
            Fault::NoCategory => event.category = "",
            Fault::UnknownCategory => event.category = "orderz",
            Fault::TooManyRecipients => event.recipients = vec!["ada"; MAX_RECIPIENTS + 1],
            Fault::Audience => event.audience = Some("everyone"),
            Fault::NoRecipients => event.recipients.clear(),
            Fault::NamelessRecipient => event.recipients.push(""),
            Fault::UnknownChannel => event.channels = Some(vec![Channel::Email.into(), Open::Other("fax")]),
            Fault::DataNotAnObject => event.data = "[1]",
            Fault::TenantNotAllowed => event.tenant = "evil",
            Fault::TooOld => event.time = NOW.minus(25 * HOUR),
        }
    }

    /// Verdict, reason, rule, and whether it also becomes a dead letter.
    fn answer(self) -> (Verdict, Reason, Rule, bool) {
        let rejected = |reason, dlq| (Verdict::Rejected, reason, Rule::Valid, dlq);
        match self {
            Fault::NoId | Fault::NamelessRecipient => rejected(Reason::InvalidEvent, true),
            Fault::NoCategory => rejected(Reason::NoCategory, true),
            Fault::UnknownCategory => rejected(Reason::UnknownCategory, true),
            Fault::TooManyRecipients => rejected(Reason::TooManyRecipients, true),
            Fault::Audience => rejected(Reason::Unsupported, false),
            Fault::NoRecipients => rejected(Reason::NoRecipients, true),
            Fault::UnknownChannel => rejected(Reason::UnknownChannel, true),
            Fault::DataNotAnObject => rejected(Reason::InvalidData, true),
            Fault::TenantNotAllowed => rejected(Reason::NotAllowed, false),
            Fault::TooOld => (Verdict::Suppressed, Reason::Expired, Rule::Expiry, false),
        }
    }
}

fn acme_only() -> SourceRule {
    SourceRule {
        topics: vec!["notify.events.*".to_owned()],
        tenants: vec!["acme".to_owned()],
        categories: Vec::new(),
        max_priority: Priority::Critical,
    }
}

fn judged(event: &Event<'_>) -> Option<(Verdict, Reason, Rule, bool)> {
    let judged = judge_event(event, TOPIC, &[acme_only()], &policy(), NOW).map(drop);
    judged.err().map(|no| (no.verdict, no.reason, no.rule, no.goes_to_dlq()))
}

#[test]
fn an_event_without_a_fault_goes_on_under_the_rules_of_its_category() {
    let policy = policy();
    assert_eq!(judge_event(&event(), TOPIC, &[acme_only()], &policy, NOW), Ok(&policy.categories["orders"]));
}

#[test]
fn each_fault_has_its_answer_and_of_two_the_earlier_one_is_named() {
    for first in Fault::ALL {
        for second in Fault::ALL.into_iter().filter(|second| first <= *second) {
            let mut event = event();
            second.put_into(&mut event);
            first.put_into(&mut event);
            assert_eq!(judged(&event), Some(first.answer()), "{first:?} before {second:?}");
        }
    }
}

#[rstest]
#[case::source(|event: &mut Event<'_>| event.source = "")]
#[case::kind(|event: &mut Event<'_>| event.kind = "")]
#[case::tenant(|event: &mut Event<'_>| event.tenant = "")]
fn an_event_must_say_who_speaks_of_what(#[case] spoil: fn(&mut Event<'_>)) {
    let mut event = event();
    spoil(&mut event);
    assert_eq!(judged(&event), Some((Verdict::Rejected, Reason::InvalidEvent, Rule::Valid, true)));
}

#[rstest]
#[case::empty("", true)]
#[case::object("{}", true)]
#[case::blanks_around(" \n{\"a\": [1, {\"b\": null}]} ", true)]
#[case::blank("  ", false)]
#[case::array("[]", false)]
#[case::number("1", false)]
#[case::text("\"{}\"", false)]
#[case::cut_short("{\"a\": 1", false)]
#[case::more_behind("{} {}", false)]
#[case::no_quotes("{a: 1}", false)]
fn data_is_a_json_object_or_empty(#[case] data: &'static str, #[case] taken: bool) {
    let mut event = event();
    event.data = data;
    assert_eq!(judged(&event).is_none(), taken);
}

#[test]
fn a_thousand_recipients_are_taken_and_an_unknown_category_has_the_default_rules_where_there_are_some() {
    let mut policy = policy();
    policy.default = Some(policy.categories["orders"].clone());
    let event = Event { recipients: vec!["ada"; MAX_RECIPIENTS], category: "gardening", ..event() };
    assert!(judge_event(&event, TOPIC, &[], &policy, NOW).is_ok());
}

#[rstest]
#[case::nothing_said(vec![], true)]
#[case::all_allowed(vec![acme_only()], true)]
#[case::other_topic(vec![SourceRule { topics: vec!["notify.events.bank".into()], ..acme_only() }], false)]
#[case::other_tenant(vec![SourceRule { tenants: vec!["globex".into()], ..acme_only() }], false)]
#[case::any_tenant(vec![SourceRule { tenants: vec![], ..acme_only() }], true)]
#[case::other_category(vec![SourceRule { categories: vec!["security".into()], ..acme_only() }], false)]
#[case::its_category(vec![SourceRule { categories: vec!["security".into(), "orders".into()], ..acme_only() }], true)]
#[case::priority_too_high(vec![SourceRule { max_priority: Priority::Low, ..acme_only() }], false)]
#[case::priority_just_allowed(vec![SourceRule { max_priority: Priority::Normal, ..acme_only() }], true)]
#[case::the_second_entry_allows(vec![SourceRule { tenants: vec!["globex".into()], ..acme_only() }, acme_only()], true)]
#[case::no_one_entry_allows_all(
    vec![
        SourceRule { tenants: vec!["globex".into()], ..acme_only() },
        SourceRule { categories: vec!["security".into()], ..acme_only() },
    ],
    false
)]
fn a_source_may_say_what_one_entry_allows_as_a_whole(#[case] sources: Vec<SourceRule>, #[case] allowed: bool) {
    let policy = policy();
    let judged = judge_event(&event(), TOPIC, &sources, &policy, NOW);
    assert_eq!(judged.map(drop).map_err(|no| no.reason), if allowed { Ok(()) } else { Err(Reason::NotAllowed) });
}

#[rstest]
#[case::as_old_as_allowed(NOW.minus(24 * HOUR), None, None, false)]
#[case::a_moment_older(Timestamp(NOW.minus(24 * HOUR).0 - 1), None, None, true)]
#[case::expires_now(NOW, None, Some(NOW), true)]
#[case::expires_in_a_moment(NOW, None, Some(Timestamp(NOW.0 + 1)), false)]
#[case::from_the_future(NOW.plus(1_000_000 * HOUR), None, None, false)]
#[case::from_the_end_of_time(Timestamp(i64::MAX), None, None, false)]
#[case::from_the_beginning_of_time(Timestamp(i64::MIN), None, None, true)]
#[case::due_long_after_it_happened(NOW.minus(72 * HOUR), Some(NOW.minus(HOUR)), None, false)]
#[case::due_and_then_too_old(NOW.minus(72 * HOUR), Some(NOW.minus(25 * HOUR)), None, true)]
#[case::not_due_yet(NOW.minus(72 * HOUR), Some(NOW.plus(HOUR)), None, false)]
#[case::expires_before_it_is_due(NOW, Some(NOW.plus(2 * HOUR)), Some(NOW.plus(HOUR)), false)]
fn age_counts_from_when_an_event_happened_or_was_due(
    #[case] time: Timestamp,
    #[case] not_before: Option<Timestamp>,
    #[case] expires_at: Option<Timestamp>,
    #[case] expired: bool,
) {
    let event = Event { time, not_before, expires_at, ..event() };
    let reason = judged(&event).map(|(_, reason, _, _)| reason);
    assert_eq!(reason, expired.then_some(Reason::Expired));
}
