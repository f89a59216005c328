//! What follows from a conclusion besides its status: today, an address that bounced for good is suppressed.
//!
//! Invariant: pure, and within the conclusion's own transaction; no record here holds an address.

use super::ledger::Output;
use super::outcome::{Conclusion, End};
use crate::model::{Outbound, Suppression, SuppressionReason, Timestamp, Topics};
use crate::suppression::{SuppressionList, is_hard_bounce};
use crate::wire::{Encoders, WireError};

/// The entry of the suppression list that a refusal makes, if it is a hard bounce and there is a list.
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
    if !refused || !is_hard_bounce(channel, conclusion.reason, conclusion.code.as_deref()) {
        return Ok(None);
    }
    let Some(named) = list.key(outbound.tenant, channel, outbound.address) else { return Ok(None) };
    let entry = Suppression {
        reason: SuppressionReason::HardBounce.into(),
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
