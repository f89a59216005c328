//! What an answer of the Bot API means for a notification: one pure function, tested as a table.
//!
//! Source: <https://core.telegram.org/bots/api#making-requests>, and the descriptions that teloxide-core knows.

use crate::channel::{reject, retry};
use std::time::Duration;

use serde::Deserialize;
use teloxide_core::ApiError;
use teloxide_core::types::ResponseParameters;

use crate::channel::Verdict;
use crate::model::Reason;

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: u16,
    body: Option<Body>,
}

/// The envelope of every answer; of the message only its number is read, so that new fields cannot break it.
#[derive(Debug, Deserialize)]
struct Body {
    ok: bool,
    #[serde(default)]
    result: Option<Sent>,
    #[serde(default)]
    description: Option<ApiError>,
    #[serde(default)]
    parameters: Option<ResponseParameters>,
}

#[derive(Debug, Deserialize)]
struct Sent {
    #[serde(default)]
    message_id: Option<i64>,
}

/// Why nothing, or not all, came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// No connection: nothing was sent.
    NoConnection,
    /// No answer in time.
    Timeout,
    /// The connection broke after the request was on its way.
    Interrupted { status: Option<u16> },
}

impl Answer {
    pub(super) fn parse(status: u16, body: &[u8]) -> Self {
        Answer { status, body: serde_json::from_slice(body).ok() }
    }

    pub(super) fn is_ok(&self) -> bool {
        self.status == 200 && self.body.as_ref().is_some_and(|body| body.ok)
    }
}

pub(super) fn verdict(answer: Result<Answer, Failure>) -> Verdict {
    let answer = match answer {
        Ok(answer) => answer,
        Err(Failure::NoConnection) => return Verdict::Halt { reason: Reason::ConnectFailed },
        Err(Failure::Timeout) => return retry(Reason::Timeout),
        // The headers said that it was taken; only the rest of the answer is missing.
        Err(Failure::Interrupted { status: Some(200) }) => return Verdict::Sent { provider_message_id: None },
        Err(Failure::Interrupted { .. }) => return retry(Reason::Interrupted),
    };
    if answer.is_ok() {
        let message_id = answer.body.and_then(|body| body.result).and_then(|sent| sent.message_id);
        return Verdict::Sent { provider_message_id: message_id.map(|id| id.to_string()) };
    }
    let (error, parameters) = answer.body.map_or((None, None), |body| (body.description, body.parameters));
    match (answer.status, parameters) {
        (_, Some(ResponseParameters::RetryAfter(seconds))) => Verdict::Retry {
            reason: Reason::RateLimited,
            after: Some(Duration::from_secs(u64::from(seconds.seconds()))),
        },
        // The chat lives on under another number; the preferences still have the old one.
        (_, Some(ResponseParameters::MigrateToChatId(_))) => reject(Reason::AddressRefused),
        (429, None) => retry(Reason::RateLimited),
        (401 | 404, None) => Verdict::Halt { reason: Reason::BadCredentials },
        (403, None) => reject(Reason::Blocked),
        (400 | 413, None) => reject(error.as_ref().map_or(Reason::MessageRefused, refused)),
        _ => retry(Reason::ProviderError),
    }
}

/// Whom a "Bad Request" blames.
fn refused(error: &ApiError) -> Reason {
    match error {
        ApiError::ChatNotFound | ApiError::UserNotFound => Reason::AddressRefused,
        ApiError::GroupDeactivated
        | ApiError::NotEnoughRightsToPostMessages
        | ApiError::BotBlocked
        | ApiError::BotKicked
        | ApiError::BotKickedFromSupergroup
        | ApiError::BotKickedFromChannel
        | ApiError::UserDeactivated
        | ApiError::CantInitiateConversation
        | ApiError::CantTalkWithBots => Reason::Blocked,
        ApiError::Unknown(text) => unknown(text),
        _ => Reason::MessageRefused,
    }
}

/// Descriptions that teloxide-core does not know.
fn unknown(text: &str) -> Reason {
    let text = text.to_ascii_lowercase();
    if ["chat_id is empty", "peer_id_invalid", "chat_id_invalid", "upgraded to a supergroup"]
        .iter()
        .any(|known| text.contains(known))
    {
        Reason::AddressRefused
    } else if ["not enough rights", "have no rights to send", "chat_write_forbidden", "was kicked"]
        .iter()
        .any(|known| text.contains(known))
    {
        Reason::Blocked
    } else {
        Reason::MessageRefused
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn refusal(status: u16, description: &str) -> Verdict {
        let body = serde_json::json!({"ok": false, "error_code": status, "description": description});
        verdict(Ok(Answer::parse(status, body.to_string().as_bytes())))
    }

    #[rstest]
    #[case(400, "Bad Request: chat not found", reject(Reason::AddressRefused))]
    #[case(400, "Bad Request: user not found", reject(Reason::AddressRefused))]
    #[case(400, "Bad Request: PEER_ID_INVALID", reject(Reason::AddressRefused))]
    #[case(400, "Bad Request: group chat was upgraded to a supergroup chat", reject(Reason::AddressRefused))]
    #[case(400, "Bad Request: can't parse entities: Unsupported start tag", reject(Reason::MessageRefused))]
    #[case(400, "Bad Request: message is too long", reject(Reason::MessageRefused))]
    #[case(400, "Bad Request: message text is empty", reject(Reason::MessageRefused))]
    #[case(400, "Bad Request: something new", reject(Reason::MessageRefused))]
    #[case(400, "Bad Request: not enough rights to send text messages to the chat", reject(Reason::Blocked))]
    #[case(400, "Bad Request: need administrator rights in the channel chat", reject(Reason::Blocked))]
    #[case(403, "Forbidden: bot was blocked by the user", reject(Reason::Blocked))]
    #[case(403, "Forbidden: user is deactivated", reject(Reason::Blocked))]
    #[case(403, "Forbidden: bot was kicked from the supergroup chat", reject(Reason::Blocked))]
    #[case(403, "Forbidden: bot can't initiate conversation with a user", reject(Reason::Blocked))]
    #[case(401, "Unauthorized", Verdict::Halt { reason: Reason::BadCredentials })]
    #[case(404, "Not Found", Verdict::Halt { reason: Reason::BadCredentials })]
    #[case(429, "Too Many Requests", retry(Reason::RateLimited))]
    #[case(500, "Internal Server Error", retry(Reason::ProviderError))]
    #[case(302, "moved", retry(Reason::ProviderError))]
    fn a_refusal_has_one_meaning(#[case] status: u16, #[case] description: &str, #[case] expected: Verdict) {
        assert_eq!(refusal(status, description), expected);
    }

    #[test]
    fn the_time_that_telegram_asks_for_is_kept() {
        let body = br#"{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 35","parameters":{"retry_after":35}}"#;
        let expected = Verdict::Retry { reason: Reason::RateLimited, after: Some(Duration::from_secs(35)) };
        assert_eq!(verdict(Ok(Answer::parse(429, body))), expected);
    }

    #[test]
    fn a_chat_that_moved_is_no_address_any_more() {
        let body = br#"{"ok":false,"error_code":400,"description":"x","parameters":{"migrate_to_chat_id":-100123}}"#;
        assert_eq!(verdict(Ok(Answer::parse(400, body))), reject(Reason::AddressRefused));
    }

    #[test]
    fn a_sent_message_needs_no_field_but_its_number() {
        let sent = |body: &[u8]| verdict(Ok(Answer::parse(200, body)));
        let numbered = Verdict::Sent { provider_message_id: Some("7".to_owned()) };
        assert_eq!(sent(br#"{"ok":true,"result":{"message_id":7,"novelty":{}}}"#), numbered);
        assert_eq!(sent(br#"{"ok":true,"result":{}}"#), Verdict::Sent { provider_message_id: None });
    }

    #[test]
    fn a_page_of_a_proxy_is_not_an_answer() {
        assert_eq!(verdict(Ok(Answer::parse(200, b"<html>"))), retry(Reason::ProviderError));
        assert_eq!(verdict(Ok(Answer::parse(502, b"<html>Bad Gateway"))), retry(Reason::ProviderError));
    }

    #[rstest]
    #[case(Failure::NoConnection, Verdict::Halt { reason: Reason::ConnectFailed })]
    #[case(Failure::Timeout, retry(Reason::Timeout))]
    #[case(Failure::Interrupted { status: None }, retry(Reason::Interrupted))]
    #[case(Failure::Interrupted { status: Some(500) }, retry(Reason::Interrupted))]
    #[case(Failure::Interrupted { status: Some(200) }, Verdict::Sent { provider_message_id: None })]
    fn without_an_answer_it_matters_how_far_it_came(#[case] failure: Failure, #[case] expected: Verdict) {
        assert_eq!(verdict(Err(failure)), expected);
    }
}
