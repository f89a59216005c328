//! The records, shaped as those of benches/router: events of about 220 B for one recipient with a verified endpoint on
//! each of two channels. A number alone decides what a record holds.

use std::path::PathBuf;

use crate::model::{
    CategoryChoice, Channel, Decision, DecisionOutcome, Endpoint, Event, NotificationId, Open, Outbound, Policy,
    Preferences, PreferencesRef, Priority, Reason, RecipientKey, SmallMap, Timestamp, Verdict, endpoint_hash,
};
use crate::wire::{Encoders, FixedSchemas, RecordType, SchemaId, WriterIds, WriterSchema};

/// When it all happens.
pub const NOW: Timestamp = Timestamp(1_763_990_000_000);
/// Events go here.
pub const EVENTS: &str = "notify.events.shop";
/// The header that comes with every event.
pub const TRACE: (&str, &[u8]) = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");

const TENANT: &str = "default";
const CHANNELS: [Open<'static, Channel>; 2] = [Open::Known(Channel::Email), Open::Known(Channel::Telegram)];
/// The id of [`other_schemas`]' events.
const OTHER: SchemaId = SchemaId(99);

pub fn ids() -> WriterIds {
    WriterIds::from_first(1)
}

/// The policies of the demo.
pub fn policy() -> Policy {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("policies");
    crate::policy::load(&folder).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Our own schemas, and under an id of its own that of a writer whose events have a field that ours lack.
pub fn schemas() -> FixedSchemas {
    let mut schemas = FixedSchemas::own(ids());
    let mut schema: serde_json::Value = serde_json::from_str(RecordType::Event.schema_text()).unwrap();
    let fields = schema["fields"].as_array_mut().unwrap();
    fields.push(serde_json::json!({ "name": "note", "type": "string", "default": "" }));
    schemas.insert(OTHER, WriterSchema::parse(&schema.to_string(), &[]).unwrap());
    schemas
}

pub fn user(number: usize) -> String {
    format!("user-{number:08}")
}

pub fn key(number: usize) -> RecipientKey {
    RecipientKey::new(TENANT, &user(number))
}

/// An event for this recipient, framed.
pub fn event(number: usize) -> Vec<u8> {
    let (user, id, data) = (user(number), format!("e-{number:012}"), data_of(number));
    let event = Event {
        id: &id,
        source: "shop/orders",
        kind: "order.shipped",
        time: NOW,
        tenant: TENANT,
        category: "orders",
        priority: Priority::Normal,
        recipients: vec![&user],
        audience: None,
        channels: None,
        template: None,
        data: &data,
        locale: None,
        not_before: None,
        expires_at: None,
        collapse_key: None,
    };
    Encoders::new(ids()).to_vec(&event).unwrap()
}

/// The same, as the writer with a schema of its own writes it.
pub fn event_of_another(number: usize) -> Vec<u8> {
    let mut event = event(number);
    event[1..5].copy_from_slice(&OTHER.0.to_be_bytes());
    event.extend_from_slice(b"\x08note");
    event
}

/// The preferences of a recipient, framed. `version` may change their length.
pub fn preferences(number: usize, version: i64) -> Vec<u8> {
    let user = user(number);
    let (mail, chat) = (format!("{user}@mail.example.org"), (7_000_000_000 + number).to_string());
    let endpoint = |channel, address, label| Endpoint { channel, address, verified: true, label };
    let choice = CategoryChoice { enabled: true, channels: Some(CHANNELS.to_vec()), digest: None };
    let preferences = Preferences {
        tenant: TENANT,
        user_id: &user,
        locale: "en-GB",
        timezone: "Europe/Berlin",
        endpoints: vec![endpoint(CHANNELS[0], mail.as_str(), Some("home")), endpoint(CHANNELS[1], &chat, None)],
        channels: SmallMap::default(),
        categories: SmallMap(vec![("orders", choice)]),
        quiet_hours: Vec::new(),
        paused_until: None,
        version,
        updated_at: NOW,
        updated_by: "import",
    };
    Encoders::new(ids()).to_vec(&preferences).unwrap()
}

fn data_of(number: usize) -> String {
    format!(
        "{{\"order_id\":\"A-{number:010}\",\"carrier\":\"Nordpost\",\"items\":{},\"total\":\"{}.90\",\
         \"url\":\"https://shop.example.org/orders/{number:010}\"}}",
        number % 9 + 1,
        number % 400 + 10,
    )
}

/// What the router writes of an event for one endpoint. It lives as long as the process does.
pub fn outbound() -> Outbound<'static> {
    let id = notification_id("ada", "ada@mail.example.org");
    Outbound {
        notification_id: id,
        event_id: "e-000000000001",
        source: "shop/orders",
        kind: "order.shipped",
        event_time: NOW,
        tenant: TENANT,
        user_id: "user-00000001",
        category: "orders",
        priority: Priority::Normal,
        channel: Channel::Email.into(),
        address: "user-00000001@mail.example.org",
        locale: "en-GB",
        timezone: "Europe/Berlin",
        template: "order_shipped",
        data: data_of(1).leak(),
        collapse_key: None,
        not_before: None,
        expires_at: None,
        decided_at: NOW,
        policy_version: "3f2a9c31d0e54b7786aa10c2b9d4e5f6",
        replay_id: None,
        siblings: Vec::new(),
        fallback: Vec::new(),
        fallback_of: None,
    }
}

/// What the router writes of an event that was told at two endpoints.
pub fn decision() -> Decision<'static> {
    let outcome = |channel: Channel, address: &'static str| DecisionOutcome {
        user_id: "user-00000001",
        channel: Some(channel.into()),
        endpoint_hash: Some(endpoint_hash(TENANT, "user-00000001", channel.as_str(), address)),
        verdict: Verdict::Routed.into(),
        reason: Reason::Routed.into(),
        rule: 13,
        preferences: Some(PreferencesRef { partition: 3, offset: 412_345, version: 1 }),
        notification_id: Some(notification_id("user-00000001", address)),
        until: None,
    };
    let outcomes =
        vec![outcome(Channel::Email, "user-00000001@mail.example.org"), outcome(Channel::Telegram, "7000000001")];
    Decision {
        event_id: "e-000000000001",
        source: "shop/orders",
        kind: "order.shipped",
        tenant: TENANT,
        category: "orders",
        event_time: NOW,
        decided_at: NOW,
        policy_version: "3f2a9c31d0e54b7786aa10c2b9d4e5f6",
        replay_id: None,
        outcomes,
    }
}

pub fn notification_id(user: &str, address: &str) -> NotificationId {
    NotificationId::derive(TENANT, "shop/orders", "e-000000000001", user, "email", address, "")
}

/// Spreads numbers evenly (the finalizer of SplitMix64), so that what is looked up is seldom in a cache.
pub fn scattered(number: usize) -> usize {
    let mut z = (number as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as usize
}
