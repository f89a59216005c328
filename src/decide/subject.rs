//! What the chain is asked about, and what it answers.

use smallvec::SmallVec;

use crate::model::{
    CategoryPolicy, Channel, Endpoint, Event, Open, Outbound, Preferences, Reason, Rule, Timestamp, Verdict,
};

use super::Zones;

/// What the chain judges: the parts that an event (at the router) and an outbound record (at wake) share.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The event's category.
    pub category: &'a str,
    /// Age counts from here: the later of the event's time and its `not_before`; for a redriven notification the
    /// start of its run, if that is later still.
    pub age_from: Timestamp,
    /// Worthless from then on.
    pub expires_at: Option<Timestamp>,
    /// Not to be sent before.
    pub not_before: Option<Timestamp>,
    /// Restricts the channels, when given; an empty list leaves none.
    pub channels: Option<&'a [Open<'a, Channel>]>,
}

impl<'a> Subject<'a> {
    /// An event at the router.
    pub fn of_event(event: &'a Event<'a>) -> Self {
        Subject {
            category: event.category,
            age_from: event.time.max(event.not_before.unwrap_or(event.time)),
            expires_at: event.expires_at,
            not_before: event.not_before,
            channels: event.channels.as_deref(),
        }
    }

    /// A notification at wake; `run_started` is set when a redrive opened its run.
    pub fn of_outbound(outbound: &'a Outbound<'a>, run_started: Option<Timestamp>) -> Self {
        let due = outbound.event_time.max(outbound.not_before.unwrap_or(outbound.event_time));
        Subject {
            category: outbound.category,
            age_from: run_started.map_or(due, |started| started.max(due)),
            expires_at: outbound.expires_at,
            not_before: outbound.not_before,
            channels: Some(std::slice::from_ref(&outbound.channel)),
        }
    }

    /// Rule 2. An event from the future (a clock ahead of ours) has age zero.
    pub fn is_expired(&self, category: &CategoryPolicy, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now) || now.since(self.age_from) > category.max_age
    }
}

/// What is known of a recipient at this moment.
#[derive(Debug, Clone, Copy)]
pub enum Recipient<'a> {
    /// There is a preferences record. The chain validates it; nobody else need to.
    Known(&'a Preferences<'a>),
    /// No record, and the grace lasts until then.
    Unknown { grace_until: Timestamp },
    /// The record was erased.
    Erased,
    /// There is a record that cannot be decoded.
    Invalid,
}

/// The time and the state that the chain needs.
#[derive(Clone, Copy)]
pub struct Circumstances<'s> {
    /// The moment of the decision.
    pub now: Timestamp,
    /// The rules of all time zones.
    pub zones: &'s Zones,
    /// Whether an address on a channel is suppressed for the recipient's tenant.
    pub suppressed: &'s dyn Fn(Channel, &str) -> bool,
}

impl<'s> Circumstances<'s> {
    /// Nothing is suppressed.
    pub fn new(now: Timestamp, zones: &'s Zones) -> Self {
        Circumstances { now, zones, suppressed: &|_, _| false }
    }
}

/// One conclusion: about a recipient, one of its channels, or one of its endpoints.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conclusion<'a> {
    /// The channel, when one is concerned.
    pub channel: Option<Channel>,
    /// The endpoint, when one is concerned; always set when ROUTED, or DEFERRED by rule 10.
    pub endpoint: Option<&'a Endpoint<'a>>,
    /// The kind of conclusion.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// The rule that decided.
    pub rule: Rule,
    /// When a DEFERRED one is decided anew.
    pub until: Option<Timestamp>,
}

/// The conclusions about one recipient: few, and then without an allocation.
pub type Conclusions<'a> = SmallVec<[Conclusion<'a>; 4]>;
