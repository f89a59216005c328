//! The decision chain: one pure function, one precedence, first match wins.
//!
//! Invariant: no clock, no I/O, no counters; `now` and all state are arguments. The router, delivery at wake,
//! `explain` and `simulate` call the same functions.

use crate::model::{
    CategoryPolicy, Channel, Endpoint, Event, Open, Outbound, Policy, Preferences, Reason, Rule, SourceRule, Timestamp, Verdict,
};

/// What the chain judges: the parts that an event (at the router) and an outbound record (at wake) share.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The event's category.
    pub category: &'a str,
    /// When the event happened.
    pub event_time: Timestamp,
    /// Worthless after.
    pub expires_at: Option<Timestamp>,
    /// Not to be sent before.
    pub not_before: Option<Timestamp>,
    /// Restricts the channels, when given.
    pub channels: Option<&'a [Open<'a, Channel>]>,
}

/// What is known of a recipient at this moment.
#[derive(Debug, Clone, Copy)]
pub enum Recipient<'a> {
    /// There is a usable preferences record.
    Known(&'a Preferences<'a>),
    /// No record, and the grace lasts until then.
    Unknown { grace_until: Timestamp },
    /// The record was erased.
    Erased,
    /// There is a record that cannot be used.
    Invalid,
}

/// One conclusion: about the event, a recipient, a channel, or one endpoint.
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
