//! What a command starts with: the configuration, logs, a session.

use std::sync::Arc;
use std::time::Duration;

use super::{Failure, Global};
use crate::config::{Config, LoadOptions, Loaded, actor_of, load_with_origins};
use crate::kafka::client::property_problems;
use crate::model::{Timestamp, parse_delay};
use crate::ops::documents::Moment;
use crate::ops::session::Session;
use crate::telemetry::clock::Clock;
use crate::telemetry::logs;

impl Global {
    fn options(&self) -> LoadOptions {
        LoadOptions::of_process(self.config.clone(), self.set.clone())
    }

    /// The configuration with where its values came from. A wrong one is wrong usage.
    pub(super) fn loaded(&self) -> Result<Loaded, Failure> {
        let loaded = load_with_origins(&self.options()).map_err(|errors| Failure::Usage(errors.to_string()))?;
        let problems = property_problems(&loaded.config.kafka);
        if problems.is_empty() {
            return Ok(loaded);
        }
        let lines: Vec<String> = problems
            .iter()
            .map(|(name, problem)| {
                format!("\n  {}: kafka.properties.\"{name}\": {problem}", loaded.origin_of_property(name))
            })
            .collect();
        Err(Failure::Usage(format!("the configuration has problems:{}", lines.concat())))
    }

    /// The configuration of a role, with its logs started.
    pub(super) fn role(&self) -> Result<Arc<Config>, Failure> {
        let config = self.loaded()?.config;
        logs::init(&config.telemetry)?;
        Ok(Arc::new(config))
    }

    /// Who acts.
    pub(super) fn actor(&self) -> String {
        self.actor.clone().unwrap_or_else(|| actor_of(&self.options().env))
    }

    /// What a short command works with.
    pub(super) fn session(&self) -> Result<Session, Failure> {
        let config = self.loaded()?.config;
        logs::init_command(self.verbose)?;
        let actor = self.actor();
        Ok(Session::new(Arc::new(config), Clock::system(), actor)?)
    }
}

/// `--since`: a moment, or how long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    At(Timestamp),
    Ago(Duration),
}

impl Since {
    pub(super) fn moment(self, now: Timestamp) -> Timestamp {
        match self {
            Since::At(at) => at,
            Since::Ago(ago) => now.minus(ago),
        }
    }
}

/// Reads `--since`.
pub(super) fn since(text: &str) -> Result<Since, String> {
    if let Ok(ago) = parse_delay(text) {
        return Ok(Since::Ago(ago));
    }
    text.parse()
        .map(|Moment(at)| Since::At(at))
        .map_err(|_| format!("`{text}` is neither a duration, as in `24h`, nor a moment, as in `2026-11-21T18:00:00Z`"))
}
