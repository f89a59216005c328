//! Values that may grow: a string in Avro, a closed set in Rust, and `Other` for what a newer writer knows.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// A word of a vocabulary that may grow (channel, reason, verdict, state).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Open<'a, T> {
    /// A word this version knows.
    Known(T),
    /// A word from a newer or foreign writer, kept as it came.
    Other(&'a str),
}

impl<'a, T> Open<'a, T> {
    /// The known word, if it is one.
    pub fn known(self) -> Option<T> {
        match self {
            Open::Known(word) => Some(word),
            Open::Other(_) => None,
        }
    }
}

impl<'a, T: Copy + Into<&'static str>> Open<'a, T> {
    /// The word as it is written in records.
    pub fn as_str(&self) -> &'a str {
        match self {
            Open::Known(word) => (*word).into(),
            Open::Other(word) => word,
        }
    }
}

impl<T> From<T> for Open<'_, T> {
    fn from(word: T) -> Self {
        Open::Known(word)
    }
}

impl<T: Copy + Into<&'static str>> fmt::Display for Open<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<T: Copy + Into<&'static str>> Serialize for Open<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de: 'a, 'a, T: std::str::FromStr> Deserialize<'de> for Open<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = <&'a str>::deserialize(deserializer)?;
        Ok(word.parse().map_or(Open::Other(word), Open::Known))
    }
}

/// Declares a closed vocabulary: variants with their spelling in records, `as_str`, `FromStr`, `Display`,
/// `Serialize` (as the spelling), and `ALL`.
macro_rules! vocabulary {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            /// Every word, in the order of declaration.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The spelling in records, topics, metrics and on the command line.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }

        impl From<$name> for &'static str {
            fn from(word: $name) -> &'static str {
                word.as_str()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $($text => Ok($name::$variant),)+ _ => Err(()) }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(|()| {
                    let all: Vec<&str> = Self::ALL.iter().map(|word| word.as_str()).collect();
                    serde::de::Error::custom(format!("`{text}` is not one of {}", all.join(", ")))
                })
            }
        }
    };
}
pub(crate) use vocabulary;

/// A small map in the order it was written: one allocation, linear look-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmallMap<K, V>(pub Vec<(K, V)>);

impl<K, V> Default for SmallMap<K, V> {
    fn default() -> Self {
        SmallMap(Vec::new())
    }
}

impl<K: PartialEq, V> SmallMap<K, V> {
    /// The value of `key`; the last one written wins.
    pub fn get(&self, key: K) -> Option<&V> {
        self.0.iter().rev().find(|(k, _)| *k == key).map(|(_, v)| v)
    }
}

impl<K: Serialize, V: Serialize> Serialize for SmallMap<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for SmallMap<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<K, V>(PhantomData<(K, V)>);
        impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for Entries<K, V> {
            type Value = SmallMap<K, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::with_capacity(access.size_hint().unwrap_or(0).min(64));
                while let Some(entry) = access.next_entry()? {
                    entries.push(entry);
                }
                Ok(SmallMap(entries))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}
