//! What a provider's answer means for a message: tables of codes, then the HTTP status; pure.
//!
//! Sources: Twilio, "Error and Warning Dictionary" (<https://www.twilio.com/docs/api/errors>): the codes that the
//! Messages resource answers with; Vonage, "SMS API error codes" (<https://developer.vonage.com/en/api-errors/sms>):
//! each answer is HTTP 200 with a status for each part; RFC 9110, section 15, where no code says more.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::channel::provider::{Answer, Failure};
use crate::channel::{Outcome, Verdict};
use crate::config::{Meaning, Preset, SmsHttp};
use crate::model::Reason;

/// Codes of the Messages resource. 30xxx come later, with receipts.
const TWILIO: &[(&str, Meaning)] = &[
    ("20003", Meaning::BadCredentials),   // authenticate
    ("20005", Meaning::AccountRefused),   // account not active
    ("20006", Meaning::AccountRefused),   // access denied
    ("20404", Meaning::BadCredentials),   // the account in the URL is not there
    ("20429", Meaning::RateLimited),      // too many requests
    ("20500", Meaning::ProviderError),    // internal server error
    ("20503", Meaning::ProviderBusy),     // service unavailable
    ("14107", Meaning::RateLimited),      // message rate limit exceeded
    ("21211", Meaning::AddressRefused),   // invalid `To`
    ("21212", Meaning::AccountRefused),   // invalid `From`
    ("21217", Meaning::AddressRefused),   // the number seems invalid
    ("21265", Meaning::AddressRefused),   // `To` cannot be a short code
    ("21266", Meaning::AddressRefused),   // `To` and `From` are the same
    ("21408", Meaning::AddressForbidden), // no permission for the region of `To`
    ("21601", Meaning::AccountRefused),   // the sender is not capable of SMS
    ("21602", Meaning::MessageRefused),   // no body
    ("21603", Meaning::AccountRefused),   // no `From`
    ("21604", Meaning::AddressRefused),   // no `To`
    ("21605", Meaning::MessageRefused),   // the body is too long
    ("21606", Meaning::AccountRefused),   // `From` is not ours, or cannot send
    ("21607", Meaning::AccountRefused),   // `From` must be one of ours
    ("21608", Meaning::AddressForbidden), // a trial account, and the number is not verified
    ("21610", Meaning::Blocked),          // the recipient answered STOP
    ("21611", Meaning::ProviderBusy),     // the sender's queue is full
    ("21612", Meaning::AddressForbidden), // not reachable from this sender
    ("21614", Meaning::AddressRefused),   // not a mobile number
    ("21617", Meaning::MessageRefused),   // more than 1,600 characters
    ("21619", Meaning::MessageRefused),   // neither body nor media
    ("21635", Meaning::AddressRefused),   // a landline
    ("21659", Meaning::AccountRefused),   // `From` is not a number of Twilio's
    ("21660", Meaning::AccountRefused),   // `From` is another account's
    ("21703", Meaning::AccountRefused),   // the messaging service has no sender
    ("21705", Meaning::AccountRefused),   // no such messaging service
    ("30001", Meaning::ProviderBusy),     // queue overflow
    ("30002", Meaning::AccountRefused),   // account suspended
    ("63038", Meaning::AccountRefused),   // the account's messages of the day are used up
];

const VONAGE: &[(&str, Meaning)] = &[
    ("0", Meaning::Sent),              // accepted
    ("1", Meaning::RateLimited),       // throttled
    ("2", Meaning::MessageRefused),    // missing parameters
    ("3", Meaning::MessageRefused),    // invalid parameters
    ("4", Meaning::BadCredentials),    // invalid credentials
    ("5", Meaning::ProviderError),     // internal error
    ("6", Meaning::AddressRefused),    // cannot be processed, as with an unknown prefix
    ("7", Meaning::AddressForbidden),  // number barred
    ("8", Meaning::AccountRefused),    // partner account barred
    ("9", Meaning::AccountRefused),    // not enough credit
    ("10", Meaning::ProviderBusy),     // too many binds
    ("11", Meaning::AccountRefused),   // not enabled for HTTP
    ("12", Meaning::MessageRefused),   // message too long
    ("14", Meaning::BadCredentials),   // invalid signature
    ("15", Meaning::AccountRefused),   // invalid sender
    ("22", Meaning::AddressRefused),   // invalid network code
    ("23", Meaning::AccountRefused),   // invalid callback URL
    ("29", Meaning::AddressForbidden), // not on the list of a trial account
    ("32", Meaning::BadCredentials),   // signature and secret both given
    ("33", Meaning::AddressRefused),   // number de-activated
];

/// How an account's answers are read.
pub(super) struct Reading {
    message_id: Option<String>,
    error_code: Option<String>,
    codes: BTreeMap<String, Meaning>,
    /// Vonage: an answer without its statuses is not Vonage's.
    needs_code: bool,
}

impl Reading {
    /// Reads the settings.
    ///
    /// # Errors
    /// The keys of those that cannot work, with why.
    pub(super) fn new(config: &SmsHttp) -> Result<Self, Vec<(&'static str, String)>> {
        let wrong = |key, pointer: &Option<String>| match pointer {
            Some(pointer) if !pointer.starts_with('/') => {
                Some((key, format!("`{pointer}` is not a JSON pointer, as in `/messages/0/id`")))
            }
            _ => None,
        };
        let problems: Vec<_> = [wrong("message_id", &config.message_id), wrong("error_code", &config.error_code)]
            .into_iter()
            .flatten()
            .collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        let table = match config.preset {
            Preset::None => &[][..],
            Preset::Twilio => TWILIO,
            Preset::Vonage => VONAGE,
        };
        let mut codes: BTreeMap<String, Meaning> =
            table.iter().map(|(code, meaning)| ((*code).to_owned(), *meaning)).collect();
        codes.extend(config.outcomes.iter().map(|(code, meaning)| (code.clone(), *meaning)));
        Ok(Reading {
            message_id: config.message_id.clone(),
            error_code: config.error_code.clone(),
            codes,
            needs_code: config.preset == Preset::Vonage,
        })
    }

    /// What an answer means, and the code that said so.
    pub(super) fn answered(&self, answer: &Answer) -> Outcome {
        let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
        let http = format!("http_{}", answer.status);
        let codes = body.as_ref().map_or_else(Vec::new, |body| self.codes_of(body));
        let known = |code: &String| self.codes.get(code).map(|meaning| (*meaning, code.clone()));
        // With several parts, each has a code: one that is not a success decides.
        let telling = codes.iter().find(|code| self.codes.get(*code) != Some(&Meaning::Sent)).or(codes.first());
        let (meaning, code) = match telling {
            Some(code) => {
                known(code).or_else(|| known(&http)).unwrap_or_else(|| (unknown(answer.status), code.clone()))
            }
            None => known(&http).unwrap_or_else(|| (self.without_code(answer.status), http)),
        };
        let provider_message_id = body.as_ref().and_then(|body| self.id_of(body));
        Outcome { result: verdict(meaning, answer, provider_message_id), code: Some(code) }
    }

    fn without_code(&self, status: u16) -> Meaning {
        match by_status(status) {
            Meaning::Sent if self.needs_code => Meaning::ProviderError,
            meaning => meaning,
        }
    }

    fn codes_of(&self, body: &Value) -> Vec<String> {
        let found = self.error_code.as_deref().map_or_else(Vec::new, |pointer| pointed(body, pointer));
        found.into_iter().filter_map(word).collect()
    }

    fn id_of(&self, body: &Value) -> Option<String> {
        pointed(body, self.message_id.as_deref()?).into_iter().find_map(word)
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

fn verdict(meaning: Meaning, answer: &Answer, provider_message_id: Option<String>) -> Verdict {
    let reject = |reason| Verdict::Reject { reason };
    let retry = |reason| Verdict::Retry { reason, after: answer.after };
    let halt = |reason| Verdict::Halt { reason };
    match meaning {
        Meaning::Sent => Verdict::Sent { provider_message_id },
        Meaning::AddressRefused => reject(Reason::AddressRefused),
        Meaning::AddressForbidden => reject(Reason::AddressForbidden),
        Meaning::Blocked => reject(Reason::Blocked),
        Meaning::MessageRefused => reject(Reason::MessageRefused),
        Meaning::RateLimited => retry(Reason::RateLimited),
        Meaning::ProviderBusy => retry(Reason::ProviderBusy),
        Meaning::ProviderError => retry(Reason::ProviderError),
        Meaning::BadCredentials => halt(Reason::BadCredentials),
        Meaning::AccountRefused => halt(Reason::AccountRefused),
    }
}

/// A code that no table has: a success it is not, whatever the status says.
fn unknown(status: u16) -> Meaning {
    match by_status(status) {
        Meaning::Sent => Meaning::ProviderError,
        meaning => meaning,
    }
}

fn by_status(status: u16) -> Meaning {
    match status {
        200..=299 => Meaning::Sent,
        401 | 403 | 404 => Meaning::BadCredentials,
        402 => Meaning::AccountRefused,
        429 => Meaning::RateLimited,
        408 | 425 | 503 => Meaning::ProviderBusy,
        400..=499 => Meaning::MessageRefused,
        _ => Meaning::ProviderError,
    }
}

/// A code or id as text; an empty one, or none, is none.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// What a JSON pointer (RFC 6901) leads to; `*` stands for every element of a list.
fn pointed<'a>(value: &'a Value, pointer: &str) -> Vec<&'a Value> {
    match pointer.split_once("/*") {
        Some((before, after)) if after.is_empty() || after.starts_with('/') => {
            let list = value.pointer(before).and_then(Value::as_array);
            list.into_iter().flatten().flat_map(|element| pointed(element, after)).collect()
        }
        _ => value.pointer(pointer).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rstest::rstest;
    use serde_json::json;

    use super::super::preset::filled;
    use super::super::tests::{custom, twilio, vonage};
    use super::*;
    use crate::channel::{halt, reject, retry};

    fn reading(config: &SmsHttp) -> Reading {
        Reading::new(&filled(config)).unwrap()
    }

    fn answer(status: u16, body: &Value) -> Answer {
        Answer { status, after: None, body: body.to_string().into_bytes() }
    }

    fn sent(id: Option<&str>) -> Verdict {
        Verdict::Sent { provider_message_id: id.map(str::to_owned) }
    }

    #[rstest]
    #[case(400, 21211, reject(Reason::AddressRefused))]
    #[case(400, 21614, reject(Reason::AddressRefused))]
    #[case(400, 21635, reject(Reason::AddressRefused))]
    #[case(400, 21610, reject(Reason::Blocked))]
    #[case(400, 21408, reject(Reason::AddressForbidden))]
    #[case(400, 21608, reject(Reason::AddressForbidden))]
    #[case(400, 21612, reject(Reason::AddressForbidden))]
    #[case(400, 21602, reject(Reason::MessageRefused))]
    #[case(400, 21617, reject(Reason::MessageRefused))]
    #[case(400, 29999, reject(Reason::MessageRefused))]
    #[case(400, 21606, halt(Reason::AccountRefused))]
    #[case(400, 21659, halt(Reason::AccountRefused))]
    #[case(403, 20005, halt(Reason::AccountRefused))]
    #[case(401, 20003, halt(Reason::BadCredentials))]
    #[case(404, 20404, halt(Reason::BadCredentials))]
    #[case(429, 63038, halt(Reason::AccountRefused))]
    #[case(429, 20429, retry(Reason::RateLimited))]
    #[case(429, 14107, retry(Reason::RateLimited))]
    #[case(429, 21611, retry(Reason::ProviderBusy))]
    #[case(503, 20503, retry(Reason::ProviderBusy))]
    #[case(500, 20500, retry(Reason::ProviderError))]
    fn twilios_codes(#[case] status: u16, #[case] code: u32, #[case] expected: Verdict) {
        let body = json!({"code": code, "message": "x", "more_info": "x", "status": status});
        let outcome = reading(&twilio()).answered(&answer(status, &body));
        assert_eq!(outcome, Outcome { result: expected, code: Some(code.to_string()) });
    }

    #[test]
    fn twilios_message_has_its_sid_and_no_code() {
        let body = json!({"sid": "SM1", "status": "queued", "error_code": null, "error_message": null});
        let outcome = reading(&twilio()).answered(&answer(201, &body));
        assert_eq!(outcome, Outcome { result: sent(Some("SM1")), code: Some("http_201".to_owned()) });
    }

    #[rstest]
    #[case("0", sent(Some("m1")))]
    #[case("1", retry(Reason::RateLimited))]
    #[case("2", reject(Reason::MessageRefused))]
    #[case("3", reject(Reason::MessageRefused))]
    #[case("4", halt(Reason::BadCredentials))]
    #[case("5", retry(Reason::ProviderError))]
    #[case("6", reject(Reason::AddressRefused))]
    #[case("7", reject(Reason::AddressForbidden))]
    #[case("8", halt(Reason::AccountRefused))]
    #[case("9", halt(Reason::AccountRefused))]
    #[case("10", retry(Reason::ProviderBusy))]
    #[case("11", halt(Reason::AccountRefused))]
    #[case("12", reject(Reason::MessageRefused))]
    #[case("14", halt(Reason::BadCredentials))]
    #[case("15", halt(Reason::AccountRefused))]
    #[case("22", reject(Reason::AddressRefused))]
    #[case("23", halt(Reason::AccountRefused))]
    #[case("29", reject(Reason::AddressForbidden))]
    #[case("32", halt(Reason::BadCredentials))]
    #[case("33", reject(Reason::AddressRefused))]
    #[case("99", retry(Reason::ProviderError))]
    fn vonages_statuses_within_a_200(#[case] status: &str, #[case] expected: Verdict) {
        let body =
            json!({"message-count": "1", "messages": [{"status": status, "message-id": "m1", "error-text": "x"}]});
        let outcome = reading(&vonage()).answered(&answer(200, &body));
        assert_eq!(outcome, Outcome { result: expected, code: Some(status.to_owned()) });
    }

    #[test]
    fn one_part_that_failed_decides_for_all() {
        let body = json!({"messages": [{"status": "0", "message-id": "m1"}, {"status": "1"}, {"status": "0"}]});
        let outcome = reading(&vonage()).answered(&answer(200, &body));
        assert_eq!(outcome, Outcome { result: retry(Reason::RateLimited), code: Some("1".to_owned()) });
    }

    #[rstest]
    #[case(&json!({"messages": []}))]
    #[case(&json!("<html>"))]
    fn a_200_without_vonages_statuses_is_not_a_success(#[case] body: &Value) {
        assert_eq!(reading(&vonage()).answered(&answer(200, body)).result, retry(Reason::ProviderError));
    }

    #[rstest]
    #[case(200, sent(None))]
    #[case(202, sent(None))]
    #[case(302, retry(Reason::ProviderError))]
    #[case(400, reject(Reason::MessageRefused))]
    #[case(401, halt(Reason::BadCredentials))]
    #[case(402, halt(Reason::AccountRefused))]
    #[case(403, halt(Reason::BadCredentials))]
    #[case(404, halt(Reason::BadCredentials))]
    #[case(408, retry(Reason::ProviderBusy))]
    #[case(422, reject(Reason::MessageRefused))]
    #[case(429, retry(Reason::RateLimited))]
    #[case(500, retry(Reason::ProviderError))]
    #[case(503, retry(Reason::ProviderBusy))]
    fn without_a_code_the_status_decides(#[case] status: u16, #[case] expected: Verdict) {
        for config in [custom(), twilio()] {
            let outcome = reading(&config).answered(&Answer { status, after: None, body: b"<html>".to_vec() });
            assert_eq!(outcome, Outcome { result: expected.clone(), code: Some(format!("http_{status}")) });
        }
    }

    #[test]
    fn the_settings_may_say_what_codes_and_statuses_mean() {
        let mut config = custom();
        config.error_code = Some("/error/code".to_owned());
        config.outcomes =
            [("E7".to_owned(), Meaning::Blocked), ("http_404".to_owned(), Meaning::AddressRefused)].into();
        let reading = reading(&config);
        let result = |status, body: Value| reading.answered(&answer(status, &body)).result;
        assert_eq!(result(200, json!({"error": {"code": "E7"}})), reject(Reason::Blocked));
        assert_eq!(result(404, json!({"error": {"code": "E8"}})), reject(Reason::AddressRefused));
        assert_eq!(result(200, json!({"error": {"code": "E8"}})), retry(Reason::ProviderError), "no success");
        assert_eq!(result(200, json!({"error": null})), sent(None));
    }

    #[test]
    fn the_time_that_the_provider_asks_for_is_kept() {
        let after = Some(Duration::from_secs(120));
        let answer = Answer { status: 429, after, body: Vec::new() };
        let expected = Verdict::Retry { reason: Reason::RateLimited, after };
        assert_eq!(reading(&twilio()).answered(&answer).result, expected);
    }

    #[rstest]
    #[case(Failure::NoConnection, halt(Reason::ConnectFailed))]
    #[case(Failure::Timeout, retry(Reason::Timeout))]
    #[case(Failure::Interrupted { status: None }, retry(Reason::Interrupted))]
    #[case(Failure::Interrupted { status: Some(201) }, retry(Reason::Interrupted))]
    fn without_an_answer_it_matters_how_far_it_came(#[case] failure: Failure, #[case] expected: Verdict) {
        assert_eq!(failed(failure), expected);
    }
}
