//! Schemas as code against a real registry.

use std::sync::Arc;
use std::time::Duration;

use notilog::config;
use notilog::ops::schemas::{self, SchemaApplyError, SchemaChange, Wanted};
use notilog::registry::{REQUIRED_LEVEL, Registry, RegistryError, RegistrySchemas};
use notilog::wire::{RecordType, SchemaError, SchemaId, SchemaSource as _};

use crate::support::registry_port;

fn settings(url: String) -> config::Registry {
    config::Registry { url, username: None, password: None, timeout: config::Delay(Duration::from_secs(10)) }
}

fn registry() -> Registry {
    let url = format!("http://127.0.0.1:{}/apis/ccompat/v7", registry_port());
    Registry::new(&settings(url)).unwrap()
}

/// A record schema of a name that no other test uses, with these fields besides `a`.
fn wanted(name: &str, fields: &str) -> Vec<Wanted> {
    let text = format!(
        r#"{{"type":"record","name":"{name}","namespace":"test","fields":[{{"name":"a","type":"string"}}{fields}]}}"#
    );
    vec![Wanted { subject: format!("test.{name}"), text }]
}

fn unique() -> String {
    format!("R{}", notilog::telemetry::random::uuid().simple())
}

const GOOD: &str = r#",{"name":"b","type":"string","default":""}"#;
const BAD: &str = r#",{"name":"b","type":"string"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_creates_then_is_clean_then_makes_compatible_versions() {
    let (registry, name) = (registry(), unique());
    let first = wanted(&name, "");
    let plan = schemas::plan(&registry, &first).await.unwrap();
    assert_eq!(plan.rows[0].change, SchemaChange::Create);
    assert_eq!(plan.rows[0].level, None);
    assert!(registry.latest(&first[0].subject).await.unwrap().is_none(), "a plan changes nothing");

    schemas::apply(&registry, &first).await.unwrap();
    let plan = schemas::plan(&registry, &first).await.unwrap();
    let id = registry.latest(&first[0].subject).await.unwrap().unwrap();
    assert_eq!(plan.rows[0].change, SchemaChange::Unchanged { id: id.0 });
    assert_eq!(plan.rows[0].level.as_deref(), Some(REQUIRED_LEVEL));
    assert!(plan.is_clean());

    let second = wanted(&name, GOOD);
    assert_eq!(schemas::plan(&registry, &second).await.unwrap().rows[0].change, SchemaChange::NewVersion);
    schemas::apply(&registry, &second).await.unwrap();
    assert_eq!(registry.versions(&second[0].subject).await.unwrap(), [first[0].text.clone(), second[0].text.clone()]);
    assert!(schemas::plan(&registry, &second).await.unwrap().is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_break_is_named_and_nothing_is_applied() {
    let (registry, name, other) = (registry(), unique(), unique());
    schemas::apply(&registry, &wanted(&name, "")).await.unwrap();
    let all = [wanted(&other, ""), wanted(&name, BAD)].concat();
    let error = schemas::apply(&registry, &all).await.unwrap_err();
    let SchemaApplyError::WouldBreak(plan) = &error else { panic!("{error}") };
    let SchemaChange::Incompatible { causes } = &plan.rows[1].change else { panic!("{plan}") };
    assert!(causes.iter().any(|cause| cause.contains("/fields/1")), "{causes:?}");
    assert!(error.to_string().contains("nothing was applied"), "{error}");
    assert!(registry.latest(&all[0].subject).await.unwrap().is_none(), "the one before it was not created");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_under_another_level_is_checked_by_ours_and_put_right() {
    let (registry, name) = (registry(), unique());
    let (first, fewer) = (wanted(&name, BAD), wanted(&name, ""));
    registry.register(&first[0].subject, &first[0].text).await.unwrap();
    registry.set_level(&first[0].subject, "BACKWARD").await.unwrap();

    let plan = schemas::plan(&registry, &first).await.unwrap();
    assert!(matches!(plan.rows[0].change, SchemaChange::Unchanged { .. }) && !plan.is_clean());
    assert!(plan.rows[0].to_string().ends_with("; compatibility BACKWARD -> FULL_TRANSITIVE"), "{plan}");
    let breaking = schemas::plan(&registry, &fewer).await.unwrap();
    assert_eq!(breaking.breaking().count(), 1, "the registry itself would take it: {breaking}");

    schemas::apply(&registry, &first).await.unwrap();
    assert!(schemas::plan(&registry, &first).await.unwrap().is_clean());
    registry.register(&fewer[0].subject, &fewer[0].text).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_schemas_are_taken_and_found_by_their_text() {
    let registry = registry();
    schemas::apply(&registry, &schemas::wanted()).await.unwrap();
    assert!(schemas::plan(&registry, &schemas::wanted()).await.unwrap().is_clean());
    let ids = registry.writer_ids().await.unwrap();
    for record in RecordType::ALL {
        let (text, references) = registry.schema(ids.get(record)).await.unwrap();
        assert_eq!((text.as_str(), references.len()), (record.schema_text(), 0), "ids name exact bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_are_fetched_from_threads_and_from_tasks() {
    let registry = registry();
    schemas::apply(&registry, &schemas::wanted()).await.unwrap();
    let id = registry.writer_ids().await.unwrap().get(RecordType::Event);
    let source = Arc::new(RegistrySchemas::new(registry, tokio::runtime::Handle::current()));
    assert_eq!(source.schema(id).unwrap().name(), "notilog.v1.Event", "in a task");
    let unknown = SchemaId(2_000_000_000);
    let thread = {
        let source = Arc::clone(&source);
        std::thread::spawn(move || (source.schema(id).unwrap().name().to_owned(), source.schema(unknown).unwrap_err()))
    };
    let (name, error) = tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap();
    assert_eq!((name.as_str(), error), ("notilog.v1.Event", SchemaError::Unknown(unknown)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_refers_to_another_is_read_with_it() {
    let (registry, name) = (registry(), unique());
    let inner = wanted(&name, "");
    registry.register(&inner[0].subject, &inner[0].text).await.unwrap();
    let subject = format!("test.Outer{name}");
    let text = format!(
        r#"{{"type":"record","name":"Outer{name}","namespace":"test","fields":[{{"name":"i","type":"test.{name}"}}]}}"#
    );
    let body = serde_json::json!({
        "schema": text, "schemaType": "AVRO",
        "references": [{"name": format!("test.{name}"), "subject": inner[0].subject, "version": 1}],
    });
    let url = format!("http://127.0.0.1:{}/apis/ccompat/v7/subjects/{subject}/versions", registry_port());
    let answer = reqwest::Client::builder().no_proxy().build().unwrap().post(url).json(&body).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    let id = registry.latest(&subject).await.unwrap().unwrap();
    let (_, references) = registry.schema(id).await.unwrap();
    assert_eq!(references, [inner[0].text.clone()]);
    let source = RegistrySchemas::new(registry, tokio::runtime::Handle::current());
    assert_eq!(source.schema(id).unwrap().name(), format!("test.Outer{name}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_path_on_the_right_server_is_not_an_unknown_schema() {
    let registry = Registry::new(&settings(format!("http://127.0.0.1:{}/nowhere", registry_port()))).unwrap();
    let error = registry.writer_ids().await.unwrap_err();
    assert!(matches!(&error, RegistryError::Answer { .. }) && !error.is_not_found(), "{error}");
    let source = RegistrySchemas::new(registry, tokio::runtime::Handle::current());
    assert!(matches!(source.schema(SchemaId(1)), Err(SchemaError::Unavailable { .. })));
}
