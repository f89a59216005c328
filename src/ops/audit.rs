//! `notify.audit`: what an operator changed, when and why.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::session::{OpsError, Session};
use crate::kafka::producer::{Outgoing, Producer};

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Preferences were written.
    PrefsSet,
    /// Preferences were imported.
    PrefsImport,
    /// A recipient was erased.
    PrefsErase,
    /// Dead letters were put back.
    DlqRedrive,
    /// An address was put on the suppression list.
    SuppressionsAdd,
    /// An address was taken off it.
    SuppressionsLift,
    /// Topics were created or changed.
    TopicsApply,
    /// Rights were granted or taken away.
    AclsApply,
}

/// A record of `notify.audit`: JSON, keyed by who acted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// RFC 3339.
    pub at: String,
    /// An operator or a service.
    pub who: String,
    /// What was done.
    pub action: Action,
    /// To what: a recipient's key, a topic.
    pub target: String,
    /// Why, as the operator said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What else the action has to remember; never an address.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

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
