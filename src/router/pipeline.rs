//! One input record → its outputs, within the open transaction.
//!
//! Flows in: a record of an event topic, of `notify.retry.events.*` or of `notify.preferences`. Flows out: outbound
//! records, deferrals, one decision, dead letters. Nothing else is touched: whoever calls this commits or aborts.

use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use smallvec::SmallVec;

use super::input::{Headers, Input, Kind};
use super::metrics::RouterMetrics;
use super::outputs::{Gaps, OutputError, Outputs};
use crate::audience::recipients;
use crate::decide::{
    Chain, Circumstances, Conclusion, Conclusions, EventVerdict, Subject, Zones, arrange, decide_recipient,
    judge_event, validate,
};
use crate::join::{JoinError, Joined};
use crate::kafka::{MissingTopics, NotRestored, RecordFault, Table, Transaction};
use crate::model::{
    CategoryPolicy, Channel, Decision, DecisionOutcome, Event, Fallback, NotificationId, Open, Outbound, Policy,
    Reason, RecipientKey, Rule, SourceRule, Timestamp, Verdict, endpoint_hash,
};
use crate::suppression::SuppressionList;
use crate::telemetry::clock::Clock;
use crate::wire::{Blame, DlqHeaders, Origin, Records, ReplayHeaders, TierHeaders, WireError, names};

/// What the router decides with; the same for all shards.
pub struct Rules {
    /// The operator's rules.
    pub policy: Policy,
    /// What producers may claim.
    pub sources: Vec<SourceRule>,
    /// Time zones.
    pub zones: Zones,
    /// Addresses that nothing is sent to.
    pub suppressions: SuppressionList,
    /// How long an event waits for its recipient's preferences.
    pub grace: Duration,
    /// Output topics that do not exist.
    pub missing: MissingTopics,
    /// Consumer group, for dead letters.
    pub group: String,
    /// The installation's prefix.
    pub prefix: String,
}

/// One shard's way from records to outputs.
pub struct Pipeline {
    rules: Arc<Rules>,
    clock: Clock,
    table: Table,
    records: Records,
    outputs: Outputs,
    metrics: RouterMetrics,
    key: RecipientKey,
    preferences: Vec<u8>,
    took: Took,
    gaps: Gaps,
}

/// What became of the last record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Took {
    /// It went to the dead letters.
    pub dead: bool,
    /// The topic it came from first, when it waited in a tier.
    pub topic: Option<String>,
}

/// Why a record could not be processed: the transaction has to be given up.
#[derive(Debug, thiserror::Error)]
pub enum Halt {
    /// An output was not taken.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A schema is needed that nobody can give now; the record is fine as far as anyone knows.
    #[error("waiting for the schema registry: {0}")]
    Registry(WireError),
    /// The preferences table is being restored.
    #[error("waiting for the preferences table: {0}")]
    Table(NotRestored),
}

impl From<JoinError> for Halt {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::Registry(error) => Halt::Registry(error),
            JoinError::Table(error) => Halt::Table(error),
        }
    }
}

/// What became of one recipient of an event.
enum Told {
    /// All that follows is written.
    All,
    /// Nothing yet: the event has to wait for their preferences.
    Waits,
    /// Nothing: a topic that it would go to does not exist.
    TopicMissing,
}

/// Conclusions about one recipient, as most events come to: one for each endpoint, or one that says why there is none.
const USUAL_OUTCOMES: usize = 4;

/// Something of each conclusion about a recipient, where it has that.
type Each<T> = SmallVec<[Option<T>; 4]>;

/// What was concluded about one recipient.
struct Answers<'s, 'c> {
    conclusions: &'s [Conclusion<'c>],
    /// Of their endpoints. Made once: an endpoint is named in its own outcome and in the records of its siblings.
    hashes: Each<CompactString>,
    chain: Option<Chain>,
}

/// What all outputs of one event have in common.
struct Occasion<'e, 'a> {
    rules: &'e Rules,
    event: &'e Event<'a>,
    category: &'e CategoryPolicy,
    /// By its category and type; the same for all recipients.
    template: &'e str,
    replay: Option<ReplayHeaders<'e>>,
    passed: Headers<'e>,
    now: Timestamp,
    grace_until: Timestamp,
}

impl Pipeline {
    /// A pipeline that joins with `table`.
    pub fn new(
        rules: Arc<Rules>,
        clock: Clock,
        table: Table,
        records: Records,
        outputs: Outputs,
        metrics: RouterMetrics,
    ) -> Self {
        let (key, preferences, took) = (RecipientKey::default(), Vec::new(), Took::default());
        let gaps = Gaps::default();
        Pipeline { rules, clock, table, records, outputs, metrics, key, preferences, took, gaps }
    }

    /// Lets what was counted since the last time be seen.
    pub fn publish(&mut self) {
        self.metrics.publish();
    }

    /// What became of the record that was processed last.
    pub fn took(&self) -> &Took {
        &self.took
    }

    /// Writes what follows from one record.
    ///
    /// # Errors
    /// [`Halt`]; outputs of this record may already be in the transaction, which has to be aborted.
    pub fn process(&mut self, transaction: &mut Transaction, input: &Input<'_>) -> Result<(), Halt> {
        self.took = Took::default();
        match input.kind(&self.rules.prefix) {
            Kind::Preferences => self.check_preferences(transaction, input),
            Kind::Event => self.event(transaction, input, TierHeaders::default()),
            Kind::RetriedEvent => match TierHeaders::parse(input.headers.iter().copied()) {
                Ok(tier) => {
                    self.took.topic = tier.original.as_ref().map(|origin| origin.topic.clone());
                    self.event(transaction, input, tier)
                }
                Err(error) => self.dead_event(transaction, input, Reason::InvalidEvent, &error.to_string()),
            },
        }
    }

    /// Writes the dead letter of a record whose outputs cannot be written, instead of them.
    ///
    /// # Errors
    /// [`Halt`] when not even that can be written.
    pub fn bury(&mut self, transaction: &mut Transaction, input: &Input<'_>, fault: RecordFault) -> Result<(), Halt> {
        let origin = || TierHeaders::parse(input.headers.iter().copied()).ok().and_then(|tier| tier.original);
        let topic = (input.kind(&self.rules.prefix) == Kind::RetriedEvent).then(origin).flatten();
        self.took = Took { dead: false, topic: topic.map(|origin| origin.topic) };
        let reason = match fault {
            RecordFault::TooLarge => Reason::TooLarge,
            RecordFault::TopicMissing => Reason::TopicMissing,
            RecordFault::Refused => Reason::MessageRefused,
        };
        if let Some(event) = input.value.and_then(|value| self.records.event(value).ok()) {
            let verdict = EventVerdict { verdict: Verdict::Rejected, reason, rule: Rule::Route };
            self.refused(transaction, input, &event, verdict)?;
        }
        self.dead_event(transaction, input, reason, &format!("an output cannot be written: {fault}"))
    }

    fn event(&mut self, transaction: &mut Transaction, input: &Input<'_>, tier: TierHeaders) -> Result<(), Halt> {
        self.metrics.event_in(input.topic);
        let Some(value) = input.value else {
            return self.dead_event(transaction, input, Reason::NotAnEvent, "the value is null");
        };
        let event = match self.records.event(value) {
            Ok(event) => event,
            Err(error) => return self.unreadable_event(transaction, input, error),
        };
        let replay = match ReplayHeaders::parse(input.headers.iter().copied()) {
            Ok(replay) => replay,
            Err(error) => return self.dead_event(transaction, input, Reason::InvalidEvent, &error.to_string()),
        };
        let now = self.clock.now();
        let rules = Arc::clone(&self.rules);
        let topic = tier.original.as_ref().map_or(input.topic, |origin| origin.topic.as_str());
        let topic = topic.strip_prefix(&rules.prefix).unwrap_or(topic);
        let category = match judge_event(&event, topic, &rules.sources, &rules.policy, now) {
            Ok(category) => category,
            Err(verdict) => return self.refused_event(transaction, input, &event, verdict),
        };
        if self.table.is_in_part() && !self.is_at_home(input, &event) {
            let verdict = EventVerdict::rejected(Reason::NotKeyedByRecipient);
            return self.refused_event(transaction, input, &event, verdict);
        }
        let occasion = Occasion {
            rules: &rules,
            event: &event,
            category,
            template: category.template_for(event.kind, event.template),
            replay,
            passed: input.passed_headers(),
            now,
            grace_until: tier.not_before.unwrap_or(now.plus(rules.grace)),
        };
        self.tell_all(transaction, input, &occasion, &tier)
    }

    /// Whether the recipient's preferences are where the record is: it has one recipient, is keyed by them, and lies in
    /// the partition of that key.
    fn is_at_home(&mut self, input: &Input<'_>, event: &Event<'_>) -> bool {
        let mut told = recipients(event);
        let (Some((_, user)), None) = (told.next(), told.next()) else { return false };
        self.key.set(event.tenant, user);
        let key = self.key.as_str().as_bytes();
        input.key == Some(key) && self.table.home(key) == Some(input.partition)
    }

    /// Decides for every recipient and writes what follows, the decision last.
    fn tell_all(
        &mut self,
        transaction: &mut Transaction,
        input: &Input<'_>,
        occasion: &Occasion<'_, '_>,
        tier: &TierHeaders,
    ) -> Result<(), Halt> {
        let in_doubt = self.gaps.reach(&self.rules.missing, self.outputs.topics(), &occasion.category.allowed);
        let is_for_one = occasion.event.recipients.len() == 1;
        if in_doubt && !is_for_one && self.lacks_an_output(transaction, occasion, tier)? {
            return self.bury(transaction, input, RecordFault::TopicMissing);
        }
        let mut outcomes = Vec::with_capacity(occasion.event.recipients.len().max(USUAL_OUTCOMES));
        let mut waiting = Vec::new();
        for (index, user) in recipients(occasion.event) {
            let Ok(index) = u16::try_from(index) else { continue };
            if tier.recipients.as_ref().is_some_and(|still| !still.contains(&index)) {
                continue;
            }
            match self.tell(transaction, occasion, user, in_doubt && is_for_one, &mut outcomes)? {
                Told::All => {}
                Told::Waits => waiting.push(index),
                Told::TopicMissing => return self.bury(transaction, input, RecordFault::TopicMissing),
            }
        }
        let only_waits = waiting.len() == outcomes.len();
        if !waiting.is_empty() {
            self.await_sign_up(transaction, input, occasion, tier, waiting)?;
        }
        // A hop from tier to tier concludes nothing that the first pass did not write.
        if tier.recipients.is_none() || !only_waits {
            self.decision(transaction, occasion, outcomes)?;
        }
        Ok(())
    }

    /// Whether an outbound record of this event would go to a topic that does not exist: known before anything is
    /// written, so that the event alone becomes a dead letter and no transaction is given up. Decides one time more,
    /// for events of several recipients that may go to a channel of which a topic is missing.
    fn lacks_an_output(
        &mut self,
        transaction: &mut Transaction,
        occasion: &Occasion<'_, '_>,
        tier: &TierHeaders,
    ) -> Result<bool, Halt> {
        let mut buffer = std::mem::take(&mut self.preferences);
        for (index, user) in recipients(occasion.event) {
            let Ok(index) = u16::try_from(index) else { continue };
            if tier.recipients.as_ref().is_some_and(|still| !still.contains(&index)) {
                continue;
            }
            self.key.set(occasion.event.tenant, user);
            let joined = Joined::look_up(&self.table, &self.key, &mut buffer, &mut self.records)?;
            let (conclusions, _) = conclude(occasion, user, &joined);
            if self.is_topic_missing(transaction, occasion, &conclusions) {
                return Ok(true);
            }
        }
        self.preferences = buffer;
        Ok(false)
    }

    /// Whether one of these would be written to a topic that does not exist.
    fn is_topic_missing(
        &self,
        transaction: &mut Transaction,
        occasion: &Occasion<'_, '_>,
        conclusions: &[Conclusion<'_>],
    ) -> bool {
        let topics = self.outputs.topics();
        conclusions.iter().any(|conclusion| match (conclusion.verdict, conclusion.channel) {
            (Verdict::Routed | Verdict::Standby, Some(channel)) => {
                transaction.lacks(topics.outbound(channel, occasion.event.priority.into()))
            }
            (Verdict::Deferred, Some(channel)) => {
                conclusion.until.is_some_and(|until| transaction.lacks(topics.tier(channel, until.since(occasion.now))))
            }
            _ => false,
        })
    }

    /// Decides for one recipient and writes what follows; nothing when a topic for it is missing, if that is
    /// `in_doubt`.
    fn tell<'e>(
        &mut self,
        transaction: &mut Transaction,
        occasion: &Occasion<'e, '_>,
        user: &'e str,
        in_doubt: bool,
        outcomes: &mut Vec<DecisionOutcome<'e>>,
    ) -> Result<Told, Halt> {
        self.key.set(occasion.event.tenant, user);
        let mut buffer = std::mem::take(&mut self.preferences);
        let joined = Joined::look_up(&self.table, &self.key, &mut buffer, &mut self.records)?;
        let (conclusions, chain) = conclude(occasion, user, &joined);
        if in_doubt && self.is_topic_missing(transaction, occasion, &conclusions) {
            return Ok(Told::TopicMissing);
        }
        let hash = |conclusion: &Conclusion<'_>| {
            let endpoint = conclusion.endpoint?;
            Some(endpoint_hash(occasion.event.tenant, user, endpoint.channel.as_str(), endpoint.address))
        };
        let hashes = conclusions.iter().map(hash).collect();
        let answers = Answers { conclusions: &conclusions, hashes, chain };
        let (ids, told) = self.write_out(transaction, occasion, &joined, user, &answers)?;
        for ((conclusion, hash), id) in conclusions.iter().zip(answers.hashes).zip(ids) {
            outcomes.push(outcome(user, conclusion, hash, &joined, id));
        }
        drop(conclusions);
        drop(joined);
        self.preferences = buffer;
        Ok(told)
    }

    /// Writes what follows from the conclusions about one recipient; gives the id of each one's notification.
    fn write_out(
        &mut self,
        transaction: &mut Transaction,
        occasion: &Occasion<'_, '_>,
        joined: &Joined<'_>,
        user: &str,
        answers: &Answers<'_, '_>,
    ) -> Result<(Each<NotificationId>, Told), Halt> {
        let (mut ids, mut told) = (Each::new(), Told::All);
        for (index, conclusion) in answers.conclusions.iter().enumerate() {
            self.metrics.decided(conclusion.verdict, conclusion.reason);
            if conclusion.verdict == Verdict::Deferred && conclusion.rule == Rule::Recipient {
                told = Told::Waits;
            }
            ids.push(match (conclusion.verdict, conclusion.channel, conclusion.endpoint) {
                (Verdict::Routed | Verdict::Deferred, Some(channel), Some(endpoint)) => Some(self.notify(
                    transaction,
                    occasion,
                    joined,
                    user,
                    (channel, endpoint.address),
                    conclusion,
                    answers.siblings(index),
                    answers.fallback(index),
                )?),
                (Verdict::Standby, Some(channel), Some(endpoint)) => {
                    Some(notification_id(occasion, user, channel, endpoint.address))
                }
                _ => None,
            });
        }
        Ok((ids, told))
    }

    /// Writes the outbound record of one endpoint, to its topic or to a tier.
    #[expect(clippy::too_many_arguments, reason = "what one outbound record is made of")]
    fn notify(
        &mut self,
        transaction: &mut Transaction,
        occasion: &Occasion<'_, '_>,
        joined: &Joined<'_>,
        user: &str,
        (channel, address): (Channel, &str),
        conclusion: &Conclusion<'_>,
        siblings: Vec<CompactString>,
        fallback: Vec<Fallback<'_>>,
    ) -> Result<NotificationId, Halt> {
        let event = occasion.event;
        let tenant = event.tenant;
        let id = notification_id(occasion, user, channel, address);
        let outbound = Outbound {
            notification_id: id,
            event_id: event.id,
            source: event.source,
            kind: event.kind,
            event_time: event.time,
            tenant,
            user_id: user,
            category: event.category,
            priority: event.priority,
            channel: Open::Known(channel),
            address,
            locale: event.locale.unwrap_or(joined.locale()),
            timezone: joined.timezone(),
            template: occasion.template,
            data: event.data,
            collapse_key: event.collapse_key,
            not_before: event.not_before,
            expires_at: event.expires_at,
            decided_at: occasion.now,
            policy_version: &occasion.rules.policy.version,
            replay_id: occasion.replay.map(|replay| replay.id),
            siblings,
            fallback,
            fallback_of: None,
        };
        match conclusion.until {
            None => {
                self.metrics.outbound(channel, event.priority.into());
                self.outputs.routed(transaction, &self.key, channel, &outbound, &occasion.passed)?;
            }
            Some(until) => {
                let waits = TierHeaders {
                    not_before: Some(until),
                    error_code: Some(conclusion.reason.as_str().to_owned()),
                    ..TierHeaders::default()
                };
                let own = written(|out| waits.write(out));
                let headers = joined_headers(&occasion.passed, &own);
                let topic = self.outputs.topics().tier(channel, until.since(occasion.now));
                self.metrics.parked(channel.as_str(), topic);
                self.outputs.deferred(transaction, &self.key, channel, &outbound, until, &headers)?;
            }
        }
        Ok(id)
    }

    /// Sends the event, as it came, to the tier in which it waits for its unknown recipients.
    fn await_sign_up(
        &mut self,
        transaction: &mut Transaction,
        input: &Input<'_>,
        occasion: &Occasion<'_, '_>,
        tier: &TierHeaders,
        waiting: Vec<u16>,
    ) -> Result<(), Halt> {
        let origin = || Origin {
            topic: input.topic.to_owned(),
            partition: input.partition,
            offset: input.offset,
            timestamp: Timestamp(input.timestamp_ms),
        };
        let waits = TierHeaders {
            attempt: tier.attempt,
            not_before: Some(occasion.grace_until),
            original: Some(tier.original.clone().unwrap_or_else(origin)),
            error_code: Some(Reason::UnknownRecipient.as_str().to_owned()),
            recipients: Some(waiting),
            ..TierHeaders::default()
        };
        let own = written(|out| waits.write(out));
        let headers = joined_headers(&occasion.passed, &own);
        let topic = self.outputs.topics().event_tier(occasion.grace_until.since(occasion.now));
        self.metrics.parked("events", topic);
        Ok(Outputs::forward(transaction, topic, input.key, input.value, &headers)?)
    }

    fn decision(
        &mut self,
        transaction: &mut Transaction,
        occasion: &Occasion<'_, '_>,
        outcomes: Vec<DecisionOutcome<'_>>,
    ) -> Result<(), Halt> {
        let version = &occasion.rules.policy.version;
        let decision = decision_of(occasion.event, version, occasion.now, occasion.replay, outcomes);
        self.metrics.latency(occasion.now.since(occasion.event.time));
        Ok(self.outputs.decision(transaction, &decision, &occasion.passed)?)
    }

    /// An event that rules 1 and 2 refuse: a decision, and a dead letter when the contract was broken.
    fn refused_event(
        &mut self,
        transaction: &mut Transaction,
        input: &Input<'_>,
        event: &Event<'_>,
        verdict: EventVerdict,
    ) -> Result<(), Halt> {
        self.refused(transaction, input, event, verdict)?;
        if verdict.goes_to_dlq() {
            let message = format!("the event breaks the contract: {}", verdict.reason);
            return self.dead_event(transaction, input, verdict.reason, &message);
        }
        Ok(())
    }

    fn refused(
        &mut self,
        transaction: &mut Transaction,
        input: &Input<'_>,
        event: &Event<'_>,
        verdict: EventVerdict,
    ) -> Result<(), Halt> {
        self.metrics.decided(verdict.verdict, verdict.reason);
        let outcome = DecisionOutcome {
            user_id: "",
            channel: None,
            endpoint_hash: None,
            verdict: verdict.verdict.into(),
            reason: verdict.reason.into(),
            rule: verdict.rule.number(),
            preferences: None,
            notification_id: None,
            until: None,
        };
        let replay = ReplayHeaders::parse(input.headers.iter().copied()).ok().flatten();
        let rules = Arc::clone(&self.rules);
        let decision = decision_of(event, &rules.policy.version, self.clock.now(), replay, vec![outcome]);
        Ok(self.outputs.decision(transaction, &decision, &input.passed_headers())?)
    }

    fn unreadable_event(
        &mut self,
        transaction: &mut Transaction,
        input: &Input<'_>,
        error: WireError,
    ) -> Result<(), Halt> {
        let reason = match error.blame() {
            Blame::Registry => return Err(Halt::Registry(error)),
            Blame::UnknownSchema => Reason::UnknownSchema,
            Blame::Record => Reason::NotAnEvent,
        };
        self.dead_event(transaction, input, reason, &error.to_string())
    }

    /// Preferences that cannot be used go to their DLQ; at the join they count as no record.
    fn check_preferences(&mut self, transaction: &mut Transaction, input: &Input<'_>) -> Result<(), Halt> {
        let Some(value) = input.value else { return Ok(()) };
        let problem = match self.records.preferences(value) {
            Err(error) if error.blame() == Blame::Registry => return Err(Halt::Registry(error)),
            Err(error) => error.to_string(),
            Ok(preferences) => {
                self.key.set(preferences.tenant, preferences.user_id);
                if input.key != Some(self.key.as_str().as_bytes()) {
                    "the key is not `tenant/user_id` of the value, percent-encoded".to_owned()
                } else if let Err(error) = validate(&preferences, &self.rules.zones) {
                    error.without_values()
                } else {
                    return Ok(());
                }
            }
        };
        tracing::warn!(
            topic = input.topic,
            partition = input.partition,
            offset = input.offset,
            problem,
            "preferences that cannot be used: nothing is sent to their recipient"
        );
        let topic = self.outputs.topics().dlq_preferences.clone();
        self.dead_letter(transaction, input, &topic, Reason::InvalidPreferences, &problem)
    }

    fn dead_event(
        &mut self,
        transaction: &mut Transaction,
        input: &Input<'_>,
        reason: Reason,
        message: &str,
    ) -> Result<(), Halt> {
        let topic = match input.kind(&self.rules.prefix) {
            Kind::Preferences => self.outputs.topics().dlq_preferences.clone(),
            Kind::Event | Kind::RetriedEvent => self.outputs.topics().dlq_events.clone(),
        };
        tracing::warn!(
            topic = input.topic,
            partition = input.partition,
            offset = input.offset,
            %reason,
            message,
            "dead letter"
        );
        self.dead_letter(transaction, input, &topic, reason, message)
    }

    fn dead_letter(
        &mut self,
        transaction: &mut Transaction,
        input: &Input<'_>,
        topic: &str,
        reason: Reason,
        message: &str,
    ) -> Result<(), Halt> {
        self.took.dead = true;
        self.metrics.dead(topic, reason);
        let letter = DlqHeaders {
            topic: input.topic,
            partition: input.partition,
            offset: input.offset,
            group: &self.rules.group,
            delivery_count: 1,
            message,
            reason: reason.into(),
        };
        let own = written(|out| letter.write(out));
        let kept = input.headers.iter().copied().filter(|(name, _)| !DlqHeaders::NAMES.contains(name));
        let headers = joined_headers(&kept.collect::<Vec<_>>(), &own);
        Ok(Outputs::forward(transaction, topic, input.key, input.value, &headers)?)
    }
}

/// Decides for one recipient; what goes at once, and what stands by behind it.
fn conclude<'j>(occasion: &Occasion<'_, '_>, user: &str, joined: &'j Joined<'_>) -> (Conclusions<'j>, Option<Chain>) {
    let (rules, tenant) = (occasion.rules, occasion.event.tenant);
    let suppressed = |channel, address: &str| rules.suppressions.contains(tenant, channel, address);
    let at = Circumstances { suppressed: &suppressed, ..Circumstances::new(occasion.now, &rules.zones) };
    let (recipient, mut conclusions) = (joined.recipient(tenant, user, occasion.grace_until), Conclusions::new());
    decide_recipient(&Subject::of_event(occasion.event), occasion.category, recipient, &at, &mut conclusions);
    let chain = arrange(&occasion.category.fallback, &mut conclusions);
    (conclusions, chain)
}

fn decision_of<'e>(
    event: &Event<'e>,
    policy_version: &'e str,
    decided_at: Timestamp,
    replay: Option<ReplayHeaders<'e>>,
    outcomes: Vec<DecisionOutcome<'e>>,
) -> Decision<'e> {
    Decision {
        event_id: event.id,
        source: event.source,
        kind: event.kind,
        tenant: event.tenant,
        category: event.category,
        event_time: event.time,
        decided_at,
        policy_version,
        replay_id: replay.map(|replay| replay.id),
        outcomes,
    }
}

fn outcome<'e>(
    user: &'e str,
    conclusion: &Conclusion<'_>,
    endpoint_hash: Option<CompactString>,
    joined: &Joined<'_>,
    notification_id: Option<NotificationId>,
) -> DecisionOutcome<'e> {
    DecisionOutcome {
        user_id: user,
        channel: conclusion.channel.map(Open::Known),
        endpoint_hash,
        verdict: conclusion.verdict.into(),
        reason: conclusion.reason.into(),
        rule: conclusion.rule.number(),
        preferences: joined.reference(),
        notification_id,
        until: conclusion.until,
    }
}

fn notification_id(occasion: &Occasion<'_, '_>, user: &str, channel: Channel, address: &str) -> NotificationId {
    let (event, nonce) = (occasion.event, occasion.replay.map_or("", |replay| replay.nonce));
    NotificationId::derive(event.tenant, event.source, event.id, user, channel.as_str(), address, nonce)
}

impl<'c> Answers<'_, 'c> {
    /// The steps that stand by behind the conclusion at `index`, as an outbound record carries them.
    fn fallback(&self, index: usize) -> Vec<Fallback<'c>> {
        let step = |(index, after): &(usize, Duration)| {
            let endpoint = self.conclusions.get(*index)?.endpoint?;
            let after_ms = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
            Some(Fallback { channel: endpoint.channel, address: endpoint.address, after_ms })
        };
        Chain::behind(self.chain.as_ref(), index).iter().filter_map(step).collect()
    }

    /// The hashes of the other endpoints on the same channel that are told of the same event.
    fn siblings(&self, index: usize) -> Vec<CompactString> {
        let channel = self.conclusions[index].channel;
        let told = |other: &Conclusion<'_>| {
            matches!(other.verdict, Verdict::Routed | Verdict::Deferred) && other.channel == channel
        };
        let others = self.conclusions.iter().zip(&self.hashes).enumerate();
        others
            .filter(|(at, (other, _))| *at != index && told(other))
            .filter_map(|(_, (_, hash))| hash.clone())
            .collect()
    }
}

fn written(write: impl FnOnce(&mut Vec<(&'static str, String)>)) -> Vec<(&'static str, String)> {
    let mut headers = Vec::with_capacity(8);
    write(&mut headers);
    headers
}

fn joined_headers<'h>(passed: &[(&'h str, &'h [u8])], own: &'h [(&'static str, String)]) -> Vec<(&'h str, &'h [u8])> {
    let own = own.iter().map(|(name, value)| (*name, value.as_bytes()));
    passed.iter().copied().chain(own).collect()
}

impl Input<'_> {
    /// The headers that travel with an event to everything that follows from it.
    fn passed_headers(&self) -> Headers<'_> {
        let travels = |name: &str| matches!(name, names::TRACEPARENT | names::REPLAY_ID | names::REPLAY_NONCE);
        self.headers.iter().copied().filter(|(name, _)| travels(name)).collect()
    }
}
