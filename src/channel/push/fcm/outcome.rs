//! What FCM's answer means for a message: one pure function, tested as a table.
//!
//! Sources: "FCM Error Codes" (<https://firebase.google.com/docs/cloud-messaging/error-codes>): the error's
//! `details` have an `FcmError` with `errorCode`; without one, the API's status (`google.rpc.Code`) speaks of our
//! request as such.

use crate::channel::reject;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::access::Refused;
use crate::channel::provider::{Answer, Failure};
use crate::channel::{Outcome, Verdict};
use crate::model::Reason;

/// What is waited for when QUOTA_EXCEEDED comes without Retry-After: "the minimum initial retry delay is 1 minute".
const QUOTA_PAUSE: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct Refusal {
    error: Problem,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    details: Vec<Value>,
}

impl Problem {
    fn code(&self) -> Option<&str> {
        self.details.iter().find_map(|detail| detail.get("errorCode")?.as_str())
    }

    /// Whether a violation names the token.
    fn blames_the_token(&self) -> bool {
        let violations = self.details.iter().filter_map(|detail| detail.get("fieldViolations")?.as_array()).flatten();
        violations.filter_map(|violation| violation.get("field")?.as_str()).any(|field| field == "message.token")
    }
}

pub(super) fn answered(answer: &Answer) -> Outcome {
    if (200..300).contains(&answer.status) {
        let name = serde_json::from_slice::<Value>(&answer.body).ok();
        let provider_message_id = name.and_then(|body| Some(body.get("name")?.as_str()?.to_owned()));
        let code = Some(format!("http_{}", answer.status));
        return Outcome { result: Verdict::Sent { provider_message_id }, code };
    }
    let problem = serde_json::from_slice::<Refusal>(&answer.body).ok().map(|refusal| refusal.error);
    let code = problem.as_ref().and_then(Problem::code).map(str::to_owned);
    let status = problem.as_ref().and_then(|problem| problem.status.clone());
    let blames_the_token = problem.as_ref().is_some_and(Problem::blames_the_token);
    let result = match code.as_deref() {
        Some(code) => refused(code, blames_the_token, answer),
        None => without_code(answer),
    };
    Outcome { result, code: code.or(status).or_else(|| Some(format!("http_{}", answer.status))) }
}

fn refused(code: &str, blames_the_token: bool, answer: &Answer) -> Verdict {
    let retry = |reason, after| Verdict::Retry { reason, after };
    match code {
        "UNREGISTERED" => reject(Reason::EndpointGone),
        "INVALID_ARGUMENT" if blames_the_token => reject(Reason::AddressRefused),
        "INVALID_ARGUMENT" => reject(Reason::MessageRefused),
        // The token is another project's.
        "SENDER_ID_MISMATCH" => reject(Reason::AddressForbidden),
        "QUOTA_EXCEEDED" => retry(Reason::RateLimited, answer.after.or(Some(QUOTA_PAUSE))),
        "UNAVAILABLE" => retry(Reason::ProviderBusy, answer.after),
        "INTERNAL" => retry(Reason::ProviderError, answer.after),
        // What the project gave Firebase for Apple or browsers: ours to mend, yet no reason to hold the others.
        "THIRD_PARTY_AUTH_ERROR" => retry(Reason::BadCredentials, None),
        _ => without_code(answer),
    }
}

fn without_code(answer: &Answer) -> Verdict {
    let retry = |reason| Verdict::Retry { reason, after: answer.after };
    match answer.status {
        400 | 413 => reject(Reason::MessageRefused),
        401 | 403 | 404 => Verdict::Halt { reason: Reason::BadCredentials },
        429 => retry(Reason::RateLimited),
        503 => retry(Reason::ProviderBusy),
        _ => retry(Reason::ProviderError),
    }
}

/// What it means that there is no access token.
pub(super) fn no_access(refused: Refused) -> Outcome {
    let (reason, code) = match refused {
        Refused::Credentials => (Reason::BadCredentials, None),
        Refused::Unavailable(status) => (Reason::ProviderError, Some(format!("http_{status}"))),
        Refused::Unreachable => (Reason::ConnectFailed, None),
    };
    Outcome { result: Verdict::Halt { reason }, code }
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
    use serde_json::json;

    use super::*;

    fn retry(reason: Reason, after: Option<u64>) -> Verdict {
        Verdict::Retry { reason, after: after.map(Duration::from_secs) }
    }

    fn refusal(status: u16, code: &str) -> Value {
        let kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
        json!({"error": {"code": status, "message": "x", "status": "X", "details": [{"@type": kind, "errorCode": code}]}})
    }

    #[rstest]
    #[case(404, "UNREGISTERED", reject(Reason::EndpointGone))]
    #[case(400, "INVALID_ARGUMENT", reject(Reason::MessageRefused))]
    #[case(403, "SENDER_ID_MISMATCH", reject(Reason::AddressForbidden))]
    #[case(429, "QUOTA_EXCEEDED", retry(Reason::RateLimited, Some(60)))]
    #[case(503, "UNAVAILABLE", retry(Reason::ProviderBusy, None))]
    #[case(500, "INTERNAL", retry(Reason::ProviderError, None))]
    #[case(401, "THIRD_PARTY_AUTH_ERROR", retry(Reason::BadCredentials, None))]
    #[case(400, "SOMETHING_NEW", reject(Reason::MessageRefused))]
    #[case(500, "UNSPECIFIED_ERROR", retry(Reason::ProviderError, None))]
    fn an_error_code_has_one_meaning(#[case] status: u16, #[case] code: &str, #[case] expected: Verdict) {
        let answer = Answer { status, after: None, body: refusal(status, code).to_string().into_bytes() };
        assert_eq!(answered(&answer), Outcome { result: expected, code: Some(code.to_owned()) });
    }

    #[test]
    fn an_argument_that_is_the_token_is_the_addresss_fault() {
        let mut body = refusal(400, "INVALID_ARGUMENT");
        let violation = json!({"fieldViolations": [{"field": "message.token", "description": "x"}]});
        body["error"]["details"].as_array_mut().unwrap().push(violation);
        let answer = Answer { status: 400, after: None, body: body.to_string().into_bytes() };
        assert_eq!(answered(&answer).result, reject(Reason::AddressRefused));
    }

    #[test]
    fn the_time_that_fcm_asks_for_is_kept() {
        let body = refusal(429, "QUOTA_EXCEEDED").to_string().into_bytes();
        let answer = Answer { status: 429, after: Some(Duration::from_secs(120)), body };
        assert_eq!(answered(&answer).result, retry(Reason::RateLimited, Some(120)));
    }

    #[rstest]
    #[case(400, reject(Reason::MessageRefused))]
    #[case(401, Verdict::Halt { reason: Reason::BadCredentials })]
    #[case(403, Verdict::Halt { reason: Reason::BadCredentials })]
    #[case(404, Verdict::Halt { reason: Reason::BadCredentials })]
    #[case(429, retry(Reason::RateLimited, None))]
    #[case(500, retry(Reason::ProviderError, None))]
    #[case(502, retry(Reason::ProviderError, None))]
    #[case(503, retry(Reason::ProviderBusy, None))]
    fn without_a_code_the_status_decides(#[case] status: u16, #[case] expected: Verdict) {
        let answer = Answer { status, after: None, body: b"<html>".to_vec() };
        assert_eq!(answered(&answer), Outcome { result: expected, code: Some(format!("http_{status}")) });
    }

    #[test]
    fn a_message_has_its_name() {
        let answer = Answer { status: 200, after: None, body: br#"{"name":"projects/p/messages/1"}"#.to_vec() };
        let sent = Verdict::Sent { provider_message_id: Some("projects/p/messages/1".to_owned()) };
        assert_eq!(answered(&answer).result, sent);
    }
}
