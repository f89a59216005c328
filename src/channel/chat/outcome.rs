//! What a chat's answer means for a notification: one pure function, tested as a table.
//!
//! Sources: Slack, "Sending messages using incoming webhooks", "Handling errors" (docs.slack.dev), and "Rate limits";
//! Discord, "Opcodes and status codes" and "Rate limits" (docs.discord.com/developers/topics); Mattermost, "Incoming
//! webhooks" (docs.mattermost.com) and the ids that its server answers with (`server/channels/app/webhook.go`);
//! Microsoft, "Create incoming webhooks with Workflows" and "Azure Logic Apps, Request trigger" (learn.microsoft.com).
//! The webhook is a customer's: it can never hold the channel for others, so nothing here is a Halt.

use std::time::Duration;

use serde::Deserialize;

use super::Service;
use crate::channel::Verdict;
use crate::channel::endpoint::{Answer, bounded};
use crate::model::Reason;

pub(super) fn answered(service: Service, answer: &Answer) -> Verdict {
    match answer.status {
        200..=299 => return Verdict::Sent { provider_message_id: message_id(service, &answer.body) },
        429 => return Verdict::Retry { reason: Reason::RateLimited, after: wanted(service, answer) },
        408 | 503 => return Verdict::Retry { reason: Reason::ProviderBusy, after: answer.after },
        _ => {}
    }
    let said = match service {
        Service::Slack => slack(&answer.body),
        Service::Discord => discord(&answer.body),
        Service::Mattermost => mattermost(&answer.body),
        Service::Teams => teams(&answer.body),
    };
    match said.or_else(|| by_status(service, answer.status)) {
        Some(reason) => Verdict::Reject { reason },
        None => Verdict::Retry { reason: Reason::ProviderError, after: answer.after },
    }
}

/// What a status means where the body says nothing that is known.
fn by_status(service: Service, status: u16) -> Option<Reason> {
    match (status, service) {
        (404 | 410, _) | (401, Service::Discord | Service::Slack) => Some(Reason::AddressRefused),
        // The URL's signature is wrong, or the workflow takes none but signed-in callers: it must be made anew.
        (401 | 403, Service::Teams) => Some(Reason::AddressRefused),
        (401 | 403, _) => Some(Reason::Blocked),
        // Mattermost: incoming webhooks are switched off.
        (501, Service::Mattermost) => Some(Reason::Blocked),
        (400 | 413 | 422, _) => Some(Reason::MessageRefused),
        _ => None,
    }
}

/// Slack says one word.
fn slack(body: &[u8]) -> Option<Reason> {
    Some(match std::str::from_utf8(body).ok()?.trim() {
        "channel_is_archived"
        | "channel_not_found"
        | "user_not_found"
        | "no_service"
        | "no_service_id"
        | "no_active_hooks"
        | "no_team"
        | "team_disabled"
        | "invalid_token" => Reason::AddressRefused,
        "action_prohibited" | "posting_to_general_channel_denied" => Reason::Blocked,
        "invalid_payload" | "no_text" | "too_many_attachments" | "invalid_blocks" => Reason::MessageRefused,
        _ => return None,
    })
}

/// What Discord's errors and limits say.
#[derive(Default, Deserialize)]
struct DiscordBody {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    code: Option<i64>,
    #[serde(default)]
    retry_after: Option<f64>,
}

fn discord(body: &[u8]) -> Option<Reason> {
    let body: DiscordBody = serde_json::from_slice(body).ok()?;
    Some(match body.code? {
        // Unknown channel, unknown guild, unknown webhook, invalid webhook token; a forum, which takes no plain message.
        10003 | 10004 | 10015 | 50027 | 220_001 => Reason::AddressRefused,
        // Missing access, missing permissions, cannot send in this channel.
        50001 | 50013 | 50008 => Reason::Blocked,
        // An empty message, an invalid form, AutoMod.
        50006 | 50035 | 200_000 => Reason::MessageRefused,
        _ => return None,
    })
}

/// The id of Mattermost's error.
fn mattermost(body: &[u8]) -> Option<Reason> {
    #[derive(Deserialize)]
    struct Body {
        id: String,
    }
    let body: Body = serde_json::from_slice(body).ok()?;
    Some(match body.id.as_str() {
        "web.incoming_webhook.invalid.app_error"
        | "web.incoming_webhook.channel.app_error"
        | "web.incoming_webhook.user.app_error"
        | "api.post.create_post.can_not_post_to_deleted.error" => Reason::AddressRefused,
        "web.incoming_webhook.disabled.app_error"
        | "web.incoming_webhook.channel_locked.app_error"
        | "web.incoming_webhook.permissions.app_error" => Reason::Blocked,
        "web.incoming_webhook.text.app_error"
        | "web.incoming_webhook.text.length.app_error"
        | "web.incoming_webhook.parse.app_error" => Reason::MessageRefused,
        _ => return None,
    })
}

/// The code of an error of Logic Apps, which Workflows are.
fn teams(body: &[u8]) -> Option<Reason> {
    #[derive(Deserialize)]
    struct Body {
        error: Error,
    }
    #[derive(Deserialize)]
    struct Error {
        code: String,
    }
    let body: Body = serde_json::from_slice(body).ok()?;
    Some(match body.error.code.as_str() {
        "WorkflowNotFound"
        | "WorkflowTriggerNotFound"
        | "WorkflowDisabled"
        | "WorkflowTriggerIsNotEnabled"
        | "DirectApiAuthorizationRequired"
        | "DirectApiInvalidAuthorizationScheme"
        | "AuthorizationFailed" => Reason::AddressRefused,
        "TriggerInputSchemaMismatch" | "InvalidRequestContent" => Reason::MessageRefused,
        _ => return None,
    })
}

/// How long to wait: Discord says it to the millisecond in its body, everyone in a header.
fn wanted(service: Service, answer: &Answer) -> Option<Duration> {
    let body = || -> Option<Duration> {
        let body: DiscordBody = serde_json::from_slice(&answer.body).ok()?;
        bounded(Duration::try_from_secs_f64(body.retry_after?).ok()?)
    };
    let said = if service == Service::Discord { body() } else { None };
    said.max(answer.after)
}

/// Only Discord names the message.
fn message_id(service: Service, body: &[u8]) -> Option<String> {
    if service != Service::Discord {
        return None;
    }
    let id = serde_json::from_slice::<DiscordBody>(body).ok()?.id?;
    (!id.is_empty() && id.len() <= 32 && id.bytes().all(|byte| byte.is_ascii_digit())).then_some(id)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use Service::{Discord, Mattermost, Slack, Teams};

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, after: None, body: body.as_bytes().to_vec() }
    }

    #[rstest]
    #[case(Slack, 404, "no_service", Reason::AddressRefused)]
    #[case(Slack, 404, "no_active_hooks", Reason::AddressRefused)]
    #[case(Slack, 404, "channel_not_found", Reason::AddressRefused)]
    #[case(Slack, 410, "channel_is_archived", Reason::AddressRefused)]
    #[case(Slack, 403, "invalid_token", Reason::AddressRefused)]
    #[case(Slack, 403, "team_disabled", Reason::AddressRefused)]
    #[case(Slack, 400, "user_not_found", Reason::AddressRefused)]
    #[case(Slack, 403, "action_prohibited", Reason::Blocked)]
    #[case(Slack, 403, "posting_to_general_channel_denied", Reason::Blocked)]
    #[case(Slack, 400, "invalid_payload", Reason::MessageRefused)]
    #[case(Slack, 400, "no_text", Reason::MessageRefused)]
    #[case(Slack, 400, "something new", Reason::MessageRefused)]
    #[case(Slack, 403, "something new", Reason::Blocked)]
    #[case(Slack, 404, "", Reason::AddressRefused)]
    #[case(Discord, 404, r#"{"message": "Unknown Webhook", "code": 10015}"#, Reason::AddressRefused)]
    #[case(Discord, 401, r#"{"message": "Invalid Webhook Token", "code": 50027}"#, Reason::AddressRefused)]
    #[case(Discord, 400, r#"{"message": "needs a thread", "code": 220001}"#, Reason::AddressRefused)]
    #[case(Discord, 403, r#"{"message": "Missing Permissions", "code": 50013}"#, Reason::Blocked)]
    #[case(Discord, 400, r#"{"message": "Invalid Form Body", "code": 50035}"#, Reason::MessageRefused)]
    #[case(Discord, 400, r#"{"message": "empty message", "code": 50006}"#, Reason::MessageRefused)]
    #[case(Discord, 403, "<html>", Reason::Blocked)]
    #[case(Mattermost, 400, r#"{"id": "web.incoming_webhook.invalid.app_error"}"#, Reason::AddressRefused)]
    #[case(Mattermost, 404, r#"{"id": "web.incoming_webhook.channel.app_error"}"#, Reason::AddressRefused)]
    #[case(Mattermost, 400, r#"{"id": "api.post.create_post.can_not_post_to_deleted.error"}"#, Reason::AddressRefused)]
    #[case(Mattermost, 403, r#"{"id": "web.incoming_webhook.channel_locked.app_error"}"#, Reason::Blocked)]
    #[case(Mattermost, 501, r#"{"id": "web.incoming_webhook.disabled.app_error"}"#, Reason::Blocked)]
    #[case(Mattermost, 400, r#"{"id": "web.incoming_webhook.text.app_error"}"#, Reason::MessageRefused)]
    #[case(Mattermost, 400, r#"{"id": "new"}"#, Reason::MessageRefused)]
    #[case(Teams, 404, r#"{"error": {"code": "WorkflowNotFound"}}"#, Reason::AddressRefused)]
    #[case(Teams, 400, r#"{"error": {"code": "WorkflowTriggerIsNotEnabled"}}"#, Reason::AddressRefused)]
    #[case(Teams, 401, r#"{"error": {"code": "DirectApiAuthorizationRequired"}}"#, Reason::AddressRefused)]
    #[case(Teams, 403, "", Reason::AddressRefused)]
    #[case(Teams, 400, r#"{"error": {"code": "TriggerInputSchemaMismatch"}}"#, Reason::MessageRefused)]
    #[case(Teams, 413, "", Reason::MessageRefused)]
    #[case(Teams, 410, "", Reason::AddressRefused)]
    fn a_refusal_has_one_meaning(
        #[case] service: Service,
        #[case] status: u16,
        #[case] body: &str,
        #[case] reason: Reason,
    ) {
        assert_eq!(answered(service, &answer(status, body)), Verdict::Reject { reason });
    }

    #[rstest]
    #[case(429, Reason::RateLimited)]
    #[case(408, Reason::ProviderBusy)]
    #[case(503, Reason::ProviderBusy)]
    #[case(500, Reason::ProviderError)]
    #[case(502, Reason::ProviderError)]
    #[case(302, Reason::ProviderError)]
    fn everything_else_is_tried_again(#[case] status: u16, #[case] reason: Reason) {
        for service in [Slack, Mattermost, Teams, Discord] {
            let after = Some(Duration::from_secs(30));
            let answer = Answer { after, ..answer(status, "rollup_error") };
            assert_eq!(answered(service, &answer), Verdict::Retry { reason, after });
        }
    }

    #[rstest]
    #[case(Slack, 200, "ok", None)]
    #[case(Mattermost, 200, "ok", None)]
    #[case(Teams, 202, "", None)]
    #[case(Discord, 200, r#"{"id": "1134567890123456789", "content": "x"}"#, Some("1134567890123456789"))]
    #[case(Discord, 200, r#"{"id": "not a number"}"#, None)]
    #[case(Discord, 204, "", None)]
    fn every_2xx_is_success(
        #[case] service: Service,
        #[case] status: u16,
        #[case] body: &str,
        #[case] id: Option<&str>,
    ) {
        let sent = Verdict::Sent { provider_message_id: id.map(str::to_owned) };
        assert_eq!(answered(service, &answer(status, body)), sent);
    }

    #[rstest]
    #[case::body_alone(r#"{"message": "slow down", "retry_after": 64.57, "global": false}"#, None, Some(64_570))]
    #[case::the_longer_one(r#"{"retry_after": 1.2}"#, Some(2), Some(2_000))]
    #[case::header_alone("<html>", Some(300), Some(300_000))]
    #[case::at_most_a_day(r#"{"retry_after": 1e12}"#, None, Some(86_400_000))]
    #[case::nonsense(r#"{"retry_after": -4}"#, None, None)]
    fn discord_says_how_long_to_wait(#[case] body: &str, #[case] header: Option<u64>, #[case] expected: Option<u64>) {
        let answer = Answer { after: header.map(Duration::from_secs), ..answer(429, body) };
        let after = expected.map(Duration::from_millis);
        assert_eq!(answered(Discord, &answer), Verdict::Retry { reason: Reason::RateLimited, after });
    }
}
