//! The records of `notify.audit`: JSON, keyed by who acted.

use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    /// Items of an inbox were marked as read.
    InboxRead,
    /// Items of an inbox were put away.
    InboxArchive,
    /// Items of an inbox were taken away.
    InboxRemove,
    /// Topics were created or changed.
    TopicsApply,
    /// Rights were granted or taken away.
    AclsApply,
    /// An input topic was held.
    InputsHold,
    /// A held input topic goes on.
    InputsResume,
    /// The router went on from where an operator said, after its offsets were lost.
    RouterFrom,
}

/// Who did what, to what, when and why.
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
