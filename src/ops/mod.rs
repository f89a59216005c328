//! What operators do: topics, schemas, dead letters, explanations, status, diagnosis.

pub mod audit;
pub mod decisions;
pub mod dlq;
pub mod doctor;
pub mod documents;
pub mod emit;
pub mod explain;
pub mod inbox;
pub mod inputs;
pub mod prefs;
pub mod schemas;
pub mod session;
pub mod status;
pub mod suppressions;
pub mod topics;
