//! All rules again, at wake: for one notification that waited in a tier.

use crate::model::{Endpoint, Outbound, Policy, Reason, Rule, Timestamp, Verdict, endpoint_hash};

use super::{Circumstances, Conclusion, Conclusions, Recipient, Subject, decide_recipient};

/// What is to become of a notification that waited.
#[derive(Debug, Clone, PartialEq)]
pub enum EndpointAnswer<'a> {
    /// Nothing changed: send it.
    Send,
    /// Its address is gone and these took its place: it is CANCELLED as `superseded`, and each of these gets an
    /// outbound record of its own, to be sent now, with the others and the old record's siblings as its
    /// `siblings`. Never empty.
    AddressChanged {
        /// Verified, not suppressed, and without a notification of their own for this event.
        endpoints: Vec<&'a Endpoint<'a>>,
    },
    /// It is not wanted any more, or must not be sent any more: CANCELLED.
    Cancel {
        /// Why.
        reason: Reason,
        /// The rule that decided.
        rule: Rule,
    },
    /// Too late: EXPIRED.
    Expired,
    /// Still not the time: it waits on.
    Wait {
        /// Why.
        reason: Reason,
        /// When to ask again.
        until: Timestamp,
    },
}

/// Decides anew, under today's policy and preferences, for the endpoint of an outbound record. `run_started` is set
/// when a redrive opened the run: age counts from there.
pub fn decide_endpoint<'a>(
    outbound: &Outbound<'_>,
    run_started: Option<Timestamp>,
    policy: &Policy,
    recipient: Recipient<'a>,
    at: &Circumstances<'_>,
) -> EndpointAnswer<'a> {
    let Some(category) = policy.category(outbound.category) else {
        return EndpointAnswer::Cancel { reason: Reason::UnknownCategory, rule: Rule::Valid };
    };
    let subject = Subject::of_outbound(outbound, run_started);
    if subject.is_expired(category, at.now) {
        return EndpointAnswer::Expired;
    }
    let mut conclusions = Conclusions::new();
    decide_recipient(&subject, category, recipient, at, &mut conclusions);
    let concerns = |conclusion: &&Conclusion<'_>| match conclusion.endpoint {
        Some(endpoint) => endpoint.address == outbound.address,
        None => true,
    };
    match conclusions.iter().find(concerns) {
        Some(conclusion) => answer(conclusion),
        None => address_gone(outbound, &conclusions),
    }
}

/// The conclusion about the notification's own endpoint, its channel or its recipient.
fn answer<'a>(conclusion: &Conclusion<'_>) -> EndpointAnswer<'a> {
    match (conclusion.verdict, conclusion.until) {
        (Verdict::Routed, _) => EndpointAnswer::Send,
        (Verdict::Deferred, Some(until)) => EndpointAnswer::Wait { reason: conclusion.reason, until },
        _ => EndpointAnswer::Cancel { reason: conclusion.reason, rule: conclusion.rule },
    }
}

/// The address is not listed any more. What the others would get decides: those that have a notification of their own
/// for this event get no second one.
fn address_gone<'a>(outbound: &Outbound<'_>, conclusions: &[Conclusion<'a>]) -> EndpointAnswer<'a> {
    let channel = outbound.channel.as_str();
    let is_new = |endpoint: &Endpoint<'_>| {
        let hash = endpoint_hash(outbound.tenant, outbound.user_id, channel, endpoint.address);
        !outbound.siblings.contains(&hash)
    };
    let new = || conclusions.iter().filter(|conclusion| conclusion.endpoint.is_some_and(is_new));
    let now = new().filter(|conclusion| conclusion.verdict == Verdict::Routed);
    let endpoints: Vec<_> = now.filter_map(|conclusion| conclusion.endpoint).collect();
    if !endpoints.is_empty() {
        return EndpointAnswer::AddressChanged { endpoints };
    }
    let waits = |conclusion: &&Conclusion<'_>| conclusion.verdict == Verdict::Deferred;
    match new().find(waits).or_else(|| new().next()) {
        Some(conclusion) => answer(conclusion),
        None => EndpointAnswer::Cancel { reason: Reason::Superseded, rule: Rule::Endpoint },
    }
}

#[cfg(test)]
mod tests;
