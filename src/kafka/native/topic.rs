//! What the cluster says of topics. What holds for the module above holds here.

use std::collections::BTreeMap;
use std::ffi::{CString, c_char};

use rdkafka::bindings as rd;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::RDKafkaErrorCode;

use super::{NativeError, Owned, ask, c_string, lent_slice, outcome, text};
use crate::kafka::client::Context;

/// How librdkafka writes the id of a topic that the broker gives none.
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// The id that a topic got when it was created, in Kafka's own base64; `None` when the broker gives topics no ids.
pub(in crate::kafka) fn id(client: &BaseConsumer<Context>, topic: &str) -> Result<Option<String>, NativeError> {
    let mut described = describe(client, std::slice::from_ref(&topic.to_owned()), false, |topic| {
        // SAFETY: `describe` lends a live description; the id belongs to it and is copied.
        unsafe {
            outcome(rd::rd_kafka_TopicDescription_error(topic))?;
            Ok(text(rd::rd_kafka_Uuid_base64str(rd::rd_kafka_TopicDescription_topic_id(topic))))
        }
    })?;
    let id = described.pop().unwrap_or_else(|| {
        Err(NativeError::local(RDKafkaErrorCode::UnknownTopicOrPartition, "the broker says nothing of the topic"))
    })?;
    Ok(Some(id).filter(|id| !id.is_empty() && !id.starts_with(NO_ID)))
}

/// The ids that topics got when they were created, by name: empty where the broker gives topics none; without those
/// that it does not describe.
pub(in crate::kafka) fn ids(
    client: &BaseConsumer<Context>,
    topics: &[String],
) -> Result<BTreeMap<String, String>, NativeError> {
    let described = describe(client, topics, false, |topic| {
        // SAFETY: `describe` lends a live description; name and id belong to it and are copied.
        unsafe {
            outcome(rd::rd_kafka_TopicDescription_error(topic)).ok()?;
            let id = text(rd::rd_kafka_Uuid_base64str(rd::rd_kafka_TopicDescription_topic_id(topic)));
            let id = if id.starts_with(NO_ID) { String::new() } else { id };
            Some((text(rd::rd_kafka_TopicDescription_name(topic)), id))
        }
    })?;
    Ok(described.into_iter().flatten().collect())
}

/// A topic's setting, as it is in effect; `None` when the broker does not know it.
pub(in crate::kafka) fn setting(
    client: &BaseConsumer<Context>,
    topic: &str,
    name: &str,
) -> Result<Option<String>, NativeError> {
    let topic = c_string(topic)?;
    let kind = rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
    // SAFETY: the name is alive; librdkafka copies it.
    let asked = unsafe { rd::rd_kafka_ConfigResource_new(kind, topic.as_ptr()) };
    let asked = Owned::new(asked, rd::rd_kafka_ConfigResource_destroy)?;
    let mut pointers = [asked.get()];
    let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS;
    let event = ask(client, operation, false, |handle, options, queue| {
        // SAFETY: all are alive and counted; librdkafka copies the resources and the options.
        unsafe { rd::rd_kafka_DescribeConfigs(handle, pointers.as_mut_ptr(), pointers.len(), options, queue) }
    })?;
    let (mut count, mut entries) = (0, 0);
    // SAFETY: the event is alive and, because the request was DescribeConfigs, of that kind; what it lends is copied
    // before it is freed.
    unsafe {
        let result = rd::rd_kafka_event_DescribeConfigs_result(event.get());
        let lent = rd::rd_kafka_DescribeConfigs_result_resources(result, &raw mut count);
        let Some(resource) = lent_slice(lent, count).first() else { return Ok(None) };
        match RDKafkaErrorCode::from(rd::rd_kafka_ConfigResource_error(*resource)) {
            RDKafkaErrorCode::NoError => {}
            code => return Err(NativeError { code, text: text(rd::rd_kafka_ConfigResource_error_string(*resource)) }),
        }
        let lent = rd::rd_kafka_ConfigResource_configs(*resource, &raw mut entries);
        let found = lent_slice(lent, entries).iter().find(|entry| text(rd::rd_kafka_ConfigEntry_name(**entry)) == name);
        Ok(found.map(|entry| text(rd::rd_kafka_ConfigEntry_value(*entry))))
    }
}

/// Asks for topics and hands each description, which is alive during the call only, to `read`.
pub(super) fn describe<T>(
    client: &BaseConsumer<Context>,
    topics: &[String],
    authorized_operations: bool,
    read: impl Fn(*const rd::rd_kafka_TopicDescription_t) -> T,
) -> Result<Vec<T>, NativeError> {
    let names = topics.iter().map(|topic| c_string(topic)).collect::<Result<Vec<CString>, NativeError>>()?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: the names are alive and counted; librdkafka copies them.
    let topics = unsafe { rd::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()) };
    let topics = Owned::new(topics, rd::rd_kafka_TopicCollection_destroy)?;
    let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    let event = ask(client, operation, authorized_operations, |handle, options, queue| {
        // SAFETY: all are alive; librdkafka copies the collection and the options.
        unsafe { rd::rd_kafka_DescribeTopics(handle, topics.get(), options, queue) }
    })?;
    let mut count = 0;
    // SAFETY: the event is alive and, because the request was DescribeTopics, of that kind; what it lends is copied
    // before it is freed.
    let all = unsafe {
        let result = rd::rd_kafka_event_DescribeTopics_result(event.get());
        let lent = rd::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        lent_slice(lent, count).iter().map(|topic| read(*topic)).collect()
    };
    Ok(all)
}
