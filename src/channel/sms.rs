//! Text messages, by an HTTP API or by SMPP.
//!
//! Invariant: a message that costs more parts than the operator allows, and a number that cannot be one, reach no
//! provider.

pub mod http;
pub mod segments;
pub mod smpp;

use std::borrow::Cow;
use std::sync::Arc;

use super::receipt::ReceiptSink;
use super::{Channel, ConfigProblem, Content, Message};
use crate::config;
use crate::model::Reason;
use crate::telemetry::clock::Clock;
use segments::{Segments, simplified};

/// The most digits of a number (ITU-T E.164, section 6.2.1); the fewest that any country's subscribers have.
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// A telephone number in the international format (ITU-T E.164): only its digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Number(String);

impl Number {
    /// Reads `+49 170 1234567`: a plus, then digits, between them blanks, dots, hyphens and brackets.
    pub(super) fn parse(address: &str) -> Option<Number> {
        let rest = address.trim().strip_prefix('+')?;
        let mut digits = String::with_capacity(rest.len());
        for c in rest.chars() {
            match c {
                '0'..='9' => digits.push(c),
                ' ' | '\u{a0}' | '.' | '-' | '(' | ')' => {}
                _ => return None,
            }
        }
        (DIGITS.contains(&digits.len()) && !digits.starts_with('0')).then_some(Number(digits))
    }

    /// Without the plus.
    pub(super) fn digits(&self) -> &str {
        &self.0
    }
}

/// The provider that the settings describe; connects to nothing.
///
/// # Errors
/// Every setting that cannot work; secrets are not quoted.
pub(super) fn new(
    config: &config::Sms,
    receipts: &Arc<dyn ReceiptSink>,
    clock: &Clock,
) -> Result<Arc<dyn Channel>, Vec<ConfigProblem>> {
    Ok(match config {
        config::Sms::Http(http) => Arc::new(http::HttpSms::new(http, clock.clone())?),
        config::Sms::Smpp(smpp) => Arc::new(smpp::Smpp::new(smpp, Arc::clone(receipts), clock.clone())?),
    })
}

/// What is to be sent where, or why it cannot be.
pub(super) fn prepare(message: &Message, max_parts: usize) -> Result<(Number, Cow<'_, str>, Segments), Reason> {
    let Content::Text { text, html: false } = &message.content else { return Err(Reason::TemplateFailed) };
    let number = Number::parse(&message.address).ok_or(Reason::AddressRefused)?;
    let text = simplified(text);
    let segments = Segments::of(&text);
    if text.trim().is_empty() || segments.parts.len() > max_parts {
        return Err(Reason::MessageRefused);
    }
    Ok((number, text, segments))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("+491701234567", Some("491701234567"))]
    #[case(" +49 (170) 123-45.67 ", Some("491701234567"))]
    #[case("+4366412345678901", None)] // 16 digits
    #[case("+123456", None)]
    #[case("+0491701234567", None)]
    #[case("491701234567", None)]
    #[case("00491701234567", None)]
    #[case("+49170123456x", None)]
    #[case("+", None)]
    #[case("", None)]
    fn a_number_is_a_plus_and_digits(#[case] address: &str, #[case] expected: Option<&str>) {
        assert_eq!(Number::parse(address).as_ref().map(Number::digits), expected);
    }
}
