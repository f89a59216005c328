//! From records and answers to what is written: decodes, joins, judges, encodes, counts.
//!
//! Invariant: knows no consumer, no producer and no provider; its only outside is the preferences table and, through
//! the schemas' source, the registry.

mod lining_up;
mod overtaking;

use std::sync::Arc;
use std::time::Duration;

use super::aftermath;
use super::calls::{Came, Report};
use super::collapse::Newest;
use super::desk::{Source, UnderWay};
use super::failing::Failing;
use super::fallback;
use super::ledger::{Output, Work};
use super::order::Lines;
use super::outcome::{Asked, Attempt, Conclusion, End};
use super::outputs::Destinations;
use super::providers::{Route, Set, spread};
use super::retry::Backoff;
use super::wake::{Judgement, Turn};
use crate::channel::{Providers, Verdict};
use crate::config::Mode;
use crate::decide::{Circumstances, Zones};
use crate::join::{JoinError, Joined};
use crate::kafka::{OwnedRecord, Table};
use crate::model::{
    Channel, Class, Endpoint, Outbound, Policy, Reason, RecipientKey, Timestamp, format_delay, glob_matches,
};
use crate::suppression::SuppressionList;
use crate::telemetry::clock::Clock;
use crate::telemetry::metrics::{
    AttemptOutcome, attempts, dead_letters, delivery_latency, provider_seconds, retries, retry_seconds, statuses,
};
use crate::telemetry::random;
use crate::wire::{Blame, Encoders, HeaderError, Records, TierHeaders, WireError, names};

pub use overtaking::place;

/// What does not change while a worker runs.
pub struct Rules {
    /// The operator's rules.
    pub policy: Policy,
    /// Time zones.
    pub zones: Zones,
    /// Addresses that nothing is sent to.
    pub suppressions: SuppressionList,
    /// Whether it is noted which messages were sent, for those that give receipts.
    pub receipts: bool,
    /// How long to wait between attempts.
    pub backoff: Backoff,
    /// Where records go.
    pub destinations: Destinations,
    /// Who delivers them.
    pub providers: Providers,
    /// Recipients and addresses that may be sent to; all when empty. `*` stands for any run of characters.
    pub allow_recipients: Vec<String>,
    /// How long a customer's endpoint may fail before nothing is sent to it any more.
    pub disable_after: Option<Duration>,
}

/// What is to be done with a record whose turn has come.
#[derive(Debug)]
pub enum Considered {
    /// Call the provider, or only record what it would have been asked.
    Call(Mode),
    /// It may not go to this provider: judge it again for one of these.
    Elsewhere(Route),
    /// Write this.
    Write(Vec<Output>),
    /// Nobody can tell now: the registry does not answer, or the table is being restored.
    Later(JoinError),
}

/// Whether a notification's fallback chain goes on with a conclusion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chain {
    Follows,
    Ends,
}

/// One worker's.
pub struct Clerk {
    rules: Arc<Rules>,
    table: Table,
    records: Records,
    encoders: Encoders,
    clock: Clock,
    preferences: Vec<u8>,
    failing: Failing,
    newest: Newest,
    lines: Lines,
    /// Some category is of strict order.
    keeps_order: bool,
}

impl Clerk {
    /// A clerk that joins with `table`.
    pub fn new(rules: Arc<Rules>, table: Table, records: Records, encoders: Encoders, clock: Clock) -> Self {
        let failing = Failing::new(rules.disable_after);
        let lines = Lines::new(rules.destinations.tiers.iter().copied().max().unwrap_or_default());
        let (preferences, newest) = (Vec::new(), Newest::default());
        let keeps_order = rules.policy.any_strict();
        Clerk { rules, table, records, encoders, clock, preferences, failing, newest, lines, keeps_order }
    }

    /// Reads a record's headers.
    ///
    /// # Errors
    /// What to write when they cannot be read.
    pub fn take(&mut self, record: OwnedRecord, waited: bool) -> Result<Work, (Work, Vec<Output>)> {
        let headers = TierHeaders::parse(record.headers());
        let work =
            |headers| Work { record: Arc::new(record), headers: Arc::new(headers), waited, route: Route::default() };
        match headers {
            Ok(headers) => {
                let mut work = work(headers);
                self.look_into(&mut work);
                Ok(work)
            }
            Err(error) => {
                let work = work(TierHeaders::default());
                let outputs = self.refuse(&work, Reason::NotAnOutbound, &header_fault(&error));
                Err((work, outputs))
            }
        }
    }

    /// Finds out whom a record may go to, and remembers it among those of its collapse key. One that cannot be read may
    /// go to anybody, as its turn will show.
    fn look_into(&mut self, work: &mut Work) {
        let rules = Arc::clone(&self.rules);
        let value = work.record.value.as_deref().unwrap_or_default();
        let Ok(outbound) = self.records.outbound(value) else { return };
        let route = route(&rules, work, &outbound);
        overtaking::note(&mut self.newest, &rules.destinations, work, &outbound);
        work.route = route;
    }

    /// A partition is someone else's, or begins anew.
    pub fn forget(&mut self, partition: i32) {
        self.newest.forget(partition);
        self.lines.forget(partition);
    }

    /// The class of a record that waited: its first topic tells, or its priority when it waited from the start.
    pub fn class(&mut self, work: &Work) -> Class {
        if let Some((class, _)) = first_written(&self.rules.destinations, work) {
            return class;
        }
        let value = work.record.value.as_deref().unwrap_or_default();
        self.records.outbound(value).map_or(Class::Main, |outbound| Class::from(outbound.priority))
    }

    /// Sends a record on that came due too early.
    pub fn hop(&self, work: &Work, remaining: Duration) -> Vec<Output> {
        let output = self.rules.destinations.hop(work, remaining);
        self.count(std::slice::from_ref(&output));
        vec![output]
    }

    /// Sends a record to a tier because its recipient has too many waiting already.
    pub fn make_way(&mut self, work: &Work) -> Vec<Output> {
        let (output, until) = self.rules.destinations.make_way(work, self.clock.now());
        let class = self.class(work);
        self.stay_in_line(work, class, until);
        self.count(std::slice::from_ref(&output));
        vec![output]
    }

    /// Judges a record whose turn has come, and that is to go to this provider.
    pub fn consider(&mut self, work: &Work, provider: usize) -> Considered {
        let Some(value) = work.record.value.as_deref() else {
            return Considered::Write(self.refuse(work, Reason::NotAnOutbound, "the value is null"));
        };
        let outbound = match self.records.outbound(value) {
            Ok(outbound) => outbound,
            Err(error) => return self.unreadable(work, error),
        };
        let rules = Arc::clone(&self.rules);
        let turn = Turn::of(rules.destinations.channel, work.waited, &work.headers, &work.record);
        let now = self.clock.now();
        let mut buffer = std::mem::take(&mut self.preferences);
        let considered = self.judge(work, &outbound, turn, now, &mut buffer);
        self.preferences = buffer;
        match considered {
            Ok(Considered::Call(_)) => match self.wait_in_line(work, &outbound, now) {
                Ok(None) => self.checked(work, &outbound, provider, now),
                Ok(Some(outputs)) => Ok(Considered::Write(outputs)),
                Err(error) => Err(error),
            }
            .map_err(JoinError::from),
            other => other,
        }
        .unwrap_or_else(Considered::Later)
    }

    fn judge(
        &mut self,
        work: &Work,
        outbound: &Outbound<'_>,
        turn: Turn,
        now: Timestamp,
        buffer: &mut Vec<u8>,
    ) -> Result<Considered, JoinError> {
        let rules = Arc::clone(&self.rules);
        let suppressed = |channel, address: &str| rules.suppressions.contains(outbound.tenant, channel, address);
        let at = Circumstances { suppressed: &suppressed, ..Circumstances::new(now, &rules.zones) };
        let joined = if turn.needs_decision(outbound, now) {
            let key = RecipientKey::new(outbound.tenant, outbound.user_id);
            Some(Joined::look_up(&self.table, &key, buffer, &mut self.records)?)
        } else {
            None
        };
        // A notification was decided from a preferences record: that there is none is no sign-up race any more.
        let recipient = || match &joined {
            Some(joined) => joined.recipient(outbound.tenant, outbound.user_id, Timestamp(i64::MIN)),
            None => crate::decide::Recipient::Invalid,
        };
        let ends = |end, reason| Conclusion::without_call(end, reason, &work.headers);
        let judgement = match turn.judge(outbound, &rules.policy, recipient, &at) {
            Judgement::Call | Judgement::Wait { .. } | Judgement::Superseded(_)
                if self.is_overtaken(work, outbound, outbound.address) =>
            {
                Judgement::Cancelled(Reason::Superseded)
            }
            judgement => judgement,
        };
        let conclusion = match judgement {
            Judgement::Call => return Ok(Considered::Call(Mode::Live)),
            Judgement::Misplaced => {
                let message = format!("the record is not of channel {}", rules.destinations.channel);
                return Ok(Considered::Write(self.refuse(work, Reason::NotAnOutbound, &message)));
            }
            Judgement::Superseded(endpoints) => return Ok(self.supersede(work, outbound, &endpoints, now)?),
            Judgement::Expired => ends(End::Expired, Reason::Expired),
            Judgement::Cancelled(reason) => ends(End::Cancelled, reason),
            Judgement::Wait { reason, until } => ends(End::Waiting(until), reason),
        };
        Ok(Considered::Write(self.write(work, outbound, &conclusion, now)?))
    }

    /// Whether a record that is wanted may go to this provider, and whether it is sent or only recorded.
    fn checked(
        &mut self,
        work: &Work,
        outbound: &Outbound<'_>,
        provider: usize,
        now: Timestamp,
    ) -> Result<Considered, WireError> {
        let rules = Arc::clone(&self.rules);
        let route = route(&rules, work, outbound);
        if route.able.is_empty() {
            let nobody = Conclusion::without_call(End::Dead, Reason::NoProvider, &work.headers);
            return Ok(Considered::Write(self.write(work, outbound, &nobody, now)?));
        }
        match rules.providers.all.get(provider).filter(|_| route.able.contains(provider)) {
            None => Ok(Considered::Elsewhere(route)),
            Some(provider) if rules.allows(outbound) => Ok(Considered::Call(provider.mode)),
            Some(_) => Ok(Considered::Call(Mode::Sandbox)),
        }
    }

    fn supersede(
        &mut self,
        work: &Work,
        outbound: &Outbound<'_>,
        endpoints: &[&Endpoint<'_>],
        now: Timestamp,
    ) -> Result<Considered, WireError> {
        let conclusion = Conclusion::without_call(End::Cancelled, Reason::Superseded, &work.headers);
        let mut outputs = self.write(work, outbound, &conclusion, now)?;
        let concluded = outputs.len();
        for endpoint in endpoints {
            // The new address has had a later one of its collapse key, or will.
            if self.is_overtaken(work, outbound, endpoint.address) {
                continue;
            }
            let destinations = &self.rules.destinations;
            outputs.push(destinations.successor(&mut self.encoders, work, outbound, endpoint, endpoints, now)?);
        }
        // Whoever takes its place takes its place in line along.
        if outputs.len() > concluded {
            self.stay_in_line(work, class_of(&self.rules.destinations, work, outbound), now);
        }
        Ok(Considered::Write(outputs))
    }

    /// Concludes what came of a call; `None` when that says nothing of the message, or the call was not made.
    ///
    /// # Errors
    /// [`WireError`] when a record that was read before cannot be read or written now, which cannot be.
    pub fn answer(
        &mut self,
        call: &UnderWay,
        report: Report,
        in_trouble: bool,
    ) -> Result<Option<Vec<Output>>, WireError> {
        let rules = Arc::clone(&self.rules);
        let now = self.clock.now();
        let UnderWay { work, probe, .. } = call;
        let Some(provider) = rules.providers.all.get(call.provider) else { return Ok(None) };
        let mut records = self.records.clone();
        let outbound = records.outbound(work.record.value.as_deref().unwrap_or_default())?;
        let mut produce = Vec::new();
        let answered = matches!(report.came, Came::Answered(_));
        let conclusion = match report.came {
            Came::NotMade => None,
            Came::NotRendered(error) => {
                tracing::warn!(notification = %outbound.notification_id, %error, "a notification has no words");
                Some(Conclusion::not_rendered(&error, &work.headers))
            }
            Came::Recorded => {
                attempts(self.channel(), &provider.name, AttemptOutcome::Recorded).increment(1);
                Some(Conclusion::recorded(&provider.name, &work.headers))
            }
            Came::Answered(mut outcome) => {
                self.count_call(&provider.name, &outcome.result, report.took);
                if let Verdict::Written { records } = &mut outcome.result {
                    produce = std::mem::take(records);
                }
                let turn = Turn::of(rules.destinations.channel, work.waited, &work.headers, &work.record);
                let attempt = Attempt {
                    headers: &work.headers,
                    asked: Asked {
                        name: &provider.name,
                        idempotent: provider.by.idempotent(),
                        shared: provider.by.is_shared(),
                        in_trouble: in_trouble && !probe,
                    },
                    limits: turn.limits(&outbound, &rules.policy),
                    backoff: &rules.backoff,
                    now,
                    fraction: random::fraction(),
                };
                attempt.concluded(outcome)
            }
        };
        let Some(mut conclusion) = conclusion else { return Ok(None) };
        if answered && !provider.by.is_shared() {
            self.note_endpoint(&outbound, &mut conclusion, now);
        }
        if conclusion.reason == Reason::Accepted {
            delivery_latency(self.channel()).record(now.since(outbound.event_time).as_secs_f64());
        }
        let mut outputs = self.write(work, &outbound, &conclusion, now)?;
        for record in produce {
            outputs.push(rules.destinations.produced(&mut self.encoders, &outbound, record, now)?);
        }
        Ok(Some(outputs))
    }

    /// Notes how a customer's endpoint does. One that failed for too long is disabled with the notification that used
    /// all its attempts up, if there is a list to put it on.
    fn note_endpoint(&mut self, outbound: &Outbound<'_>, conclusion: &mut Conclusion, now: Timestamp) {
        let (tenant, address) = (outbound.tenant, outbound.address);
        match conclusion.end {
            End::Sent(_) => self.failing.works(tenant, address),
            End::Retrying(_) | End::Dead => self.failing.fails(tenant, address, now),
            End::Waiting(_) | End::Failed | End::Expired | End::Cancelled => return,
        }
        if conclusion.end == End::Dead
            && self.rules.suppressions.key(tenant, self.channel(), address).is_some()
            && self.failing.gives_up(tenant, address, now)
        {
            conclusion.reason = Reason::EndpointDisabled;
        }
    }

    /// What to write for a record whose output to `topic` Kafka refuses: DEAD, and a dead letter, without the value when
    /// it is the value that is too large. The headers say where the value can be read.
    pub fn unwritable(&mut self, work: &Work, reason: Reason, topic: &str) -> Vec<Output> {
        let now = self.clock.now();
        let mut records = self.records.clone();
        let conclusion = Conclusion::without_call(End::Dead, reason, &work.headers);
        let outbound = records.outbound(work.record.value.as_deref().unwrap_or_default());
        // What one of ours does not take may be the chain's own record, or come after a provider's SENT.
        let chain = if self.rules.destinations.topics.owns(topic) { Chain::Ends } else { Chain::Follows };
        let written = outbound.and_then(|outbound| self.write_out(work, &outbound, &conclusion, chain, now));
        let mut outputs =
            written.unwrap_or_else(|_| self.refuse(work, reason, "its outputs are refused by the broker"));
        let grave = self.rules.destinations.grave();
        // A customer's topic says nothing about ours.
        if !self.rules.destinations.topics.owns(topic) {
            return outputs;
        }
        for output in outputs.iter_mut().filter(|output| output.topic == grave) {
            output.value = None;
        }
        outputs
    }

    fn unreadable(&mut self, work: &Work, error: WireError) -> Considered {
        match error.blame() {
            Blame::Registry => Considered::Later(error.into()),
            Blame::UnknownSchema => Considered::Write(self.refuse(work, Reason::UnknownSchema, &error.to_string())),
            Blame::Record => Considered::Write(self.refuse(work, Reason::NotAnOutbound, &error.to_string())),
        }
    }

    /// A dead letter, and no status: there is no notification to speak of.
    fn refuse(&mut self, work: &Work, reason: Reason, message: &str) -> Vec<Output> {
        let record = &work.record;
        tracing::warn!(at = %record.partition, offset = record.offset, %reason, message, "a record goes to the dead letters");
        let output = self.rules.destinations.bury(work, work.headers.attempt, reason, message);
        self.count(std::slice::from_ref(&output));
        let class = self.class(work);
        self.move_in_line(work, class, &End::Dead);
        vec![output]
    }

    fn write(
        &mut self,
        work: &Work,
        outbound: &Outbound<'_>,
        conclusion: &Conclusion,
        now: Timestamp,
    ) -> Result<Vec<Output>, WireError> {
        self.write_out(work, outbound, conclusion, Chain::Follows, now)
    }

    fn write_out(
        &mut self,
        work: &Work,
        outbound: &Outbound<'_>,
        conclusion: &Conclusion,
        follows: Chain,
        now: Timestamp,
    ) -> Result<Vec<Output>, WireError> {
        let rules = Arc::clone(&self.rules);
        let destinations = &rules.destinations;
        let mut outputs = destinations.conclude(&mut self.encoders, work, outbound, conclusion, now)?;
        outputs.extend(aftermath::suppression(
            &mut self.encoders,
            &destinations.topics,
            &rules.suppressions,
            outbound,
            conclusion,
            now,
        )?);
        let gives_receipts = |name: &str| {
            rules.providers.all.iter().any(|provider| &*provider.name == name && provider.by.gives_receipts())
        };
        if rules.receipts && gives_receipts(&conclusion.provider) {
            outputs.extend(aftermath::sent_message(
                &mut self.encoders,
                &destinations.topics,
                &rules.suppressions,
                work,
                outbound,
                conclusion,
                now,
            )?);
        }
        if rules.receipts && follows == Chain::Follows {
            let latest = now.max(self.clock.steady());
            let topics = &destinations.topics;
            outputs.extend(fallback::tell(&mut self.encoders, topics, work, outbound, conclusion, latest)?);
        }
        self.move_in_line(work, class_of(destinations, work, outbound), &conclusion.end);
        let state = conclusion.end.state();
        statuses(self.channel(), state).increment(1);
        if let Some(origin) = work.headers.original.as_ref().filter(|_| state.is_terminal() && work.headers.attempt > 0)
        {
            retry_seconds(self.channel(), state).record(now.since(origin.timestamp).as_secs_f64());
        }
        self.count(&outputs);
        Ok(outputs)
    }

    /// Counts what is parked and buried.
    fn count(&self, outputs: &[Output]) {
        let destinations = &self.rules.destinations;
        for output in outputs {
            if output.topic == destinations.grave() {
                dead_letters(&output.topic, reason_of(output)).increment(1);
            } else if let Some(tier) = destinations.tier_of(&output.topic) {
                retries(self.channel().as_str(), &format_delay(tier)).increment(1);
            }
        }
    }

    fn count_call(&self, provider: &str, result: &Verdict, took: Duration) {
        let outcome = match result {
            Verdict::Sent { .. } | Verdict::Written { .. } => AttemptOutcome::Sent,
            Verdict::Retry { .. } => AttemptOutcome::Retry,
            Verdict::Reject { .. } => AttemptOutcome::Reject,
            Verdict::Halt { .. } => AttemptOutcome::Halt,
        };
        attempts(self.channel(), provider, outcome).increment(1);
        provider_seconds(self.channel(), provider, outcome).record(took.as_secs_f64());
    }

    fn channel(&self) -> Channel {
        self.rules.destinations.channel
    }
}

impl Rules {
    /// Whether it may be sent to this recipient, or to this address.
    fn allows(&self, outbound: &Outbound<'_>) -> bool {
        let key = RecipientKey::new(outbound.tenant, outbound.user_id);
        let listed = |pattern: &String| glob_matches(pattern, key.as_str()) || glob_matches(pattern, outbound.address);
        self.allow_recipients.is_empty() || self.allow_recipients.iter().any(listed)
    }
}

/// Those that take the address; the one that alone may be asked, if it is still configured.
fn route(rules: &Rules, work: &Work, outbound: &Outbound<'_>) -> Route {
    let all = &rules.providers.all;
    let accepting = all.iter().enumerate().filter(|(_, provider)| provider.by.accepts(outbound.address));
    let able: Set = accepting.map(|(place, _)| place).collect();
    let pinned = work.headers.provider.as_deref();
    let pinned = pinned.and_then(|name| all.iter().position(|provider| &*provider.name == name));
    let alone: Set = pinned.into_iter().collect();
    let able = if able.and(alone).is_empty() { able } else { alone };
    Route { able, spread: spread(outbound.notification_id.0.as_bytes(), work.headers.attempt) }
}

/// Where a record was first written, if that was a topic of first attempts: the router puts some into a tier.
fn first_written(destinations: &Destinations, work: &Work) -> Option<(Class, i64)> {
    let record = &*work.record;
    let (topic, offset) = match &work.headers.original {
        Some(origin) => (&origin.topic, origin.offset),
        None => (&record.partition.topic, record.offset),
    };
    match destinations.source(topic) {
        Some(Source::First(class)) => Some((class, offset)),
        _ => None,
    }
}

/// The class of a record: its first topic tells, or its priority when it waited from the start.
fn class_of(destinations: &Destinations, work: &Work, outbound: &Outbound<'_>) -> Class {
    first_written(destinations, work).map_or_else(|| Class::from(outbound.priority), |(class, _)| class)
}

fn header_fault(error: &HeaderError) -> String {
    format!("{error}; see the contract of `notify-*` headers")
}

/// The reason that a dead letter was just given.
fn reason_of(output: &Output) -> Reason {
    let header = output.headers.iter().rev().find(|(name, _)| name == names::REASON);
    let text = header.and_then(|(_, value)| std::str::from_utf8(value).ok());
    text.and_then(|text| text.parse().ok()).unwrap_or(Reason::NotAnOutbound)
}
