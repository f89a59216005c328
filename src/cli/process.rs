//! What the roles share: telemetry, signals, schemas, and one way to end.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Exit, Failure, Global, progress};
use crate::config::Config;
use crate::join::PreferencesTable;
use crate::model::Policy;
use crate::ops::doctor::fallback_warning;
use crate::policy;
use crate::registry::{Registry, RegistrySchemas};
use crate::telemetry::clock::Clock;
use crate::telemetry::health::{Condition, Readiness};
use crate::telemetry::{http, metrics};
use crate::wire::{SchemaSource, WriterIds};

/// Between two tries to reach a registry that is down at start.
const REGISTRY_PAUSE: Duration = Duration::from_secs(2);
/// The exit code of a process that a second signal ended, as shells report it for SIGINT.
const INTERRUPTED: i32 = 130;

/// A process that runs roles.
pub(super) struct Process {
    pub(super) config: Arc<Config>,
    pub(super) policy: Policy,
    pub(super) schemas: Arc<dyn SchemaSource>,
    pub(super) writer_ids: WriterIds,
    pub(super) preferences: PreferencesTable,
    pub(super) clock: Clock,
    pub(super) readiness: Readiness,
    pub(super) stop: CancellationToken,
    /// Holds readiness back until the roles have named their own conditions.
    roles: Condition,
    server: http::Server,
}

/// A role under way: it ends when the process is told to stop, or with what went wrong.
pub(super) type Role = (&'static str, Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>);

impl Process {
    /// Starts telemetry and waits for the schemas; `None` when told to stop before they came.
    pub(super) async fn start(global: &Global) -> Result<Option<Process>, Failure> {
        let config = global.role()?;
        let policy = policy::load(&config.policies.dir)?;
        if let Some(warning) = fallback_warning(&config, &policy) {
            tracing::warn!("{warning}; set receipts.enabled, and run `notilog receipts` or `notilog up`");
        }
        let exposition = metrics::install()?;
        let (readiness, stop) = (Readiness::default(), CancellationToken::new());
        stop_on_signals(stop.clone())?;
        let (registered, roles) = (readiness.condition("schemas"), readiness.condition("roles"));
        // Health outlives the roles: it is stopped last.
        let server =
            http::serve(config.telemetry.listen, readiness.clone(), exposition, CancellationToken::new()).await?;
        tracing::info!(address = %server.address, "metrics and health are served");
        let registry = Registry::new(&config.registry)?;
        let schemas = Arc::new(RegistrySchemas::new(registry.clone(), tokio::runtime::Handle::current()));
        let Some(writer_ids) = writer_ids(&registry, &registered, &stop).await? else { return Ok(None) };
        let clock = Clock::system();
        let preferences = PreferencesTable::default();
        Ok(Some(Process { config, policy, schemas, writer_ids, preferences, clock, readiness, stop, roles, server }))
    }

    /// Runs roles until all have ended. The first that fails stops the others.
    pub(super) async fn run(self, roles: Vec<Role>) -> Result<Exit, Failure> {
        self.roles.ready();
        let mut running = tokio::task::JoinSet::new();
        let shown = tokio::spawn(progress::show_restore(self.preferences.clone()));
        for (name, role) in roles {
            tracing::info!(role = name, "starts");
            running.spawn(async move { (name, role.await) });
        }
        let mut failures = Vec::new();
        while let Some(ended) = running.join_next().await {
            match ended {
                Ok((name, Ok(()))) => tracing::info!(role = name, "ended"),
                Ok((name, Err(failure))) => failures.push(format!("{name} ended: {failure}")),
                Err(error) => failures.push(format!("a role broke down: {error}")),
            }
            // One role that ends by itself, well or not, is not what was asked for.
            self.stop.cancel();
        }
        shown.abort();
        drop(self.server);
        if failures.is_empty() { Ok(Exit::Done) } else { Err(Failure::Failed(failures.join("\n"))) }
    }
}

/// The ids to write with. A registry that is down is waited for, as Kafka would be; schemas that it does not have, and
/// a login that it refuses, are an error: nobody else will mend them.
async fn writer_ids(
    registry: &Registry,
    registered: &Condition,
    stop: &CancellationToken,
) -> Result<Option<WriterIds>, Failure> {
    loop {
        match registry.writer_ids().await {
            Ok(ids) => {
                registered.ready();
                return Ok(Some(ids));
            }
            Err(error) if error.is_lasting() => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "waiting for the schema registry");
                registered.not_ready("the schema registry does not answer");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(REGISTRY_PAUSE) => {}
        }
    }
}

/// The first Ctrl-C or SIGTERM asks for a graceful end, the second ends the process at once.
fn stop_on_signals(stop: CancellationToken) -> Result<(), Failure> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        next().await;
        tracing::info!("stopping: work under way is finished; a second signal ends the process at once");
        stop.cancel();
        next().await;
        tracing::warn!("ended by a second signal");
        super::exit::leave(INTERRUPTED);
    });
    Ok(())
}
