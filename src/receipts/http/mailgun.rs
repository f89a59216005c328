//! Mailgun's event webhooks.
//!
//! Sources: <https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks> (`signature`:
//! hexadecimal HMAC-SHA256 under the webhook signing key over timestamp and token),
//! <https://documentation.mailgun.com/docs/mailgun/user-manual/events/event-structure> (`event`, `severity`,
//! `message.headers.message-id`, `delivery-status`). A mail that was handed to Mailgun by SMTP keeps its Message-ID, which
//! is how it is found.

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::Sha256;

use super::Refusal;
use crate::model::{Channel, Reason, State, Timestamp};
use crate::receipts::intake::Received;
use crate::suppression::is_hard_bounce;

/// A signature is one of a time and a token, and not of the event: who once saw one could say anything for ever. Mailgun
/// brings what was not taken again for eight hours.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Deserialize)]
struct Body {
    signature: Signature,
    #[serde(rename = "event-data")]
    event: Event,
}

#[derive(Deserialize)]
struct Signature {
    timestamp: String,
    token: String,
    signature: String,
}

#[derive(Deserialize)]
struct Event {
    event: String,
    #[serde(default)]
    severity: Option<String>,
    #[serde(default)]
    timestamp: Option<f64>,
    #[serde(default)]
    message: Message,
    #[serde(default, rename = "delivery-status")]
    status: Status,
}

#[derive(Default, Deserialize)]
struct Message {
    #[serde(default)]
    headers: Headers,
}

#[derive(Default, Deserialize)]
struct Headers {
    #[serde(default, rename = "message-id")]
    message_id: Option<String>,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    code: Option<u32>,
    #[serde(default, rename = "enhanced-code")]
    enhanced: Option<String>,
}

/// Reads an event; what says nothing about delivery is no receipt.
pub(super) fn read(provider: &str, key: &[u8], body: &[u8], now: Timestamp) -> Result<Vec<Received>, Refusal> {
    // The signature is within what it signs for: without it there is nothing to verify.
    let body: Body = serde_json::from_slice(body).map_err(|_| Refusal::Signature)?;
    verify(key, &body.signature, now)?;
    let event = body.event;
    let state = match (event.event.as_str(), event.severity.as_deref()) {
        ("delivered", _) => State::Delivered,
        ("complained", _) => State::Complained,
        // A temporary failure is tried again by Mailgun.
        ("failed", Some("temporary")) => return Ok(Vec::new()),
        ("failed", _) => State::Bounced,
        _ => return Ok(Vec::new()),
    };
    let message_id = event.message.headers.message_id.filter(|id| !id.is_empty());
    let message_id = message_id.ok_or(Refusal::Shape("it has no message-id"))?;
    let code = code(&event.status);
    let permanent = state == State::Bounced && is_hard_bounce(Channel::Email, Reason::AddressRefused, code.as_deref());
    let occurred_at = event.timestamp.map(milliseconds);
    Ok(vec![Received { provider: provider.to_owned(), message_id, state, permanent, code, occurred_at }])
}

/// `550 5.1.1`, or what there is of it.
fn code(status: &Status) -> Option<String> {
    let parts = [status.code.filter(|code| *code > 0).map(|code| code.to_string()), status.enhanced.clone()];
    let parts: Vec<String> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

#[expect(clippy::cast_possible_truncation, reason = "saturates")]
fn milliseconds(seconds: f64) -> Timestamp {
    Timestamp((seconds * 1_000.0) as i64)
}

fn verify(key: &[u8], signature: &Signature, now: Timestamp) -> Result<(), Refusal> {
    let expected = hex(&signature.signature).ok_or(Refusal::Signature)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| Refusal::Signature)?;
    mac.update(signature.timestamp.as_bytes());
    mac.update(signature.token.as_bytes());
    mac.verify_slice(&expected).map_err(|_| Refusal::Signature)?;
    let signed = signature.timestamp.parse::<i64>().ok().and_then(|seconds| seconds.checked_mul(1_000)).map(Timestamp);
    let fresh = signed.is_some_and(|at| now.since(at) <= LONGEST && at.since(now) <= LONGEST);
    if fresh { Ok(()) } else { Err(Refusal::Signature) }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(digits.chunks(2).map(|pair| pair[0] * 16 + pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    const KEY: &[u8] = b"key-0123456789";
    const SIGNED: i64 = 1_529_006_854_000;

    fn read(provider: &str, key: &[u8], body: &[u8]) -> Result<Vec<Received>, Refusal> {
        super::read(provider, key, body, Timestamp(SIGNED + 1_000))
    }

    fn signed(event: Value) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(KEY).unwrap();
        mac.update(b"1529006854a8ce0edb2dd8301dee6c2405235584e45aa91d1e9f979f3de0");
        let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let signature = json!({
            "timestamp": "1529006854", "token": "a8ce0edb2dd8301dee6c2405235584e45aa91d1e9f979f3de0", "signature": hex,
        });
        json!({"signature": signature, "event-data": event}).to_string().into_bytes()
    }

    /// As in Mailgun's documentation, shortened.
    fn failed(severity: &str, code: u32, enhanced: &str) -> Value {
        json!({
            "event": "failed", "severity": severity, "timestamp": 1_521_233_195.375_624,
            "delivery-status": {"attempt-no": 1, "message": "", "code": code, "enhanced-code": enhanced},
            "message": {"headers": {"to": "Alice <alice@example.com>", "message-id": "20130503192659.13651.20287@mg"}},
        })
    }

    #[rstest]
    #[case::no_such_user("permanent", 550, "5.1.1", true)]
    #[case::policy("permanent", 550, "5.7.1", false)]
    #[case::without_an_enhanced_code("permanent", 605, "", false)]
    fn a_permanent_failure_bounced(
        #[case] severity: &str,
        #[case] code: u32,
        #[case] enhanced: &str,
        #[case] hard: bool,
    ) {
        let receipt = read("mailgun", KEY, &signed(failed(severity, code, enhanced))).unwrap().remove(0);
        assert_eq!((receipt.state, receipt.permanent), (State::Bounced, hard));
        assert_eq!(receipt.message_id, "20130503192659.13651.20287@mg");
        assert_eq!(receipt.occurred_at, Some(Timestamp(1_521_233_195_375)));
        assert_eq!(receipt.code, Some(format!("{code} {enhanced}").trim().to_owned()));
    }

    #[test]
    fn what_mailgun_tries_again_and_what_is_opened_is_no_receipt() {
        assert_eq!(read("mailgun", KEY, &signed(failed("temporary", 450, "4.2.1"))), Ok(Vec::new()));
        assert_eq!(read("mailgun", KEY, &signed(json!({"event": "opened"}))), Ok(Vec::new()));
    }

    #[rstest]
    #[case::in_time(24 * 3_600_000, true)]
    #[case::a_day_later(24 * 3_600_000 + 1, false)]
    #[case::our_clock_is_behind(-60_000, true)]
    #[case::from_the_future(-24 * 3_600_000 - 1, false)]
    fn a_signature_is_good_for_a_day(#[case] after_ms: i64, #[case] good: bool) {
        let body = signed(failed("permanent", 550, "5.1.1"));
        assert_eq!(super::read("mailgun", KEY, &body, Timestamp(SIGNED + after_ms)).is_ok(), good);
    }

    #[test]
    fn a_complaint_is_one() {
        let event = json!({"event": "complained", "message": {"headers": {"message-id": "a@b"}}});
        assert_eq!(read("mailgun", KEY, &signed(event)).unwrap()[0].state, State::Complained);
    }

    #[test]
    fn what_is_not_signed_is_not_read() {
        let body = signed(failed("permanent", 550, "5.1.1"));
        assert_eq!(read("mailgun", b"another key", &body), Err(Refusal::Signature));
        assert_eq!(read("mailgun", KEY, b"{}"), Err(Refusal::Signature));
        let mut value: Value = serde_json::from_slice(&body).unwrap();
        for wrong in ["", "zz", "abc", "00"] {
            value["signature"]["signature"] = json!(wrong);
            assert_eq!(read("mailgun", KEY, value.to_string().as_bytes()), Err(Refusal::Signature));
        }
    }
}
