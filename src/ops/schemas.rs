//! Schemas as code: what the registry lacks, what registering would break, and doing it.
//!
//! Invariant: nothing is changed unless everything may be; a version that would break a reader or a writer of any
//! earlier one is never offered to the registry.

use std::fmt;

use apache_avro::Schema;
use apache_avro::schema_compatibility::SchemaCompatibility;
use serde::Serialize;

use crate::registry::{Compatibility, REQUIRED_LEVEL, Registry, RegistryError};
use crate::wire::RecordType;

/// A schema that a subject should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The subject.
    pub subject: String,
    /// The schema's text; ids are made from these very bytes.
    pub text: String,
}

/// What this version of notilog wants: all its schemas under their subjects.
pub fn wanted() -> Vec<Wanted> {
    RecordType::ALL
        .map(|record| Wanted { subject: record.subject().to_owned(), text: record.schema_text().to_owned() })
        .into()
}

/// What would happen to one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum SchemaChange {
    /// The subject has no version: this one becomes its first.
    Create,
    /// The subject has this very text.
    Unchanged {
        /// Its id.
        id: u32,
    },
    /// It becomes the next version; every version reads every other.
    NewVersion,
    /// It would break readers or writers; nothing is applied.
    Incompatible {
        /// Where and how.
        causes: Vec<String>,
    },
}

/// The plan for one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SchemaRow {
    /// The subject.
    pub subject: String,
    /// What would happen to its versions.
    #[serde(flatten)]
    pub change: SchemaChange,
    /// Its compatibility level as it is; `None` when it has none of its own.
    pub level: Option<String>,
    /// The level that it will have.
    pub required_level: &'static str,
}

impl SchemaRow {
    /// Its level is not the required one.
    pub fn level_drifts(&self) -> bool {
        self.level.as_deref() != Some(self.required_level)
    }

    /// Nothing is to be done.
    pub fn is_clean(&self) -> bool {
        matches!(self.change, SchemaChange::Unchanged { .. }) && !self.level_drifts()
    }
}

impl fmt::Display for SchemaRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.subject)?;
        match &self.change {
            SchemaChange::Create => write!(f, "create")?,
            SchemaChange::Unchanged { id } => write!(f, "unchanged (id {id})")?,
            SchemaChange::NewVersion => write!(f, "new version, compatible")?,
            SchemaChange::Incompatible { causes } => write!(f, "incompatible: {}", causes.join("; "))?,
        }
        match &self.level {
            _ if !self.level_drifts() => Ok(()),
            Some(level) => write!(f, "; compatibility {level} -> {}", self.required_level),
            None => write!(f, "; compatibility -> {}", self.required_level),
        }
    }
}

/// What would happen to all subjects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SchemaPlan {
    /// One for each subject.
    pub rows: Vec<SchemaRow>,
}

impl SchemaPlan {
    /// The registry is as it should be.
    pub fn is_clean(&self) -> bool {
        self.rows.iter().all(SchemaRow::is_clean)
    }

    /// The subjects that would break.
    pub fn breaking(&self) -> impl Iterator<Item = &SchemaRow> {
        self.rows.iter().filter(|row| matches!(row.change, SchemaChange::Incompatible { .. }))
    }
}

impl fmt::Display for SchemaPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

/// Why a plan was not applied, or not wholly.
#[derive(Debug, thiserror::Error)]
pub enum SchemaApplyError {
    /// Nothing was changed.
    #[error("nothing was applied, because it would break: {}", breaking(.0))]
    WouldBreak(SchemaPlan),
    /// The registry failed; what was done before stays, and applying again goes on from there.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

fn breaking(plan: &SchemaPlan) -> String {
    plan.breaking().map(ToString::to_string).collect::<Vec<_>>().join(" | ")
}

/// What `apply` would do; changes nothing. `verify` is: the plan is clean.
///
/// # Errors
/// When the registry does not answer.
pub async fn plan(registry: &Registry, wanted: &[Wanted]) -> Result<SchemaPlan, RegistryError> {
    let mut rows = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let level = registry.level(&wanted.subject).await?;
        let change = change(registry, wanted, level.as_deref()).await?;
        rows.push(SchemaRow { subject: wanted.subject.clone(), change, level, required_level: REQUIRED_LEVEL });
    }
    Ok(SchemaPlan { rows })
}

/// Sets the compatibility levels and registers what is missing. Returns what was done.
///
/// # Errors
/// [`SchemaApplyError::WouldBreak`] before anything is changed.
pub async fn apply(registry: &Registry, wanted: &[Wanted]) -> Result<SchemaPlan, SchemaApplyError> {
    let plan = plan(registry, wanted).await?;
    if plan.breaking().next().is_some() {
        return Err(SchemaApplyError::WouldBreak(plan));
    }
    for (row, wanted) in plan.rows.iter().zip(wanted) {
        if row.level_drifts() {
            registry.set_level(&row.subject, row.required_level).await?;
        }
        if matches!(row.change, SchemaChange::Create | SchemaChange::NewVersion) {
            registry.register(&row.subject, &wanted.text).await?;
        }
    }
    Ok(plan)
}

async fn change(registry: &Registry, wanted: &Wanted, level: Option<&str>) -> Result<SchemaChange, RegistryError> {
    if let Some(id) = registry.lookup(&wanted.subject, &wanted.text).await? {
        return Ok(SchemaChange::Unchanged { id: id.0 });
    }
    if registry.latest(&wanted.subject).await?.is_none() {
        return Ok(SchemaChange::Create);
    }
    let compatibility = if level == Some(REQUIRED_LEVEL) {
        registry.compatibility(&wanted.subject, &wanted.text).await?
    } else {
        // The registry would check by the level as it is: by ours, we must.
        own_check(&registry.versions(&wanted.subject).await?, &wanted.text)
    };
    Ok(match compatibility {
        Compatibility::Compatible => SchemaChange::NewVersion,
        Compatibility::Incompatible(causes) => SchemaChange::Incompatible { causes },
    })
}

/// FULL_TRANSITIVE without the registry: the new text and every version read each other.
fn own_check(versions: &[String], text: &str) -> Compatibility {
    let new = match Schema::parse_str(text) {
        Ok(new) => new,
        Err(error) => return Compatibility::Incompatible(vec![format!("the new text is no schema: {error}")]),
    };
    let mut causes = Vec::new();
    for (number, version) in (1..).zip(versions) {
        let cause = match Schema::parse_str(version) {
            Ok(old) => SchemaCompatibility::mutual_read(&old, &new).err().map(|error| error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        causes.extend(cause.map(|cause| format!("version {number}: {cause}")));
    }
    if causes.is_empty() { Compatibility::Compatible } else { Compatibility::Incompatible(causes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = r#"{"type":"record","name":"R","namespace":"t","fields":[{"name":"a","type":"string"}]}"#;

    fn with_field(field: &str) -> String {
        V1.replace("}]}", &format!("}},{field}]}}"))
    }

    #[test]
    fn a_field_with_a_default_may_come_and_one_without_may_not() {
        let good = with_field(r#"{"name":"b","type":"string","default":""}"#);
        assert_eq!(own_check(&[V1.to_owned()], &good), Compatibility::Compatible);
        let bad = with_field(r#"{"name":"b","type":"string"}"#);
        let Compatibility::Incompatible(causes) = own_check(&[good, V1.to_owned()], &bad) else {
            panic!("it breaks readers")
        };
        assert_eq!(
            causes,
            ["version 2: Incompatible schemata! Field 'b' in reader schema must have a default value"],
            "version 1 has the field"
        );
    }

    #[test]
    fn every_schema_of_ours_is_wanted_under_its_record_name() {
        let subjects: Vec<String> = wanted().into_iter().map(|wanted| wanted.subject).collect();
        assert_eq!(
            subjects,
            [
                "notilog.v1.Event",
                "notilog.v1.Preferences",
                "notilog.v1.Outbound",
                "notilog.v1.Decision",
                "notilog.v1.DeliveryStatus",
                "notilog.v1.Suppression",
                "notilog.v1.InboxItem",
                "notilog.v1.InboxState",
                "notilog.v1.SentMessage",
                "notilog.v1.Receipt"
            ]
        );
    }

    fn row(change: SchemaChange, level: Option<&str>) -> SchemaRow {
        SchemaRow {
            subject: "notilog.v1.Event".into(),
            change,
            level: level.map(Into::into),
            required_level: REQUIRED_LEVEL,
        }
    }

    #[test]
    fn a_plan_says_what_would_happen() {
        let plan = SchemaPlan {
            rows: vec![
                row(SchemaChange::Create, None),
                row(SchemaChange::Unchanged { id: 3 }, Some(REQUIRED_LEVEL)),
                row(SchemaChange::NewVersion, Some("NONE")),
                row(SchemaChange::Incompatible { causes: vec!["b at /fields/1".into()] }, Some(REQUIRED_LEVEL)),
            ],
        };
        assert!(!plan.is_clean());
        assert_eq!(plan.breaking().count(), 1);
        insta::assert_snapshot!(plan, @r"
        notilog.v1.Event: create; compatibility -> FULL_TRANSITIVE
        notilog.v1.Event: unchanged (id 3)
        notilog.v1.Event: new version, compatible; compatibility NONE -> FULL_TRANSITIVE
        notilog.v1.Event: incompatible: b at /fields/1
        ");
        insta::assert_json_snapshot!(plan.rows[1], @r#"
        {
          "subject": "notilog.v1.Event",
          "action": "unchanged",
          "id": 3,
          "level": "FULL_TRANSITIVE",
          "required_level": "FULL_TRANSITIVE"
        }
        "#);
    }

    #[test]
    fn only_a_registered_text_under_the_required_level_is_clean() {
        assert!(row(SchemaChange::Unchanged { id: 3 }, Some(REQUIRED_LEVEL)).is_clean());
        assert!(!row(SchemaChange::Unchanged { id: 3 }, None).is_clean());
        assert!(!row(SchemaChange::NewVersion, Some(REQUIRED_LEVEL)).is_clean());
    }
}
