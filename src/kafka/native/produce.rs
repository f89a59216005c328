//! Records handed over by their topic's handle. By its name, as rust-rdkafka does it, each record costs a C string, a
//! search and a write lock that all threads of the client want; docs/performance.md. What holds for the module above
//! holds here.

use std::ffi::c_void;
use std::ptr;
use std::time::Duration;

use hashbrown::HashMap;
use rdkafka::bindings as rd;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};

use super::{NativeError, Owned, c_string, milliseconds};
use crate::kafka::record::OutRecord;

/// `RD_KAFKA_PARTITION_UA`: the partitioner chooses.
const BY_KEY: i32 = -1;

/// A producer, and the topics that it has written to.
pub(in crate::kafka) struct ByHandle<C: ProducerContext> {
    /// Made by `producer`, and dropped before it. In a box, because the whole moves with every transaction.
    topics: Box<HashMap<String, Owned<rd::rd_kafka_topic_t>>>,
    producer: BaseProducer<C>,
}

// SAFETY: librdkafka's handles may be used from every thread; ours are used by one at a time.
unsafe impl<C: ProducerContext> Send for ByHandle<C> {}

impl<C: ProducerContext> ByHandle<C> {
    pub(in crate::kafka) fn new(producer: BaseProducer<C>) -> Self {
        ByHandle { topics: Box::default(), producer }
    }

    /// For all else.
    pub(in crate::kafka) fn base(&self) -> &BaseProducer<C> {
        &self.producer
    }

    /// Copies a record into the producer's queue.
    ///
    /// # Errors
    /// librdkafka's code; [`RDKafkaErrorCode::QueueFull`] passes. Nothing of the record was taken then.
    pub(in crate::kafka) fn produce(&mut self, record: &OutRecord<'_>) -> Result<(), RDKafkaErrorCode> {
        let topic = self.handle(record.topic).map_err(|error| error.code)?;
        let headers = headers(record.headers).map_err(|error| error.code)?;
        let (value, value_size) = lent(record.value);
        let (key, key_size) = lent(record.key);
        // SAFETY: the client is alive, and made the topic's handle; key and value are copied (`F_COPY`), and the opaque of
        // a producer without opaques is null. The kinds of the arguments are those that rdkafka.h names.
        let code = unsafe {
            rd::rd_kafka_producev(
                self.producer.client().native_ptr(),
                rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_RKT,
                topic,
                rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_PARTITION,
                record.partition.unwrap_or(BY_KEY),
                rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_MSGFLAGS,
                rd::RD_KAFKA_MSG_F_COPY,
                rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE,
                value,
                value_size,
                rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_KEY,
                key,
                key_size,
                rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADERS,
                headers.as_ref().map_or(ptr::null_mut(), Owned::get),
                rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_TIMESTAMP,
                // Zero: librdkafka asks the clock.
                record.timestamp_ms.unwrap_or(0),
                rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_END,
            )
        };
        match RDKafkaErrorCode::from(code) {
            RDKafkaErrorCode::NoError => {
                // They are the record's now.
                std::mem::forget(headers);
                Ok(())
            }
            code => Err(code),
        }
    }

    /// Waits until no record is queued or in flight, at most so long; what lingers goes out at once. False when some are
    /// left: those whose delivery reports wait to be served are among them.
    ///
    /// rust-rdkafka's own waiting asks librdkafka for whole milliseconds and spins through what is left of less than one: for
    /// the whole of a wait of one (docs/performance.md).
    pub(in crate::kafka) fn flush(&self, patience: Duration) -> bool {
        // SAFETY: the client is alive. With delivery reports as events, which rust-rdkafka asks for, this only waits.
        let code = unsafe { rd::rd_kafka_flush(self.producer.client().native_ptr(), milliseconds(patience)) };
        RDKafkaErrorCode::from(code) == RDKafkaErrorCode::NoError
    }

    fn handle(&mut self, topic: &str) -> Result<*mut rd::rd_kafka_topic_t, NativeError> {
        if let Some(handle) = self.topics.get(topic) {
            return Ok(handle.get());
        }
        let name = c_string(topic)?;
        let client = self.producer.client().native_ptr();
        // SAFETY: the client is alive, and copies the name; without a configuration it takes its default one.
        let made = unsafe { rd::rd_kafka_topic_new(client, name.as_ptr(), ptr::null_mut()) };
        let handle = Owned::new(made, rd::rd_kafka_topic_destroy)?;
        Ok(self.topics.entry(topic.to_owned()).or_insert(handle).get())
    }
}

/// Null stands for none; an empty slice is not none.
fn lent(bytes: Option<&[u8]>) -> (*const c_void, usize) {
    bytes.map_or((ptr::null(), 0), |bytes| (bytes.as_ptr().cast(), bytes.len()))
}

fn headers(headers: &[(&str, &[u8])]) -> Result<Option<Owned<rd::rd_kafka_headers_t>>, NativeError> {
    if headers.is_empty() {
        return Ok(None);
    }
    // SAFETY: makes an empty list with room for so many.
    let list = Owned::new(unsafe { rd::rd_kafka_headers_new(headers.len()) }, rd::rd_kafka_headers_destroy)?;
    let size = |bytes: &[u8]| isize::try_from(bytes.len()).unwrap_or(isize::MAX);
    for (name, value) in headers {
        // SAFETY: the list is alive; name and value are copied, as long as they say.
        unsafe {
            rd::rd_kafka_header_add(
                list.get(),
                name.as_ptr().cast(),
                size(name.as_bytes()),
                value.as_ptr().cast(),
                size(value),
            );
        }
    }
    Ok(Some(list))
}
