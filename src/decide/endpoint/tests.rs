use rstest::rstest;

use super::*;
use crate::decide::fixtures::{HOUR, NOW, ada, endpoint, outbound, policy, zones};
use crate::model::{CategoryChoice, Channel, Open, Preferences, QuietHours, SmallMap};

const OLD: &str = "ada@example.org";

fn asked<'a>(outbound: &Outbound<'_>, preferences: &'a Preferences<'a>) -> EndpointAnswer<'a> {
    decide_endpoint(outbound, None, &policy(), Recipient::Known(preferences), &Circumstances::new(NOW, zones()))
}

fn waiting() -> Outbound<'static> {
    outbound(Channel::Email, OLD)
}

fn cancel(reason: Reason, rule: Rule) -> EndpointAnswer<'static> {
    EndpointAnswer::Cancel { reason, rule }
}

/// Ada with these e-mail endpoints and her Telegram.
fn ada_at(emails: &[(&'static str, bool)]) -> Preferences<'static> {
    let emails = emails.iter().map(|(address, verified)| endpoint(Channel::Email, address, *verified));
    Preferences { endpoints: emails.chain([endpoint(Channel::Telegram, "1815", true)]).collect(), ..ada() }
}

fn addresses(answer: EndpointAnswer<'_>) -> Vec<&str> {
    match answer {
        EndpointAnswer::AddressChanged { endpoints } => endpoints.iter().map(|endpoint| endpoint.address).collect(),
        other => panic!("the address did not change: {other:?}"),
    }
}

#[test]
fn what_did_not_change_is_sent() {
    assert_eq!(asked(&waiting(), &ada()), EndpointAnswer::Send);
}

#[test]
fn who_opted_out_meanwhile_gets_nothing() {
    let out = CategoryChoice { enabled: false, channels: None, digest: None };
    let preferences = Preferences { categories: SmallMap(vec![("orders", out)]), ..ada() };
    assert_eq!(asked(&waiting(), &preferences), cancel(Reason::OptedOutCategory, Rule::OptOut));

    let preferences = Preferences { channels: SmallMap(vec![("email", false)]), ..ada() };
    assert_eq!(asked(&waiting(), &preferences), cancel(Reason::OptedOutChannel, Rule::OptOut));

    let telegram = CategoryChoice { enabled: true, channels: Some(vec![Open::Known(Channel::Telegram)]), digest: None };
    let preferences = Preferences { categories: SmallMap(vec![("orders", telegram)]), ..ada() };
    assert_eq!(asked(&waiting(), &preferences), cancel(Reason::NoChannel, Rule::Candidates));
}

#[rstest]
#[case::erased(Recipient::Erased, cancel(Reason::Erased, Rule::Recipient))]
#[case::unusable(Recipient::Invalid, cancel(Reason::InvalidPreferences, Rule::Recipient))]
#[case::gone(Recipient::Unknown { grace_until: NOW }, cancel(Reason::UnknownRecipient, Rule::Recipient))]
#[case::not_yet_seen(
    Recipient::Unknown { grace_until: NOW.plus(HOUR) },
    EndpointAnswer::Wait { reason: Reason::UnknownRecipient, until: NOW.plus(HOUR) }
)]
fn without_preferences_nothing_is_sent(#[case] recipient: Recipient<'static>, #[case] answer: EndpointAnswer<'static>) {
    let at = Circumstances::new(NOW, zones());
    assert_eq!(decide_endpoint(&waiting(), None, &policy(), recipient, &at), answer);
}

#[test]
fn a_category_that_the_policy_dropped_is_cancelled() {
    let mut outbound = waiting();
    outbound.category = "gardening";
    assert_eq!(asked(&outbound, &ada()), cancel(Reason::UnknownCategory, Rule::Valid));
}

#[test]
fn a_suppressed_address_is_cancelled_and_an_unverified_one_too() {
    let preferences = ada();
    let at = Circumstances { suppressed: &|_, address| address == OLD, ..Circumstances::new(NOW, zones()) };
    let answer = decide_endpoint(&waiting(), None, &policy(), Recipient::Known(&preferences), &at);
    assert_eq!(answer, cancel(Reason::AddressSuppressed, Rule::Suppression));

    assert_eq!(asked(&waiting(), &ada_at(&[(OLD, false)])), cancel(Reason::EndpointUnverified, Rule::Endpoint));
}

#[test]
fn still_quiet_waits_on_unless_the_category_is_mandatory() {
    let quiet = QuietHours { days: vec![], from: "12:00", to: "14:00" };
    let preferences = Preferences { quiet_hours: vec![quiet], ..ada() };
    let wait = EndpointAnswer::Wait { reason: Reason::QuietHours, until: NOW.plus(HOUR) };
    assert_eq!(asked(&waiting(), &preferences), wait);

    let mut outbound = waiting();
    outbound.category = "security";
    assert_eq!(asked(&outbound, &preferences), EndpointAnswer::Send);
}

#[rstest]
#[case::by_date(None, Some(NOW), None, true)]
#[case::by_age(Some(NOW.minus(25 * HOUR)), None, None, true)]
#[case::by_age_but_redriven(Some(NOW.minus(25 * HOUR)), None, Some(NOW.minus(HOUR)), false)]
#[case::by_age_in_an_old_run(Some(NOW.minus(250 * HOUR)), None, Some(NOW.minus(25 * HOUR)), true)]
#[case::by_date_although_redriven(None, Some(NOW), Some(NOW), true)]
#[case::neither(None, None, None, false)]
fn what_is_too_late_expires(
    #[case] happened: Option<Timestamp>,
    #[case] expires_at: Option<Timestamp>,
    #[case] run_started: Option<Timestamp>,
    #[case] expired: bool,
) {
    let mut outbound = waiting();
    outbound.event_time = happened.unwrap_or(outbound.event_time);
    outbound.expires_at = expires_at;
    let preferences = ada();
    let at = Circumstances::new(NOW, zones());
    let answer = decide_endpoint(&outbound, run_started, &policy(), Recipient::Known(&preferences), &at);
    assert_eq!(answer, if expired { EndpointAnswer::Expired } else { EndpointAnswer::Send });
}

#[test]
fn what_was_scheduled_ages_from_when_it_was_due() {
    let mut outbound = waiting();
    outbound.event_time = NOW.minus(250 * HOUR);
    outbound.not_before = Some(NOW.minus(HOUR));
    assert_eq!(asked(&outbound, &ada()), EndpointAnswer::Send);
}

#[test]
fn an_address_that_changed_is_superseded_by_the_new_ones() {
    let preferences = ada_at(&[("lovelace@example.org", true), ("new@example.org", false), ("countess@x", true)]);
    assert_eq!(addresses(asked(&waiting(), &preferences)), ["lovelace@example.org", "countess@x"]);
}

#[test]
fn an_address_that_has_a_notification_of_its_own_gets_no_second_one() {
    let sibling = |address| endpoint_hash("acme", "ada", "email", address);
    let outbound = Outbound { siblings: vec![sibling("work@example.org")], ..waiting() };

    let both = ada_at(&[("work@example.org", true), ("lovelace@example.org", true)]);
    assert_eq!(addresses(asked(&outbound, &both)), ["lovelace@example.org"]);

    let removed = ada_at(&[("work@example.org", true)]);
    assert_eq!(asked(&outbound, &removed), cancel(Reason::Superseded, Rule::Endpoint));
}

#[test]
fn a_removed_address_without_another_is_cancelled() {
    assert_eq!(asked(&waiting(), &ada_at(&[])), cancel(Reason::NoEndpoint, Rule::Endpoint));
}

#[test]
fn a_new_address_waits_for_quiet_hours_but_not_for_its_verification() {
    let quiet = QuietHours { days: vec![], from: "12:00", to: "14:00" };
    let emails = [("unproven@example.org", false), ("lovelace@example.org", true)];
    let preferences = Preferences { quiet_hours: vec![quiet], ..ada_at(&emails) };
    let wait = EndpointAnswer::Wait { reason: Reason::QuietHours, until: NOW.plus(HOUR) };
    assert_eq!(asked(&waiting(), &preferences), wait);

    let unproven = ada_at(&emails[..1]);
    assert_eq!(asked(&waiting(), &unproven), cancel(Reason::EndpointUnverified, Rule::Endpoint));
}
