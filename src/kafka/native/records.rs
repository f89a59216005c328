//! Records of a consumer's partitions, many at a time. One by one, as rust-rdkafka polls, each costs an event, an allocation
//! and several locks; docs/performance.md. What holds for the module above holds here.

use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::{NativeError, Owned, c_string, milliseconds};

/// So many are taken at once, at most.
const MOST: usize = 1024;

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

    /// What is fetched of a partition comes here, until it is unassigned. To be called before it is assigned: what is
    /// fetched then never takes the way of the consumer's own queue.
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
        if self.take_some(Duration::ZERO, MOST) == 0 && !timeout.is_zero() && self.take_some(timeout, 1) == 1 {
            self.take_some(Duration::ZERO, MOST - 1);
        }
        Batch { taken: &mut self.taken }
    }

    fn take_some(&mut self, timeout: Duration, most: usize) -> usize {
        let room = self.taken.spare_capacity_mut();
        let most = most.min(room.len());
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
    /// Each of them, or what librdkafka says of its partition in its place: its end, or an error.
    pub(in crate::kafka) fn iter(&self) -> impl Iterator<Item = Result<Fetched<'_>, KafkaError>> {
        // SAFETY: they are ours, and live until this batch is dropped.
        self.taken.iter().map(|message| unsafe { &**message }).map(|message| {
            match RDKafkaErrorCode::from(message.err) {
                RDKafkaErrorCode::NoError => Ok(Fetched { message, batch: PhantomData }),
                RDKafkaErrorCode::PartitionEOF => Err(KafkaError::PartitionEOF(message.partition)),
                code => Err(KafkaError::MessageConsumption(code)),
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

/// A record in librdkafka's memory.
#[derive(Clone, Copy)]
pub(in crate::kafka) struct Fetched<'b> {
    message: &'b rd::rd_kafka_message_t,
    batch: PhantomData<&'b Batch<'b>>,
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

/// # Safety
/// `pointer` is null, or points to `length` bytes that live as long as the slice is used.
unsafe fn bytes<'a>(pointer: *const u8, length: usize) -> Option<&'a [u8]> {
    // SAFETY: by the caller's promise.
    (!pointer.is_null()).then(|| unsafe { std::slice::from_raw_parts(pointer, length) })
}
