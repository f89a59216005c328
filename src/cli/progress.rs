//! Long work: a bar on a terminal, a line of log now and then otherwise.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::join::PreferencesTable;

/// Every so many records a line of log, where there is no terminal.
const LOG_EVERY: u64 = 10_000;

/// Counts work done.
pub(super) struct Progress {
    what: &'static str,
    total: u64,
    done: u64,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn new(what: &'static str, total: usize) -> Self {
        let total = u64::try_from(total).unwrap_or(u64::MAX);
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {per_sec} {eta}");
            let bar = ProgressBar::new(total).with_message(what);
            if let Ok(style) = style { bar.with_style(style) } else { bar }
        });
        Progress { what, total, done: 0, bar }
    }

    pub(super) fn step(&mut self) {
        self.done += 1;
        match &self.bar {
            Some(bar) => bar.inc(1),
            None if self.done.is_multiple_of(LOG_EVERY) => {
                tracing::info!(done = self.done, total = self.total, "{}", self.what);
            }
            None => {}
        }
    }
}

/// Shows a bar while the preferences table is restored, on a terminal; the table's own lines of log tell otherwise.
pub(super) async fn show_restore(preferences: PreferencesTable) {
    const REDRAW: Duration = Duration::from_millis(100);
    if !std::io::stderr().is_terminal() {
        return;
    }
    let mut bar: Option<ProgressBar> = None;
    loop {
        match preferences.restoring() {
            Some(report) => {
                let bar = bar.get_or_insert_with(restore_bar);
                bar.set_length(report.total);
                bar.set_position(report.done);
                bar.set_message(report.to_string());
            }
            None => drop(bar.take().map(|bar| bar.finish_and_clear())),
        }
        tokio::time::sleep(REDRAW).await;
    }
}

fn restore_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    match ProgressStyle::with_template("preferences table {bar:20} {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
