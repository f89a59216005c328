//! Rules 4 to 13: one recipient, its channels, its endpoints.

use crate::model::{CategoryPolicy, Channel, Endpoint, Open, Preferences, Reason, Rule, Timestamp, Verdict};

use super::quiet::quiet_until;
use super::{Circumstances, Conclusion, Conclusions, Recipient, Subject, validate};

/// Decides for one recipient and appends the conclusions to `out`: one when no channel is concerned, else at least
/// one for each candidate channel, in the order of [`Channel::ALL`]; all verified endpoints of a channel are used,
/// an address that is listed twice once.
///
/// Rules 1 and 2 are [`super::judge_event`]'s and are not asked again. Allocates nothing but what `out` needs.
///
/// A mandatory category skips rules 7 and 10 and the recipient's choice in 5, so its events go by the policy's
/// default channels even while the recipient is quiet, and at once even with a `not_before`. A DEFERRED conclusion
/// may reach beyond the event's expiry: it then ends as expired when it wakes.
pub fn decide_recipient<'a>(
    subject: &Subject<'_>,
    category: &CategoryPolicy,
    recipient: Recipient<'a>,
    at: &Circumstances<'_>,
    out: &mut Conclusions<'a>,
) {
    let preferences = match usable(recipient, at) {
        Ok(preferences) => preferences,
        Err(conclusion) => return out.push(conclusion),
    };
    let candidates = candidates(subject, category, preferences);
    if candidates.is_empty() {
        return out.push(suppressed(Reason::NoChannel, Rule::Candidates));
    }
    let choice = preferences.categories.get(subject.category);
    if !category.mandatory && choice.is_some_and(|choice| !choice.enabled) {
        return out.push(suppressed(Reason::OptedOutCategory, Rule::OptOut));
    }
    let later = if category.mandatory { None } else { not_now(subject, preferences, at) };
    for channel in candidates.iter() {
        if !category.mandatory && preferences.channels.get(channel.as_str()) == Some(&false) {
            out.push(Conclusion { channel: Some(channel), ..suppressed(Reason::OptedOutChannel, Rule::OptOut) });
        } else {
            decide_channel(channel, preferences, later, at, out);
        }
    }
}

/// Rule 4.
fn usable<'a>(recipient: Recipient<'a>, at: &Circumstances<'_>) -> Result<&'a Preferences<'a>, Conclusion<'a>> {
    match recipient {
        Recipient::Known(preferences) if validate(preferences, at.zones).is_ok() => Ok(preferences),
        Recipient::Known(_) | Recipient::Invalid => Err(suppressed(Reason::InvalidPreferences, Rule::Recipient)),
        Recipient::Erased => Err(suppressed(Reason::Erased, Rule::Recipient)),
        Recipient::Unknown { grace_until } if at.now < grace_until => Err(Conclusion {
            verdict: Verdict::Deferred,
            until: Some(grace_until),
            ..suppressed(Reason::UnknownRecipient, Rule::Recipient)
        }),
        Recipient::Unknown { .. } => Err(suppressed(Reason::UnknownRecipient, Rule::Recipient)),
    }
}

/// Rules 5 and 6: the channels that the recipient (unless the category is mandatory), the policy and the event agree
/// on.
fn candidates(subject: &Subject<'_>, category: &CategoryPolicy, preferences: &Preferences<'_>) -> ChannelSet {
    let chosen = preferences.categories.get(subject.category).and_then(|choice| choice.channels.as_deref());
    let wanted = match chosen {
        Some(channels) if !category.mandatory => ChannelSet::known(channels),
        _ => ChannelSet::of(&category.default),
    };
    let asked = subject.channels.map_or(ChannelSet::ALL, ChannelSet::known);
    ChannelSet(wanted.0 & ChannelSet::of(&category.allowed).0 & asked.0)
}

/// Rules 8 to 13 for each endpoint of one channel.
fn decide_channel<'a>(
    channel: Channel,
    preferences: &'a Preferences<'a>,
    later: Option<(Reason, Timestamp)>,
    at: &Circumstances<'_>,
    out: &mut Conclusions<'a>,
) {
    let of_channel = |endpoint: &&Endpoint<'_>| endpoint.channel == Open::Known(channel);
    let mut none = true;
    for (index, endpoint) in preferences.endpoints.iter().enumerate().filter(|(_, endpoint)| of_channel(endpoint)) {
        none = false;
        let same = |other: &&Endpoint<'_>| of_channel(other) && other.address == endpoint.address;
        if preferences.endpoints[..index].iter().any(|other| same(&other)) {
            continue;
        }
        let verified = preferences.endpoints[index..].iter().find(|other| other.verified && same(other));
        let conclusion = match verified {
            None => suppressed(Reason::EndpointUnverified, Rule::Endpoint),
            Some(_) if (at.suppressed)(channel, endpoint.address) => {
                suppressed(Reason::AddressSuppressed, Rule::Suppression)
            }
            Some(_) => routed_or(later),
        };
        out.push(Conclusion { channel: Some(channel), endpoint: verified.or(Some(endpoint)), ..conclusion });
    }
    if none {
        out.push(Conclusion { channel: Some(channel), ..suppressed(Reason::NoEndpoint, Rule::Endpoint) });
    }
}

/// Rule 10: why not now, and when to ask again: the moment at which nothing of it holds any more.
fn not_now(
    subject: &Subject<'_>,
    preferences: &Preferences<'_>,
    at: &Circumstances<'_>,
) -> Option<(Reason, Timestamp)> {
    let zone = at.zones.get(preferences.timezone)?;
    let quiet_at = |moment| quiet_until(&preferences.quiet_hours, zone, moment);
    let paused = preferences.paused_until.filter(|until| at.now < *until);
    let early = subject.not_before.filter(|until| at.now < *until);
    let awake = at.now.max(paused.unwrap_or(at.now)).max(early.unwrap_or(at.now));
    let quiet = quiet_at(awake);
    let until = quiet.unwrap_or(awake);
    let reason = if paused.is_some() {
        Reason::Paused
    } else if early.is_none() {
        quiet.map(|_| Reason::QuietHours)?
    } else if quiet_at(at.now).is_some() {
        Reason::QuietHours
    } else {
        Reason::NotBefore
    };
    Some((reason, until))
}

fn routed_or<'a>(later: Option<(Reason, Timestamp)>) -> Conclusion<'a> {
    match later {
        Some((reason, until)) => {
            Conclusion { verdict: Verdict::Deferred, until: Some(until), ..suppressed(reason, Rule::Timing) }
        }
        None => Conclusion { verdict: Verdict::Routed, ..suppressed(Reason::Routed, Rule::Route) },
    }
}

/// A conclusion about the recipient as a whole.
fn suppressed<'a>(reason: Reason, rule: Rule) -> Conclusion<'a> {
    Conclusion { channel: None, endpoint: None, verdict: Verdict::Suppressed, reason, rule, until: None }
}

/// A set of channels as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ChannelSet(u16);

impl ChannelSet {
    const ALL: ChannelSet = ChannelSet(u16::MAX);

    fn of(channels: &[Channel]) -> Self {
        ChannelSet(channels.iter().fold(0, |bits, channel| bits | 1 << *channel as u16))
    }

    fn known(channels: &[Open<'_, Channel>]) -> Self {
        ChannelSet(channels.iter().filter_map(|channel| channel.known()).fold(0, |bits, one| bits | 1 << one as u16))
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn iter(self) -> impl Iterator<Item = Channel> {
        Channel::ALL.iter().copied().filter(move |channel| self.0 & (1 << *channel as u16) != 0)
    }
}

#[cfg(test)]
mod tests;
