//! Begins a table with its snapshot, if there is one that can be trusted.
//!
//! Its rows are read while Kafka is asked about the topic, and judged when both are there: what is not trusted was in
//! memory for a moment, and nobody could ask for it.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::trust::judge;
use super::{Distrust, Header, Log, Store};
use crate::kafka::table::rows::Rows;
use crate::kafka::table::{Origin, Shared, TableSettings};
use crate::telemetry::clock::steady_now;
use crate::telemetry::metrics::table_snapshots;

/// A snapshot that is being read into an empty table.
pub(in crate::kafka::table) struct Recalling(JoinHandle<Result<Option<Header>, Distrust>>);

impl Recalling {
    /// Begins to read the snapshot, if there is one.
    pub(in crate::kafka::table) fn start(store: Store, shared: Arc<Shared>) -> std::io::Result<Self> {
        let load = move || load(&store, &shared);
        std::thread::Builder::new().name("table-recall".to_owned()).spawn(load).map(Recalling)
    }

    /// What the table begins with; `None` when there is no snapshot, or none to be trusted, and the table is empty.
    pub(in crate::kafka::table) fn settle(
        self,
        log: &Log,
        settings: &TableSettings,
        shared: &Shared,
    ) -> Option<Header> {
        let panicked = |_| Err(Distrust::Damaged("it makes no sense"));
        let loaded = self.0.join().unwrap_or_else(panicked);
        let judged = loaded.and_then(|header| match header {
            Some(header) => {
                judge(&header, log, settings.clock.now())?;
                drop_deleted(&shared.rows, log);
                match shared.rows.is_damaged() {
                    false => Ok(Some(header)),
                    true => Err(Distrust::Damaged("rows changed while they were read")),
                }
            }
            None => Ok(None),
        });
        match judged {
            Ok(None) => None,
            Ok(Some(header)) => {
                table_snapshots(&settings.name, "loaded").increment(1);
                Some(header)
            }
            Err(distrust) => {
                let topic = &settings.topic;
                tracing::warn!(topic, why = %distrust, "the table's snapshot is not used; the table is read from its topic");
                table_snapshots(&settings.name, distrust.label()).increment(1);
                shared.rows.clear();
                None
            }
        }
    }
}

fn load(store: &Store, shared: &Shared) -> Result<Option<Header>, Distrust> {
    let Some(found) = store.open()? else { return Ok(None) };
    let (progress, begun) = (&shared.progress, steady_now());
    let (as_of, rows) = (found.header().as_of, found.header().rows);
    progress.begins(Origin::Snapshot { as_of });
    progress.expect(rows);
    let header = found.load(&shared.rows, |read| progress.left(rows.saturating_sub(read)))?;
    let (rows, took) = (shared.rows.rows(), begun.elapsed());
    tracing::info!(topic = %header.identity.topic, rows, %as_of, ?took, "the table's snapshot was read");
    Ok(Some(header))
}

/// What was deleted from a log's beginning is not in the topic any more.
fn drop_deleted(rows: &Rows, log: &Log) {
    if log.bounds.iter().all(|(low, _)| *low == 0) {
        return;
    }
    rows.retain(|row| {
        let bounds = usize::try_from(row.partition).ok().and_then(|partition| log.bounds.get(partition));
        bounds.is_some_and(|(low, _)| row.offset >= *low)
    });
}
