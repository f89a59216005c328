//! How values become text: escaping, and the filters besides the engine's own: times in the recipient's zone, numbers and money in the
//! recipient's way of writing.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, Value, escape_formatter};

use super::locale::{Customs, customs};
use crate::channel::markup::hide;

/// The escaping of `.md`: values are text to whoever reads the Markdown.
pub(super) const MARKDOWN: AutoEscape = AutoEscape::Custom(Cow::Borrowed("markdown"));

pub(super) fn register(environment: &mut Environment<'_>) {
    environment.add_filter("datetime", datetime);
    environment.add_filter("number", number);
    environment.add_filter("money", money);
}

/// Writes a value into the output. HTML gets the five characters escaped that need it (the engine's own way would turn
/// each slash of a date or URL into an entity, too); in Markdown a value's punctuation is hidden from its reader; all
/// else is the engine's.
pub(super) fn write(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    if *state.auto_escape() == MARKDOWN {
        let text = value.to_string();
        return Ok(out.write_str(&if value.is_safe() { text.into() } else { hide(&text) })?);
    }
    let plain = match (state.auto_escape(), value.as_str()) {
        (AutoEscape::Html, Some(text)) if !value.is_safe() => text,
        _ => return escape_formatter(out, state, value),
    };
    let mut rest = plain;
    while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
        out.write_str(&rest[..at])?;
        out.write_str(match rest.as_bytes()[at] {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            _ => "&#39;",
        })?;
        rest = &rest[at + 1..];
    }
    Ok(out.write_str(rest)?)
}

/// `{{ event.time|datetime }}`, `{{ data.at|datetime("%H:%M") }}`: an RFC 3339 text or seconds or milliseconds since
/// 1970, in the recipient's zone; the pattern is strftime's, and each language has its default.
fn datetime(state: &State, value: &Value, pattern: Option<&str>) -> Result<String, Error> {
    let at = moment(value)
        .ok_or_else(|| refused("datetime takes an RFC 3339 text or seconds or milliseconds since 1970"))?;
    let zone = text(state, "timezone").and_then(|name| TimeZone::get(&name).ok()).unwrap_or(TimeZone::UTC);
    let pattern = pattern.unwrap_or_else(|| customs_of(state).datetime);
    jiff::fmt::strtime::format(pattern, &at.to_zoned(zone))
        .map_err(|_| refused("datetime has a pattern that strftime does not know"))
}

fn moment(value: &Value) -> Option<Timestamp> {
    match value.kind() {
        ValueKind::String => value.as_str()?.parse().ok(),
        ValueKind::Number => {
            let number = i64::try_from(value.clone()).ok()?;
            // In seconds this would be after the year 5138.
            if number.abs() >= 100_000_000_000 {
                Timestamp::from_millisecond(number).ok()
            } else {
                Timestamp::from_second(number).ok()
            }
        }
        _ => None,
    }
}

/// `{{ data.count|number }}`, `{{ data.load|number(2) }}`: groups of three, and that many digits of a fraction.
fn number(state: &State, value: &Value, digits: Option<usize>) -> Result<String, Error> {
    let amount = amount(value).ok_or_else(|| refused("number takes a number or a text that is one"))?;
    Ok(grouped(amount, digits.unwrap_or(0).min(9), &customs_of(state)))
}

/// `{{ data.total|money(data.currency) }}`: the currency's own digits (ISO 4217) and the language's order.
fn money(state: &State, value: &Value, currency: &str) -> Result<String, Error> {
    let amount = amount(value).ok_or_else(|| refused("money takes a number or a text that is one"))?;
    let customs = customs_of(state);
    let digits = grouped(amount.abs(), minor_digits(currency), &customs);
    let sign = if amount < 0.0 { "-" } else { "" };
    let symbol = symbol(currency);
    Ok(match (customs.currency_first, symbol) {
        (true, Some(symbol)) if customs.decimal == "." => format!("{sign}{symbol}{digits}"),
        (true, symbol) => format!("{sign}{}\u{a0}{digits}", symbol.unwrap_or(currency)),
        (false, symbol) => format!("{sign}{digits}\u{a0}{}", symbol.unwrap_or(currency)),
    })
}

fn amount(value: &Value) -> Option<f64> {
    let amount = match value.kind() {
        ValueKind::String => value.as_str()?.parse().ok()?,
        ValueKind::Number => f64::try_from(value.clone()).ok()?,
        _ => return None,
    };
    amount.is_finite().then_some(amount)
}

fn grouped(amount: f64, digits: usize, customs: &Customs) -> String {
    let text = format!("{:.digits$}", amount.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut out = String::with_capacity(text.len() + 8);
    if amount < 0.0 && text.bytes().any(|byte| matches!(byte, b'1'..=b'9')) {
        out.push('-');
    }
    for (index, digit) in whole.char_indices() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push_str(customs.group);
        }
        out.push(digit);
    }
    if !fraction.is_empty() {
        out.push_str(customs.decimal);
        out.push_str(fraction);
    }
    out
}

/// Digits after the decimal sign, where ISO 4217 says other than two.
fn minor_digits(currency: &str) -> usize {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "VND" | "VUV"
        | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    }
}

fn symbol(currency: &str) -> Option<&'static str> {
    Some(match currency {
        "EUR" => "€",
        "USD" => "$",
        "GBP" => "£",
        "JPY" => "¥",
        "PLN" => "zł",
        _ => return None,
    })
}

fn customs_of(state: &State) -> Customs {
    customs(&text(state, "locale").unwrap_or_default())
}

fn text(state: &State, variable: &str) -> Option<String> {
    state.lookup(variable)?.as_str().map(str::to_owned)
}

/// What the filter wants, never what it got: that is the event's data.
fn refused(wants: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, wants)
}
