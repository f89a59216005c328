//! Writers' schemas by id, for threads that wait for them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::RwLock;
use tokio::runtime::{Handle, RuntimeFlavor};

use super::Registry;
use crate::telemetry::clock::steady_now;
use crate::wire::{SchemaError, SchemaId, SchemaSource, WriterSchema};

/// A schema that the registry does not have may be registered the next moment.
const UNKNOWN_FOR: Duration = Duration::from_secs(5);

/// Strangers choose the ids: no more unknown ones than this are remembered.
const MAX_UNKNOWN: usize = 10_000;

/// Fetches writers' schemas from the registry and keeps them for ever; "there is none" is kept for seconds, and
/// "cannot be asked" not at all. Shared by all threads.
pub struct RegistrySchemas {
    registry: Registry,
    runtime: Handle,
    known: RwLock<HashMap<SchemaId, Known>>,
}

#[derive(Clone)]
enum Known {
    Schema(Arc<WriterSchema>),
    Unusable(String),
    UnknownUntil(Instant),
}

impl RegistrySchemas {
    /// Look-ups run on `runtime`, which must have been built with I/O and time.
    pub fn new(registry: Registry, runtime: Handle) -> Self {
        RegistrySchemas { registry, runtime, known: RwLock::default() }
    }

    fn remembered(&self, id: SchemaId) -> Option<Result<Arc<WriterSchema>, SchemaError>> {
        match self.known.read().get(&id)? {
            Known::Schema(schema) => Some(Ok(Arc::clone(schema))),
            Known::Unusable(why) => Some(Err(SchemaError::Unusable { id, why: why.clone() })),
            Known::UnknownUntil(until) => (steady_now() < *until).then_some(Err(SchemaError::Unknown(id))),
        }
    }

    fn fetch(&self, id: SchemaId) -> Result<Known, SchemaError> {
        let unavailable = |why: String| SchemaError::Unavailable { id, why };
        let fetch = self.registry.schema(id);
        let answer = match Handle::try_current().map(|current| current.runtime_flavor()) {
            // An OS thread: the normal case.
            Err(_) => self.runtime.block_on(fetch),
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(|| self.runtime.block_on(fetch)),
            Ok(_) => return Err(unavailable("a single-threaded runtime cannot wait for the registry".to_owned())),
        };
        match answer {
            Ok((text, references)) => Ok(match WriterSchema::parse(&text, &references) {
                Ok(schema) => Known::Schema(Arc::new(schema)),
                Err(why) => Known::Unusable(why),
            }),
            Err(error) if error.is_not_found() => Ok(Known::UnknownUntil(steady_now() + UNKNOWN_FOR)),
            Err(error) => Err(unavailable(error.to_string())),
        }
    }

    fn remember(&self, id: SchemaId, answer: Known) {
        let mut known = self.known.write();
        if known.len() >= MAX_UNKNOWN {
            known.retain(|_, known| !matches!(known, Known::UnknownUntil(_)));
        }
        known.insert(id, answer);
    }
}

impl SchemaSource for RegistrySchemas {
    fn schema(&self, id: SchemaId) -> Result<Arc<WriterSchema>, SchemaError> {
        if let Some(remembered) = self.remembered(id) {
            return remembered;
        }
        let answer = self.fetch(id)?;
        self.remember(id, answer.clone());
        match answer {
            Known::Schema(schema) => Ok(schema),
            Known::Unusable(why) => Err(SchemaError::Unusable { id, why }),
            Known::UnknownUntil(_) => Err(SchemaError::Unknown(id)),
        }
    }
}

impl std::fmt::Debug for RegistrySchemas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistrySchemas").field("registry", &self.registry).finish_non_exhaustive()
    }
}
