//! What operators do: topics, schemas, dead letters, explanations, status, diagnosis.
