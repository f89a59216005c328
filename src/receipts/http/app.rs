//! What an app says of a notification that it shows, by the notification's own id.
//!
//! Ours, and so in a shape that others know: signed by Standard Webhooks
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>), whose libraries there
//! are for most languages. The body is `{"notification_id": "…", "state": "seen"}`; `delivered` is the other state, and
//! `at` (RFC 3339) is when.

use axum::http::HeaderMap;
use serde::Deserialize;
use standardwebhooks::Webhook;

use super::Refusal;
use crate::model::{BY_NOTIFICATION, NotificationId, State};
use crate::receipts::intake::Received;

#[derive(Deserialize)]
struct Body {
    notification_id: String,
    state: Word,
    #[serde(default)]
    at: Option<jiff::Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Delivered,
    Seen,
}

/// Reads a report.
pub(super) fn read(secret: &str, headers: &HeaderMap, body: &[u8]) -> Result<Vec<Received>, Refusal> {
    let signer = Webhook::new(secret).map_err(|_| Refusal::Signature)?;
    signer.verify(body, headers).map_err(|_| Refusal::Signature)?;
    let body: Body = serde_json::from_slice(body).map_err(|_| Refusal::Shape("it is no report of a notification"))?;
    let id: NotificationId =
        body.notification_id.parse().map_err(|_| Refusal::Shape("its notification_id is not one"))?;
    // One state: who saw it has it, and who has it need not be told by another way.
    let state = match body.state {
        Word::Delivered | Word::Seen => State::Delivered,
    };
    Ok(vec![Received {
        provider: BY_NOTIFICATION.to_owned(),
        message_id: id.to_string(),
        state,
        permanent: false,
        code: None,
        occurred_at: body.at.map(Into::into),
    }])
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const SECRET: &str = "whsec_bm90aWxvZy1kZXZlbG9wbWVudC1zZWNyZXQtMDE=";
    const ID: &str = "0192f0c1-5a7b-5c3d-8e4f-0123456789ab";

    fn signed(secret: &str, body: &str) -> HeaderMap {
        let now = jiff::Timestamp::from_millisecond(crate::telemetry::clock::Clock::system().now().0).unwrap();
        let signature = Webhook::new(secret).unwrap().sign("msg_1", now.as_second(), body.as_bytes()).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(standardwebhooks::HEADER_WEBHOOK_ID, "msg_1".parse().unwrap());
        headers.insert(standardwebhooks::HEADER_WEBHOOK_TIMESTAMP, now.as_second().into());
        headers.insert(standardwebhooks::HEADER_WEBHOOK_SIGNATURE, signature.parse().unwrap());
        headers
    }

    #[test]
    fn a_report_is_a_receipt_of_the_notification_itself() {
        let body =
            format!(r#"{{"notification_id": "{}", "state": "seen", "at": "2026-03-10T12:00:00Z"}}"#, ID.to_uppercase());
        let read = read(SECRET, &signed(SECRET, &body), body.as_bytes()).unwrap();
        assert_eq!((read[0].provider.as_str(), read[0].message_id.as_str()), (BY_NOTIFICATION, ID));
        assert_eq!((read[0].state, read[0].occurred_at.unwrap().0), (State::Delivered, 1_773_144_000_000));
    }

    #[rstest]
    #[case::not_json("seen")]
    #[case::another_state(r#"{"notification_id": "0192f0c1-5a7b-5c3d-8e4f-0123456789ab", "state": "bounced"}"#)]
    #[case::no_id(r#"{"notification_id": "1", "state": "seen"}"#)]
    fn what_is_signed_and_no_report(#[case] body: &str) {
        let refusal = read(SECRET, &signed(SECRET, body), body.as_bytes()).unwrap_err();
        assert!(matches!(refusal, Refusal::Shape(_)), "{refusal:?}");
    }

    #[test]
    fn nothing_is_believed_under_another_secret_or_of_another_body() {
        let body = format!(r#"{{"notification_id": "{ID}", "state": "seen"}}"#);
        let foreign = signed("whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldA==", &body);
        assert_eq!(read(SECRET, &foreign, body.as_bytes()), Err(Refusal::Signature));
        let other = body.replace('0', "1");
        assert_eq!(read(SECRET, &signed(SECRET, &body), other.as_bytes()), Err(Refusal::Signature));
        assert_eq!(read(SECRET, &HeaderMap::new(), body.as_bytes()), Err(Refusal::Signature));
    }
}
