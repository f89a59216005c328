//! What operators do: topics, schemas, dead letters, explanations, status, diagnosis.

pub mod explain;
pub mod schemas;
pub mod topics;
