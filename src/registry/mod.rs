//! The schema registry's client: fetches and registers schemas, checks compatibility.
//!
//! Invariant: a schema id that was answered once is never asked again (ids name contents, contents never change);
//! an answer that is not the registry's own (a proxy's 404, a timeout) never counts as "there is none".

mod client;
mod error;
mod source;

pub use client::{Compatibility, REQUIRED_LEVEL, Registry};
pub use error::RegistryError;
pub use source::RegistrySchemas;
