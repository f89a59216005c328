//! Records for tests: one of each with everything set, one of each with only what must be set.

use crate::model::{
    CategoryChoice, Channel, Decision, DecisionOutcome, DeliveryStatus, Endpoint, Event, Fallback, InboxItem,
    InboxState, NextStep, NotificationId, Open, Outbound, Preferences, PreferencesRef, Priority, QuietHours, Reason,
    Receipt, SentMessage, SmallMap, State, Suppression, SuppressionReason, Timestamp, Verdict,
};

pub(super) fn notification_id() -> NotificationId {
    "0192f0c1-5a7b-5c3d-8e4f-0123456789ab".parse().expect("a UUID")
}

pub(super) fn full_event() -> Event<'static> {
    Event {
        id: "e-1",
        source: "shop/orders",
        kind: "order.shipped",
        time: Timestamp(1_763_000_000_123),
        tenant: "acme",
        category: "orders",
        priority: Priority::High,
        recipients: vec!["ada", "grace hopper", "ζωή"],
        audience: Some("everyone"),
        channels: Some(vec![Channel::Email.into(), Open::Other("pigeon")]),
        template: Some("order-shipped"),
        data: r#"{"order":"A-17","total":12.5}"#,
        locale: Some("de-AT"),
        not_before: Some(Timestamp(1_763_000_100_000)),
        expires_at: Some(Timestamp(1_763_086_400_000)),
        collapse_key: Some("order-A-17"),
    }
}

pub(super) fn least_event() -> Event<'static> {
    Event {
        id: "e-2",
        source: "shop",
        kind: "ping",
        time: Timestamp(-1),
        tenant: "default",
        category: "",
        priority: Priority::Normal,
        recipients: vec![],
        audience: None,
        channels: None,
        template: None,
        data: "",
        locale: None,
        not_before: None,
        expires_at: None,
        collapse_key: None,
    }
}

pub(super) fn full_preferences() -> Preferences<'static> {
    Preferences {
        tenant: "acme",
        user_id: "ada",
        locale: "en-GB",
        timezone: "Europe/London",
        endpoints: vec![
            Endpoint {
                channel: Channel::Email.into(),
                address: "ada@example.org",
                verified: true,
                label: Some("home"),
            },
            Endpoint { channel: Open::Other("pigeon"), address: "loft 7", verified: false, label: None },
        ],
        channels: SmallMap(vec![("telegram", false)]),
        categories: SmallMap(vec![(
            "orders",
            CategoryChoice { enabled: true, channels: Some(vec![Channel::Email.into()]), digest: Some("daily") },
        )]),
        quiet_hours: vec![QuietHours { days: vec!["SAT", "SUN"], from: "22:00", to: "07:00" }],
        paused_until: Some(Timestamp(1_763_000_000_000)),
        version: 7,
        updated_at: Timestamp(1_762_000_000_000),
        updated_by: "gateway",
    }
}

pub(super) fn least_preferences() -> Preferences<'static> {
    Preferences {
        tenant: "acme",
        user_id: "bob",
        locale: "",
        timezone: "",
        endpoints: vec![],
        channels: SmallMap::default(),
        categories: SmallMap::default(),
        quiet_hours: vec![],
        paused_until: None,
        version: 0,
        updated_at: Timestamp(1),
        updated_by: "",
    }
}

pub(super) fn full_outbound() -> Outbound<'static> {
    Outbound {
        notification_id: notification_id(),
        event_id: "e-1",
        source: "shop/orders",
        kind: "order.shipped",
        event_time: Timestamp(1_763_000_000_123),
        tenant: "acme",
        user_id: "ada",
        category: "orders",
        priority: Priority::Critical,
        channel: Channel::Webhook.into(),
        address: "https://example.org/hook",
        locale: "en-GB",
        timezone: "Europe/London",
        template: "order-shipped",
        data: r#"{"order":"A-17"}"#,
        collapse_key: Some("order-A-17"),
        not_before: Some(Timestamp(1_763_000_100_000)),
        expires_at: Some(Timestamp(1_763_086_400_000)),
        decided_at: Timestamp(1_763_000_000_456),
        policy_version: "3f2a",
        replay_id: Some("r-1"),
        siblings: vec!["00112233aabbccdd".into()],
        fallback: vec![Fallback { channel: Channel::Sms.into(), address: "+15550100", after_ms: 600_000 }],
        fallback_of: Some(notification_id()),
    }
}

pub(super) fn least_outbound() -> Outbound<'static> {
    Outbound {
        collapse_key: None,
        not_before: None,
        expires_at: None,
        replay_id: None,
        siblings: vec![],
        fallback: vec![],
        fallback_of: None,
        ..full_outbound()
    }
}

pub(super) fn full_decision() -> Decision<'static> {
    Decision {
        event_id: "e-1",
        source: "shop/orders",
        kind: "order.shipped",
        tenant: "acme",
        category: "orders",
        event_time: Timestamp(1_763_000_000_123),
        decided_at: Timestamp(1_763_000_000_456),
        policy_version: "3f2a",
        replay_id: Some("r-1"),
        outcomes: vec![DecisionOutcome {
            user_id: "ada",
            channel: Some(Channel::Email.into()),
            endpoint_hash: Some("00112233aabbccdd".into()),
            verdict: Verdict::Deferred.into(),
            reason: Reason::QuietHours.into(),
            rule: 10,
            preferences: Some(PreferencesRef { partition: 3, offset: 1 << 40, version: 7 }),
            notification_id: Some(notification_id()),
            until: Some(Timestamp(1_763_017_200_000)),
        }],
    }
}

pub(super) fn least_decision() -> Decision<'static> {
    let outcome = DecisionOutcome {
        user_id: "",
        channel: None,
        endpoint_hash: None,
        verdict: Open::Other("PONDERED"),
        reason: Open::Other("moonlight"),
        rule: 1,
        preferences: None,
        notification_id: None,
        until: None,
    };
    Decision { replay_id: None, outcomes: vec![outcome], ..full_decision() }
}

pub(super) fn full_status() -> DeliveryStatus<'static> {
    DeliveryStatus {
        notification_id: notification_id(),
        run: 1,
        event_id: "e-1",
        tenant: "acme",
        user_id: "ada",
        category: "orders",
        channel: Channel::Email.into(),
        state: State::Retrying.into(),
        reason: Reason::ProviderBusy.into(),
        attempt: 2,
        provider: "smtp",
        provider_message_id: Some("<1@mx>"),
        code: Some("451"),
        event_time: Timestamp(1_763_000_000_123),
        occurred_at: Timestamp(1_763_000_001_000),
        next_attempt_at: Some(Timestamp(1_763_000_011_000)),
        replay_id: Some("r-1"),
        fallback_of: Some(notification_id()),
    }
}

pub(super) fn least_status() -> DeliveryStatus<'static> {
    DeliveryStatus { provider_message_id: None, code: None, next_attempt_at: None, replay_id: None, ..full_status() }
}

pub(super) fn full_suppression() -> Suppression<'static> {
    Suppression {
        reason: SuppressionReason::HardBounce.into(),
        since: Timestamp(1_763_000_001_000),
        source: "deliver/smtp",
        key_id: "0a1b2c3d",
        notification_id: Some(notification_id()),
        code: Some("550 5.1.1"),
    }
}

pub(super) fn least_suppression() -> Suppression<'static> {
    Suppression {
        reason: Open::Other("moonlight"),
        since: Timestamp(0),
        source: "ada",
        key_id: "",
        notification_id: None,
        code: None,
    }
}

pub(super) fn full_inbox_item() -> InboxItem<'static> {
    InboxItem {
        notification_id: notification_id(),
        event_id: "e-1",
        kind: "order.shipped",
        tenant: "acme",
        user_id: "ada",
        category: "orders",
        priority: "HIGH",
        title: "Order A-17 is on its way".to_owned(),
        body: "It comes on Friday. ζωή".to_owned(),
        link: Some("https://example.org/orders/A-17".to_owned()),
        created_at: Timestamp(1_763_000_001_000),
        expires_at: Some(Timestamp(1_763_086_400_000)),
    }
}

pub(super) fn least_inbox_item() -> InboxItem<'static> {
    InboxItem { body: String::new(), link: None, expires_at: None, ..full_inbox_item() }
}

pub(super) fn full_inbox_state() -> InboxState<'static> {
    InboxState {
        notification_id: notification_id(),
        tenant: "acme",
        user_id: "ada",
        read_at: Some(Timestamp(1_763_000_002_000)),
        archived_at: Some(Timestamp(1_763_000_003_000)),
    }
}

pub(super) fn least_inbox_state() -> InboxState<'static> {
    InboxState { read_at: None, archived_at: None, ..full_inbox_state() }
}

pub(super) fn full_sent_message() -> SentMessage<'static> {
    SentMessage {
        notification_id: notification_id(),
        run: 1,
        event_id: "e-1",
        tenant: "acme",
        user_id: "ada",
        category: "orders",
        channel: Channel::Email.into(),
        provider: "smtp",
        message_id: "<1@mx>",
        attempt: 2,
        event_time: Timestamp(1_763_000_000_123),
        sent_at: Timestamp(1_763_000_001_000),
        state: State::Delivered.into(),
        suppression_key: Some("acme/email/00ff"),
        key_id: Some("0a1b2c3d"),
        replay_id: Some("r-1"),
        fallback_of: Some(notification_id()),
        falls_back: true,
        next: Some(NextStep { outbound: "AAAAAAf/", traceparent: Some("00-0-0-01"), replay_nonce: Some("n") }),
    }
}

pub(super) fn least_sent_message() -> SentMessage<'static> {
    SentMessage {
        suppression_key: None,
        key_id: None,
        replay_id: None,
        fallback_of: None,
        falls_back: false,
        next: None,
        ..full_sent_message()
    }
}

pub(super) fn full_receipt() -> Receipt<'static> {
    Receipt {
        provider: "smtp",
        message_id: "<1@mx>",
        state: State::Bounced.into(),
        permanent: true,
        code: Some("550 5.1.1"),
        occurred_at: Some(Timestamp(1_763_000_002_000)),
        received_at: Timestamp(1_763_000_003_000),
        source: "mail/bounces",
        next: Some(NextStep { outbound: "AAAAAAf/", traceparent: Some("00-0-0-01"), replay_nonce: Some("n") }),
    }
}

pub(super) fn least_receipt() -> Receipt<'static> {
    Receipt {
        state: Open::Other("SEEN"),
        permanent: false,
        code: None,
        occurred_at: None,
        source: "",
        next: None,
        ..full_receipt()
    }
}

/// A datum as apache-avro writes it.
pub(super) fn apache_write(schema: &apache_avro::Schema, value: apache_avro::types::Value) -> Vec<u8> {
    let writer = apache_avro::writer::datum::GenericDatumWriter::builder(schema).build().expect("a schema");
    writer.write_value_to_vec(value).expect("a value of the schema")
}

/// A datum as apache-avro reads it with a reader's schema.
pub(super) fn apache_read(
    writer: &apache_avro::Schema,
    reader: &apache_avro::Schema,
    mut datum: &[u8],
) -> apache_avro::types::Value {
    let reader = apache_avro::reader::datum::GenericDatumReader::builder(writer).reader_schema(reader).build();
    reader.expect("two schemas").read_value(&mut datum).expect("a datum of the schema")
}

/// Runs a block for the full and the least record of each type.
macro_rules! for_each_sample {
    (|$record:ident| $body:expr) => {
        for_each_sample!(@ $record, $body, full_event, least_event, full_preferences, least_preferences,
            full_outbound, least_outbound, full_decision, least_decision, full_status, least_status,
            full_suppression, least_suppression, full_inbox_item, least_inbox_item, full_inbox_state, least_inbox_state,
            full_sent_message, least_sent_message, full_receipt, least_receipt)
    };
    (@ $record:ident, $body:expr, $($sample:ident),+) => {{
        $({ let $record = $crate::wire::samples::$sample(); $body })+
    }};
}
pub(super) use for_each_sample;
