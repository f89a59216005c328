//! From any way in to the inbox.
//!
//! Invariant: a receipt is acknowledged to whoever brought it only after every in-sync replica has it. It may be written
//! twice; the state machine behind the inbox tells it once.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::Kafka;
use crate::kafka::producer::{Outgoing, ProduceError, Producer};
use crate::model::{Receipt, State, Timestamp, Topics, receipt_key};
use crate::telemetry::clock::Clock;
use crate::wire::{Encoders, WireError, WriterIds};

/// A receipt as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The provider, as the statuses of its messages name it.
    pub provider: String,
    /// The provider's name for the message.
    pub message_id: String,
    /// DELIVERED, BOUNCED or COMPLAINED.
    pub state: State,
    /// A hard bounce.
    pub permanent: bool,
    /// The provider's status code, never its text.
    pub code: Option<String>,
    /// When it happened, as the provider says.
    pub occurred_at: Option<Timestamp>,
}

/// Why a receipt was not taken.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// Kafka did not take it: whoever brought it has to bring it again.
    #[error(transparent)]
    Produce(#[from] ProduceError),
    /// It does not fit its own schema, which tests hold to be impossible.
    #[error(transparent)]
    Encode(#[from] WireError),
}

/// Writes to the inbox; cheap to clone.
#[derive(Clone)]
pub struct Intake(Arc<Inner>);

struct Inner {
    producer: Producer,
    encoders: Mutex<Encoders>,
    topic: String,
    clock: Clock,
}

impl Intake {
    /// Writes to the inbox of this cluster. Must be called, and used, within a tokio runtime.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub fn open(kafka: &Kafka, ids: WriterIds, clock: Clock) -> Result<Self, ProduceError> {
        let topic = Topics::new(&kafka.topic_prefix).receipts_inbox();
        Ok(Intake::new(Producer::new(kafka)?, Encoders::new(ids), topic, clock))
    }

    fn new(producer: Producer, encoders: Encoders, topic: String, clock: Clock) -> Self {
        Intake(Arc::new(Inner { producer, encoders: Mutex::new(encoders), topic, clock }))
    }

    /// The time.
    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Writes a receipt that came by `source` and waits until it is safe.
    ///
    /// # Errors
    /// [`IntakeError`].
    pub async fn write(&self, received: &Received, source: &str) -> Result<(), IntakeError> {
        let inner = &*self.0;
        let receipt = Receipt {
            provider: &received.provider,
            message_id: &received.message_id,
            state: received.state.into(),
            permanent: received.permanent,
            code: received.code.as_deref(),
            occurred_at: received.occurred_at,
            received_at: inner.clock.now(),
            source,
            next: None,
        };
        let value = inner.encoders.lock().to_vec(&receipt)?;
        let key = receipt_key(receipt.provider, receipt.message_id);
        let (topic, key) = (inner.topic.as_str(), Some(key.as_bytes()));
        inner.producer.send(Outgoing { topic, key, value: Some(&value), ..Outgoing::default() }).await?;
        Ok(())
    }
}
