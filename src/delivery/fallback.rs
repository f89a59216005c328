//! Fallback chains, delivery's part: what a conclusion means for what follows the notification.
//!
//! Delivery writes nothing to another channel. Within the conclusion's transaction it tells the receipts role what follows:
//! at SENT, what may follow and until when nothing does; when the notification was given up, that it follows now.
//!
//! Invariant: pure. A chain goes on from a notification's first run alone, and never from what was only recorded.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::aftermath::sent;
use super::ledger::{Output, Work};
use super::outcome::{Conclusion, End};
use crate::model::{
    BY_NOTIFICATION, NextStep, Outbound, Reason, Receipt, SentMessage, Timestamp, Topics, UNSEEN, receipt_key,
};
use crate::wire::{Encoders, ReplayHeaders, TierHeaders, WireError, names};

/// What a conclusion means for what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// Nothing does, or not because of this.
    Not,
    /// It does now.
    Now,
    /// It does unless this is delivered or seen in time.
    Unless,
}

/// What `conclusion` means for what follows the notification.
pub fn follows(outbound: &Outbound<'_>, headers: &TierHeaders, conclusion: &Conclusion) -> Follows {
    // Another run was opened because the first one ended, and that went on already.
    if outbound.fallback.is_empty() || headers.run > 0 {
        return Follows::Not;
    }
    match conclusion.end {
        // What a sandbox recorded is seen by nobody, and may not end in a text that is really sent.
        End::Sent(_) if conclusion.reason != Reason::Sandboxed => Follows::Unless,
        End::Failed | End::Dead | End::Expired => Follows::Now,
        End::Cancelled if is_of_its_channel(conclusion.reason) => Follows::Now,
        End::Sent(_) | End::Retrying(_) | End::Waiting(_) | End::Cancelled => Follows::Not,
    }
}

/// Whether a notification is not wanted by this way, and may be by another.
const fn is_of_its_channel(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NoChannel
            | Reason::OptedOutChannel
            | Reason::NoEndpoint
            | Reason::EndpointUnverified
            | Reason::AddressSuppressed
    )
}

/// What tells the receipts role; `now` is the later of the wall clock and the steady one, so that no step back of the wall
/// clock makes what follows early.
///
/// # Errors
/// [`WireError::Encode`], which tests hold to be impossible.
pub fn tell(
    encoders: &mut Encoders,
    topics: &Topics,
    taken: &Work,
    outbound: &Outbound<'_>,
    conclusion: &Conclusion,
    now: Timestamp,
) -> Result<Vec<Output>, WireError> {
    let follows = follows(outbound, &taken.headers, conclusion);
    let nonce = ReplayHeaders::parse(taken.record.headers()).ok().flatten().map(|replay| replay.nonce);
    let Some((next, after)) = outbound.next(nonce.unwrap_or_default()).filter(|_| follows != Follows::Not) else {
        return Ok(Vec::new());
    };
    let encoded = STANDARD.encode(encoders.to_vec(&next)?);
    let trace = taken.record.headers().find(|(name, _)| *name == names::TRACEPARENT);
    let next = NextStep {
        outbound: &encoded,
        traceparent: trace.and_then(|(_, value)| std::str::from_utf8(value).ok()),
        replay_nonce: nonce,
    };
    if follows == Follows::Now {
        let state = conclusion.end.state().as_str();
        return Ok(vec![receipt(encoders, topics, outbound, state, (Some(next), None), now)?]);
    }
    let kept = kept(encoders, topics, taken, outbound, conclusion, next, now)?;
    Ok(vec![kept, receipt(encoders, topics, outbound, UNSEEN, (None, Some(after)), now)?])
}

/// What may follow, by the notification's own id.
fn kept(
    encoders: &mut Encoders,
    topics: &Topics,
    taken: &Work,
    outbound: &Outbound<'_>,
    conclusion: &Conclusion,
    next: NextStep<'_>,
    now: Timestamp,
) -> Result<Output, WireError> {
    let message = SentMessage { next: Some(next), ..sent(taken, outbound, conclusion, now) };
    Ok(Output {
        topic: topics.receipts(),
        partition: None,
        key: Some(receipt_key(BY_NOTIFICATION, &outbound.notification_id.to_string()).into_bytes()),
        value: Some(encoders.to_vec(&message)?),
        headers: Vec::new(),
    })
}

/// A word about the notification, to be heard once it is due.
fn receipt(
    encoders: &mut Encoders,
    topics: &Topics,
    outbound: &Outbound<'_>,
    word: &str,
    (next, due): (Option<NextStep<'_>>, Option<Duration>),
    now: Timestamp,
) -> Result<Output, WireError> {
    let id = outbound.notification_id.to_string();
    let receipt = Receipt {
        provider: BY_NOTIFICATION,
        message_id: &id,
        state: word.parse().map_or(crate::model::Open::Other(word), crate::model::Open::Known),
        permanent: false,
        code: None,
        occurred_at: None,
        received_at: now,
        source: "deliver",
        next,
    };
    let not_before = due.map(|after| (names::NOT_BEFORE_MS.to_owned(), now.plus(after).0.to_string().into_bytes()));
    Ok(Output {
        topic: topics.receipts_inbox(),
        partition: None,
        key: Some(receipt_key(BY_NOTIFICATION, &id).into_bytes()),
        value: Some(encoders.to_vec(&receipt)?),
        headers: not_before.into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::delivery::samples;
    use crate::kafka::OwnedRecord;
    use crate::model::State;
    use crate::model::{Channel, Fallback};
    use crate::wire::{FixedSchemas, Records};

    const NOW: Timestamp = Timestamp(1_000_060_000);

    fn chained() -> Outbound<'static> {
        let step = |channel: Channel, address, after_ms| Fallback { channel: channel.into(), address, after_ms };
        Outbound {
            fallback: vec![step(Channel::Sms, "+15550100", 300_000), step(Channel::Telegram, "1815", 60_000)],
            ..samples::outbound()
        }
    }

    fn ended(end: End, reason: Reason) -> Conclusion {
        Conclusion { end, reason, code: None, attempts: 1, provider: "fcm".to_owned(), pinned: None }
    }

    fn sent() -> Conclusion {
        ended(End::Sent(Some("m-1".to_owned())), Reason::Accepted)
    }

    #[rstest]
    #[case::sent(sent(), Follows::Unless)]
    #[case::only_recorded(ended(End::Sent(None), Reason::Sandboxed), Follows::Not)]
    #[case::refused(ended(End::Failed, Reason::EndpointGone), Follows::Now)]
    #[case::tried_in_vain(ended(End::Dead, Reason::AttemptsExhausted), Follows::Now)]
    #[case::too_late(ended(End::Expired, Reason::Expired), Follows::Now)]
    #[case::tried_again(ended(End::Retrying(NOW), Reason::ProviderBusy), Follows::Not)]
    #[case::waiting(ended(End::Waiting(NOW), Reason::QuietHours), Follows::Not)]
    #[case::not_by_this_way(ended(End::Cancelled, Reason::OptedOutChannel), Follows::Now)]
    #[case::its_address_bounced(ended(End::Cancelled, Reason::AddressSuppressed), Follows::Now)]
    #[case::not_at_all(ended(End::Cancelled, Reason::OptedOutCategory), Follows::Not)]
    #[case::erased(ended(End::Cancelled, Reason::Erased), Follows::Not)]
    #[case::its_successor_has_the_chain(ended(End::Cancelled, Reason::Superseded), Follows::Not)]
    fn what_follows(#[case] conclusion: Conclusion, #[case] expected: Follows) {
        let first = TierHeaders::default();
        assert_eq!(follows(&chained(), &first, &conclusion), expected);
        assert_eq!(follows(&samples::outbound(), &first, &conclusion), Follows::Not, "no chain");
        let redriven = TierHeaders { run: 1, ..first };
        assert_eq!(follows(&chained(), &redriven, &conclusion), Follows::Not, "another run");
    }

    fn told(record: OwnedRecord, conclusion: &Conclusion) -> Vec<Output> {
        let mut encoders = Encoders::new(samples::ids());
        tell(&mut encoders, &Topics::new(""), &samples::work(record), &chained(), conclusion, NOW).unwrap()
    }

    fn records() -> Records {
        Records::new(std::sync::Arc::new(FixedSchemas::own(samples::ids())))
    }

    #[test]
    fn with_sent_it_is_noted_what_may_follow_and_when() {
        let outputs = told(samples::first_attempt(), &sent());
        let topics: Vec<&str> = outputs.iter().map(|output| output.topic.as_str()).collect();
        assert_eq!(topics, ["notify.receipts", "notify.receipts.inbox"]);
        assert_eq!(outputs[0].key, outputs[1].key, "one worker owns both");
        let mut records = records();
        let kept = records.sent_message(outputs[0].value.as_ref().unwrap()).unwrap();
        assert_eq!((kept.message_id, kept.provider, kept.falls_back), ("m-1", "fcm", false));
        let next = kept.next.unwrap();
        assert_eq!(next.traceparent, Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        let mut inner = self::records();
        let bytes = STANDARD.decode(next.outbound).unwrap();
        let next = inner.outbound(&bytes).unwrap();
        assert_eq!((next.channel, next.address), (Channel::Sms.into(), "+15550100"));
        assert_eq!(next.fallback_of, Some(samples::outbound().notification_id));
        assert_eq!((next.fallback.len(), next.fallback[0].address), (1, "1815"), "the rest goes with it");
        assert_eq!(next.decided_at, samples::outbound().decided_at);
        let mut again = self::records();
        let due = again.receipt(outputs[1].value.as_ref().unwrap()).unwrap();
        assert_eq!((due.state.as_str(), due.next.is_none()), (UNSEEN, true));
        assert_eq!(outputs[1].headers, [("notify-not-before-ms".to_owned(), b"1000360000".to_vec())]);
    }

    #[test]
    fn what_is_given_up_brings_along_what_follows_now() {
        let outputs = told(samples::first_attempt(), &ended(End::Failed, Reason::EndpointGone));
        assert_eq!((outputs.len(), outputs[0].topic.as_str()), (1, "notify.receipts.inbox"));
        let mut records = records();
        let receipt = records.receipt(outputs[0].value.as_ref().unwrap()).unwrap();
        assert_eq!((receipt.state, receipt.next.is_some()), (State::Failed.into(), true));
        assert!(outputs[0].headers.is_empty(), "due at once");
    }

    #[test]
    fn the_same_notification_is_followed_by_the_same_and_a_replay_by_another() {
        let id = |nonce: &str| chained().next(nonce).unwrap().0.notification_id;
        assert_eq!(id(""), id(""));
        assert_ne!(id(""), id("again"));
    }
}
