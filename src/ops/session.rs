//! What operators' commands share: configuration, names, time, and records as the registry's schemas write them.
//!
//! Nothing connects before it is needed: a command that reads topics only never asks the registry for ids.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::task::JoinError;

use crate::config::{Config, Kafka};
use crate::kafka::admin::AdminError;
use crate::kafka::producer::ProduceError;
use crate::kafka::reader::{self, ReadError, Record, Scan};
use crate::model::Topics;
use crate::registry::{Registry, RegistryError, RegistrySchemas};
use crate::telemetry::clock::Clock;
use crate::wire::{Encoders, Records, WireError};

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum OpsError {
    /// The cluster.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// A topic cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record cannot be written.
    #[error(transparent)]
    Produce(#[from] ProduceError),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A record cannot be made or understood.
    #[error("{what}: {source}")]
    Wire {
        /// Which record.
        what: String,
        /// Why.
        source: WireError,
    },
    /// What was asked for cannot be done.
    #[error("{0}")]
    Refused(String),
    /// The work itself broke down.
    #[error("the command's own work broke down: {0}; run it again with --verbose and report it")]
    Broken(#[from] JoinError),
}

/// What a command works with; cheap to clone.
#[derive(Clone)]
pub struct Session {
    /// All of the configuration.
    pub config: Arc<Config>,
    /// Names and their prefix.
    pub topics: Topics,
    /// Time.
    pub clock: Clock,
    /// Who acts, for audit records: an operator or a service.
    pub actor: String,
    registry: Registry,
    schemas: Arc<RegistrySchemas>,
}

impl Session {
    /// Makes the clients; connects to nothing. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the registry's settings cannot be used.
    pub fn new(config: Arc<Config>, clock: Clock, actor: String) -> Result<Self, OpsError> {
        let registry = Registry::new(&config.registry)?;
        let schemas = Arc::new(RegistrySchemas::new(registry.clone(), tokio::runtime::Handle::current()));
        let topics = Topics::new(&config.kafka.topic_prefix);
        Ok(Session { config, topics, clock, actor, registry, schemas })
    }

    /// How to reach Kafka.
    pub fn kafka(&self) -> &Kafka {
        &self.config.kafka
    }

    /// The registry's client.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A reader of records; it may block and belongs on a blocking thread.
    pub fn records(&self) -> Records {
        Records::new(self.schemas.clone())
    }

    /// Encoders under the registered ids.
    ///
    /// # Errors
    /// When the registry does not answer or our schemas are not registered.
    pub async fn encoders(&self) -> Result<Encoders, OpsError> {
        Ok(Encoders::new(self.registry.writer_ids().await?))
    }

    /// Runs blocking work (scans, decoding) where it may block.
    ///
    /// # Errors
    /// The work's own.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Session) -> Result<T, OpsError> + Send + 'static,
    ) -> Result<T, OpsError> {
        let session = self.clone();
        tokio::task::spawn_blocking(move || work(&session)).await?
    }

    /// Reads a topic on this thread; see [`reader::scan`].
    ///
    /// # Errors
    /// When it cannot be read to its end.
    pub fn scan(&self, scan: Scan<'_>, each: impl FnMut(Record) -> ControlFlow<()>) -> Result<(), OpsError> {
        Ok(reader::scan(self.kafka(), scan, each)?)
    }
}

/// A place in a topic, as `topic[partition]@offset`.
pub fn place(topic: &str, partition: i32, offset: i64) -> String {
    format!("{topic}[{partition}]@{offset}")
}
