//! What APNs' answer means for a message: one pure function, tested as a table.
//!
//! Source: Apple, "Handling notification responses from APNs"
//! (<https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns>).

use serde::Deserialize;
use uuid::Uuid;

use crate::channel::provider::{Answer, Failure};
use crate::channel::{Outcome, Verdict};
use crate::model::{Reason, Timestamp};

#[derive(Deserialize)]
struct Refusal {
    reason: String,
    /// With 410: since when the token is not valid any more, in milliseconds.
    #[serde(default)]
    timestamp: Option<i64>,
}

/// What an answer to the notification of this id means.
pub(super) fn answered(answer: &Answer, id: Uuid) -> Outcome {
    if answer.status == 200 {
        // apns-id, which APNs repeats.
        let result = Verdict::Sent { provider_message_id: Some(id.to_string()) };
        return Outcome { result, code: Some("http_200".to_owned()) };
    }
    let refusal: Option<Refusal> = serde_json::from_slice(&answer.body).ok();
    let reason = refusal.as_ref().map_or("", |refusal| refusal.reason.as_str());
    let result = refused(answer, reason);
    let known = reason.bytes().all(|byte| byte.is_ascii_alphanumeric()) && (1..=64).contains(&reason.len());
    let code = match refusal.as_ref().and_then(|refusal| refusal.timestamp) {
        // An app that was installed again since then has a new token.
        Some(since) if known => format!("{reason} since {}", Timestamp(since)),
        _ if known => reason.to_owned(),
        _ => format!("http_{}", answer.status),
    };
    Outcome { result, code: Some(code) }
}

fn refused(answer: &Answer, reason: &str) -> Verdict {
    let reject = |reason| Verdict::Reject { reason };
    let retry = |reason| Verdict::Retry { reason, after: answer.after };
    let halt = |reason| Verdict::Halt { reason };
    match (answer.status, reason) {
        (410, _) => reject(Reason::EndpointGone),
        (400, "BadDeviceToken" | "DeviceTokenNotForTopic" | "MissingDeviceToken") => reject(Reason::AddressRefused),
        (400, "BadTopic" | "MissingTopic" | "TopicDisallowed") => halt(Reason::AccountRefused),
        (400, "IdleTimeout") => retry(Reason::Interrupted),
        // BadCertificate, ExpiredProviderToken, InvalidProviderToken, MissingProviderToken, Forbidden, …
        (403, _) => halt(Reason::BadCredentials),
        // BadCollapseId, BadExpirationDate, BadMessageId, BadPriority, InvalidPushType, PayloadEmpty, …; BadPath;
        // MethodNotAllowed; PayloadTooLarge.
        (400 | 404 | 405 | 413, _) => reject(Reason::MessageRefused),
        // TooManyRequests (to one device), TooManyProviderTokenUpdates.
        (429, _) => retry(Reason::RateLimited),
        // ServiceUnavailable, Shutdown.
        (503, _) => retry(Reason::ProviderBusy),
        _ => retry(Reason::ProviderError),
    }
}

/// What a call that brought no answer means.
pub(super) fn failed(failure: Failure) -> Verdict {
    let retry = |reason| Verdict::Retry { reason, after: None };
    match failure {
        Failure::NoConnection => Verdict::Halt { reason: Reason::ConnectFailed },
        Failure::Timeout => retry(Reason::Timeout),
        Failure::Interrupted { .. } => retry(Reason::Interrupted),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::channel::{halt, reject, retry};

    #[rstest]
    #[case(400, "BadDeviceToken", reject(Reason::AddressRefused))]
    #[case(400, "DeviceTokenNotForTopic", reject(Reason::AddressRefused))]
    #[case(400, "MissingDeviceToken", reject(Reason::AddressRefused))]
    #[case(400, "BadTopic", halt(Reason::AccountRefused))]
    #[case(400, "MissingTopic", halt(Reason::AccountRefused))]
    #[case(400, "TopicDisallowed", halt(Reason::AccountRefused))]
    #[case(400, "IdleTimeout", retry(Reason::Interrupted))]
    #[case(400, "BadCollapseId", reject(Reason::MessageRefused))]
    #[case(400, "BadExpirationDate", reject(Reason::MessageRefused))]
    #[case(400, "BadMessageId", reject(Reason::MessageRefused))]
    #[case(400, "BadPriority", reject(Reason::MessageRefused))]
    #[case(400, "InvalidPushType", reject(Reason::MessageRefused))]
    #[case(400, "PayloadEmpty", reject(Reason::MessageRefused))]
    #[case(403, "ExpiredProviderToken", halt(Reason::BadCredentials))]
    #[case(403, "InvalidProviderToken", halt(Reason::BadCredentials))]
    #[case(403, "MissingProviderToken", halt(Reason::BadCredentials))]
    #[case(403, "Forbidden", halt(Reason::BadCredentials))]
    #[case(404, "BadPath", reject(Reason::MessageRefused))]
    #[case(405, "MethodNotAllowed", reject(Reason::MessageRefused))]
    #[case(410, "Unregistered", reject(Reason::EndpointGone))]
    #[case(410, "ExpiredToken", reject(Reason::EndpointGone))]
    #[case(413, "PayloadTooLarge", reject(Reason::MessageRefused))]
    #[case(429, "TooManyRequests", retry(Reason::RateLimited))]
    #[case(429, "TooManyProviderTokenUpdates", retry(Reason::RateLimited))]
    #[case(500, "InternalServerError", retry(Reason::ProviderError))]
    #[case(503, "ServiceUnavailable", retry(Reason::ProviderBusy))]
    #[case(503, "Shutdown", retry(Reason::ProviderBusy))]
    fn a_reason_has_one_meaning(#[case] status: u16, #[case] reason: &str, #[case] expected: Verdict) {
        let answer = Answer { status, after: None, body: format!(r#"{{"reason":"{reason}"}}"#).into_bytes() };
        assert_eq!(answered(&answer, Uuid::nil()), Outcome { result: expected, code: Some(reason.to_owned()) });
    }

    #[test]
    fn who_is_gone_is_gone_since_then() {
        let body = br#"{"reason":"Unregistered","timestamp":1795000000000}"#.to_vec();
        let outcome = answered(&Answer { status: 410, after: None, body }, Uuid::nil());
        assert_eq!(outcome.code.as_deref(), Some("Unregistered since 2026-11-18T11:06:40.000Z"));
    }

    #[test]
    fn without_a_reason_the_status_is_told() {
        let answer = Answer { status: 502, after: None, body: b"<html>".to_vec() };
        let expected = Outcome { result: retry(Reason::ProviderError), code: Some("http_502".to_owned()) };
        assert_eq!(answered(&answer, Uuid::nil()), expected);
    }
}
