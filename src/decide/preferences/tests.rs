use rstest::rstest;

use super::*;
use crate::decide::fixtures::{ada, endpoint, zones};
use crate::model::{Channel, Endpoint, Open, QuietHours};

type P = Preferences<'static>;

fn quiet(days: Vec<&'static str>, from: &'static str, to: &'static str) -> Vec<QuietHours<'static>> {
    vec![QuietHours { days, from, to }]
}

#[rstest]
#[case::nothing(|_: &mut P| {})]
#[case::no_zone_is_utc(|p: &mut P| p.timezone = "")]
#[case::a_newer_versions_channel(|p: &mut P| {
    p.endpoints.push(Endpoint { channel: Open::Other("fax"), address: "1", verified: true, label: None });
})]
#[case::days_in_any_case(|p: &mut P| p.quiet_hours = quiet(vec!["mon", "Sun"], "22:00", "07:00"))]
#[case::until_midnight(|p: &mut P| p.quiet_hours = quiet(vec![], "22:00", "24:00"))]
#[case::a_whole_day(|p: &mut P| p.quiet_hours = quiet(vec![], "00:00", "00:00"))]
fn what_is_unusual_but_clear_is_taken(#[case] change: fn(&mut P)) {
    let mut preferences = ada();
    change(&mut preferences);
    assert_eq!(validate(&preferences, zones()), Ok(()));
}

#[rstest]
#[case::tenant(|p: &mut P| p.tenant = "", "`tenant` is empty: write whose preferences these are")]
#[case::user(|p: &mut P| p.user_id = "", "`user_id` is empty: write whose preferences these are")]
#[case::zone(
    |p: &mut P| p.timezone = "Mars/Olympus",
    "timezone `Mars/Olympus` is not an IANA time zone: write one like `Europe/Berlin`, or none for UTC"
)]
#[case::day(
    |p: &mut P| p.quiet_hours = quiet(vec!["MON", "MONDAY"], "22:00", "07:00"),
    "quiet_hours: day `MONDAY` is not one of MON, TUE, WED, THU, FRI, SAT, SUN"
)]
#[case::hour(
    |p: &mut P| p.quiet_hours = quiet(vec![], "22:00", "25:00"),
    "quiet_hours: `to` is `25:00`: write HH:MM from 00:00 to 23:59 (`to` may be 24:00)"
)]
#[case::minute(
    |p: &mut P| p.quiet_hours = quiet(vec![], "22:60", "07:00"),
    "quiet_hours: `from` is `22:60`: write HH:MM from 00:00 to 23:59 (`to` may be 24:00)"
)]
#[case::from_the_end_of_the_day(
    |p: &mut P| p.quiet_hours = quiet(vec![], "24:00", "07:00"),
    "quiet_hours: `from` is `24:00`: write HH:MM from 00:00 to 23:59 (`to` may be 24:00)"
)]
#[case::beyond_the_end_of_the_day(
    |p: &mut P| p.quiet_hours = quiet(vec![], "22:00", "24:01"),
    "quiet_hours: `to` is `24:01`: write HH:MM from 00:00 to 23:59 (`to` may be 24:00)"
)]
#[case::one_digit(
    |p: &mut P| p.quiet_hours = quiet(vec![], "22:00", "7:00"),
    "quiet_hours: `to` is `7:00`: write HH:MM from 00:00 to 23:59 (`to` may be 24:00)"
)]
#[case::no_address(
    |p: &mut P| p.endpoints.push(endpoint(Channel::Email, "", true)),
    "endpoints: number 3 has no address"
)]
#[case::too_many_endpoints(
    |p: &mut P| p.endpoints = vec![p.endpoints[0]; MAX_ENDPOINTS + 1],
    "endpoints: 257 entries, at most 256 are taken"
)]
#[case::too_many_spans(
    |p: &mut P| p.quiet_hours = vec![QuietHours { days: vec![], from: "22:00", to: "07:00" }; MAX_QUIET_HOURS + 1],
    "quiet_hours: 65 entries, at most 64 are taken"
)]
fn what_cannot_be_used_is_named(#[case] spoil: fn(&mut P), #[case] message: &str) {
    let mut preferences = ada();
    spoil(&mut preferences);
    assert_eq!(validate(&preferences, zones()).unwrap_err().to_string(), message);
}
