//! What the tests of this layer start from: an event, a category and a recipient against whom nothing stands.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use crate::model::{
    CategoryPolicy, Channel, Endpoint, Event, NotificationId, Open, Ordering, Outbound, Policy, Preferences, Priority,
    SmallMap, Timestamp,
};

use super::Zones;

/// A Tuesday, 12:00 UTC.
pub(super) const NOW: Timestamp = Timestamp(1_773_144_000_000);

pub(super) const HOUR: Duration = Duration::from_secs(3_600);

pub(super) fn zones() -> &'static Zones {
    static ZONES: LazyLock<Zones> = LazyLock::new(Zones::bundled);
    &ZONES
}

pub(super) fn at(rfc3339: &str) -> Timestamp {
    rfc3339.parse::<jiff::Timestamp>().unwrap().into()
}

/// Happened a minute ago.
pub(super) fn event<'a>() -> Event<'a> {
    Event {
        id: "e-1",
        source: "shop/orders",
        kind: "order.shipped",
        time: NOW.minus(Duration::from_secs(60)),
        tenant: "acme",
        category: "orders",
        priority: Priority::Normal,
        recipients: vec!["ada"],
        audience: None,
        channels: None,
        template: None,
        data: r#"{"order": 7}"#,
        locale: None,
        not_before: None,
        expires_at: None,
        collapse_key: None,
    }
}

/// E-mail and Telegram by default, webhooks for those who choose them, at most a day old.
pub(super) fn category() -> CategoryPolicy {
    CategoryPolicy {
        allowed: vec![Channel::Email, Channel::Telegram, Channel::Webhook],
        default: vec![Channel::Email, Channel::Telegram],
        mandatory: false,
        max_age: 24 * HOUR,
        template: "message".to_owned(),
        templates: BTreeMap::new(),
        ordering: Ordering::Relaxed,
        max_attempts: 8,
        fallback: Vec::new(),
    }
}

pub(super) fn mandatory() -> CategoryPolicy {
    CategoryPolicy { mandatory: true, ..category() }
}

pub(super) fn policy() -> Policy {
    let categories = [("orders".to_owned(), category()), ("security".to_owned(), mandatory())];
    Policy { version: "p-1".to_owned(), categories: categories.into(), default: None }
}

pub(super) fn endpoint(channel: Channel, address: &str, verified: bool) -> Endpoint<'_> {
    Endpoint { channel: Open::Known(channel), address, verified, label: None }
}

/// Reachable by e-mail and Telegram, with no wish of her own.
pub(super) fn ada<'a>() -> Preferences<'a> {
    Preferences {
        tenant: "acme",
        user_id: "ada",
        locale: "en",
        timezone: "Europe/Berlin",
        endpoints: vec![endpoint(Channel::Email, "ada@example.org", true), endpoint(Channel::Telegram, "1815", true)],
        channels: SmallMap::default(),
        categories: SmallMap::default(),
        quiet_hours: Vec::new(),
        paused_until: None,
        version: 3,
        updated_at: Timestamp(0),
        updated_by: "test",
    }
}

/// What the router writes of [`event`] for one endpoint.
pub(super) fn outbound<'a>(channel: Channel, address: &'a str) -> Outbound<'a> {
    let event = event();
    Outbound {
        notification_id: NotificationId::derive("acme", event.source, event.id, "ada", channel.as_str(), address, ""),
        event_id: event.id,
        source: event.source,
        kind: event.kind,
        event_time: event.time,
        tenant: event.tenant,
        user_id: "ada",
        category: event.category,
        priority: event.priority,
        channel: Open::Known(channel),
        address,
        locale: "en",
        timezone: "Europe/Berlin",
        template: "message",
        data: event.data,
        collapse_key: None,
        not_before: None,
        expires_at: None,
        decided_at: NOW,
        policy_version: "p-1",
        replay_id: None,
        siblings: Vec::new(),
        fallback: Vec::new(),
        fallback_of: None,
    }
}
