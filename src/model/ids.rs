//! Names that are computed, not chosen.

use compact_str::CompactString;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha1::Sha1;
use sha1::digest::{self, Digest};
use sha2::Sha256;
use uuid::Uuid;

use super::Channel;

/// The namespace of all notification ids: UUIDv5 of `notilog.v1` in the DNS namespace's manner, fixed for ever.
const NAMESPACE: Uuid = Uuid::from_u128(0x6e6f_7469_6c6f_675f_7631_5f6e_7331_0001);

/// What a component of a key may not contain as it is: `/` separates, `%` escapes, control characters never.
const COMPONENT: &AsciiSet = &CONTROLS.add(b'/').add(b'%').add(b' ');

/// One message to one endpoint: the same input gives the same id, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NotificationId(pub Uuid);

impl NotificationId {
    /// UUIDv5 (RFC 9562) over tenant, source, event id, user, channel, address and replay nonce, each preceded by
    /// its length so that no two inputs read the same.
    pub fn derive(
        tenant: &str,
        source: &str,
        event_id: &str,
        user_id: &str,
        channel: &str,
        address: &str,
        replay_nonce: &str,
    ) -> Self {
        // Not `Uuid::new_v5`: its SHA-1 does not use the processor's instructions, and this runs for every notification.
        let parts = [tenant, source, event_id, user_id, channel, address, replay_nonce];
        let digest = hashed::<Sha1>(NAMESPACE.as_bytes(), &parts);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        NotificationId(uuid::Builder::from_sha1_bytes(bytes).into_uuid())
    }

    /// The idempotency key of a run: the id itself for the first, UUIDv5 of it and the nonce for a redrive.
    pub fn for_run(self, redrive_nonce: Option<&str>) -> Uuid {
        redrive_nonce.map_or(self.0, |nonce| Uuid::new_v5(&self.0, nonce.as_bytes()))
    }
}

impl std::fmt::Display for NotificationId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for NotificationId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(NotificationId)
    }
}

impl Serialize for NotificationId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
        serializer.serialize_str(self.0.hyphenated().encode_lower(&mut buffer))
    }
}

impl<'de> Deserialize<'de> for NotificationId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&str>::deserialize(deserializer)?
            .parse()
            .map_err(|_| D::Error::custom("not a UUID where a notification id belongs"))
    }
}

/// The key of everything about a person: `tenant/user_id`, components percent-encoded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecipientKey(String);

impl RecipientKey {
    /// The key of one user of a tenant.
    pub fn new(tenant: &str, user_id: &str) -> Self {
        let mut key = RecipientKey::default();
        key.set(tenant, user_id);
        key
    }

    /// Makes this the key of another recipient, without a new allocation where the old one is large enough.
    pub fn set(&mut self, tenant: &str, user_id: &str) {
        self.0.clear();
        self.0.extend(utf8_percent_encode(tenant, COMPONENT));
        self.0.push('/');
        self.0.extend(utf8_percent_encode(user_id, COMPONENT));
    }

    /// As it stands in record keys.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Makes `key` the key of an event's decision: `tenant/source/event_id`, components percent-encoded.
pub fn event_key(key: &mut String, tenant: &str, source: &str, event_id: &str) {
    key.clear();
    key.extend(utf8_percent_encode(tenant, COMPONENT));
    key.push('/');
    key.extend(utf8_percent_encode(source, COMPONENT));
    key.push('/');
    key.extend(utf8_percent_encode(event_id, COMPONENT));
}

/// The key of an address on the suppression list, by its hash: `tenant/channel/hash`, the tenant percent-encoded.
pub fn suppression_key(tenant: &str, channel: Channel, hash: &str) -> String {
    format!("{}/{channel}/{hash}", utf8_percent_encode(tenant, COMPONENT))
}

/// The key of a provider's message in `notify.receipts` and its inbox: `provider/message_id`, percent-encoded. A
/// Message-ID counts with and without its angle brackets.
pub fn receipt_key(provider: &str, message_id: &str) -> String {
    let bare = message_id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(message_id);
    format!("{}/{}", utf8_percent_encode(provider, COMPONENT), utf8_percent_encode(bare, COMPONENT))
}

/// Names an endpoint in decisions without telling the address: the first 16 hex digits of SHA-256 over tenant,
/// user, channel and address. Short enough to take no memory from the heap.
pub fn endpoint_hash(tenant: &str, user_id: &str, channel: &str, address: &str) -> CompactString {
    let digest = hashed::<Sha256>(&[], &[tenant, user_id, channel, address]);
    let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
    let mut hex = [0; 16];
    for (two, byte) in hex.chunks_exact_mut(2).zip(digest) {
        two.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    CompactString::from_utf8_lossy(&hex)
}

/// What is hashed is seldom longer, and then takes no memory from the heap.
const SHORT: usize = 320;

/// Hashes a prefix and each part preceded by its length, so that no two inputs read the same; in one piece, because a
/// hash of many small ones costs twice as much.
fn hashed<D: Digest>(prefix: &[u8], parts: &[&str]) -> digest::Output<D> {
    let size = parts.iter().fold(prefix.len(), |size, part| size + 4 + part.len());
    let (mut short, mut long) = ([0; SHORT], Vec::new());
    let whole = match short.get_mut(..size) {
        Some(whole) => whole,
        None => {
            long.resize(size, 0);
            &mut long[..]
        }
    };
    let mut rest = &mut *whole;
    put(&mut rest, prefix);
    for part in parts {
        put(&mut rest, &u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        put(&mut rest, part.as_bytes());
    }
    D::digest(whole)
}

/// Copies to the beginning of what is left.
fn put(rest: &mut &mut [u8], bytes: &[u8]) {
    let (to, left) = std::mem::take(rest).split_at_mut(bytes.len());
    to.copy_from_slice(bytes);
    *rest = left;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_input_gives_the_same_id_for_ever() {
        let id = NotificationId::derive("default", "shop", "e-1", "ada", "email", "ada@example.org", "");
        assert_eq!(id, NotificationId::derive("default", "shop", "e-1", "ada", "email", "ada@example.org", ""));
        assert_eq!(id.0.get_version_num(), 5);
    }

    #[test]
    fn ids_and_hashes_stay_what_they_were() {
        let id = NotificationId::derive("default", "shop", "e-1", "ada", "email", "ada@example.org", "");
        let name = b"\0\0\0\x07default\0\0\0\x04shop\0\0\0\x03e-1\0\0\0\x03ada\0\0\0\x05email\0\0\0\x0fada@example.org\0\0\0\0";
        assert_eq!(id.0, Uuid::new_v5(&NAMESPACE, name));
        assert_eq!(endpoint_hash("default", "ada", "email", "ada@example.org"), "027e8711580ff98c");
    }

    #[test]
    fn a_long_name_is_hashed_as_a_short_one() {
        for length in [0, 200, SHORT - 54, SHORT - 53, SHORT - 52, SHORT, 5_000] {
            let address = "a".repeat(length);
            let id = NotificationId::derive("t", "s", "e", "u", "email", &address, "");
            let size = u32::try_from(length).unwrap().to_be_bytes();
            let name = [
                b"\0\0\0\x01t\0\0\0\x01s\0\0\0\x01e\0\0\0\x01u\0\0\0\x05email",
                &size[..],
                address.as_bytes(),
                b"\0\0\0\0",
            ];
            assert_eq!(id.0, Uuid::new_v5(&NAMESPACE, &name.concat()), "{length}");
        }
    }

    #[test]
    fn moving_a_letter_between_components_gives_another_id() {
        let one = NotificationId::derive("a", "bc", "e", "u", "email", "x", "");
        let other = NotificationId::derive("ab", "c", "e", "u", "email", "x", "");
        assert_ne!(one, other);
    }

    #[test]
    fn a_redrive_has_a_key_of_its_own() {
        let id = NotificationId::derive("a", "b", "e", "u", "email", "x", "");
        assert_eq!(id.for_run(None), id.0);
        assert_ne!(id.for_run(Some("n1")), id.for_run(Some("n2")));
    }

    #[test]
    fn a_message_id_is_one_with_and_without_its_brackets() {
        assert_eq!(receipt_key("smtp", "<a@b>"), "smtp/a@b");
        assert_eq!(receipt_key("smtp", "a@b"), "smtp/a@b");
        assert_ne!(receipt_key("a/b", "c"), receipt_key("a", "b/c"));
    }

    #[test]
    fn a_slash_in_a_user_id_cannot_reach_into_another_tenant() {
        assert_eq!(RecipientKey::new("acme/eu", "a%b").as_str(), "acme%2Feu/a%25b");
        assert_ne!(RecipientKey::new("a", "b/c"), RecipientKey::new("a/b", "c"));
    }
}
