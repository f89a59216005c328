//! Calls to the provider: one task each, on the runtime; what comes of it is reported to the worker's thread.
//!
//! Invariant: every call that was started is reported exactly once, whatever happens to its task. Nothing about the
//! address or the content is logged.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::breaker::Heard;
use super::ledger::Work;
use super::outcome::heard;
use crate::channel::{Channel, Context, EventFacts, Message, Outcome, Providers, RenderError, Templates, Verdict};
use crate::config::Mode;
use crate::kafka::{STALL, TopicPartition};
use crate::model::{Outbound, Reason};
use crate::telemetry::clock::steady_now;
use crate::telemetry::faults::{self, Point};
use crate::wire::{Records, TraceParent};

/// What came of a call.
#[derive(Debug)]
pub enum Came {
    /// The provider, or the lack of one, answered.
    Answered(Outcome),
    /// It would have been sent to this provider; a sandbox took it.
    Recorded,
    /// There are no words to send.
    NotRendered(RenderError),
    /// The call was not made: so long after it was asked for, the partition may be someone else's.
    NotMade,
}

/// The report of one call.
#[derive(Debug)]
pub struct Report {
    /// Where the record stands.
    pub place: (TopicPartition, i64),
    /// What came of it.
    pub came: Came,
    /// How long the provider took.
    pub took: Duration,
}

impl Report {
    /// What it says of the provider; nothing when no call was made.
    pub fn heard(&self) -> Option<Heard> {
        match &self.came {
            Came::Answered(outcome) => outcome.result.is_of_provider().then(|| heard(&outcome.result)),
            Came::Recorded | Came::NotRendered(_) | Came::NotMade => None,
        }
    }
}

/// Makes calls to the providers of one channel.
pub struct Calls {
    runtime: Handle,
    providers: Providers,
    templates: Arc<Templates>,
    records: Records,
    reports: Sender<Report>,
}

impl Calls {
    /// Calls to `providers`, made on `runtime`, reported to `reports`.
    pub fn new(
        runtime: Handle,
        providers: Providers,
        templates: Arc<Templates>,
        records: Records,
        reports: Sender<Report>,
    ) -> Self {
        Calls { runtime, providers, templates, records, reports }
    }

    /// Starts the call for a record that was judged fit for it. `asked` is when the assignment was last looked at: a
    /// process that stood still since then calls nobody.
    pub fn start(&self, work: Work, provider: usize, mode: Mode, asked: Instant) {
        let place = (work.record.partition.clone(), work.record.offset);
        let reporter = Reporter { reports: self.reports.clone(), place: Some(place), called: None };
        // Without such a provider the reporter says that no call was made.
        let Some(provider) = self.providers.all.get(provider).map(|provider| Arc::clone(&provider.by)) else { return };
        let (channel, templates) = (self.providers.channel, Arc::clone(&self.templates));
        let mut records = self.records.clone();
        self.runtime.spawn(async move {
            let message = compose(&work, channel, &templates, &mut records);
            match mode {
                Mode::Live => reporter.make(provider.as_ref(), message, asked).await,
                Mode::Sandbox => reporter.record(message),
            }
        });
    }
}

/// Renders and puts together what is handed to the channel. The record was decoded before, so that it cannot fail to.
fn compose(
    work: &Work,
    channel: crate::model::Channel,
    templates: &Templates,
    records: &mut Records,
) -> Result<Message, Came> {
    let value = work.record.value.as_deref().unwrap_or_default();
    let outbound = records.outbound(value).map_err(|_| Came::NotMade)?;
    let event = facts(&outbound);
    let context = Context { event: &event, data: outbound.data, timezone: outbound.timezone };
    let content = templates.render(channel, outbound.template, outbound.locale, &context).map_err(Came::NotRendered)?;
    Ok(Message {
        id: outbound.notification_id.for_run(work.headers.redrive_nonce.as_deref()),
        address: outbound.address.to_owned(),
        content,
        traceparent: TraceParent::of(work.record.headers()).map(|trace| trace.to_string()),
        event,
    })
}

fn facts(outbound: &Outbound<'_>) -> EventFacts {
    EventFacts {
        id: outbound.event_id.to_owned(),
        kind: outbound.kind.to_owned(),
        source: outbound.source.to_owned(),
        time: outbound.event_time.to_string(),
        tenant: outbound.tenant.to_owned(),
        user_id: outbound.user_id.to_owned(),
        category: outbound.category.to_owned(),
        collapse_key: outbound.collapse_key.map(str::to_owned),
        priority: outbound.priority,
        expires_at: outbound.expires_at,
    }
}

/// Reports once: what came of the call, or, when its task is dropped or panics, that nobody knows.
struct Reporter {
    reports: Sender<Report>,
    place: Option<(TopicPartition, i64)>,
    called: Option<Instant>,
}

impl Reporter {
    async fn make(mut self, channel: &dyn Channel, message: Result<Message, Came>, asked: Instant) {
        let came = match message {
            Err(came) => came,
            // The process was stopped between the judgement and here.
            Ok(_) if asked.elapsed() >= STALL => Came::NotMade,
            Ok(message) => {
                self.called = Some(steady_now());
                let outcome = channel.deliver(&message).await;
                faults::at(Point::Answered);
                Came::Answered(outcome)
            }
        };
        self.report(came);
    }

    /// Everything but the call.
    fn record(mut self, message: Result<Message, Came>) {
        self.report(message.map_or_else(|came| came, |_| Came::Recorded));
    }

    fn report(&mut self, came: Came) {
        let took = self.called.map_or(Duration::ZERO, |called| called.elapsed());
        if let Some(place) = self.place.take() {
            // The worker is gone only when the process ends, or when it starts anew and asks Kafka what is left.
            let _ = self.reports.send(Report { place, came, took });
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        let interrupted = Verdict::Retry { reason: Reason::Interrupted, after: None };
        let came = match self.called {
            Some(_) => Came::Answered(Outcome { result: interrupted, code: None }),
            None => Came::NotMade,
        };
        self.report(came);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::channel::Content;
    use crate::delivery::samples;
    use crate::wire::FixedSchemas;

    /// Panics at one address, answers at others with what it was given.
    struct Fickle;

    #[async_trait::async_trait]
    impl Channel for Fickle {
        fn name(&self) -> crate::model::Channel {
            crate::model::Channel::Email
        }

        fn provider(&self) -> &'static str {
            "fickle"
        }

        async fn deliver(&self, message: &Message) -> Outcome {
            assert_ne!(message.address, "panic@example.org");
            let sent = Verdict::Sent { provider_message_id: Some(message.id.to_string()) };
            Outcome { result: sent, code: message.traceparent.clone() }
        }

        async fn check(&self) -> Result<(), String> {
            Ok(())
        }
    }

    fn message(address: &str) -> Message {
        Message {
            id: uuid::Uuid::nil(),
            address: address.to_owned(),
            content: Content::Text { text: "hello".to_owned(), html: false },
            traceparent: None,
            event: EventFacts::default(),
        }
    }

    fn report_of(message: Result<Message, Came>, asked: Instant) -> Report {
        let (reports, reported) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let reporter = Reporter { reports, place: Some((TopicPartition::new("t", 0), 7)), called: None };
        let _ = runtime.block_on(runtime.spawn(async move { reporter.make(&Fickle, message, asked).await }));
        let report = reported.try_recv().unwrap();
        assert!(reported.try_recv().is_err(), "once");
        report
    }

    #[test]
    fn an_answer_is_reported_for_its_record() {
        let report = report_of(Ok(message("ada@example.org")), steady_now());
        assert_eq!(report.place, (TopicPartition::new("t", 0), 7));
        assert!(matches!(report.came, Came::Answered(Outcome { result: Verdict::Sent { .. }, .. })));
    }

    #[test]
    fn what_could_not_be_attached_says_nothing_of_the_provider() {
        let report = |result| Report {
            place: (TopicPartition::new("t", 0), 7),
            came: Came::Answered(Outcome { result, code: None }),
            took: Duration::ZERO,
        };
        let later = |reason| Verdict::Retry { reason, after: None };
        assert_eq!(report(later(Reason::AttachmentUnavailable)).heard(), None);
        assert_eq!(report(Verdict::Reject { reason: Reason::AttachmentMissing }).heard(), None);
        assert!(report(later(Reason::Timeout)).heard().is_some());
    }

    #[test]
    fn a_channel_that_panics_is_reported_as_interrupted() {
        let report = report_of(Ok(message("panic@example.org")), steady_now());
        let interrupted = Verdict::Retry { reason: Reason::Interrupted, after: None };
        assert!(matches!(report.came, Came::Answered(Outcome { result, .. }) if result == interrupted));
    }

    #[test]
    fn a_sandbox_does_everything_but_the_call() {
        let recorded = |message: Result<Message, Came>| {
            let (reports, reported) = mpsc::channel();
            Reporter { reports, place: Some((TopicPartition::new("t", 0), 7)), called: None }.record(message);
            reported.try_recv().unwrap().came
        };
        assert!(matches!(recorded(Ok(message("panic@example.org"))), Came::Recorded));
        assert!(matches!(recorded(Err(Came::NotMade)), Came::NotMade));
    }

    #[test]
    fn a_call_that_was_asked_for_long_ago_is_not_made() {
        let long_ago = steady_now().checked_sub(STALL).unwrap();
        assert!(matches!(report_of(Ok(message("ada@example.org")), long_ago).came, Came::NotMade));
    }

    #[test]
    fn a_redriven_run_has_its_own_idempotency_key_and_the_trace_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("order/en");
        std::fs::create_dir_all(&file).unwrap();
        std::fs::write(file.join("email.subject.txt"), "Shipped").unwrap();
        std::fs::write(file.join("email.txt"), "Hello {{ user_id }}").unwrap();
        let templates = Templates::load(dir.path(), "en").unwrap();
        let mut records = Records::new(Arc::new(FixedSchemas::own(samples::ids())));
        let mut compose =
            |record| compose(&samples::work(record), crate::model::Channel::Email, &templates, &mut records).unwrap();
        let first = compose(samples::first_attempt());
        assert_eq!(first.id, samples::outbound().notification_id.0);
        assert_eq!(first.traceparent.as_deref(), Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        let mut redriven = samples::first_attempt();
        redriven.headers.push((crate::wire::names::REDRIVE_NONCE.to_owned(), b"again".to_vec()));
        assert_eq!(compose(redriven).id, samples::outbound().notification_id.for_run(Some("again")));
    }
}
