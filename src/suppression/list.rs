//! The list as a table: restored before anything is decided, and never far behind.

use std::sync::Arc;
use std::time::Duration;

use super::{Hashes, KeyError, NamedKey};
use crate::config;
use crate::kafka::{Entry, Table, TableError, TableGuard, TableSettings, TableState};
use crate::model::{Channel, Topics};
use crate::telemetry::clock::Clock;

/// Why the list cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A secret is too short.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Its table cannot be started.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// A handle to the list; cheap to clone.
#[derive(Clone, Default)]
pub struct SuppressionList(Option<Arc<Held>>);

struct Held {
    table: Table,
    hashes: Hashes,
}

impl SuppressionList {
    /// No list: nothing is suppressed.
    pub fn off() -> Self {
        SuppressionList(None)
    }

    /// Starts to read the list, if there is one; returns at once. The guard stops it.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(
        kafka: &config::Kafka,
        settings: &config::Suppressions,
        clock: Clock,
    ) -> Result<(Self, Option<TableGuard>), StartError> {
        let Some(hashes) = Hashes::new(settings)? else { return Ok((SuppressionList::off(), None)) };
        let topic = Topics::new(&kafka.topic_prefix).suppressions();
        let (table, guard) = Table::start(kafka, TableSettings::new(topic, "notify.suppressions", clock))?;
        Ok((SuppressionList(Some(Arc::new(Held { table, hashes }))), Some(guard)))
    }

    /// Whether there is a list.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether an address is on it, under the current secret or an earlier one.
    pub fn contains(&self, tenant: &str, channel: Channel, address: &str) -> bool {
        let Some(held) = &self.0 else { return false };
        // While it is begun anew nobody is known not to be on it. Whoever asks waits then; this is for the one who
        // asked a moment before.
        if held.table.rows() == 0 {
            return held.table.get(b"", |_| ()).is_err();
        }
        let is_there = |key: NamedKey| {
            held.table.get(key.key.as_bytes(), |entry| matches!(entry, Entry::Present { .. })).unwrap_or(true)
        };
        held.hashes.keys(tenant, channel, address).any(is_there)
    }

    /// The key to write an address under; `None` when there is no list.
    pub fn key(&self, tenant: &str, channel: Channel, address: &str) -> Option<NamedKey> {
        Some(self.0.as_ref()?.hashes.key(tenant, channel, address))
    }

    /// How far it is; at its end when there is none.
    pub fn state(&self) -> TableState {
        self.0.as_ref().map_or(TableState::Live { behind: Duration::ZERO }, |held| held.table.state())
    }

    /// The table behind it, if there is one.
    pub fn table(&self) -> Option<&Table> {
        self.0.as_ref().map(|held| &held.table)
    }
}
