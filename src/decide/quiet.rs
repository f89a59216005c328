//! Quiet hours in the recipient's time zone.
//!
//! A span is quiet without a break from the first moment at which the recipient's clock reads `from` (or later, when
//! the clock jumps over it) to the first moment after which it never reads earlier than `to`. So when clocks go back
//! and an hour comes twice, both count as quiet; when they go forward over `to`, quiet ends at the jump.

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp as Moment, ToSpan as _};

use crate::model::{QuietHours, Timestamp};

use super::PreferencesError;

const MINUTES_PER_DAY: u16 = 24 * 60;

/// Quiet hours that follow each other longer than this are looked at again after it.
const HORIZON: SignedDuration = SignedDuration::from_hours(8 * 24);

/// In minutes: no zone sets its clock by more (Antarctica/Troll: two hours), save for a change of date line.
const LARGEST_JUMP: i32 = 3 * 60;

/// [`QuietHours`] as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QuietSpan {
    /// A bit a weekday, Monday lowest.
    days: u8,
    /// Minutes after midnight of the day it belongs to.
    from: u16,
    /// Minutes after the same midnight; up to a day after `from`.
    to: u16,
}

impl QuietSpan {
    /// Reads a span; `to` not after `from` ends the next day, so that equal ones last a whole day.
    pub(super) fn parse(hours: &QuietHours<'_>) -> Result<Self, PreferencesError> {
        let from = minutes("from", hours.from)?;
        if from == MINUTES_PER_DAY {
            return Err(PreferencesError::BadTime { field: "from", value: hours.from.to_owned() });
        }
        let to = minutes("to", hours.to)?;
        let to = if to > from { to } else { to + MINUTES_PER_DAY };
        let mut days = if hours.days.is_empty() { 0b111_1111 } else { 0 };
        for day in &hours.days {
            days |= 1 << weekday(day)?.to_monday_zero_offset();
        }
        Ok(QuietSpan { days, from, to })
    }

    /// Whether a clock that reads `elapsed` minutes after the midnight that starts the span's day can be within it. In
    /// whole numbers, so that most questions are answered without asking the zone.
    fn is_near(self, elapsed: i32) -> bool {
        i32::from(self.from) - LARGEST_JUMP <= elapsed && elapsed < i32::from(self.to) + LARGEST_JUMP
    }

    fn starts_on(self, date: Date) -> bool {
        self.days & (1 << date.weekday().to_monday_zero_offset()) != 0
    }

    /// When the span that starts on `date` ends, if `at` lies in it.
    fn end_if_within(self, zone: &TimeZone, date: Date, at: Moment) -> Option<Moment> {
        if !self.starts_on(date) || at < first_reading(zone, minute_of(date, self.from)?)? {
            return None;
        }
        last_reading(zone, minute_of(date, self.to)?).filter(|end| at < *end)
    }
}

/// When the quiet that `at` lies in ends, spans that touch or overlap taken together; `None` when it is not quiet.
///
/// Spans that cannot be read are skipped: [`super::validate`] refuses them before. Quiet that does not end within
/// eight days is said to end then: whoever waits asks again.
pub fn quiet_until(hours: &[QuietHours<'_>], zone: &TimeZone, at: Timestamp) -> Option<Timestamp> {
    if hours.is_empty() {
        return None;
    }
    let asked = at.to_jiff();
    let horizon = asked.checked_add(HORIZON).unwrap_or(Moment::MAX);
    let mut end = asked;
    loop {
        let before = end;
        for span in hours.iter().filter_map(|hours| QuietSpan::parse(hours).ok()) {
            end = end_of_span(span, zone, end).unwrap_or(end);
        }
        if end >= horizon {
            return Some(horizon.into());
        }
        if end == before {
            return (end > asked).then(|| end.into());
        }
    }
}

/// When the span ends that `at` lies in. It may have started two days before or, when clocks go back over midnight,
/// on the next day.
fn end_of_span(span: QuietSpan, zone: &TimeZone, at: Moment) -> Option<Moment> {
    let reading = zone.to_datetime(at);
    let minute = i32::from(reading.hour()) * 60 + i32::from(reading.minute());
    let near = (-1..=2_i32).filter(|days_ago| span.is_near(minute + days_ago * i32::from(MINUTES_PER_DAY)));
    let ends = near.filter_map(|days_ago| {
        let date = reading.date().checked_sub(days_ago.days()).ok()?;
        span.end_if_within(zone, date, at)
    });
    ends.max()
}

/// The first moment at which the clock reads `reading` or later.
fn first_reading(zone: &TimeZone, reading: DateTime) -> Option<Moment> {
    let ambiguous = zone.to_ambiguous_timestamp(reading);
    let offset = ambiguous.offset();
    let earlier = ambiguous.earlier().ok()?;
    match offset {
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => Some(earlier),
        AmbiguousOffset::Gap { after, .. } => change_after(zone, earlier, after),
    }
}

/// The first moment from which on the clock never reads earlier than `reading`.
fn last_reading(zone: &TimeZone, reading: DateTime) -> Option<Moment> {
    let ambiguous = zone.to_ambiguous_timestamp(reading);
    let offset = ambiguous.offset();
    let earlier = ambiguous.earlier().ok()?;
    match offset {
        AmbiguousOffset::Unambiguous { .. } => Some(earlier),
        AmbiguousOffset::Gap { after, .. } => change_after(zone, earlier, after),
        AmbiguousOffset::Fold { after, .. } => {
            let later = ambiguous.later().ok()?;
            // Set back to exactly this reading: it never reads earlier after the first time either.
            Some(if change_after(zone, earlier, after) == Some(later) { earlier } else { later })
        }
    }
}

/// The moment after `at` when the zone's offset becomes `offset`.
fn change_after(zone: &TimeZone, at: Moment, offset: jiff::tz::Offset) -> Option<Moment> {
    zone.following(at).find(|change| change.offset() == offset).map(|change| change.timestamp())
}

/// The reading `minutes` after the midnight that starts `date`; up to a day later.
fn minute_of(date: Date, minutes: u16) -> Option<DateTime> {
    let date = if minutes >= MINUTES_PER_DAY { date.tomorrow().ok()? } else { date };
    let minutes = i8::try_from(minutes % 60).ok().zip(i8::try_from(minutes % MINUTES_PER_DAY / 60).ok());
    minutes.map(|(minute, hour)| date.at(hour, minute, 0, 0))
}

/// `HH:MM` as minutes after midnight, 24:00 included.
fn minutes(field: &'static str, text: &str) -> Result<u16, PreferencesError> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
    let read = || match *text.as_bytes() {
        [h1, h2, b':', m1, m2] => {
            let (hour, minute) = (digit(h1)? * 10 + digit(h2)?, digit(m1)? * 10 + digit(m2)?);
            let total = hour * 60 + minute;
            (minute < 60 && total <= MINUTES_PER_DAY).then_some(total)
        }
        _ => None,
    };
    read().ok_or_else(|| PreferencesError::BadTime { field, value: text.to_owned() })
}

fn weekday(text: &str) -> Result<Weekday, PreferencesError> {
    const DAYS: [(&str, Weekday); 7] = [
        ("MON", Weekday::Monday),
        ("TUE", Weekday::Tuesday),
        ("WED", Weekday::Wednesday),
        ("THU", Weekday::Thursday),
        ("FRI", Weekday::Friday),
        ("SAT", Weekday::Saturday),
        ("SUN", Weekday::Sunday),
    ];
    let found = DAYS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    found.map(|(_, day)| *day).ok_or_else(|| PreferencesError::UnknownDay(text.to_owned()))
}

#[cfg(test)]
mod tests;
