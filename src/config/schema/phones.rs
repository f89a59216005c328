//! The keys of providers that reach telephones: SMS and push.

use super::{Key, Kind, Shape, TEXT, http_url, may, must, network, not_empty};
use crate::config::Meaning;

const PARTS: Shape = Shape::Whole(1, 255);
const TIMEOUT: Shape = Shape::Delay(1);

pub(super) const SMS: &[Kind] = &[Kind { name: "http", keys: HTTP }, Kind { name: "smpp", keys: SMPP }];

const HTTP: &[Key] = &[
    may("preset", Shape::Choice(|| vec!["none", "twilio", "vonage"])),
    may("url", TEXT),
    may("check_url", TEXT),
    must("from", TEXT),
    may("account", TEXT),
    may("username", TEXT),
    may("password", Shape::Secret),
    may("token", Shape::Secret),
    may("headers", Shape::Map { of: &Shape::Secret, check_key: not_empty }),
    may("form", Shape::Map { of: &ANY, check_key: not_empty }),
    may("body", TEXT),
    may("callback_url", Shape::Text(http_url)),
    may("message_id", TEXT),
    may("error_code", TEXT),
    may("outcomes", Shape::Map { of: &Shape::Choice(meanings), check_key: not_empty }),
    may("max_parts", PARTS),
    may("ca_file", TEXT),
    may("timeout", TIMEOUT),
];

const SMPP: &[Key] = &[
    must("host", TEXT),
    may("port", Shape::Whole(1, 65_535)),
    may("tls", Shape::Flag),
    may("ca_file", TEXT),
    must("system_id", TEXT),
    must("password", Shape::Secret),
    may("system_type", ANY),
    must("from", TEXT),
    may("window", Shape::Whole(1, 10_000)),
    may("enquire_link", TIMEOUT),
    may("receipts", Shape::Flag),
    may("max_parts", PARTS),
    may("timeout", TIMEOUT),
];

pub(super) const PUSH: &[Kind] =
    &[Kind { name: "fcm", keys: FCM }, Kind { name: "apns", keys: APNS }, Kind { name: "webpush", keys: WEB_PUSH }];

const FCM: &[Key] = &[
    must("service_account", Shape::Secret),
    may("project", TEXT),
    may("api_url", Shape::Text(http_url)),
    may("timeout", TIMEOUT),
];

const APNS: &[Key] = &[
    must("key", Shape::Secret),
    must("key_id", TEXT),
    must("team_id", TEXT),
    must("topic", TEXT),
    may("api_url", Shape::Text(http_url)),
    may("ca_file", TEXT),
    may("timeout", TIMEOUT),
];

const WEB_PUSH: &[Key] = &[
    must("key", Shape::Secret),
    must("subject", TEXT),
    may("ttl", Shape::Delay(0)),
    may("allow_networks", Shape::List { of: &Shape::Text(network), min: 0 }),
    may("allow_http", Shape::Flag),
    may("timeout", TIMEOUT),
];

/// Text that may be empty.
const ANY: Shape = Shape::Text(|_| Ok(()));

fn meanings() -> Vec<&'static str> {
    Meaning::ALL.iter().map(|meaning| meaning.as_str()).collect()
}
