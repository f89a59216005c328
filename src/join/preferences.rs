//! The preferences table of a process: begun by the first role that needs it, shared by all, restored before use.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Kafka};
use crate::kafka::table::Report;
use crate::kafka::{Table, TableError, TableGuard, TableSettings, TableState};
use crate::model::Topics;
use crate::telemetry::clock::Clock;
use crate::telemetry::health::Condition;

/// What metrics call the table.
const NAME: &str = "notify.preferences";
/// What they call the router's, when it holds a part of the topic only.
const PART_NAME: &str = "notify.preferences.part";
/// How often readiness is told of a restore.
const TELL: Duration = Duration::from_millis(20);
/// How often it is told of a table that is restored: it may have been begun anew.
const LOOK: Duration = Duration::from_millis(250);

/// Where the roles of a process find their one table; cheap to clone.
#[derive(Clone, Default)]
pub struct PreferencesTable(Arc<Mutex<Tables>>);

#[derive(Default)]
struct Tables {
    whole: Option<Shared>,
    /// The router's, when it holds a part of the topic only.
    part: Option<Table>,
}

/// A table that some role began; its threads live as long as one of them holds it.
struct Shared {
    table: Table,
    guard: Weak<TableGuard>,
}

/// A role's hold on the table.
pub struct Held {
    /// The table.
    pub table: Table,
    guard: Arc<TableGuard>,
    watch: JoinHandle<()>,
}

impl PreferencesTable {
    /// Takes hold of the table, which is begun if no role has it, and tells `restored` how far it is from here on. Must
    /// be called on a runtime.
    ///
    /// # Errors
    /// As [`Table::start`].
    pub fn hold(&self, config: &Config, clock: &Clock, restored: &Condition) -> Result<Held, TableError> {
        let whole = &mut self.0.lock().whole;
        let held = whole.as_ref().and_then(|shared| Some((shared.table.clone(), shared.guard.upgrade()?)));
        let (table, guard) = match held {
            Some(held) => held,
            None => {
                let (table, guard) = Table::start(&config.kafka, settings(config, clock, NAME))?;
                let guard = Arc::new(guard);
                *whole = Some(Shared { table: table.clone(), guard: Arc::downgrade(&guard) });
                (table, guard)
            }
        };
        Ok(Held::new(table, guard, restored))
    }

    /// Takes hold of a table of the router's alone, which holds only the partitions that its shards
    /// [want](Table::want). Otherwise as [`PreferencesTable::hold`].
    ///
    /// # Errors
    /// As [`Table::start`].
    pub fn hold_part(&self, config: &Config, clock: &Clock, restored: &Condition) -> Result<Held, TableError> {
        let settings = settings(config, clock, PART_NAME).in_part(&config.router.instance);
        let held = Held::start(&config.kafka, settings, restored)?;
        self.0.lock().part = Some(held.table.clone());
        Ok(held)
    }

    /// How far the restore of a table is that some role was given; `None` when none is being restored.
    pub fn restoring(&self) -> Option<Report> {
        let tables = self.0.lock();
        let whole = tables.whole.as_ref().map(|shared| &shared.table);
        whole.into_iter().chain(&tables.part).find_map(Table::restoring)
    }
}

fn settings(config: &Config, clock: &Clock, name: &str) -> TableSettings {
    let topic = Topics::new(&config.kafka.topic_prefix).preferences();
    TableSettings::new(topic, name, clock.clone()).kept_in(&config.state)
}

impl Held {
    /// Begins a table that nobody shares, and tells `restored` how far it is from here on. Must be called on a runtime.
    ///
    /// # Errors
    /// As [`Table::start`].
    pub fn start(kafka: &Kafka, settings: TableSettings, restored: &Condition) -> Result<Held, TableError> {
        let (table, guard) = Table::start(kafka, settings)?;
        Ok(Held::new(table, Arc::new(guard), restored))
    }

    fn new(table: Table, guard: Arc<TableGuard>, restored: &Condition) -> Held {
        let watch = tokio::spawn(tell(table.clone(), restored.clone()));
        Held { table, guard, watch }
    }

    /// Waits until the table is restored; false when stopped before.
    ///
    /// # Errors
    /// Why it never will be.
    pub async fn restored(&self, stop: &CancellationToken) -> Result<bool, String> {
        loop {
            match self.table.state() {
                TableState::Live { .. } => return Ok(true),
                TableState::Failed(why) => return Err(why),
                TableState::Restoring { .. } => {}
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(false),
                () = tokio::time::sleep(TELL) => {}
            }
        }
    }

    /// Lets the table go; the last role that does so waits for its threads, and for the snapshot that they write.
    pub async fn release(self) {
        self.watch.abort();
        let guard = self.guard;
        // Only a panic in a destructor is told by its result.
        let _ = tokio::task::spawn_blocking(move || drop(guard)).await;
    }
}

/// Tells readiness how far the table is, for ever.
async fn tell(table: Table, restored: Condition) {
    loop {
        let pause = match table.state() {
            TableState::Live { .. } => {
                restored.ready();
                LOOK
            }
            TableState::Failed(why) => return restored.not_ready(why),
            TableState::Restoring { .. } => {
                if let Some(report) = table.restoring() {
                    restored.not_ready(report.to_string());
                }
                TELL
            }
        };
        tokio::time::sleep(pause).await;
    }
}
