use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::decide::fixtures::{at, zones};

fn hours<'a>(days: &[&'a str], from: &'a str, to: &'a str) -> QuietHours<'a> {
    QuietHours { days: days.to_vec(), from, to }
}

/// When the quiet ends, as RFC 3339; `-` when it is not quiet.
fn ends(zone: &str, spans: &[QuietHours<'_>], moment: &str) -> String {
    let zone = zones().get(zone).unwrap();
    quiet_until(spans, zone, at(moment)).map_or("-".to_owned(), |end| end.to_jiff().to_string())
}

#[rstest]
#[case::before("2026-06-02T16:29:59Z", "-")]
#[case::from_is_inclusive("2026-06-02T16:30:00Z", "2026-06-03T01:30:00Z")]
#[case::over_midnight("2026-06-02T23:00:00Z", "2026-06-03T01:30:00Z")]
#[case::to_the_last_moment("2026-06-03T01:29:59.999Z", "2026-06-03T01:30:00Z")]
#[case::to_is_exclusive("2026-06-03T01:30:00Z", "-")]
fn quiet_hours_are_read_on_the_recipients_clock(#[case] moment: &str, #[case] end: &str) {
    assert_eq!(ends("Asia/Kolkata", &[hours(&[], "22:00", "07:00")], moment), end);
}

/// 2026-06-05 is a Friday.
#[rstest]
#[case::friday_before_dawn("2026-06-05T03:00:00Z", "-")]
#[case::friday_night("2026-06-05T23:00:00Z", "2026-06-06T07:00:00Z")]
#[case::saturday_before_dawn("2026-06-06T03:00:00Z", "2026-06-06T07:00:00Z")]
#[case::saturday_night("2026-06-06T23:00:00Z", "-")]
fn a_span_over_midnight_belongs_to_the_day_it_starts_on(#[case] moment: &str, #[case] end: &str) {
    assert_eq!(ends("", &[hours(&["FRI"], "22:00", "07:00")], moment), end);
}

#[rstest]
#[case::equal_times_are_a_whole_day(&[hours(&["FRI"], "09:00", "09:00")], "2026-06-06T08:00:00Z", "2026-06-06T09:00:00Z")]
#[case::the_day_alone(&[hours(&["FRI"], "00:00", "24:00")], "2026-06-05T08:00:00Z", "2026-06-06T00:00:00Z")]
#[case::spans_that_touch(
    &[hours(&[], "00:00", "07:00"), hours(&[], "22:00", "24:00")], "2026-06-05T22:30:00Z", "2026-06-06T07:00:00Z"
)]
#[case::spans_that_overlap(
    &[hours(&[], "06:00", "08:00"), hours(&[], "22:00", "07:00")], "2026-06-05T22:30:00Z", "2026-06-06T08:00:00Z"
)]
#[case::a_weekend(
    &[hours(&["SAT", "SUN"], "00:00", "24:00"), hours(&[], "22:00", "07:00")],
    "2026-06-05T22:30:00Z", "2026-06-08T07:00:00Z"
)]
#[case::always(&[hours(&[], "00:00", "00:00")], "2026-06-05T22:30:00Z", "2026-06-13T22:30:00Z")]
#[case::never(&[], "2026-06-05T22:30:00Z", "-")]
fn spans_that_follow_each_other_are_one_quiet(
    #[case] spans: &[QuietHours<'_>],
    #[case] moment: &str,
    #[case] end: &str,
) {
    assert_eq!(ends("", spans, moment), end);
}

/// Berlin: on 2026-03-29 at 01:00 UTC clocks go from 02:00 to 03:00, on 2026-10-25 at 01:00 UTC from 03:00 to 02:00.
#[rstest]
#[case::a_short_night("22:00", "07:00", "2026-03-29T00:30:00Z", "2026-03-29T05:00:00Z")]
#[case::ends_in_the_skipped_hour("22:00", "02:30", "2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z")]
#[case::before_it_starts_in_the_skipped_hour("02:30", "05:00", "2026-03-29T00:59:59Z", "-")]
#[case::starts_in_the_skipped_hour("02:30", "05:00", "2026-03-29T01:00:00Z", "2026-03-29T03:00:00Z")]
#[case::all_of_it_skipped("02:10", "02:50", "2026-03-29T01:00:00Z", "-")]
#[case::a_long_night("22:00", "07:00", "2026-10-24T23:30:00Z", "2026-10-25T06:00:00Z")]
#[case::ends_in_the_hour_that_comes_twice("22:00", "02:30", "2026-10-25T00:45:00Z", "2026-10-25T01:30:00Z")]
#[case::ends_where_it_begins_again("22:00", "02:00", "2026-10-24T23:30:00Z", "2026-10-25T00:00:00Z")]
#[case::ends_after_the_hour_that_comes_twice("22:00", "03:00", "2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z")]
#[case::starts_when_it_comes_first("02:30", "05:00", "2026-10-25T00:30:00Z", "2026-10-25T04:00:00Z")]
#[case::not_before_it_comes_first("02:30", "05:00", "2026-10-25T00:29:59Z", "-")]
#[case::no_break_when_it_comes_again("02:30", "05:00", "2026-10-25T01:10:00Z", "2026-10-25T04:00:00Z")]
fn when_clocks_change_nobody_is_woken(#[case] from: &str, #[case] to: &str, #[case] moment: &str, #[case] end: &str) {
    assert_eq!(ends("Europe/Berlin", &[hours(&[], from, to)], moment), end);
}

/// Apia went from 2011-12-29 24:00 (10:00 UTC on the 30th) to 2011-12-31 00:00: there was no Friday.
#[rstest]
#[case::thursdays_night_ends_at_the_jump(&["THU"], "2011-12-30T09:00:00Z", "2011-12-30T10:00:00Z")]
#[case::what_is_left_of_fridays(&["FRI"], "2011-12-30T12:00:00Z", "2011-12-30T17:00:00Z")]
#[case::together(&[], "2011-12-30T09:00:00Z", "2011-12-30T17:00:00Z")]
fn a_day_that_never_was_breaks_nothing(#[case] days: &[&str], #[case] moment: &str, #[case] end: &str) {
    assert_eq!(ends("Pacific/Apia", &[hours(days, "22:00", "07:00")], moment), end);
}

/// St. John's: on 2010-11-07, a Sunday, at 02:31 UTC clocks went from 00:01 back to 23:01 of Saturday.
#[rstest]
#[case::begun_on_a_day_that_begins_again(&["SUN"], "00:00", "07:00", "2010-11-07T02:45:00Z", "2010-11-07T10:30:00Z")]
#[case::ending_on_a_day_that_ended_before(&["FRI"], "23:30", "23:30", "2010-11-07T02:30:30Z", "2010-11-07T03:00:00Z")]
fn a_midnight_that_comes_twice_breaks_nothing(
    #[case] days: &[&str],
    #[case] from: &str,
    #[case] to: &str,
    #[case] moment: &str,
    #[case] end: &str,
) {
    assert_eq!(ends("America/St_Johns", &[hours(days, from, to)], moment), end);
}

#[test]
fn the_ends_of_time_break_nothing() {
    let spans = [hours(&[], "22:00", "07:00"), hours(&[], "00:00", "00:00")];
    for moment in [i64::MIN, jiff::Timestamp::MIN.as_millisecond(), jiff::Timestamp::MAX.as_millisecond(), i64::MAX] {
        let _ = quiet_until(&spans, zones().get("Europe/Berlin").unwrap(), Timestamp(moment));
    }
}

/// Minute by minute, from the words at the top of the module alone.
mod oracle {
    use super::*;

    const MINUTE: i64 = 60_000;
    const DAYS: i64 = 24 * 60;
    const NAMES: [&str; 7] = ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];

    /// When the quiet at the whole minute `at` ends; `None` when it is not quiet. Looks nine days ahead.
    pub(super) fn quiet_until(spans: &[(Vec<&str>, u16, u16)], zone: &TimeZone, at: i64) -> Option<i64> {
        let first = at - 4 * DAYS * MINUTE;
        let count = usize::try_from(13 * DAYS).unwrap();
        let moment = |index: usize| first + i64::try_from(index).unwrap() * MINUTE;
        let readings: Vec<DateTime> =
            (0..count).map(|index| zone.to_datetime(Moment::from_millisecond(moment(index)).unwrap())).collect();
        let mut quiet = vec![false; count];
        let mut date = readings[0].date();
        while date <= readings[count - 1].date() {
            for (days, from, to) in spans {
                if days.is_empty() || days.contains(&NAMES[date.weekday().to_monday_zero_offset() as usize]) {
                    mark(&mut quiet, &readings, date, *from, *to);
                }
            }
            date = date.tomorrow().unwrap();
        }
        let now = usize::try_from((at - first) / MINUTE).unwrap();
        let end = (now..count).find(|index| !quiet[*index]).unwrap_or(count);
        (end > now).then(|| moment(end))
    }

    fn mark(quiet: &mut [bool], readings: &[DateTime], date: Date, from: u16, to: u16) {
        let read = |date: Date, minute: u16| date.at((minute / 60) as i8, (minute % 60) as i8, 0, 0);
        let begin = read(date, from);
        let end = if to > from { read(date, to) } else { read(date.tomorrow().unwrap(), to) };
        let start = readings.iter().position(|reading| *reading >= begin);
        let last_before = readings.iter().rposition(|reading| *reading < end);
        if let (Some(start), Some(last)) = (start, last_before) {
            // A span that began before the window is marked from the window's start: four days are more than one.
            quiet.iter_mut().take(last + 1).skip(start).for_each(|minute| *minute = true);
        }
    }
}

const ZONES: [&str; 9] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "Pacific/Apia",
    "America/St_Johns",
    "Africa/Casablanca",
    "Antarctica/Troll",
];

/// The first minute after a change of clocks between 2008 and 2030, or any where there is none.
fn change_in(zone: &TimeZone, start: i64, change: usize) -> i64 {
    let start = Moment::from_second(start).unwrap();
    let near = zone.following(start).nth(change).map_or(start, |change| change.timestamp());
    near.as_second().div_euclid(60) * 60_000
}

/// Minutes from a change: often none or few, so that spans begin and end in hours that are skipped or come twice.
fn around() -> impl Strategy<Value = i64> {
    prop_oneof![3 => prop::sample::select(vec![-60, -30, 0, 30, 60]), 3 => -90..90_i64, 1 => -1_500..1_500_i64]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn quiet_is_what_the_clock_says_minute_by_minute(
        zone in prop::sample::select(&ZONES[..]),
        start in 1_200_000_000..1_900_000_000_i64,
        change in 0..3_usize,
        minutes in around(),
        spans in prop::collection::vec(
            (prop::sample::subsequence(vec!["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"], 0..=7), around(), around()),
            1..4,
        ),
    ) {
        let zone = zones().get(zone).unwrap();
        let change = change_in(zone, start, change);
        let at = change + minutes * 60_000;
        let reading = zone.to_datetime(Moment::from_millisecond(change).unwrap());
        let minute = |by: i64| {
            u16::try_from((i64::from(reading.hour()) * 60 + i64::from(reading.minute()) + by).rem_euclid(1_440)).unwrap()
        };
        let spans: Vec<_> = spans.iter().map(|(days, from, to)| (days.clone(), minute(*from), minute(*to))).collect();
        let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        let texts: Vec<_> = spans.iter().map(|(days, from, to)| (days.clone(), clock(*from), clock(*to))).collect();
        let hours: Vec<_> =
            texts.iter().map(|(days, from, to)| QuietHours { days: days.clone(), from, to }).collect();
        let said = quiet_until(&hours, zone, Timestamp(at)).map(|end| end.0);
        let horizon = at + 8 * 24 * 3_600_000;
        let expected = oracle::quiet_until(&spans, zone, at).map(|end| end.min(horizon));
        prop_assert_eq!(said, expected);
    }
}
