//! What follows from a conclusion besides its status: an address that bounced for good is suppressed, and a customer's
//! endpoint that failed for too long is disabled, which is the same; a message whose provider gives receipts is noted
//! under its id.
//!
//! Invariant: pure, and within the conclusion's own transaction; no record here holds an address.

use super::fallback::{Follows, follows};
use super::ledger::{Output, Work};
use super::outcome::{Conclusion, End};
use crate::model::{
    Outbound, Reason, SentMessage, State, Suppression, SuppressionReason, Timestamp, Topics, receipt_key,
};
use crate::suppression::{SuppressionList, is_hard_bounce};
use crate::wire::{Encoders, WireError};

/// The entry of the suppression list that a conclusion makes, if it makes one and there is a list.
///
/// # Errors
/// [`WireError::Encode`], which tests hold to be impossible.
pub fn suppression(
    encoders: &mut Encoders,
    topics: &Topics,
    list: &SuppressionList,
    outbound: &Outbound<'_>,
    conclusion: &Conclusion,
    now: Timestamp,
) -> Result<Option<Output>, WireError> {
    let Some(channel) = outbound.channel.known() else { return Ok(None) };
    let refused = !conclusion.provider.is_empty() && conclusion.end == End::Failed;
    let reason = if refused && is_hard_bounce(channel, conclusion.reason, conclusion.code.as_deref()) {
        SuppressionReason::HardBounce
    } else if conclusion.reason == Reason::EndpointDisabled {
        SuppressionReason::DeadEndpoint
    } else {
        return Ok(None);
    };
    let Some(named) = list.key(outbound.tenant, channel, outbound.address) else { return Ok(None) };
    let entry = Suppression {
        reason: reason.into(),
        since: now,
        source: &format!("deliver/{}", conclusion.provider),
        key_id: &named.key_id,
        notification_id: Some(outbound.notification_id),
        code: conclusion.code.as_deref(),
    };
    Ok(Some(Output {
        topic: topics.suppressions(),
        partition: None,
        key: Some(named.key.into_bytes()),
        value: Some(encoders.to_vec(&entry)?),
        headers: Vec::new(),
    }))
}

/// What is kept of a notification that was sent, by whichever name it is found again.
pub(super) fn sent<'a>(
    taken: &Work,
    outbound: &Outbound<'a>,
    conclusion: &'a Conclusion,
    now: Timestamp,
) -> SentMessage<'a> {
    SentMessage {
        notification_id: outbound.notification_id,
        run: i32::try_from(taken.headers.run).unwrap_or(i32::MAX),
        event_id: outbound.event_id,
        tenant: outbound.tenant,
        user_id: outbound.user_id,
        category: outbound.category,
        channel: outbound.channel,
        provider: &conclusion.provider,
        message_id: match &conclusion.end {
            End::Sent(Some(id)) => id,
            _ => "",
        },
        attempt: i32::try_from(conclusion.attempts).unwrap_or(i32::MAX),
        event_time: outbound.event_time,
        sent_at: now,
        state: State::Sent.into(),
        suppression_key: None,
        key_id: None,
        replay_id: outbound.replay_id,
        fallback_of: outbound.fallback_of,
        falls_back: false,
        next: None,
    }
}

/// What receipts need to find the notification again, and to speak of it.
///
/// # Errors
/// [`WireError::Encode`], which tests hold to be impossible.
pub fn sent_message(
    encoders: &mut Encoders,
    topics: &Topics,
    list: &SuppressionList,
    taken: &Work,
    outbound: &Outbound<'_>,
    conclusion: &Conclusion,
    now: Timestamp,
) -> Result<Option<Output>, WireError> {
    let provider = conclusion.provider.as_str();
    let (End::Sent(Some(message_id)), Some(channel)) = (&conclusion.end, outbound.channel.known()) else {
        return Ok(None);
    };
    let listed = list.key(outbound.tenant, channel, outbound.address);
    let message = SentMessage {
        suppression_key: listed.as_ref().map(|named| named.key.as_str()),
        key_id: listed.as_ref().map(|named| named.key_id.as_str()),
        falls_back: follows(outbound, &taken.headers, conclusion) == Follows::Unless,
        ..sent(taken, outbound, conclusion, now)
    };
    Ok(Some(Output {
        topic: topics.receipts(),
        partition: None,
        key: Some(receipt_key(provider, message_id).into_bytes()),
        value: Some(encoders.to_vec(&message)?),
        headers: Vec::new(),
    }))
}
