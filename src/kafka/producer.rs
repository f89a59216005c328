//! A plain idempotent producer for what operators write: one record, acknowledged by all replicas, or an error.
//!
//! Not for the hot path: `router` and `delivery` write within transactions.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::util::Timeout;

use super::acl::{Kind as On, Operation};
use super::client::{Context, Diagnostics, Kind, base_config};
use super::denied::{Denied, Right};
use super::transaction::{RecordFault, record_fault};
use crate::config::Kafka;

/// How long one record may take, queueing and retries included.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(20);

/// How often it is looked whether the login was refused while a record waits.
const LOOK: Duration = Duration::from_millis(100);

/// A record to write.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outgoing<'a> {
    /// Its topic, prefix included.
    pub topic: &'a str,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers, in order.
    pub headers: &'a [(String, Option<Vec<u8>>)],
    /// Its partition; by the key when `None`.
    pub partition: Option<i32>,
}

/// Where a record was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

/// Why a record was not written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProduceError {
    /// The client cannot even be made.
    #[error("the Kafka producer cannot be made: {0}; see [kafka] in the configuration")]
    Client(String),
    /// The login or a right is refused.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Refused or timed out.
    #[error("cannot write to topic {topic}: {cause}")]
    Failed {
        /// The topic.
        topic: String,
        /// The broker's or librdkafka's words and what to do.
        cause: String,
        /// What is wrong with the record itself, if it is.
        fault: Option<RecordFault>,
    },
}

/// A producer with `acks=all`, idempotence and the partitioner that Java clients share.
pub struct Producer {
    inner: FutureProducer<Context>,
    diagnostics: Diagnostics,
    kafka: Kafka,
}

impl Producer {
    /// Makes the client; does not connect yet. Must be called, and used, within a tokio runtime.
    pub fn new(kafka: &Kafka) -> Result<Self, ProduceError> {
        let context = Context::default();
        let diagnostics = context.diagnostics().clone();
        let mut config = base_config(kafka, Kind::Producer, "cli", &[("linger.ms", "2")]);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", MESSAGE_TIMEOUT.as_millis().to_string());
        let inner = config.create_with_context(context).map_err(|error| ProduceError::Client(error.to_string()))?;
        Ok(Producer { inner, diagnostics, kafka: kafka.clone() })
    }

    /// Writes one record and waits until all in-sync replicas have it. Many may be awaited at once.
    pub async fn send(&self, record: Outgoing<'_>) -> Result<Written, ProduceError> {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: value.as_deref() }));
        let future = FutureRecord::<[u8], [u8]> {
            topic: record.topic,
            partition: record.partition,
            payload: record.value,
            key: record.key,
            timestamp: None,
            headers: (!record.headers.is_empty()).then_some(headers),
        };
        let delivery = tokio::select! {
            delivery = self.inner.send(future, Timeout::After(MESSAGE_TIMEOUT)) => delivery,
            denied = self.login_refused() => return Err(ProduceError::Denied(denied)),
        };
        delivery
            .map(|delivery| Written { partition: delivery.partition, offset: delivery.offset })
            .map_err(|(error, _)| self.failed(record.topic, &error))
    }

    /// Whether librdkafka gave it up: it takes nothing any more, and another one has to be made.
    pub fn is_broken(&self) -> bool {
        self.inner.client().fatal_error().is_some()
    }

    /// Resolves when the login is refused: a record would only time out.
    async fn login_refused(&self) -> Denied {
        loop {
            if let Some(denied) = self.diagnostics.denied(&self.kafka) {
                return denied;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits for what is still queued; for the end of a bulk.
    pub fn flush(&self) -> Result<(), ProduceError> {
        self.inner.flush(MESSAGE_TIMEOUT).map_err(|error| self.failed("(all)", &error))
    }

    fn failed(&self, topic: &str, error: &KafkaError) -> ProduceError {
        let cause = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) => {
                "it does not exist; `notilog topics apply` creates what is missing".to_owned()
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                let right = Right::on(On::Topic, topic, Operation::Write);
                return ProduceError::Denied(Denied::right(&self.kafka, right));
            }
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                "the record is above message.max.bytes or the topic's max.message.bytes".to_owned()
            }
            _ => self.diagnostics.explain(error),
        };
        let fault = error.rdkafka_error_code().and_then(record_fault);
        ProduceError::Failed { topic: topic.to_owned(), cause, fault }
    }
}
