//! Rights as the cluster keeps them (ACLs): list, grant, revoke; and what this client itself may do with a topic.
//!
//! Decides nothing: what a role needs is in `rights`, what to change in `ops::topics`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rdkafka::error::RDKafkaErrorCode;
use serde::{Deserialize, Serialize};

use super::admin::{Admin, AdminError};
use super::denied::{Denied, Right};
use super::native::{self, NativeError};

/// What may be done. Kafka lets Read, Write, Delete and Alter imply Describe, and AlterConfigs DescribeConfigs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Everything.
    All,
    /// Fetch from a topic; join and commit as a group.
    Read,
    /// Produce to a topic; use a transactional id.
    Write,
    /// Create topics.
    Create,
    /// Delete topics, groups or records.
    Delete,
    /// Change partitions or, on the cluster, rights.
    Alter,
    /// See that it is there, and where it ends.
    Describe,
    /// Act as a broker.
    ClusterAction,
    /// See settings.
    DescribeConfigs,
    /// Change settings.
    AlterConfigs,
    /// Produce idempotently; implied by Write on any topic since Kafka 3.0 (KIP-679).
    IdempotentWrite,
}

impl Operation {
    /// As `kafka-acls.sh` takes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Operation::All => "All",
            Operation::Read => "Read",
            Operation::Write => "Write",
            Operation::Create => "Create",
            Operation::Delete => "Delete",
            Operation::Alter => "Alter",
            Operation::Describe => "Describe",
            Operation::ClusterAction => "ClusterAction",
            Operation::DescribeConfigs => "DescribeConfigs",
            Operation::AlterConfigs => "AlterConfigs",
            Operation::IdempotentWrite => "IdempotentWrite",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What kind of thing a right is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Topics.
    Topic,
    /// Consumer groups.
    Group,
    /// The cluster itself; its one name is [`CLUSTER`].
    Cluster,
    /// Transactional ids of producers.
    TransactionalId,
}

/// The name of the one resource of kind [`Kind::Cluster`].
pub const CLUSTER: &str = "kafka-cluster";

/// How a right's name is meant (KIP-290).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// This very name; `*` stands for all.
    #[default]
    Literal,
    /// All names that begin so.
    Prefixed,
}

/// Whether a right allows or denies; what is denied stays so whatever else allows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Allows.
    Allow,
    /// Denies.
    Deny,
}

/// What a right is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Resource {
    /// What kind of thing.
    pub kind: Kind,
    /// Its name, or how its name begins.
    pub name: String,
    /// Which of the two.
    pub pattern: Pattern,
}

impl Resource {
    /// The thing of this very name.
    pub fn literal(kind: Kind, name: impl Into<String>) -> Self {
        Resource { kind, name: name.into(), pattern: Pattern::Literal }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (one, many) = match self.kind {
            Kind::Topic => ("topic", "topics"),
            Kind::Group => ("group", "groups"),
            Kind::Cluster => return f.write_str("the cluster"),
            Kind::TransactionalId => ("transactional id", "transactional ids"),
        };
        match self.pattern {
            Pattern::Literal => write!(f, "{one} `{}`", self.name),
            Pattern::Prefixed => write!(f, "{many} that begin with `{}`", self.name),
        }
    }
}

/// An entry of the cluster's list of rights.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Acl {
    /// Whose, as in `User:router`.
    pub principal: String,
    /// What it is about.
    pub resource: Resource,
    /// What may be done with it.
    pub operation: Operation,
    /// Or may not.
    pub permission: Permission,
    /// From where; `*` from anywhere.
    pub host: String,
}

impl Acl {
    /// Allows from anywhere.
    pub fn allow(principal: &str, resource: Resource, operation: Operation) -> Self {
        Acl {
            principal: principal.to_owned(),
            resource,
            operation,
            permission: Permission::Allow,
            host: "*".to_owned(),
        }
    }
}

/// What this client may do with a topic, as the broker tells (KIP-430).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// These, implied ones included.
    These(BTreeSet<Operation>),
    /// Not even to know whether it exists.
    Nothing,
    /// The broker does not tell: the topic is not there, or it knows no rights.
    Unknown,
}

impl Admin {
    /// All rights that the cluster keeps, except of kinds that this version does not know.
    ///
    /// # Errors
    /// [`AdminError`] when the cluster cannot be asked, keeps no rights, or this principal may not Describe it.
    pub fn acls(&self) -> Result<Vec<Acl>, AdminError> {
        self.reach()?;
        let failed = |error: NativeError| self.acl_error("list rights", &error);
        let acls = native::acl::describe(self.observer()).map_err(failed)?;
        if acls.is_empty() {
            self.check_empty()?;
        }
        Ok(acls)
    }

    /// librdkafka 2.12 takes a refused listing for an empty one: asks in other ways whether it was refused.
    fn check_empty(&self) -> Result<(), AdminError> {
        let failed = |error: NativeError| self.acl_error("list rights", &error);
        let Some(allowed) = native::acl::allowed_on_cluster(self.observer()).map_err(failed)? else { return Ok(()) };
        if !allowed.contains(&Operation::Describe) {
            return Err(AdminError::Denied(self.lacks_on_cluster(Operation::Describe)));
        }
        if allowed.contains(&Operation::Alter) {
            // Matches nothing, and is refused where no rights are kept.
            let nobody = Acl::allow("User:", Resource::literal(Kind::Topic, "-"), Operation::Read);
            for refused in native::acl::delete(self.observer(), &[nobody]).map_err(failed)? {
                refused.map_err(failed)?;
            }
        }
        Ok(())
    }

    fn lacks_on_cluster(&self, operation: Operation) -> Denied {
        Denied::right(self.kafka(), Right::on(Kind::Cluster, CLUSTER, operation))
    }

    /// Grants (or, for what denies, denies); the results are in the same order.
    pub fn grant(&self, acls: &[Acl]) -> Vec<Result<(), AdminError>> {
        let failed = |error: &NativeError| self.acl_error("grant rights", error);
        match native::acl::create(self.observer(), acls) {
            Ok(results) => results.into_iter().map(|result| result.map_err(|error| failed(&error))).collect(),
            Err(error) => acls.iter().map(|_| Err(failed(&error))).collect(),
        }
    }

    /// Takes away exactly these; the results are in the same order.
    pub fn revoke(&self, acls: &[Acl]) -> Vec<Result<(), AdminError>> {
        let failed = |error: &NativeError| self.acl_error("take rights away", error);
        match native::acl::delete(self.observer(), acls) {
            Ok(results) => results.into_iter().map(|result| result.map_err(|error| failed(&error))).collect(),
            Err(error) => acls.iter().map(|_| Err(failed(&error))).collect(),
        }
    }

    /// What this client may do with each of these topics.
    ///
    /// # Errors
    /// [`AdminError`] when the cluster cannot be asked.
    pub fn allowed(&self, topics: &[String]) -> Result<BTreeMap<String, Allowed>, AdminError> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.reach()?;
        native::acl::allowed(self.observer(), topics).map_err(|error| self.acl_error("ask for rights", &error))
    }

    fn acl_error(&self, action: &'static str, error: &NativeError) -> AdminError {
        let advice = match error.code {
            RDKafkaErrorCode::SecurityDisabled => {
                "; the brokers have no authorizer: set authorizer.class.name (StandardAuthorizer with KRaft)"
            }
            RDKafkaErrorCode::ClusterAuthorizationFailed => {
                return AdminError::Denied(self.lacks_on_cluster(Operation::Alter));
            }
            _ => "",
        };
        let cause = format!("{}{advice}", error.text);
        self.hear_out();
        match self.denied() {
            Some(denied) => AdminError::Denied(denied),
            None => AdminError::Acls { action, cause },
        }
    }
}
