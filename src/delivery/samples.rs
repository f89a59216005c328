//! Records that the tests of this module speak about.

use std::sync::Arc;
use std::time::Duration;

use super::ledger::Work;
use super::providers::Route;
use crate::kafka::{OwnedRecord, TopicPartition};
use crate::model::{Channel, NotificationId, Outbound, Priority, Timestamp};
use crate::wire::{Encoders, Origin, TierHeaders, WriterIds, names};

/// Schema ids as a registry would give them.
pub(super) fn ids() -> WriterIds {
    WriterIds::from_first(1)
}

/// Happened, and was decided, at 1,000,000 s.
pub(super) fn outbound() -> Outbound<'static> {
    let address = "ada@example.org";
    Outbound {
        notification_id: NotificationId::derive("default", "shop", "e-1", "ada", "email", address, ""),
        event_id: "e-1",
        source: "shop",
        kind: "order.shipped",
        event_time: Timestamp(1_000_000_000),
        tenant: "default",
        user_id: "ada",
        category: "orders",
        priority: Priority::Normal,
        channel: Channel::Email.into(),
        address,
        locale: "en",
        timezone: "UTC",
        template: "order",
        data: "{}",
        collapse_key: None,
        not_before: None,
        expires_at: None,
        decided_at: Timestamp(1_000_000_000),
        policy_version: "v",
        replay_id: None,
        siblings: Vec::new(),
        fallback: Vec::new(),
        fallback_of: None,
    }
}

/// A record with nothing in it.
pub(super) fn record(topic: &str, partition: i32, offset: i64) -> OwnedRecord {
    OwnedRecord {
        partition: TopicPartition::new(topic, partition),
        offset,
        timestamp_ms: 0,
        key: None,
        value: None,
        headers: Vec::new(),
    }
}

/// [`outbound`] in its topic.
pub(super) fn first_attempt() -> OwnedRecord {
    OwnedRecord {
        timestamp_ms: 1_000_000_500,
        key: Some(b"default/ada".to_vec()),
        value: Some(Encoders::new(ids()).to_vec(&outbound()).unwrap()),
        headers: vec![(
            names::TRACEPARENT.to_owned(),
            b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_vec(),
        )],
        ..record("notify.outbound.email", 3, 41)
    }
}

/// [`outbound`] in a tier, after so many attempts.
pub(super) fn waiting(attempt: u32, not_before: Timestamp) -> OwnedRecord {
    let first = first_attempt();
    let headers = TierHeaders {
        attempt,
        not_before: Some(not_before),
        original: Some(Origin {
            topic: first.partition.topic.clone(),
            partition: 3,
            offset: 41,
            timestamp: Timestamp(first.timestamp_ms),
        }),
        error_code: Some("provider_busy".to_owned()),
        ..TierHeaders::default()
    };
    let mut own = Vec::new();
    headers.write(&mut own);
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes()));
    OwnedRecord {
        partition: TopicPartition::new("notify.outbound.email.retry.10s", 3),
        offset: 7,
        timestamp_ms: not_before.minus(Duration::from_secs(10)).0,
        headers: first.headers.iter().cloned().chain(own).collect(),
        ..first
    }
}

/// A record as it is taken.
pub(super) fn work(record: OwnedRecord) -> Work {
    let headers = Arc::new(TierHeaders::parse(record.headers()).unwrap());
    let waited = record.partition.topic.contains(".retry.");
    Work { record: Arc::new(record), headers, waited, route: Route::default() }
}
