//! `notify.inputs`: what the router knows of its inputs, held in memory and asked anew where it matters.
//!
//! What the table says is a moment old. That is enough for holds, and for a partition that is known; that something is
//! *not* there is believed only after the topic was read to its end, because "unknown" means "start at the earliest".

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::config;
use crate::kafka::reader::{self, ReadError, Scan};
use crate::kafka::{Entry, NotRestored, Table};
use crate::model::{Hold, InputKey, Known};

/// A handle to what is known; cheap to clone.
#[derive(Clone)]
pub struct Register {
    /// `notify.inputs`.
    pub topic: Arc<str>,
    /// The id that it got when it was created.
    pub id: Arc<str>,
    /// What it holds.
    pub table: Table,
    /// How to read it anew.
    pub kafka: Arc<config::Kafka>,
}

/// Which record of a key it is, so that a later one can be told from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark(Option<(i32, i64)>);

impl Register {
    /// What is known of a partition; nothing while the table is begun anew.
    pub fn known(&self, group: &str, topic: &str, partition: i32) -> Option<Known> {
        let key = InputKey::known(group, topic, partition).to_string();
        let known = self.table.get(key.as_bytes(), |entry| match entry {
            Entry::Present { value, .. } => Some(Known::read(value)),
            Entry::Absent | Entry::Erased { .. } => None,
        });
        known.ok().flatten()
    }

    /// The hold of a topic, and which record says so.
    ///
    /// # Errors
    /// While the table is begun anew: nobody can tell then that a topic is not held.
    pub fn hold(&self, group: &str, topic: &str) -> Result<(Option<Hold>, Mark), NotRestored> {
        self.table.get(InputKey::hold(group, topic).to_string().as_bytes(), |entry| match entry {
            Entry::Absent => (None, Mark(None)),
            Entry::Erased { partition, offset } => (None, Mark(Some((partition, offset)))),
            Entry::Present { value, partition, offset } => (Some(Hold::read(value)), Mark(Some((partition, offset)))),
        })
    }

    /// Whether the group is known to have begun.
    pub fn begun(&self, group: &str) -> bool {
        let key = InputKey::Group(group.to_owned()).to_string();
        self.table.get(key.as_bytes(), |entry| matches!(entry, Entry::Present { .. })).unwrap_or(false)
    }

    /// All of it, read to where the topic ends now. Blocks.
    ///
    /// # Errors
    /// [`ReadError`] when it cannot be read.
    pub fn read(&self) -> Result<Contents, ReadError> {
        let mut all = BTreeMap::new();
        reader::scan(&self.kafka, Scan { topic: &self.topic, ..Scan::default() }, |record| {
            if let Some(key) = record.key.as_deref().and_then(InputKey::parse) {
                match record.value {
                    Some(value) => drop(all.insert(key, value)),
                    None => drop(all.remove(&key)),
                }
            }
            ControlFlow::Continue(())
        })?;
        Ok(Contents(all))
    }
}

/// What the register held at a moment.
pub struct Contents(BTreeMap<InputKey, Vec<u8>>);

impl Contents {
    /// What is known of a partition.
    pub fn known(&self, group: &str, topic: &str, partition: i32) -> Option<Known> {
        self.0.get(&InputKey::known(group, topic, partition)).map(|value| Known::read(value))
    }

    /// Whether the group has begun.
    pub fn begun(&self, group: &str) -> bool {
        self.0.contains_key(&InputKey::Group(group.to_owned()))
    }
}
