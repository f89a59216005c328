//! Fallback chains: of what the chain of rules lets through, what goes at once and what stands by.
//!
//! Invariant: pure; nothing is let through that the rules did not, and what is not of the chain stays as it is.

use std::time::Duration;

use crate::model::{Channel, FallbackStep, Reason, Verdict};

use super::Conclusion;

/// The chain of one recipient, as indexes of the conclusions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The one that goes at once, with the rest behind it.
    pub head: usize,
    /// The ones that stand by, and how long after the SENT of the one before each.
    pub rest: Vec<(usize, Duration)>,
}

impl Chain {
    /// What follows the conclusion at `index`.
    pub fn behind(chain: Option<&Chain>, index: usize) -> &[(usize, Duration)] {
        chain.filter(|chain| chain.head == index).map_or(&[], |chain| &chain.rest)
    }
}

/// Arranges the endpoints that were let through (ROUTED or DEFERRED) by the steps of a category's chain.
///
/// The first channel of the chain with such an endpoint goes as ever, to all of them; the chain hangs on the first.
/// Each later one stands by with its first endpoint (STANDBY `fallback`), its others get nothing (SUPPRESSED
/// `other_endpoint`). A channel that has none, whatever the reason, is skipped at once. `None` when nothing stands by.
pub fn arrange(steps: &[FallbackStep], conclusions: &mut [Conclusion<'_>]) -> Option<Chain> {
    let mut chain: Option<Chain> = None;
    for step in steps {
        let Some(first) = conclusions.iter().position(|conclusion| goes(conclusion, step.channel)) else { continue };
        match &mut chain {
            None => chain = Some(Chain { head: first, rest: Vec::new() }),
            Some(chain) => {
                stand_by(step.channel, &mut conclusions[first..]);
                chain.rest.push((first, step.after));
            }
        }
    }
    chain.filter(|chain| !chain.rest.is_empty())
}

fn goes(conclusion: &Conclusion<'_>, channel: Channel) -> bool {
    let let_through = matches!(conclusion.verdict, Verdict::Routed | Verdict::Deferred);
    let_through && conclusion.channel == Some(channel) && conclusion.endpoint.is_some()
}

/// The first of these is the step's; no other one of its channel is used.
fn stand_by(channel: Channel, conclusions: &mut [Conclusion<'_>]) {
    let mut of_channel = conclusions.iter_mut().filter(|conclusion| goes(conclusion, channel));
    if let Some(first) = of_channel.next() {
        (first.verdict, first.reason, first.until) = (Verdict::Standby, Reason::Fallback, None);
    }
    for other in of_channel {
        (other.verdict, other.reason, other.until) = (Verdict::Suppressed, Reason::OtherEndpoint, None);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::decide::fixtures::{NOW, ada, category, endpoint, event, zones};
    use crate::decide::{Circumstances, Conclusions, Recipient, Subject, decide_recipient};
    use crate::model::{CategoryPolicy, Preferences};

    const STEPS: [FallbackStep; 3] = [
        FallbackStep { channel: Channel::Push, after: Duration::ZERO },
        FallbackStep { channel: Channel::Telegram, after: Duration::from_secs(60) },
        FallbackStep { channel: Channel::Sms, after: Duration::from_secs(300) },
    ];

    /// Push, then Telegram, then SMS; e-mail in any case.
    fn chained() -> CategoryPolicy {
        let channels = vec![Channel::Email, Channel::Telegram, Channel::Sms, Channel::Push];
        CategoryPolicy { allowed: channels.clone(), default: channels, fallback: STEPS.to_vec(), ..category() }
    }

    /// One endpoint on each channel, and a second number.
    fn reachable() -> Preferences<'static> {
        Preferences {
            endpoints: vec![
                endpoint(Channel::Email, "ada@example.org", true),
                endpoint(Channel::Push, "fcm:1", true),
                endpoint(Channel::Telegram, "1815", true),
                endpoint(Channel::Sms, "+15550100", true),
                endpoint(Channel::Sms, "+15550101", true),
            ],
            ..ada()
        }
    }

    fn without<'a>(mut preferences: Preferences<'a>, gone: &[Channel]) -> Preferences<'a> {
        preferences.endpoints.retain(|endpoint| !gone.iter().any(|channel| endpoint.channel == (*channel).into()));
        preferences
    }

    /// `channel/address VERDICT reason [+wait after]`, one for each conclusion; the chain's in its order.
    fn arranged(preferences: &Preferences<'_>, suppressed: &[&str]) -> Vec<String> {
        let category = chained();
        let stands_against = |_: Channel, address: &str| suppressed.contains(&address);
        let at = Circumstances { suppressed: &stands_against, ..Circumstances::new(NOW, zones()) };
        let mut conclusions = Conclusions::new();
        let event = event();
        decide_recipient(&Subject::of_event(&event), &category, Recipient::Known(preferences), &at, &mut conclusions);
        let chain = arrange(&category.fallback, &mut conclusions);
        let place = |index: usize| match &chain {
            Some(chain) if chain.head == index => " head".to_owned(),
            Some(chain) => chain
                .rest
                .iter()
                .position(|(at, _)| *at == index)
                .map_or(String::new(), |at| format!(" +{} s", chain.rest[at].1.as_secs())),
            None => String::new(),
        };
        let shown = conclusions.iter().enumerate().map(|(index, one)| {
            let channel = one.channel.map_or("-", Channel::as_str);
            let address = one.endpoint.map_or("-", |endpoint| endpoint.address);
            format!("{channel} {address} {} {}{}", one.verdict, one.reason, place(index))
        });
        shown.collect()
    }

    #[test]
    fn the_first_goes_the_rest_stands_by_and_what_is_not_of_the_chain_goes_as_ever() {
        let expected = [
            "email ada@example.org ROUTED routed",
            "telegram 1815 STANDBY fallback +60 s",
            "sms +15550100 STANDBY fallback +300 s",
            "sms +15550101 SUPPRESSED other_endpoint",
            "push fcm:1 ROUTED routed head",
        ];
        assert_eq!(arranged(&reachable(), &[]), expected);
    }

    #[rstest]
    #[case::the_recipient_has_none(without(reachable(), &[Channel::Push]), &[], "push - SUPPRESSED no_endpoint")]
    #[case::it_is_suppressed(reachable(), &["fcm:1"], "push fcm:1 SUPPRESSED address_suppressed")]
    #[case::opted_out(
        Preferences { channels: crate::model::SmallMap(vec![("push", false)]), ..reachable() }, &[],
        "push - SUPPRESSED opted_out_channel"
    )]
    fn a_first_channel_that_cannot_be_used_is_skipped_at_once(
        #[case] preferences: Preferences<'_>,
        #[case] suppressed: &[&str],
        #[case] push: &str,
    ) {
        let shown = arranged(&preferences, suppressed);
        assert!(shown.contains(&"telegram 1815 ROUTED routed head".to_owned()), "{shown:?}");
        assert!(shown.contains(&"sms +15550100 STANDBY fallback +300 s".to_owned()), "{shown:?}");
        assert!(shown.contains(&push.to_owned()), "{shown:?}");
    }

    #[test]
    fn a_suppressed_number_leaves_the_step_to_the_next() {
        let shown = arranged(&reachable(), &["+15550100"]);
        assert!(shown.contains(&"sms +15550101 STANDBY fallback +300 s".to_owned()), "{shown:?}");
    }

    #[test]
    fn one_channel_alone_is_no_chain_and_all_its_endpoints_are_used() {
        let shown = arranged(&without(reachable(), &[Channel::Push, Channel::Telegram]), &[]);
        let used = shown.iter().filter(|one| one.starts_with("sms") && one.ends_with("ROUTED routed"));
        assert_eq!(used.count(), 2, "{shown:?}");
    }

    #[test]
    fn while_the_recipient_is_quiet_the_first_waits_and_the_rest_stands_by() {
        let paused = Preferences { paused_until: Some(NOW.plus(Duration::from_secs(3_600))), ..reachable() };
        let shown = arranged(&paused, &[]);
        assert!(shown.contains(&"push fcm:1 DEFERRED paused head".to_owned()), "{shown:?}");
        assert!(shown.contains(&"sms +15550100 STANDBY fallback +300 s".to_owned()), "{shown:?}");
    }

    proptest! {
        /// Against the sentence of the documentation, whatever the rules concluded.
        #[test]
        fn whatever_was_let_through_one_channel_of_the_chain_goes_and_each_other_stands_by_once(
            verdicts in prop::collection::vec((0usize..Channel::ALL.len(), 0u8..3), 0..12),
        ) {
            let endpoint = endpoint(Channel::Sms, "x", true);
            let conclusion = |(channel, kind): &(usize, u8)| Conclusion {
                channel: Some(Channel::ALL[*channel]),
                endpoint: Some(&endpoint),
                verdict: [Verdict::Routed, Verdict::Deferred, Verdict::Suppressed][usize::from(*kind)],
                reason: Reason::Routed,
                rule: crate::model::Rule::Route,
                until: None,
            };
            let before: Vec<Conclusion<'_>> = verdicts.iter().map(conclusion).collect();
            let mut after = before.clone();
            let chain = arrange(&STEPS, &mut after);
            let usable = |channel: Channel| {
                before.iter().enumerate().filter(move |(_, one)| goes(one, channel)).map(|(index, _)| index).collect::<Vec<_>>()
            };
            let steps: Vec<(Vec<usize>, Duration)> =
                STEPS.iter().map(|step| (usable(step.channel), step.after)).filter(|(usable, _)| !usable.is_empty()).collect();
            let expected = (steps.len() > 1).then(|| Chain {
                head: steps[0].0[0],
                rest: steps[1..].iter().map(|(usable, after)| (usable[0], *after)).collect(),
            });
            prop_assert_eq!(&chain, &expected);
            for (index, (was, is)) in before.iter().zip(&after).enumerate() {
                let step = steps.iter().skip(1).find(|(usable, _)| usable.contains(&index));
                let verdict = match step {
                    Some((usable, _)) if usable[0] == index => Verdict::Standby,
                    Some(_) => Verdict::Suppressed,
                    None => was.verdict,
                };
                prop_assert_eq!(is.verdict, verdict);
            }
        }
    }
}
