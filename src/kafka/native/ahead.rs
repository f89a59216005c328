//! Records that a consumer gave before their turn, so that what they need can be fetched from memory for many at once.
//! What holds for the module above holds here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::message::{BorrowedMessage, Message as _};

use crate::kafka::record::TopicPartition;

/// See the module. What is left in the end is dropped, and nobody's offset was committed for it.
pub(in crate::kafka) struct Ahead<C: ConsumerContext + 'static> {
    /// Given by `consumer`, and dropped before it.
    given: VecDeque<KafkaResult<BorrowedMessage<'static>>>,
    consumer: Arc<BaseConsumer<C>>,
}

impl<C: ConsumerContext + 'static> Ahead<C> {
    pub(in crate::kafka) fn new(consumer: &Arc<BaseConsumer<C>>) -> Self {
        Ahead { given: VecDeque::new(), consumer: Arc::clone(consumer) }
    }

    /// Polls the consumer once; `None` when it gave nothing, else the bytes of the record's value.
    pub(in crate::kafka) fn poll(&mut self, timeout: Duration) -> Option<usize> {
        let polled = self.consumer.poll(timeout)?;
        let size = polled.as_ref().ok().and_then(|message| message.payload()).map_or(0, <[u8]>::len);
        let kept = polled.map(|message| {
            // SAFETY: a message is bound to its consumer by its type alone, holds librdkafka's event, and lives until it is
            // dropped, which is before the consumer that is kept here.
            unsafe { std::mem::transmute::<BorrowedMessage<'_>, BorrowedMessage<'static>>(message) }
        });
        self.given.push_back(kept);
        Some(size)
    }

    /// The next one, or what librdkafka said in its place.
    pub(in crate::kafka) fn next(&mut self) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        self.given.pop_front()
    }

    pub(in crate::kafka) fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// Of those that have one, in order.
    pub(in crate::kafka) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.given.iter().flatten().filter_map(|message| message.key())
    }

    /// Drops those of a partition.
    pub(in crate::kafka) fn drop_of(&mut self, partition: &TopicPartition) {
        let is_of = |message: &BorrowedMessage<'_>| {
            message.partition() == partition.partition && message.topic() == partition.topic
        };
        self.given.retain(|given| !given.as_ref().is_ok_and(is_of));
    }

    pub(in crate::kafka) fn clear(&mut self) {
        self.given.clear();
    }
}
