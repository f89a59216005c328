//! Begins a table with its snapshot, if there is one that can be trusted.

use super::{Distrust, Found, Header, Log, Store};
use crate::kafka::table::{Origin, Shared, TableSettings};
use crate::telemetry::clock::steady_now;
use crate::telemetry::metrics::table_snapshots;

/// Fills an empty table from its snapshot; `None` when there is none, or none to be trusted, and the table is empty
/// still.
pub(in crate::kafka::table) fn recall(
    store: &Store,
    log: &Log,
    settings: &TableSettings,
    shared: &Shared,
) -> Option<Header> {
    let recalled = store.open().and_then(|found| found.map(|found| load(found, log, settings, shared)).transpose());
    match recalled {
        Ok(header) => header,
        Err(distrust) => {
            let topic = &settings.topic;
            tracing::warn!(topic, why = %distrust, "the table's snapshot is not used; the table is read from its topic");
            table_snapshots(&settings.name, distrust.label()).increment(1);
            shared.rows.clear();
            None
        }
    }
}

fn load(found: Found, log: &Log, settings: &TableSettings, shared: &Shared) -> Result<Header, Distrust> {
    found.judge(log, settings.clock.now())?;
    let (progress, begun) = (&shared.progress, steady_now());
    let (as_of, rows) = (found.header().as_of, found.header().rows);
    progress.begins(Origin::Snapshot { as_of });
    progress.expect(rows);
    let header = found.load(log, &shared.rows, |read| progress.left(rows.saturating_sub(read)))?;
    table_snapshots(&settings.name, "loaded").increment(1);
    let (topic, rows, took) = (&settings.topic, shared.rows.rows(), begun.elapsed());
    tracing::info!(topic, rows, %as_of, ?took, "the table begins with its snapshot");
    Ok(header)
}
