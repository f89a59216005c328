//! Long work: a bar on a terminal, a line of log now and then otherwise.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};

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

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
