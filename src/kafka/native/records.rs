//! Records of a consumer's partitions, many at a time. One by one, as rust-rdkafka polls, each costs an event, an allocation
//! and several locks; docs/table.md. What holds for the module above holds here.

use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;

use super::{NativeError, Owned, bytes, c_string, milliseconds, text};

/// So many are taken at once, at most. One where faults are put in, so that they strike between two records.
const MOST: usize = if cfg!(feature = "failpoints") { 1 } else { 2048 };

/// A queue of our own: what was fetched of the partitions that are led to it. Everything else (rebalances, errors of the
/// client, statistics) stays in the consumer's, which has to be polled as well.
pub(in crate::kafka) struct RecordQueue<C: ConsumerContext + 'static> {
    /// Made by `consumer`, and dropped before it.
    queue: Owned<rd::rd_kafka_queue_t>,
    consumer: Arc<BaseConsumer<C>>,
    /// What the last call took.
    taken: Vec<*mut rd::rd_kafka_message_t>,
}

// SAFETY: librdkafka's queues may be used from every thread; `taken` is empty but for the life of a batch, which borrows
// the whole.
unsafe impl<C: ConsumerContext + 'static> Send for RecordQueue<C> {}

impl<C: ConsumerContext + 'static> RecordQueue<C> {
    pub(in crate::kafka) fn new(consumer: &Arc<BaseConsumer<C>>) -> Result<Self, NativeError> {
        // SAFETY: the handle lives as long as `consumer`, which is kept.
        let queue = unsafe { rd::rd_kafka_queue_new(consumer.client().native_ptr()) };
        let queue = Owned::new(queue, rd::rd_kafka_queue_destroy)?;
        Ok(RecordQueue { queue, consumer: Arc::clone(consumer), taken: Vec::with_capacity(MOST) })
    }

    /// What is fetched of a partition comes here, until it is unassigned. To be called before it is assigned, so that nothing
    /// takes the way of the consumer's own queue, and again after: where it was unassigned just before, librdkafka may only
    /// then have done that, which ends what was asked for here.
    pub(in crate::kafka) fn lead_here(&self, topic: &str, partition: i32) -> Result<(), NativeError> {
        let topic = c_string(topic)?;
        let handle = self.consumer.client().native_ptr();
        // SAFETY: the handle lives as long as `consumer`; the name is copied.
        let from = unsafe { rd::rd_kafka_queue_get_partition(handle, topic.as_ptr(), partition) };
        let from = Owned::new(from, rd::rd_kafka_queue_destroy)?;
        // SAFETY: both are alive; librdkafka keeps ours alive while it is led there.
        unsafe { rd::rd_kafka_queue_forward(from.get(), self.queue.get()) };
        Ok(())
    }

    /// Waits for a first record for so long, and takes those that are there with it.
    pub(in crate::kafka) fn take(&mut self, timeout: Duration) -> Batch<'_> {
        // librdkafka waits until it has as many as are wanted: the first alone is worth waiting for.
        if self.take_some(Duration::ZERO) == 0 && !timeout.is_zero() && self.take_first(timeout) {
            self.take_some(Duration::ZERO);
        }
        Batch { taken: &mut self.taken }
    }

    fn take_first(&mut self, timeout: Duration) -> bool {
        self.take_at_most(1, timeout) == 1
    }

    fn take_some(&mut self, timeout: Duration) -> usize {
        self.take_at_most(MOST - self.taken.len(), timeout)
    }

    fn take_at_most(&mut self, most: usize, timeout: Duration) -> usize {
        let room = self.taken.spare_capacity_mut();
        let most = most.min(room.len());
        if most == 0 {
            return 0;
        }
        // SAFETY: the queue is alive, and there is room for `most` pointers; as many as are told were written.
        unsafe {
            let taken = rd::rd_kafka_consume_batch_queue(
                self.queue.get(),
                milliseconds(timeout),
                room.as_mut_ptr().cast(),
                most,
            );
            let taken = usize::try_from(taken).unwrap_or(0).min(most);
            self.taken.set_len(self.taken.len() + taken);
            taken
        }
    }
}

/// Records that were taken together, in order; given back when it is dropped.
pub(in crate::kafka) struct Batch<'q> {
    taken: &'q mut Vec<*mut rd::rd_kafka_message_t>,
}

impl Batch<'_> {
    pub(in crate::kafka) fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    /// Each of them, or what librdkafka says of its partition in its place.
    pub(in crate::kafka) fn iter(&self) -> impl Iterator<Item = Result<Fetched<'_>, Said>> {
        // SAFETY: they are ours, and live until this batch is dropped.
        self.taken.iter().map(|message| unsafe { &**message }).map(|message| {
            match RDKafkaErrorCode::from(message.err) {
                RDKafkaErrorCode::NoError => Ok(Fetched { message }),
                code => Err(Said { partition: message.partition, code, text: errstr(message, code) }),
            }
        })
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for message in self.taken.drain(..) {
            // SAFETY: it came from librdkafka, and only this frees it.
            unsafe { rd::rd_kafka_message_destroy(message) };
        }
    }
}

/// What librdkafka says of a partition: that it is read to its end ([`RDKafkaErrorCode::PartitionEOF`]), or what is wrong.
pub(in crate::kafka) struct Said {
    pub(in crate::kafka) partition: i32,
    pub(in crate::kafka) code: RDKafkaErrorCode,
    /// In librdkafka's words; empty for an end.
    pub(in crate::kafka) text: String,
}

fn errstr(message: &rd::rd_kafka_message_t, code: RDKafkaErrorCode) -> String {
    if code == RDKafkaErrorCode::PartitionEOF {
        return String::new();
    }
    // SAFETY: the message is alive; the words are copied.
    unsafe { text(rd::rd_kafka_message_errstr(message)) }
}

/// A record in librdkafka's memory.
#[derive(Clone, Copy)]
pub(in crate::kafka) struct Fetched<'b> {
    message: &'b rd::rd_kafka_message_t,
}

impl<'b> Fetched<'b> {
    pub(in crate::kafka) fn partition(&self) -> i32 {
        self.message.partition
    }

    pub(in crate::kafka) fn offset(&self) -> i64 {
        self.message.offset
    }

    /// Milliseconds since 1970; 0 when it has none.
    pub(in crate::kafka) fn timestamp_ms(&self) -> i64 {
        // SAFETY: the message is alive; nobody asks for the timestamp's kind.
        unsafe { rd::rd_kafka_message_timestamp(self.message, ptr::null_mut()) }.max(0)
    }

    pub(in crate::kafka) fn key(&self) -> Option<&'b [u8]> {
        // SAFETY: librdkafka says where the key is, and how long.
        unsafe { bytes(self.message.key.cast(), self.message.key_len) }
    }

    pub(in crate::kafka) fn value(&self) -> Option<&'b [u8]> {
        // SAFETY: librdkafka says where the value is, and how long.
        unsafe { bytes(self.message.payload.cast(), self.message.len) }
    }
}
