//! The records that a conclusion is written down in: status, tier, dead letter, a new outbound record.
//!
//! Invariant: pure. The value of an outbound record goes on byte for byte, whether it waits or dies; only headers
//! change. No header and no status holds an address or a provider's text.

use std::time::Duration;

use crate::channel::Produce;
use crate::kafka::OwnedRecord;
use crate::model::{
    Channel, Class, DeliveryStatus, Endpoint, InboxItem, InboxPlace, NotificationId, Outbound, Reason, RecipientKey,
    Timestamp, Topics, choose_tier, endpoint_hash,
};
use crate::wire::{DlqHeaders, Encoders, Origin, ReplayHeaders, TierHeaders, WireError};

use super::desk::Source;
use super::ledger::{Output, Work};
use super::outcome::{Conclusion, End};

/// Where a channel's records go.
#[derive(Debug, Clone)]
pub struct Destinations {
    /// Names.
    pub topics: Topics,
    /// The channel.
    pub channel: Channel,
    /// Delays of the channel's tiers.
    pub tiers: Vec<Duration>,
    /// The consumer group, for dead letters.
    pub group: String,
}

impl Destinations {
    /// Everything that a conclusion writes.
    ///
    /// # Errors
    /// [`WireError::Encode`], which tests hold to be impossible.
    pub fn conclude(
        &self,
        encoders: &mut Encoders,
        taken: &Work,
        outbound: &Outbound<'_>,
        conclusion: &Conclusion,
        now: Timestamp,
    ) -> Result<Vec<Output>, WireError> {
        let mut outputs = vec![self.status(encoders, taken, outbound, conclusion, now)?];
        match conclusion.end {
            End::Retrying(at) | End::Waiting(at) => outputs.push(self.park(taken, conclusion, at, now)),
            End::Dead => {
                outputs.push(self.bury(taken, conclusion.attempts, conclusion.reason, &epitaph(conclusion)));
            }
            End::Sent(_) | End::Failed | End::Expired | End::Cancelled => {}
        }
        Ok(outputs)
    }

    /// A record that a channel wants in the transaction that says SENT.
    ///
    /// # Errors
    /// [`WireError::Encode`], which tests hold to be impossible.
    pub fn produced(
        &self,
        encoders: &mut Encoders,
        outbound: &Outbound<'_>,
        record: Produce,
        now: Timestamp,
    ) -> Result<Output, WireError> {
        let entry = match record {
            Produce::Topic { topic, key, value, headers } => {
                return Ok(Output { topic, partition: None, key: Some(key), value: Some(value), headers });
            }
            Produce::Inbox(entry) => entry,
        };
        let item = InboxItem {
            notification_id: outbound.notification_id,
            event_id: outbound.event_id,
            kind: outbound.kind,
            tenant: outbound.tenant,
            user_id: outbound.user_id,
            category: outbound.category,
            priority: outbound.priority.as_str(),
            title: entry.title,
            body: entry.body,
            link: entry.link,
            created_at: now,
            expires_at: outbound.expires_at,
        };
        let recipient = RecipientKey::new(outbound.tenant, outbound.user_id);
        Ok(Output {
            topic: self.topics.inbox(),
            partition: None,
            key: Some(InboxPlace::item(&recipient, outbound.notification_id).key().into_bytes()),
            value: Some(encoders.to_vec(&item)?),
            headers: Vec::new(),
        })
    }

    /// Where dead letters go.
    pub fn grave(&self) -> String {
        self.topics.dlq_outbound(self.channel)
    }

    /// The delay of a topic, if it is one of the channel's tiers.
    pub fn tier_of(&self, topic: &str) -> Option<Duration> {
        self.tiers.iter().copied().find(|delay| self.topics.outbound_tier(self.channel, *delay) == topic)
    }

    /// What a topic of the channel is.
    pub fn source(&self, topic: &str) -> Option<Source> {
        let first =
            [Class::Main, Class::Urgent].into_iter().find(|class| self.topics.outbound(self.channel, *class) == topic);
        first.map(Source::First).or_else(|| self.tier_of(topic).map(Source::Tier))
    }

    /// The topics that the channel's workers read.
    pub fn inputs(&self) -> Vec<String> {
        let mut inputs =
            vec![self.topics.outbound(self.channel, Class::Main), self.topics.outbound(self.channel, Class::Urgent)];
        inputs.extend(self.tiers.iter().map(|delay| self.topics.outbound_tier(self.channel, *delay)));
        inputs
    }

    /// Sends a record on to the tier that what remains asks for, because it came due too early. Nothing is concluded.
    pub fn hop(&self, taken: &Work, remaining: Duration) -> Output {
        self.to_tier(taken, remaining, &taken.headers)
    }

    /// Sends a record that waits behind another one of its recipient on, until that one is due. Nothing is concluded.
    pub fn wait_behind(&self, taken: &Work, until: Timestamp, now: Timestamp) -> Output {
        let headers = self.waiting(taken, taken.headers.attempt, Reason::StrictOrder, until);
        self.to_tier(taken, until.since(now), &headers)
    }

    /// Sends a record to a tier because its recipient has too many waiting already, a longer one each time, and says
    /// until when. Nothing is concluded, and no attempt was made.
    pub fn make_way(&self, taken: &Work, now: Timestamp) -> (Output, Timestamp) {
        let waited = self.tier_of(&taken.record.partition.topic).unwrap_or(Duration::ZERO);
        let longer = self.tiers.iter().copied().filter(|tier| *tier > waited).min();
        let delay = longer.or(self.tiers.iter().copied().max()).unwrap_or(waited);
        let until = now.plus(delay);
        let headers = self.waiting(taken, taken.headers.attempt, Reason::Throttled, until);
        (self.to_tier(taken, delay, &headers), until)
    }

    /// The outbound record of an endpoint that took the place of another; `others` are all that did.
    ///
    /// # Errors
    /// [`WireError::Encode`], which tests hold to be impossible.
    pub fn successor(
        &self,
        encoders: &mut Encoders,
        taken: &Work,
        outbound: &Outbound<'_>,
        endpoint: &Endpoint<'_>,
        others: &[&Endpoint<'_>],
        now: Timestamp,
    ) -> Result<Output, WireError> {
        let nonce = ReplayHeaders::parse(taken.record.headers()).ok().flatten().map_or("", |replay| replay.nonce);
        let (tenant, user, channel) = (outbound.tenant, outbound.user_id, self.channel.as_str());
        let hash = |address: &str| endpoint_hash(tenant, user, channel, address);
        let mut siblings = outbound.siblings.clone();
        siblings
            .extend(others.iter().filter(|other| other.address != endpoint.address).map(|other| hash(other.address)));
        // A chain goes on from one of them.
        let first = others.first().is_none_or(|first| first.address == endpoint.address);
        let fallback = if first { outbound.fallback.clone() } else { Vec::new() };
        let successor = Outbound {
            notification_id: NotificationId::derive(
                tenant,
                outbound.source,
                outbound.event_id,
                user,
                channel,
                endpoint.address,
                nonce,
            ),
            address: endpoint.address,
            // Among those of its collapse key it stays where it was; otherwise the decision was made just now.
            decided_at: if outbound.collapse_key.is_some() { outbound.decided_at } else { now },
            siblings,
            fallback,
            ..outbound.clone()
        };
        // The run goes on: a redrive's nonce, and the age that counts from it. So does the place in line.
        let redriven = taken.headers.run > 0;
        let run = (redriven || taken.headers.lane_seq.is_some()).then(|| TierHeaders {
            run: taken.headers.run,
            redrive_nonce: taken.headers.redrive_nonce.clone(),
            original: taken.headers.original.clone().filter(|_| redriven),
            lane_seq: taken.headers.lane_seq,
            ..TierHeaders::default()
        });
        Ok(Output {
            topic: self.topics.outbound(self.channel, Class::from(outbound.priority)),
            partition: Some(taken.record.partition.partition),
            key: Some(RecipientKey::new(tenant, user).as_str().as_bytes().to_vec()),
            value: Some(encoders.to_vec(&successor)?),
            headers: with_tier_headers(&taken.record, run.as_ref()),
        })
    }

    /// A dead letter: the original bytes and headers, how often it was tried, and why.
    pub fn bury(&self, taken: &Work, attempts: u32, reason: Reason, message: &str) -> Output {
        let record = &*taken.record;
        let mut headers: Vec<(String, Vec<u8>)> =
            record.headers.iter().filter(|(name, _)| !DlqHeaders::NAMES.contains(&name.as_str())).cloned().collect();
        let mut cause = Vec::new();
        DlqHeaders {
            topic: &record.partition.topic,
            partition: record.partition.partition,
            offset: record.offset,
            group: &self.group,
            delivery_count: attempts,
            message,
            reason: reason.into(),
        }
        .write(&mut cause);
        headers.extend(owned(cause));
        Output {
            topic: self.topics.dlq_outbound(self.channel),
            partition: None,
            key: record.key.clone(),
            value: record.value.clone(),
            headers,
        }
    }

    fn status(
        &self,
        encoders: &mut Encoders,
        taken: &Work,
        outbound: &Outbound<'_>,
        conclusion: &Conclusion,
        now: Timestamp,
    ) -> Result<Output, WireError> {
        let provider_message_id = match &conclusion.end {
            End::Sent(id) => id.as_deref(),
            _ => None,
        };
        let status = DeliveryStatus {
            notification_id: outbound.notification_id,
            run: i32::try_from(taken.headers.run).unwrap_or(i32::MAX),
            event_id: outbound.event_id,
            tenant: outbound.tenant,
            user_id: outbound.user_id,
            category: outbound.category,
            channel: outbound.channel,
            state: conclusion.end.state().into(),
            reason: conclusion.reason.into(),
            attempt: i32::try_from(conclusion.attempts).unwrap_or(i32::MAX),
            provider: &conclusion.provider,
            provider_message_id,
            code: conclusion.code.as_deref(),
            event_time: outbound.event_time,
            occurred_at: now,
            next_attempt_at: conclusion.end.comes_again(),
            replay_id: outbound.replay_id,
            fallback_of: outbound.fallback_of,
        };
        Ok(Output {
            topic: self.topics.delivery_status(),
            partition: None,
            key: Some(outbound.notification_id.to_string().into_bytes()),
            value: Some(encoders.to_vec(&status)?),
            headers: Vec::new(),
        })
    }

    fn park(&self, taken: &Work, conclusion: &Conclusion, at: Timestamp, now: Timestamp) -> Output {
        let waiting = TierHeaders {
            provider: conclusion.pinned.clone(),
            ..self.waiting(taken, conclusion.attempts, conclusion.reason, at)
        };
        self.to_tier(taken, at.since(now), &waiting)
    }

    /// The headers of a record that waits: where it was first written stays, as do run and nonce.
    fn waiting(&self, taken: &Work, attempt: u32, reason: Reason, at: Timestamp) -> TierHeaders {
        let record = &*taken.record;
        let first_written = || Origin {
            topic: record.partition.topic.clone(),
            partition: record.partition.partition,
            offset: record.offset,
            timestamp: Timestamp(record.timestamp_ms),
        };
        TierHeaders {
            attempt,
            not_before: Some(at),
            original: Some(taken.headers.original.clone().unwrap_or_else(first_written)),
            error_code: Some(reason.as_str().to_owned()),
            ..TierHeaders::clone(&taken.headers)
        }
    }

    /// The same partition number as the record's: the worker that owns it knows the recipient's lane.
    fn to_tier(&self, taken: &Work, remaining: Duration, headers: &TierHeaders) -> Output {
        Output {
            topic: self.topics.outbound_tier(self.channel, choose_tier(&self.tiers, remaining)),
            partition: Some(taken.record.partition.partition),
            key: taken.record.key.clone(),
            value: taken.record.value.clone(),
            headers: with_tier_headers(&taken.record, Some(headers)),
        }
    }
}

/// What a dead letter's message says: codes, no personal data.
fn epitaph(conclusion: &Conclusion) -> String {
    let attempts = conclusion.attempts;
    match &conclusion.code {
        Some(code) => format!("{} after {attempts} attempts, last code {code}", conclusion.reason),
        None => format!("{} after {attempts} attempts", conclusion.reason),
    }
}

/// A record's headers with this tier's group in place of the old one, and without a dead letter's.
fn with_tier_headers(record: &OwnedRecord, tier: Option<&TierHeaders>) -> Vec<(String, Vec<u8>)> {
    let replaced = |name: &str| TierHeaders::NAMES.contains(&name) || DlqHeaders::NAMES.contains(&name);
    let mut headers: Vec<(String, Vec<u8>)> =
        record.headers.iter().filter(|(name, _)| !replaced(name)).cloned().collect();
    let mut own = Vec::new();
    if let Some(tier) = tier {
        tier.write(&mut own);
    }
    headers.extend(owned(own));
    headers
}

fn owned(headers: Vec<(&'static str, String)>) -> impl Iterator<Item = (String, Vec<u8>)> {
    headers.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::InboxEntry;
    use crate::delivery::samples;
    use crate::delivery::wake::{Held, Now};
    use crate::model::State;
    use crate::wire::{FixedSchemas, Records, names};

    const NOW: Timestamp = Timestamp(1_000_060_000);

    fn destinations() -> Destinations {
        Destinations {
            topics: Topics::new(""),
            channel: Channel::Email,
            tiers: [10, 60, 600].map(Duration::from_secs).to_vec(),
            group: "notilog-deliver-email".to_owned(),
        }
    }

    fn conclude(record: &OwnedRecord, conclusion: &Conclusion) -> Vec<Output> {
        let mut encoders = Encoders::new(samples::ids());
        destinations()
            .conclude(&mut encoders, &samples::work(record.clone()), &samples::outbound(), conclusion, NOW)
            .unwrap()
    }

    fn called(end: End, reason: Reason, attempts: u32) -> Conclusion {
        Conclusion { end, reason, code: Some("451".to_owned()), attempts, provider: "smtp".to_owned(), pinned: None }
    }

    fn header<'o>(output: &'o Output, name: &str) -> Option<&'o str> {
        let values: Vec<_> = output.headers.iter().filter(|(found, _)| found == name).collect();
        assert!(values.len() <= 1, "{name} once");
        values.first().map(|(_, value)| std::str::from_utf8(value).unwrap())
    }

    /// Topic, partition and headers, as a reader would list them.
    fn shown(output: &Output) -> String {
        let headers: Vec<String> =
            output.headers.iter().map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value))).collect();
        let partition = output.partition.map_or("by key".to_owned(), |partition| partition.to_string());
        format!("{} [{partition}]\n{}", output.topic, headers.join("\n"))
    }

    #[test]
    fn a_sent_one_writes_a_status_and_nothing_else() {
        let outputs = conclude(&samples::first_attempt(), &called(End::Sent(Some("q-7".into())), Reason::Accepted, 1));
        assert_eq!(outputs.len(), 1);
        let mut records = Records::new(std::sync::Arc::new(FixedSchemas::own(samples::ids())));
        let status = records.status(outputs[0].value.as_ref().unwrap()).unwrap();
        assert_eq!(outputs[0].topic, "notify.delivery-status");
        assert_eq!(outputs[0].key.as_deref(), Some(status.notification_id.to_string().as_bytes()));
        assert_eq!((status.state, status.reason), (State::Sent.into(), Reason::Accepted.into()));
        assert_eq!((status.attempt, status.provider, status.run), (1, "smtp", 0));
        assert_eq!((status.provider_message_id, status.code), (Some("q-7"), Some("451")));
        assert_eq!((status.occurred_at, status.next_attempt_at), (NOW, None));
    }

    #[test]
    fn an_item_of_the_inbox_is_keyed_by_recipient_and_notification() {
        let entry =
            InboxEntry { title: "Shipped".to_owned(), body: "It comes.".to_owned(), link: Some("/o/1".to_owned()) };
        let outbound = samples::outbound();
        let mut encoders = Encoders::new(samples::ids());
        let output = destinations().produced(&mut encoders, &outbound, Produce::Inbox(entry), NOW).unwrap();
        assert_eq!(output.topic, "notify.inbox");
        assert_eq!(
            String::from_utf8(output.key.unwrap()).unwrap(),
            format!("default/ada/{}", outbound.notification_id)
        );
        let mut records = Records::new(std::sync::Arc::new(FixedSchemas::own(samples::ids())));
        let value = output.value.unwrap();
        let item = records.inbox_item(&value).unwrap();
        assert_eq!(
            (item.title.as_str(), item.body.as_str(), item.link.as_deref()),
            ("Shipped", "It comes.", Some("/o/1"))
        );
        assert_eq!((item.created_at, item.expires_at), (NOW, outbound.expires_at));
    }

    #[test]
    fn a_retry_keeps_the_bytes_and_says_where_it_came_from() {
        let record = samples::first_attempt();
        let outputs =
            conclude(&record, &called(End::Retrying(NOW.plus(Duration::from_secs(61))), Reason::ProviderBusy, 1));
        let tier = &outputs[1];
        assert_eq!((tier.key.as_ref(), tier.value.as_ref()), (record.key.as_ref(), record.value.as_ref()));
        insta::assert_snapshot!(shown(tier), @r"
        notify.outbound.email.retry.1m [3]
        traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
        notify-attempt=1
        notify-not-before-ms=1000121000
        notify-original-topic=notify.outbound.email
        notify-original-partition=3
        notify-original-offset=41
        notify-original-timestamp-ms=1000000500
        notify-error-code=provider_busy
        ");
    }

    #[test]
    fn a_second_retry_keeps_the_first_origin_the_run_and_the_nonce() {
        let mut record = samples::first_attempt();
        record
            .headers
            .extend([(names::RUN.to_owned(), b"2".to_vec()), (names::REDRIVE_NONCE.to_owned(), b"again".to_vec())]);
        let first = conclude(&record, &called(End::Retrying(NOW), Reason::Timeout, 1)).remove(1);
        let waited = OwnedRecord {
            partition: crate::kafka::TopicPartition::new(first.topic, 3),
            offset: 9,
            timestamp_ms: NOW.0,
            key: first.key,
            value: first.value,
            headers: first.headers,
        };
        let second = conclude(&waited, &called(End::Retrying(NOW), Reason::ProviderBusy, 2)).remove(1);
        assert_eq!(header(&second, "notify-attempt"), Some("2"));
        assert_eq!(header(&second, "notify-original-topic"), Some("notify.outbound.email"));
        assert_eq!(header(&second, "notify-original-offset"), Some("41"));
        assert_eq!(header(&second, "notify-error-code"), Some("provider_busy"));
        assert_eq!(header(&second, "notify-run"), Some("2"));
        assert_eq!(header(&second, "notify-redrive-nonce"), Some("again"));
        assert!(header(&second, "traceparent").is_some());
    }

    #[test]
    fn a_dead_one_keeps_bytes_and_headers_and_says_why() {
        let record = samples::first_attempt();
        let outputs = conclude(&record, &called(End::Dead, Reason::AttemptsExhausted, 5));
        assert_eq!(outputs.len(), 2);
        assert_eq!(outputs[1].value, record.value);
        insta::assert_snapshot!(shown(&outputs[1]), @r"
        dlq.notify.outbound.email [by key]
        traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
        __dlq.errors.topic=notify.outbound.email
        __dlq.errors.partition=3
        __dlq.errors.offset=41
        __dlq.errors.group=notilog-deliver-email
        __dlq.errors.delivery.count=5
        __dlq.errors.message=attempts_exhausted after 5 attempts, last code 451
        notify-reason=attempts_exhausted
        ");
    }

    #[test]
    fn what_waits_without_a_call_names_no_provider_and_costs_no_attempt() {
        let waits = Conclusion {
            attempts: 1,
            ..Conclusion::without_call(
                End::Waiting(NOW.plus(Duration::from_secs(5))),
                Reason::QuietHours,
                &TierHeaders::default(),
            )
        };
        let outputs = conclude(&samples::first_attempt(), &waits);
        let mut records = Records::new(std::sync::Arc::new(FixedSchemas::own(samples::ids())));
        let status = records.status(outputs[0].value.as_ref().unwrap()).unwrap();
        assert_eq!((status.state, status.provider, status.attempt), (State::Waiting.into(), "", 1));
        assert_eq!(outputs[1].topic, "notify.outbound.email.retry.10s");
    }

    #[test]
    fn a_record_that_waits_says_who_alone_may_be_asked_and_a_known_answer_takes_it_back() {
        let unknown = Conclusion { pinned: Some("smtp".to_owned()), ..called(End::Retrying(NOW), Reason::Timeout, 1) };
        let waiting = conclude(&samples::first_attempt(), &unknown).remove(1);
        assert_eq!(header(&waiting, "notify-provider"), Some("smtp"));
        let again = OwnedRecord { headers: waiting.headers, ..samples::waiting(1, NOW) };
        let hop = destinations().hop(&samples::work(again.clone()), Duration::from_secs(5));
        assert_eq!(header(&hop, "notify-provider"), Some("smtp"), "waiting changes nothing");
        let known = conclude(&again, &called(End::Retrying(NOW), Reason::ProviderBusy, 2)).remove(1);
        assert_eq!(header(&known, "notify-provider"), None);
    }

    #[test]
    fn a_hop_changes_nothing_but_the_tier() {
        let record = samples::waiting(3, NOW.plus(Duration::from_secs(700)));
        let headers = TierHeaders::parse(record.headers()).unwrap();
        let hop = destinations().hop(&samples::work(record.clone()), Duration::from_secs(640));
        assert_eq!(hop.topic, "notify.outbound.email.retry.10m");
        let kept = TierHeaders::parse(hop.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())));
        assert_eq!(kept.unwrap(), headers);
        assert_eq!(hop.value, record.value);
    }

    /// When a record that waits is handled: it is read at once, and its tier holds it for its delay each time.
    fn handled_at(mut waiting: Output, asked: Timestamp) -> Timestamp {
        let at = |moment| Now { wall: moment, steady: moment };
        let mut written = NOW;
        loop {
            let delay = destinations().tier_of(&waiting.topic).unwrap();
            let record = OwnedRecord {
                partition: crate::kafka::TopicPartition::new(waiting.topic, 3),
                timestamp_ms: written.0,
                headers: waiting.headers,
                ..samples::first_attempt()
            };
            let held = Held::new(record.clone(), delay, at(written));
            written = written.plus(delay);
            assert!(held.is_due(at(written)) && !held.is_due(at(Timestamp(written.0 - 1))));
            let remaining = held.remaining(Some(asked), at(written));
            if remaining.is_zero() {
                return written;
            }
            waiting = destinations().hop(&samples::work(record), remaining);
        }
    }

    #[rstest::rstest]
    #[case::two_hops_of_a_minute(120, 120)]
    #[case::a_little_more(121, 130)]
    #[case::less_than_any_tier(7, 10)]
    #[case::more_than_any_tier(3_601, 3_610)]
    fn what_a_provider_asks_to_wait_is_waited_in_whatever_tiers(#[case] asks_s: u64, #[case] handled_s: u64) {
        let asked = NOW.plus(Duration::from_secs(asks_s));
        let waiting =
            conclude(&samples::first_attempt(), &called(End::Retrying(asked), Reason::RateLimited, 0)).remove(1);
        assert_eq!(handled_at(waiting, asked).since(NOW), Duration::from_secs(handled_s));
    }

    #[test]
    fn who_makes_way_waits_longer_each_time_and_loses_no_attempt() {
        let mut work = samples::work(samples::first_attempt());
        let mut topics = Vec::new();
        for _ in 0..4 {
            let (output, _) = destinations().make_way(&work, NOW);
            assert_eq!(
                (header(&output, "notify-attempt"), header(&output, "notify-error-code")),
                (Some("0"), Some("throttled"))
            );
            assert_eq!(header(&output, "notify-original-topic"), Some("notify.outbound.email"));
            let record = OwnedRecord {
                partition: crate::kafka::TopicPartition::new(output.topic.clone(), 3),
                headers: output.headers,
                ..samples::first_attempt()
            };
            topics.push(output.topic);
            work = samples::work(record);
        }
        let tiers = ["10s", "1m", "10m", "10m"].map(|tier| format!("notify.outbound.email.retry.{tier}"));
        assert_eq!(topics, tiers);
    }

    #[test]
    fn a_successor_has_its_own_id_and_knows_its_siblings() {
        let record = samples::waiting(1, NOW);
        let endpoint = |address| Endpoint { channel: Channel::Email.into(), address, verified: true, label: None };
        let (one, two) = (endpoint("ada@one.example.org"), endpoint("ada@two.example.org"));
        let mut encoders = Encoders::new(samples::ids());
        let taken = samples::work(record);
        let old = samples::outbound();
        let written = destinations().successor(&mut encoders, &taken, &old, &one, &[&one, &two], NOW).unwrap();
        assert_eq!(written.topic, "notify.outbound.email");
        assert_eq!(header(&written, "notify-attempt"), None, "a first attempt");
        let mut records = Records::new(std::sync::Arc::new(FixedSchemas::own(samples::ids())));
        let new = records.outbound(written.value.as_ref().unwrap()).unwrap();
        assert_ne!(new.notification_id, old.notification_id);
        assert_eq!((new.address, new.decided_at), ("ada@one.example.org", NOW));
        assert_eq!(new.siblings, [endpoint_hash("default", "ada", "email", "ada@two.example.org")]);
    }

    #[test]
    fn a_place_in_line_stays_while_it_waits_and_goes_to_the_successor() {
        let mut encoders = Encoders::new(samples::ids());
        let mut taken = samples::work(samples::waiting(1, NOW));
        std::sync::Arc::make_mut(&mut taken.headers).lane_seq = Some(41 << 16);
        let behind = destinations().wait_behind(&taken, NOW.plus(Duration::from_secs(60)), NOW);
        assert_eq!(behind.topic, "notify.outbound.email.retry.1m");
        let said = ["notify-lane-seq", "notify-attempt", "notify-error-code"].map(|name| header(&behind, name));
        assert_eq!(said, [Some("2686976"), Some("1"), Some("strict_order")]);
        let one =
            Endpoint { channel: Channel::Email.into(), address: "ada@one.example.org", verified: true, label: None };
        let new = destinations().successor(&mut encoders, &taken, &samples::outbound(), &one, &[&one], NOW).unwrap();
        assert_eq!((header(&new, "notify-lane-seq"), header(&new, "notify-original-offset")), (Some("2686976"), None));
    }

    #[test]
    fn a_successor_takes_its_place_among_those_of_its_collapse_key_along() {
        let mut encoders = Encoders::new(samples::ids());
        let old = Outbound { collapse_key: Some("order-1"), ..samples::outbound() };
        let one =
            Endpoint { channel: Channel::Email.into(), address: "ada@one.example.org", verified: true, label: None };
        let taken = samples::work(samples::waiting(1, NOW));
        let written = destinations().successor(&mut encoders, &taken, &old, &one, &[&one], NOW).unwrap();
        let mut records = Records::new(std::sync::Arc::new(FixedSchemas::own(samples::ids())));
        assert_eq!(records.outbound(written.value.as_ref().unwrap()).unwrap().decided_at, old.decided_at);
    }
}
