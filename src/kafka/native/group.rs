//! What a member knows of itself. What holds for the module above holds here.

use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};

use super::text;

/// The id under which the group knows this member; empty while it is in no group.
pub(in crate::kafka) fn member_id<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> String {
    let handle = consumer.client().native_ptr();
    // SAFETY: the handle lives as long as `consumer`; what it gives is a string of ours, copied and freed here, or null.
    unsafe {
        let id = rd::rd_kafka_memberid(handle);
        let copy = text(id);
        if !id.is_null() {
            rd::rd_kafka_mem_free(handle, id.cast());
        }
        copy
    }
}
