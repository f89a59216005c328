//! The records of the router's hot path, read and written field by field in the order of our own schemas.
//!
//! What this gives and takes is exactly what [`decode`](super::decode) and serde would, at a fifth of the instructions
//! (docs/performance.md); the tests hold it to that. A datum that is anything out of the ordinary is left to them, and
//! so is every datum that was written with another schema.

mod put;
mod take;

use crate::model::{
    CategoryChoice, Channel, Decision, DecisionOutcome, DeliveryStatus, Endpoint, Event, Fallback, InboxItem,
    InboxState, Open, Outbound, Preferences, PreferencesRef, Priority, QuietHours, Receipt, SentMessage, SmallMap,
    Suppression,
};
use put::Put;
use take::Take;

/// A record that has code of its own here.
pub trait Direct<'a>: Sized {
    /// Appends the datum; false, and nothing appended, when that is left to serde.
    fn put(&self, out: &mut Vec<u8>) -> bool {
        let _ = out;
        false
    }

    /// Reads a datum of our own schema; `None` when that is left to serde, which knows what is wrong with it.
    fn take(datum: &'a [u8]) -> Option<Self> {
        let _ = datum;
        None
    }
}

impl<'a> Direct<'a> for Event<'a> {
    fn take(datum: &'a [u8]) -> Option<Self> {
        let mut from = Take::new(datum);
        let event = Event {
            id: from.text()?,
            source: from.text()?,
            kind: from.text()?,
            time: from.time()?,
            tenant: from.text()?,
            category: from.text()?,
            priority: *Priority::ALL.get(usize::try_from(from.long()?).ok()?)?,
            recipients: from.array(Take::text)?,
            audience: from.option(Take::text)?,
            channels: from.option(channels)?,
            template: from.option(Take::text)?,
            data: from.text()?,
            locale: from.option(Take::text)?,
            not_before: from.option(Take::time)?,
            expires_at: from.option(Take::time)?,
            collapse_key: from.option(Take::text)?,
        };
        from.is_empty().then_some(event)
    }
}

impl<'a> Direct<'a> for Preferences<'a> {
    fn take(datum: &'a [u8]) -> Option<Self> {
        let mut from = Take::new(datum);
        let preferences = Preferences {
            tenant: from.text()?,
            user_id: from.text()?,
            locale: from.text()?,
            timezone: from.text()?,
            endpoints: from.array(endpoint)?,
            channels: SmallMap(from.array(|from| Some((from.text()?, from.flag()?)))?),
            categories: SmallMap(from.array(|from| Some((from.text()?, choice(from)?)))?),
            quiet_hours: from.array(quiet_hours)?,
            paused_until: from.option(Take::time)?,
            version: from.long()?,
            updated_at: from.time()?,
            updated_by: from.text()?,
        };
        from.is_empty().then_some(preferences)
    }
}

fn word<'a, T: std::str::FromStr>(from: &mut Take<'a>) -> Option<Open<'a, T>> {
    let word = from.text()?;
    Some(word.parse().map_or(Open::Other(word), Open::Known))
}

fn channels<'a>(from: &mut Take<'a>) -> Option<Vec<Open<'a, Channel>>> {
    from.array(word)
}

fn endpoint<'a>(from: &mut Take<'a>) -> Option<Endpoint<'a>> {
    Some(Endpoint {
        channel: word(from)?,
        address: from.text()?,
        verified: from.flag()?,
        label: from.option(Take::text)?,
    })
}

fn choice<'a>(from: &mut Take<'a>) -> Option<CategoryChoice<'a>> {
    Some(CategoryChoice { enabled: from.flag()?, channels: from.option(channels)?, digest: from.option(Take::text)? })
}

fn quiet_hours<'a>(from: &mut Take<'a>) -> Option<QuietHours<'a>> {
    Some(QuietHours { days: from.array(Take::text)?, from: from.text()?, to: from.text()? })
}

impl Direct<'_> for Outbound<'_> {
    fn put(&self, out: &mut Vec<u8>) -> bool {
        // All of them by name: a new field does not compile before it is put, too.
        let Outbound {
            notification_id,
            event_id,
            source,
            kind,
            event_time,
            tenant,
            user_id,
            category,
            priority,
            channel,
            address,
            locale,
            timezone,
            template,
            data,
            collapse_key,
            not_before,
            expires_at,
            decided_at,
            policy_version,
            replay_id,
            siblings,
            fallback,
            fallback_of,
        } = self;
        let mut to = Put(out);
        to.id(*notification_id);
        to.texts([event_id, source, kind]);
        to.time(*event_time);
        to.texts([tenant, user_id, category]);
        to.long(*priority as i64);
        to.texts([channel.as_str(), address, locale, timezone, template, data]);
        to.option(*collapse_key, Put::text);
        to.option(*not_before, Put::time);
        to.option(*expires_at, Put::time);
        to.time(*decided_at);
        to.text(policy_version);
        to.option(*replay_id, Put::text);
        to.array(siblings, |to, hash| to.text(hash));
        to.array(fallback, |to, Fallback { channel, address, after_ms }| {
            to.texts([channel.as_str(), address]);
            to.long(*after_ms);
        });
        to.option(*fallback_of, Put::id);
        true
    }
}

impl Direct<'_> for Decision<'_> {
    fn put(&self, out: &mut Vec<u8>) -> bool {
        let Decision {
            event_id,
            source,
            kind,
            tenant,
            category,
            event_time,
            decided_at,
            policy_version,
            replay_id,
            outcomes,
        } = self;
        let mut to = Put(out);
        to.texts([event_id, source, kind, tenant, category]);
        to.time(*event_time);
        to.time(*decided_at);
        to.text(policy_version);
        to.option(*replay_id, Put::text);
        to.array(outcomes, put_outcome);
        true
    }
}

fn put_outcome(to: &mut Put<'_>, outcome: &DecisionOutcome<'_>) {
    let DecisionOutcome { user_id, channel, endpoint_hash, verdict, reason, rule, preferences, notification_id, until } =
        outcome;
    to.text(user_id);
    to.option(channel.as_ref().map(Open::as_str), Put::text);
    to.option(endpoint_hash.as_deref(), Put::text);
    to.texts([verdict.as_str(), reason.as_str()]);
    to.long((*rule).into());
    to.option(*preferences, |to, PreferencesRef { partition, offset, version }| {
        to.long(partition.into());
        to.long(offset);
        to.long(version);
    });
    to.option(*notification_id, Put::id);
    to.option(*until, Put::time);
}

/// Those that are not hot.
macro_rules! by_serde {
    ($($record:ident),+) => { $(impl<'a> Direct<'a> for $record<'a> {})+ };
}
by_serde!(DeliveryStatus, Suppression, InboxItem, InboxState, SentMessage, Receipt);

#[cfg(test)]
mod tests;
