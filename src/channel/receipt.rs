//! Receipts: what a provider says later about a message that it took.
//!
//! A channel whose provider sends receipts over the same connection (SMPP) hands them to a [`ReceiptSink`]. The
//! provider is told that a receipt was taken only when the sink has it for good; until then it sends it again.
//!
//! Invariant: a receipt carries ids and codes, never a number or a text.

use std::sync::Arc;

use crate::model::Timestamp;
use crate::telemetry::metrics;

/// One receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The provider's name, as in statuses.
    pub provider: String,
    /// The provider's name for the message, as it was in the outcome `Sent`.
    pub provider_message_id: String,
    /// What became of the message.
    pub state: ReceiptState,
    /// The provider's code for it, never its text.
    pub code: Option<String>,
    /// When that was, as the provider says, else when the receipt came.
    pub at: Timestamp,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReceiptState {
    /// It is on its way; more will follow.
    Underway,
    /// It arrived.
    Delivered,
    /// It did not arrive in the time it had.
    Expired,
    /// It cannot be delivered, or was refused.
    Failed,
    /// The provider does not know.
    Unknown,
}

impl ReceiptState {
    /// Its name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            ReceiptState::Underway => "underway",
            ReceiptState::Delivered => "delivered",
            ReceiptState::Expired => "expired",
            ReceiptState::Failed => "failed",
            ReceiptState::Unknown => "unknown",
        }
    }
}

/// Takes receipts.
#[async_trait::async_trait]
pub trait ReceiptSink: Send + Sync {
    /// Takes one; `Ok` once it is kept for good. The same one may come again, and one may come before the message's own
    /// outcome was written.
    ///
    /// # Errors
    /// It could not be kept: the provider is told so, and sends it again. Says why, without personal data.
    async fn take(&self, receipt: Receipt) -> Result<(), String>;
}

/// A sink for a provider of this name: statuses name it so, and not by its kind.
pub(super) fn named(name: Option<&str>, receipts: &Arc<dyn ReceiptSink>) -> Arc<dyn ReceiptSink> {
    match name {
        Some(name) => Arc::new(Named { name: name.to_owned(), receipts: Arc::clone(receipts) }),
        None => Arc::clone(receipts),
    }
}

struct Named {
    name: String,
    receipts: Arc<dyn ReceiptSink>,
}

#[async_trait::async_trait]
impl ReceiptSink for Named {
    async fn take(&self, receipt: Receipt) -> Result<(), String> {
        self.receipts.take(Receipt { provider: self.name.clone(), ..receipt }).await
    }
}

/// Where receipts go that nobody listens to: into a metric and, at debug level, the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counted;

impl Counted {
    /// As a shared sink.
    pub fn shared() -> Arc<dyn ReceiptSink> {
        Arc::new(Counted)
    }
}

#[async_trait::async_trait]
impl ReceiptSink for Counted {
    async fn take(&self, receipt: Receipt) -> Result<(), String> {
        metrics::receipts(&receipt.provider, receipt.state.as_str()).increment(1);
        tracing::debug!(
            provider = receipt.provider,
            message = receipt.provider_message_id,
            state = receipt.state.as_str(),
            code = receipt.code,
            "a receipt came, and nobody listens"
        );
        Ok(())
    }
}
