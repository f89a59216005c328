//! Addresses as keys of the suppression list: HMAC-SHA256 under the operator's secret.

use std::borrow::Cow;
use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::config;
use crate::model::{Channel, suppression_key};

/// A shorter secret could be guessed, and with it every address that is not secret itself.
const SHORTEST: usize = 16;

/// What a key's own name is made from.
const NAME: &[u8] = b"notilog suppression key";

/// A key that is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}: a key needs at least {SHORTEST} bytes, best of randomness, as `openssl rand -hex 32` makes them")]
pub struct KeyError(String);

/// Makes keys of the suppression list.
#[derive(Clone)]
pub struct Hashes {
    current: Secret,
    previous: Vec<Secret>,
}

/// A key, and which secret it was made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedKey {
    /// `tenant/channel/HMAC(address)`.
    pub key: String,
    /// Names the secret.
    pub key_id: String,
}

#[derive(Clone)]
struct Secret {
    mac: Hmac<Sha256>,
    id: String,
}

impl Hashes {
    /// With the configured secrets; `None` when there is none, and so no list.
    ///
    /// # Errors
    /// [`KeyError`] names a secret that is too short.
    pub fn new(config: &config::Suppressions) -> Result<Option<Self>, KeyError> {
        let Some(current) = &config.key else { return Ok(None) };
        let current = Secret::new("suppressions.key", current)?;
        let previous = config.previous_keys.iter();
        let previous =
            previous.map(|(name, secret)| Secret::new(&format!("suppressions.previous_keys.{name}"), secret));
        Ok(Some(Hashes { current, previous: previous.collect::<Result<_, _>>()? }))
    }

    /// The key to write an address under.
    pub fn key(&self, tenant: &str, channel: Channel, address: &str) -> NamedKey {
        self.current.key(tenant, channel, &same(channel, address))
    }

    /// Every key that an address may stand under: the current secret's first, then those of earlier ones.
    pub fn keys(&self, tenant: &str, channel: Channel, address: &str) -> impl Iterator<Item = NamedKey> {
        let address = same(channel, address);
        std::iter::once(&self.current).chain(&self.previous).map(move |secret| secret.key(tenant, channel, &address))
    }

    /// The names of the secrets, the current one's first.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.current).chain(&self.previous).map(|secret| secret.id.as_str())
    }
}

impl std::fmt::Debug for Hashes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hashes").field("current", &self.current.id).finish_non_exhaustive()
    }
}

impl Secret {
    fn new(name: &str, secret: &config::Secret) -> Result<Self, KeyError> {
        let bytes = secret.reveal().as_bytes();
        let mac = Hmac::<Sha256>::new_from_slice(bytes).ok().filter(|_| bytes.len() >= SHORTEST);
        let mac = mac.ok_or_else(|| KeyError(name.to_owned()))?;
        let id = hex(&mac.clone().chain_update(NAME).finalize().into_bytes()[..4]);
        Ok(Secret { mac, id })
    }

    /// Tenant and channel are part of what is hashed, so that the same address looks different in two of them.
    fn key(&self, tenant: &str, channel: Channel, address: &str) -> NamedKey {
        let mut mac = self.mac.clone();
        for part in [tenant, channel.as_str(), address] {
            mac.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            mac.update(part.as_bytes());
        }
        let hash = hex(&mac.finalize().into_bytes());
        NamedKey { key: suppression_key(tenant, channel, &hash), key_id: self.id.clone() }
    }
}

/// One spelling for what reaches the same place: e-mail addresses in small letters (no provider of note tells `Ada`
/// from `ada`), phone numbers without what makes them readable. Everything else counts as it is written.
fn same(channel: Channel, address: &str) -> Cow<'_, str> {
    let address = address.trim();
    match channel {
        Channel::Email => Cow::Owned(address.to_lowercase()),
        Channel::Sms => Cow::Owned(address.chars().filter(|c| !" -().".contains(*c)).collect()),
        _ => Cow::Borrowed(address),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn hashes(key: &str, previous: &[&str]) -> Hashes {
        let previous = previous.iter().enumerate();
        let settings = config::Suppressions {
            key: Some(config::Secret::new(key)),
            previous_keys: previous.map(|(n, key)| (n.to_string(), config::Secret::new(*key))).collect(),
        };
        Hashes::new(&settings).unwrap().unwrap()
    }

    #[test]
    fn the_same_address_has_the_same_key_for_ever() {
        let key = hashes("0123456789abcdef", &[]).key("default", Channel::Email, "ada@example.org");
        // Made with Python: hmac.new(b"0123456789abcdef", msg, "sha256"), msg being each part after its length.
        let expected = "default/email/7652ff247fb38830de09ce8dc04cedd38b848e9b20c2d978f55d22e70762d0d9";
        assert_eq!(key.key, expected);
    }

    #[rstest]
    #[case::letters(Channel::Email, "Ada@Example.ORG", "ada@example.org", true)]
    #[case::spaces(Channel::Email, " ada@example.org ", "ada@example.org", true)]
    #[case::phone(Channel::Sms, "+1 (555) 010-0100", "+15550100100", true)]
    #[case::tokens_are_not_words(Channel::Push, "AbC", "abc", false)]
    #[case::paths_are_not_words(Channel::Webhook, "https://x.example/A", "https://x.example/a", false)]
    fn spellings_of_one_place_are_one(
        #[case] channel: Channel,
        #[case] one: &str,
        #[case] other: &str,
        #[case] same: bool,
    ) {
        let hashes = hashes("0123456789abcdef", &[]);
        assert_eq!(hashes.key("t", channel, one) == hashes.key("t", channel, other), same);
    }

    #[test]
    fn tenants_and_channels_do_not_see_each_others_entries() {
        let hashes = hashes("0123456789abcdef", &[]);
        let last = |key: NamedKey| key.key.rsplit('/').next().unwrap().to_owned();
        let one = last(hashes.key("acme", Channel::Sms, "1"));
        assert_ne!(one, last(hashes.key("other", Channel::Sms, "1")));
        assert_ne!(one, last(hashes.key("acme", Channel::Telegram, "1")));
    }

    #[test]
    fn after_a_rotation_the_old_entries_are_still_found() {
        let old = hashes("the old secret, long", &[]).key("t", Channel::Push, "token");
        let rotated = hashes("the new secret, long", &["the old secret, long"]);
        let keys: Vec<NamedKey> = rotated.keys("t", Channel::Push, "token").collect();
        assert_eq!(keys.len(), 2);
        assert_eq!(keys[1], old);
        assert_ne!(rotated.key("t", Channel::Push, "token"), old, "new ones are written under the new secret");
        assert_eq!(rotated.key_ids().nth(1), Some(old.key_id.as_str()));
    }

    #[test]
    fn a_short_secret_is_refused_by_its_name_alone() {
        let short = |key: &str, previous: BTreeMap<String, config::Secret>| {
            let settings = config::Suppressions { key: Some(config::Secret::new(key)), previous_keys: previous };
            Hashes::new(&settings).unwrap_err().to_string()
        };
        let error = short("hunter2", BTreeMap::new());
        assert!(error.starts_with("suppressions.key: ") && !error.contains("hunter2"), "{error}");
        let previous = BTreeMap::from([("2024".to_owned(), config::Secret::new("hunter3"))]);
        assert!(short("0123456789abcdef", previous).starts_with("suppressions.previous_keys.2024: "));
    }

    #[test]
    fn without_a_secret_there_is_no_list() {
        let none = config::Suppressions { key: None, previous_keys: BTreeMap::new() };
        assert!(Hashes::new(&none).unwrap().is_none());
    }

    proptest! {
        #[test]
        fn no_key_holds_the_address(address in "[a-z0-9]{6,20}", tenant in "[A-Z]{1,5}") {
            let key = hashes("0123456789abcdef", &[]).key(&tenant, Channel::Push, &address);
            prop_assert!(!key.key.contains(&address));
        }
    }
}
