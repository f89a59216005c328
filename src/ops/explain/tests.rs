use std::path::PathBuf;
use std::sync::LazyLock;

use super::*;
use crate::decide::{Circumstances, Conclusions, Recipient, Subject, decide_recipient};
use crate::model::{CategoryChoice, Channel, Endpoint, QuietHours, SmallMap, Timestamp, Verdict, endpoint_hash};
use crate::policy::from_files;

static ZONES: LazyLock<Zones> = LazyLock::new(Zones::bundled);

const PLACE: PreferencesRef = PreferencesRef { partition: 3, offset: 42, version: 7 };

fn at(rfc3339: &str) -> Timestamp {
    rfc3339.parse::<jiff::Timestamp>().unwrap().into()
}

fn policy() -> Policy {
    let text = r#"
        [categories.marketing]
        allowed = ["email", "telegram"]
        default = ["email"]
        max_age = "2d"

        [categories.security]
        allowed = ["email", "telegram"]
        default = ["telegram"]
        mandatory = true
    "#;
    from_files(&[(PathBuf::from("test.toml"), text.to_owned())]).unwrap()
}

fn endpoint(channel: Channel, address: &'static str, verified: bool) -> Endpoint<'static> {
    Endpoint { channel: Open::Known(channel), address, verified, label: None }
}

fn ada() -> Preferences<'static> {
    Preferences {
        tenant: "acme",
        user_id: "ada",
        locale: "en",
        timezone: "Europe/Berlin",
        endpoints: vec![
            endpoint(Channel::Telegram, "1815", true),
            endpoint(Channel::Email, "ada@example.org", false),
            endpoint(Channel::Email, "lovelace@example.org", true),
        ],
        channels: SmallMap::default(),
        categories: SmallMap::default(),
        quiet_hours: Vec::new(),
        paused_until: None,
        version: 7,
        updated_at: Timestamp(0),
        updated_by: "test",
    }
}

fn decision<'a>(category: &'a str, outcomes: Vec<DecisionOutcome<'a>>) -> Decision<'a> {
    Decision {
        event_id: "e-1",
        source: "shop/marketing",
        kind: "newsletter.issue",
        tenant: "acme",
        category,
        event_time: at("2026-03-10T21:58:00Z"),
        decided_at: at("2026-03-10T22:00:00Z"),
        policy_version: "033e0b21",
        replay_id: None,
        outcomes,
    }
}

/// What the chain concludes for `record`, as the router records it.
fn decided<'a>(category: &'a str, record: &'a Preferences<'a>) -> Decision<'a> {
    let policy = policy();
    let mut decision = decision(category, Vec::new());
    let subject =
        Subject { category, age_from: decision.event_time, expires_at: None, not_before: None, channels: None };
    let circumstances = Circumstances::new(decision.decided_at, &ZONES);
    let mut conclusions = Conclusions::new();
    let rules = policy.category(category).unwrap();
    decide_recipient(&subject, rules, Recipient::Known(record), &circumstances, &mut conclusions);
    decision.outcomes = conclusions
        .iter()
        .map(|one| DecisionOutcome {
            user_id: record.user_id,
            channel: one.channel.map(Open::Known),
            endpoint_hash: one.endpoint.map(|endpoint| {
                endpoint_hash(record.tenant, record.user_id, endpoint.channel.as_str(), endpoint.address)
            }),
            verdict: one.verdict.into(),
            reason: one.reason.into(),
            rule: one.rule.number(),
            preferences: Some(PLACE),
            notification_id: None,
            until: one.until,
        })
        .collect();
    decision
}

fn explained(category: &str, record: &Preferences<'_>) -> String {
    let policy = policy();
    let records = [(PLACE, record.clone())];
    let evidence = Evidence { preferences: &records, suppressions: &[], policy: Some(&policy), zones: &ZONES };
    explain(&decided(category, record), &evidence).to_string()
}

fn event_judged(category: &'static str, verdict: Verdict, reason: Reason, rule: Rule) -> Decision<'static> {
    let outcome = DecisionOutcome {
        user_id: "",
        channel: None,
        endpoint_hash: None,
        verdict: verdict.into(),
        reason: reason.into(),
        rule: rule.number(),
        preferences: None,
        notification_id: None,
        until: None,
    };
    decision(category, vec![outcome])
}

#[test]
fn an_opt_out_is_shown_with_its_setting_and_where_it_stands() {
    let out = CategoryChoice { enabled: false, channels: None, digest: None };
    let record = Preferences { categories: SmallMap(vec![("marketing", out)]), ..ada() };
    insta::assert_snapshot!(explained("marketing", &record));
}

#[test]
fn what_was_sent_and_what_was_not_are_told_apart_by_endpoint() {
    insta::assert_snapshot!(explained("marketing", &ada()));
}

#[test]
fn quiet_hours_are_shown_on_the_recipients_clock() {
    let night = QuietHours { days: vec!["TUE", "WED"], from: "22:30", to: "07:00" };
    let noon = QuietHours { days: vec![], from: "12:00", to: "13:00" };
    insta::assert_snapshot!(explained("marketing", &Preferences { quiet_hours: vec![noon, night], ..ada() }));
}

#[test]
fn a_mandatory_category_says_so() {
    let record = Preferences { paused_until: Some(at("2027-01-01T00:00:00Z")), ..ada() };
    insta::assert_snapshot!(explained("security", &record));
}

#[test]
fn an_event_as_a_whole_is_explained_from_the_policy() {
    let policy = policy();
    let evidence = Evidence { preferences: &[], suppressions: &[], policy: Some(&policy), zones: &ZONES };
    let expired = event_judged("marketing", Verdict::Suppressed, Reason::Expired, Rule::Expiry);
    let unknown = event_judged("marketting", Verdict::Rejected, Reason::UnknownCategory, Rule::Valid);
    insta::assert_snapshot!(format!("{}\n\n{}", explain(&expired, &evidence), explain(&unknown, &evidence)));
}

/// The path and value of the one setting of the preferences that decided.
fn deciding_setting(change: impl FnOnce(&mut Preferences<'static>)) -> (String, String) {
    let mut record = ada();
    change(&mut record);
    let records = [(PLACE, record.clone())];
    let evidence = Evidence { preferences: &records, suppressions: &[], policy: None, zones: &ZONES };
    let explanation = explain(&decided("marketing", &record), &evidence);
    let [setting] = explanation.outcomes[0].decided_by.clone().try_into().unwrap();
    assert_eq!(setting.of, "preferences");
    (setting.path, setting.value)
}

#[test]
fn every_choice_of_a_recipient_is_named_by_its_path() {
    let named = |path: &str, value: &str| (path.to_owned(), value.to_owned());
    let chosen = |channels: Vec<Open<'static, Channel>>| CategoryChoice {
        enabled: true,
        channels: Some(channels),
        digest: None,
    };

    let off = deciding_setting(|p| p.channels = SmallMap(vec![("email", false)]));
    assert_eq!(off, named("channels.email", "false"));
    let sms = deciding_setting(|p| p.categories = SmallMap(vec![("marketing", chosen(vec![Channel::Sms.into()]))]));
    assert_eq!(sms, named("categories.marketing.channels", "[sms]"));
    let none = deciding_setting(|p| p.endpoints.clear());
    assert_eq!(none, named("endpoints (email)", "none"));
    let unverified = deciding_setting(|p| p.endpoints.truncate(2));
    assert_eq!(unverified, named("endpoints[1].verified", "false"));
    let paused = deciding_setting(|p| {
        p.endpoints.remove(1);
        p.paused_until = Some(at("2026-04-01T00:00:00Z"));
    });
    assert_eq!(paused, named("paused_until", "2026-04-01T00:00:00.000Z"));
    let broken = deciding_setting(|p| p.timezone = "Mars/Olympus");
    assert_eq!(broken.0, "record");
    assert!(broken.1.contains("`Mars/Olympus` is not an IANA time zone"), "{}", broken.1);
}

#[test]
fn a_record_that_compaction_took_is_said_to_be_gone() {
    let record = ada();
    let elsewhere = [(PreferencesRef { offset: 43, ..PLACE }, ada())];
    let evidence = Evidence { preferences: &elsewhere, suppressions: &[], policy: None, zones: &ZONES };
    let explanation = explain(&decided("marketing", &record), &evidence);
    assert_eq!(explanation.outcomes[0].preferences, Some(ExplainedPreferences { place: PLACE, at_hand: false }));
    assert_eq!(explanation.outcomes[0].decided_by, []);
    assert!(explanation.to_string().contains("partition 3, offset 42, version 7 (compacted since"));
}

#[test]
fn no_explanation_shows_an_address() {
    let record = ada();
    let json = {
        let records = [(PLACE, record.clone())];
        let evidence = Evidence { preferences: &records, suppressions: &[], policy: Some(&policy()), zones: &ZONES };
        serde_json::to_string(&explain(&decided("marketing", &record), &evidence)).unwrap()
    };
    for text in [json, explained("marketing", &record)] {
        assert!(!text.contains("example.org") && !text.contains("1815"), "{text}");
    }
}

#[test]
fn every_rule_and_every_reason_of_the_chain_has_words() {
    let chain = Reason::ALL.iter().take_while(|reason| **reason <= Reason::Routed);
    let absent = [Reason::Duplicate, Reason::Throttled, Reason::Digest];
    for reason in chain.filter(|reason| !absent.contains(reason)) {
        assert_ne!(meaning(Open::Known(*reason)), "See the reason code.", "{reason}");
    }
    assert!((1..=13).all(|rule| Rule::question(rule) != Rule::question(99)));
}
