//! The records of `notify.inputs`: what the router knows of what it reads. JSON under a text key, compacted.
//!
//! | key | says |
//! |---|---|
//! | `group/<group>` | this group has begun here: what it has no offset for is new to it, not everything |
//! | `known/<group>/<topic>/<partition>` | its offset was committed once: without one it is lost, not new |
//! | `hold/<group>/<topic>` | nothing more is taken from the topic; a tombstone lets it go on |

use serde::{Deserialize, Serialize};

/// A key of `notify.inputs`. Groups and topics never hold a `/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum InputKey {
    /// A group that has begun.
    Group(String),
    /// A partition whose offset was committed once.
    Known {
        /// The consumer group, prefix included.
        group: String,
        /// The topic, prefix included.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// A topic that is held.
    Hold {
        /// The consumer group, prefix included.
        group: String,
        /// The topic, prefix included.
        topic: String,
    },
}

impl InputKey {
    /// The partition of a group.
    pub fn known(group: &str, topic: &str, partition: i32) -> Self {
        InputKey::Known { group: group.to_owned(), topic: topic.to_owned(), partition }
    }

    /// The topic of a group.
    pub fn hold(group: &str, topic: &str) -> Self {
        InputKey::Hold { group: group.to_owned(), topic: topic.to_owned() }
    }

    /// Reads a key; `None` for one that is none of these.
    pub fn parse(key: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(key).ok()?.split('/');
        let mut next = || parts.next().filter(|part| !part.is_empty()).map(str::to_owned);
        let parsed = match next()?.as_str() {
            "group" => InputKey::Group(next()?),
            "known" => InputKey::Known { group: next()?, topic: next()?, partition: next()?.parse().ok()? },
            "hold" => InputKey::Hold { group: next()?, topic: next()? },
            _ => return None,
        };
        parts.next().is_none().then_some(parsed)
    }
}

impl std::fmt::Display for InputKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            InputKey::Group(group) => write!(f, "group/{group}"),
            InputKey::Known { group, topic, partition } => write!(f, "known/{group}/{topic}/{partition}"),
            InputKey::Hold { group, topic } => write!(f, "hold/{group}/{topic}"),
        }
    }
}

/// The value of `group/<group>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// RFC 3339.
    pub since: String,
}

/// The value of `known/<group>/<topic>/<partition>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The id that the topic got when it was created: another one is another topic of the same name.
    pub topic_id: String,
    /// The id of `notify.inputs` when this was written: another one means that records were copied to where they tell
    /// nothing about this cluster's topics.
    pub register_id: String,
    /// RFC 3339: when its first offset was committed.
    pub since: String,
    /// That offset.
    pub start: i64,
}

/// The value of `hold/<group>/<topic>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// RFC 3339.
    pub since: String,
    /// Who holds it: an operator, or `router` and the shard that saw too many dead letters.
    pub by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Records of the window that went to the dead letters.
    #[serde(default)]
    pub dead: u64,
    /// Records of the window.
    #[serde(default)]
    pub seen: u64,
}

impl Hold {
    /// Reads a value. One that cannot be read (a newer version, or someone's hand, wrote it) holds all the same.
    pub fn read(value: &[u8]) -> Self {
        serde_json::from_slice(value).unwrap_or_else(|_| Hold {
            since: String::new(),
            by: "a record that cannot be read".to_owned(),
            reason: None,
            dead: 0,
            seen: 0,
        })
    }
}

impl Known {
    /// Reads a value. One that cannot be read says that the partition is known, and nothing of it fits.
    pub fn read(value: &[u8]) -> Self {
        serde_json::from_slice(value).unwrap_or_else(|_| Known {
            topic_id: String::new(),
            register_id: String::new(),
            since: String::new(),
            start: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(InputKey::Group("acme.router".to_owned()), "group/acme.router")]
    #[case(InputKey::known("g", "notify.events.shop", 3), "known/g/notify.events.shop/3")]
    #[case(InputKey::hold("g", "notify.events.shop"), "hold/g/notify.events.shop")]
    fn a_key_survives_its_text(#[case] key: InputKey, #[case] text: &str) {
        assert_eq!(key.to_string(), text);
        assert_eq!(InputKey::parse(text.as_bytes()), Some(key));
    }

    #[rstest]
    #[case("")]
    #[case("group/")]
    #[case("group/a/b")]
    #[case("known/g/t/x")]
    #[case("known/g/t")]
    #[case("other/g")]
    fn anything_else_is_no_key(#[case] text: &str) {
        assert_eq!(InputKey::parse(text.as_bytes()), None);
    }
}
