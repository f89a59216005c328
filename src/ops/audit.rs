//! `notify.audit`: what an operator changed, when and why.

use serde_json::Value;

use super::session::{OpsError, Session};
use crate::kafka::producer::{Outgoing, Producer};
pub use crate::model::{Action, AuditRecord};

/// Writes an audit record and waits for it.
///
/// # Errors
/// When it cannot be written: then the action must not be taken.
pub async fn record(
    session: &Session,
    producer: &Producer,
    action: Action,
    target: &str,
    reason: Option<&str>,
    details: Value,
) -> Result<(), OpsError> {
    let audit = AuditRecord {
        at: session.clock.now().to_string(),
        who: session.actor.clone(),
        action,
        target: target.to_owned(),
        reason: reason.map(str::to_owned),
        details,
    };
    let value = serde_json::to_vec(&audit).map_err(|error| OpsError::Refused(error.to_string()))?;
    let topic = session.topics.audit();
    let record =
        Outgoing { topic: &topic, key: Some(audit.who.as_bytes()), value: Some(&value), ..Outgoing::default() };
    producer.send(record).await?;
    Ok(())
}
