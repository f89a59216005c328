//! What the cluster says of a topic besides its records. Asked once, at start; blocking.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::snapshot::Identity;
use crate::kafka::client::Context;
use crate::kafka::native;

/// What Kafka itself sets when nobody does.
const USUAL_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);
/// For one question.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Which topic of which cluster this is; what the cluster does not tell stays empty.
pub(super) fn identity(consumer: &BaseConsumer<Context>, topic: &str, partitions: usize) -> Identity {
    let id = native::topic::id(consumer, topic).unwrap_or_else(|error| {
        tracing::warn!(topic, why = %error.text, "the topic's id cannot be asked; no snapshot is used or kept, and a topic made anew is not noticed");
        None
    });
    let cluster = consumer.client().fetch_cluster_id(CALL_TIMEOUT);
    Identity { cluster: cluster.unwrap_or_default(), topic: topic.to_owned(), id: id.unwrap_or_default(), partitions }
}

/// The topic's `delete.retention.ms`: how long it keeps a tombstone after everything older than it was cleaned away. A
/// day when it cannot be asked, for lack of a right or otherwise.
pub(super) fn delete_retention(consumer: &BaseConsumer<Context>, topic: &str) -> Duration {
    let setting = native::topic::setting(consumer, topic, "delete.retention.ms").unwrap_or_else(|error| {
        let why = error.text;
        tracing::warn!(topic, why, "the topic's delete.retention.ms cannot be asked; taken for a day");
        None
    });
    setting.and_then(|setting| setting.parse().ok()).map_or(USUAL_RETENTION, Duration::from_millis)
}
