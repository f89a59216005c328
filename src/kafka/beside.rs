//! Offsets committed beside a transaction instead of within it: what the breakage `no_transactional_id` needs to lose
//! the guarantee as a plain consumer and producer lose it. Empty in builds without the feature `failpoints`.

use rdkafka::TopicPartitionList;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;

use super::consumer::Context;

/// The way to the group around the transaction.
#[cfg(feature = "failpoints")]
pub(super) struct Beside(std::sync::Arc<BaseConsumer<Context>>);

#[cfg(feature = "failpoints")]
impl Beside {
    pub(super) fn of(consumer: &std::sync::Arc<BaseConsumer<Context>>) -> Self {
        Beside(std::sync::Arc::clone(consumer))
    }

    pub(super) fn commit(&self, offsets: &TopicPartitionList) -> Result<(), KafkaError> {
        use rdkafka::consumer::{CommitMode, Consumer as _};
        self.0.commit(offsets, CommitMode::Sync)
    }
}

/// There is none.
#[cfg(not(feature = "failpoints"))]
pub(super) struct Beside;

#[cfg(not(feature = "failpoints"))]
impl Beside {
    pub(super) fn of(_: &std::sync::Arc<BaseConsumer<Context>>) -> Self {
        Beside
    }

    #[expect(clippy::unused_self, reason = "nothing is committed beside a transaction")]
    pub(super) fn commit(&self, _: &TopicPartitionList) -> Result<(), KafkaError> {
        Ok(())
    }
}
