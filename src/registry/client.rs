//! Calls to the registry: the Confluent API, and Apicurio's own where it alone names causes.

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use schema_registry_converter::async_impl::schema_registry as converter;
use schema_registry_converter::schema_registry_common::{RegisteredReference, SchemaType, SrCall, SuppliedSchema};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::RegistryError;
use crate::config;
use crate::wire::{RecordType, SchemaId, WriterIds};

/// How our subjects may change: every version reads every other.
pub const REQUIRED_LEVEL: &str = "FULL_TRANSITIVE";

const CONFLUENT_JSON: &str = "application/vnd.schemaregistry.v1+json";

/// References within references are followed so deep.
const MAX_REFERENCE_DEPTH: usize = 8;

/// A schema held against the versions of its subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compatibility {
    /// It may be registered.
    Compatible,
    /// It would break readers or writers, and where.
    Incompatible(Vec<String>),
}

/// A client of one registry. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    base: String,
    host: String,
    http: Client,
    credentials: Option<(String, Option<String>)>,
    settings: converter::SrSettings,
}

impl Registry {
    /// A client by the settings; makes no call.
    ///
    /// # Errors
    /// [`RegistryError::Settings`] when the URL is none.
    pub fn new(settings: &config::Registry) -> Result<Self, RegistryError> {
        let wrong = |setting, why: String| RegistryError::Settings { setting, why };
        let url = Url::parse(&settings.url).map_err(|error| wrong("url", error.to_string()))?;
        let host = match (url.host_str(), url.port_or_known_default()) {
            (Some(host), Some(port)) if matches!(url.scheme(), "http" | "https") => format!("{host}:{port}"),
            _ => return Err(wrong("url", "it is not an http:// or https:// URL".to_owned())),
        };
        let client = || Client::builder().timeout(settings.timeout.0).connect_timeout(settings.timeout.0);
        let http = client().build().map_err(|error| wrong("url", error.to_string()))?;
        let base = settings.url.trim_end_matches('/').to_owned();
        let mut builder = converter::SrSettings::new_builder(base.clone());
        builder.set_timeout(settings.timeout.0);
        let credentials = settings
            .username
            .clone()
            .map(|username| (username, settings.password.as_ref().map(|password| password.reveal().to_owned())));
        if let Some((username, password)) = &credentials {
            builder.set_basic_authorization(username, password.as_deref());
        }
        let settings = builder.build_with(client()).map_err(|error| wrong("url", error.error))?;
        Ok(Registry { base, host, http, credentials, settings })
    }

    /// Host and port, for people.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether the registry answers at all, for readiness and `doctor`.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn ping(&self) -> Result<(), RegistryError> {
        converter::get_all_subjects(&self.settings)
            .await
            .map(drop)
            .map_err(|error| self.failed("a list of subjects", &error))
    }

    /// A schema's text by its id, and the texts of the schemas that it refers to.
    ///
    /// # Errors
    /// [`RegistryError::is_not_found`] when the registry has none of this id.
    pub async fn schema(&self, id: SchemaId) -> Result<(String, Vec<String>), RegistryError> {
        let what = format!("schema id {id}");
        let found =
            converter::get_schema_by_id(id.0, &self.settings).await.map_err(|error| self.failed(&what, &error))?;
        let references = self.references(&found.references).await?;
        Ok((found.schema, references))
    }

    /// The id of a subject's latest version; `None` when it has none.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub async fn latest(&self, subject: &str) -> Result<Option<SchemaId>, RegistryError> {
        let found = converter::get_schema_by_subject_and_version(&self.settings, subject, None).await;
        found_or_none(found.map(|schema| SchemaId(schema.id)).map_err(|error| self.failed(subject, &error)))
    }

    /// The id of the version of a subject that has exactly this text; `None` when there is none.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub async fn lookup(&self, subject: &str, text: &str) -> Result<Option<SchemaId>, RegistryError> {
        let body = json!({ "schema": text, "schemaType": "AVRO" }).to_string();
        let answer = converter::perform_sr_call(&self.settings, SrCall::PostForVersion(subject, &body)).await;
        let found = found_or_none(answer.map_err(|error| self.failed(subject, &error)))?;
        Ok(found.and_then(|schema| schema.id).map(SchemaId))
    }

    /// Registers a version; the registry refuses one that breaks the subject's compatibility level.
    ///
    /// # Errors
    /// The registry's refusal.
    pub async fn register(&self, subject: &str, text: &str) -> Result<SchemaId, RegistryError> {
        let schema = SuppliedSchema::new(Some(subject.to_owned()), SchemaType::Avro, text.to_owned());
        converter::post_schema(&self.settings, subject.to_owned(), schema)
            .await
            .map(|schema| SchemaId(schema.id))
            .map_err(|error| self.failed(&format!("a new version of {subject}"), &error))
    }

    /// The ids to write with: our embedded schemas by their exact text.
    ///
    /// # Errors
    /// [`RegistryError::NotRegistered`] names those that are missing.
    pub async fn writer_ids(&self) -> Result<WriterIds, RegistryError> {
        let (mut ids, mut subjects) = ([SchemaId(0); RecordType::COUNT], Vec::new());
        for record in RecordType::ALL {
            match self.lookup(record.subject(), record.schema_text()).await? {
                Some(id) => ids[record as usize] = id,
                None => subjects.push(record.subject()),
            }
        }
        if subjects.is_empty() { Ok(WriterIds::new(ids)) } else { Err(RegistryError::NotRegistered { subjects }) }
    }

    /// The texts of all versions of a subject, oldest first; empty when it has none.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub async fn versions(&self, subject: &str) -> Result<Vec<String>, RegistryError> {
        let versions = converter::get_all_versions(&self.settings, subject.to_owned()).await;
        let versions = found_or_none(versions.map_err(|error| self.failed(subject, &error)))?.unwrap_or_default();
        let mut texts = Vec::with_capacity(versions.len());
        for version in versions {
            let found = converter::get_schema_by_subject_and_version(&self.settings, subject, Some(version)).await;
            texts.push(found.map_err(|error| self.failed(subject, &error))?.schema);
        }
        Ok(texts)
    }

    /// A subject's own compatibility level; `None` when it has none of its own.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub async fn level(&self, subject: &str) -> Result<Option<String>, RegistryError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Config {
            compatibility_level: String,
        }
        let request = self.request(Method::GET, &format!("{}/config/{subject}", self.base));
        let config: Option<Config> =
            found_or_none(self.send(request, &format!("the configuration of {subject}")).await)?;
        Ok(config.map(|config| config.compatibility_level))
    }

    /// Sets a subject's compatibility level; also before its first version.
    ///
    /// # Errors
    /// The registry's refusal.
    pub async fn set_level(&self, subject: &str, level: &str) -> Result<(), RegistryError> {
        let request = self
            .request(Method::PUT, &format!("{}/config/{subject}", self.base))
            .header(CONTENT_TYPE, CONFLUENT_JSON)
            .body(json!({ "compatibility": level }).to_string());
        let answer: serde_json::Value = self.send(request, &format!("a compatibility level for {subject}")).await?;
        drop(answer);
        Ok(())
    }

    /// Whether a text could become the next version of a subject that has versions, by the subject's level.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub async fn compatibility(&self, subject: &str, text: &str) -> Result<Compatibility, RegistryError> {
        match self.base.split_once("/apis/ccompat") {
            Some((root, _)) => self.dry_run(root, subject, text).await,
            None => self.confluent_compatibility(subject, text).await,
        }
    }

    /// Apicurio's own API: its Confluent one says yes or no, without causes.
    async fn dry_run(&self, root: &str, subject: &str, text: &str) -> Result<Compatibility, RegistryError> {
        #[derive(Deserialize)]
        struct Problem {
            #[serde(default)]
            causes: Vec<Cause>,
        }
        #[derive(Deserialize)]
        struct Cause {
            #[serde(default)]
            description: String,
            #[serde(default)]
            context: String,
        }
        let url = format!("{root}/apis/registry/v3/groups/default/artifacts/{subject}/versions?dryRun=true");
        let request = self
            .request(Method::POST, &url)
            .header(CONTENT_TYPE, "application/json")
            .body(json!({ "content": { "content": text, "contentType": "application/json" } }).to_string());
        let answer = request.send().await.map_err(|error| RegistryError::from_http(&self.host, &error))?;
        match answer.status() {
            status if status.is_success() => Ok(Compatibility::Compatible),
            StatusCode::CONFLICT => {
                let problem: Problem = self.read(answer).await?;
                let causes =
                    problem.causes.into_iter().map(|cause| format!("{} at {}", cause.description, cause.context));
                Ok(Compatibility::Incompatible(causes.collect()))
            }
            // An Apicurio behind a gateway that passes only the Confluent API.
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => self.confluent_compatibility(subject, text).await,
            _ => Err(self.refused(answer, &format!("a dry run of {subject}")).await),
        }
    }

    async fn confluent_compatibility(&self, subject: &str, text: &str) -> Result<Compatibility, RegistryError> {
        #[derive(Deserialize)]
        struct Answer {
            is_compatible: bool,
            #[serde(default)]
            messages: Vec<String>,
        }
        let url = format!("{}/compatibility/subjects/{subject}/versions?verbose=true", self.base);
        let request = self
            .request(Method::POST, &url)
            .header(CONTENT_TYPE, CONFLUENT_JSON)
            .body(json!({ "schema": text, "schemaType": "AVRO" }).to_string());
        let answer: Answer = self.send(request, &format!("a compatibility check of {subject}")).await?;
        Ok(match (answer.is_compatible, answer.messages) {
            (true, _) => Compatibility::Compatible,
            (false, causes) if causes.is_empty() => {
                Compatibility::Incompatible(vec!["the registry names no cause".to_owned()])
            }
            (false, causes) => Compatibility::Incompatible(causes),
        })
    }

    async fn references(&self, direct: &[RegisteredReference]) -> Result<Vec<String>, RegistryError> {
        let (mut texts, mut seen) = (Vec::new(), Vec::new());
        let mut level = direct.to_vec();
        for _ in 0..MAX_REFERENCE_DEPTH {
            let mut deeper = Vec::new();
            for reference in level {
                if seen.contains(&(reference.subject.clone(), reference.version)) {
                    continue;
                }
                let what = format!("the referenced {}", reference.subject);
                let found = converter::get_referenced_schema(&self.settings, &reference)
                    .await
                    .map_err(|error| self.failed(&what, &error))?;
                seen.push((reference.subject, reference.version));
                deeper.extend(found.references.iter().cloned());
                texts.push(found.schema);
            }
            level = deeper;
        }
        Ok(texts)
    }

    fn request(&self, method: Method, url: &str) -> RequestBuilder {
        let request = self.http.request(method, url);
        match &self.credentials {
            Some((username, password)) => request.basic_auth(username, password.as_ref()),
            None => request,
        }
    }

    async fn send<T: serde::de::DeserializeOwned>(
        &self,
        request: RequestBuilder,
        what: &str,
    ) -> Result<T, RegistryError> {
        let answer = request.send().await.map_err(|error| RegistryError::from_http(&self.host, &error))?;
        if answer.status().is_success() { self.read(answer).await } else { Err(self.refused(answer, what).await) }
    }

    async fn read<T: serde::de::DeserializeOwned>(&self, answer: reqwest::Response) -> Result<T, RegistryError> {
        answer.json().await.map_err(|error| RegistryError::from_http(&self.host, &error))
    }

    async fn refused(&self, answer: reqwest::Response, what: &str) -> RegistryError {
        #[derive(Deserialize)]
        struct Problem {
            error_code: u32,
            message: String,
        }
        let status = answer.status();
        let (code, message) = match answer.json::<Problem>().await {
            Ok(problem) => (problem.error_code, problem.message),
            Err(_) => (u32::from(status.as_u16()), format!("HTTP status {status}")),
        };
        RegistryError::Answer { host: self.host.clone(), what: what.to_owned(), code, message }
    }

    fn failed(&self, what: &str, error: &schema_registry_converter::error::SRCError) -> RegistryError {
        RegistryError::from_converter(&self.host, what, error)
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("host", &self.host).finish_non_exhaustive()
    }
}

fn found_or_none<T>(result: Result<T, RegistryError>) -> Result<Option<T>, RegistryError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::RegistrySchemas;
    use crate::wire::{SchemaError, SchemaSource as _};
    use axum::Router;
    use axum::http::{HeaderMap, StatusCode as Status, Uri};
    use std::time::Duration;

    /// A server that answers everything by one function of the request.
    async fn server<A>(answer: impl Fn(Uri, HeaderMap) -> A + Clone + Send + Sync + 'static) -> config::Registry
    where
        A: axum::response::IntoResponse + Send + 'static,
    {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = Router::new().fallback(move |uri: Uri, headers: HeaderMap| {
            let answer = answer.clone();
            async move { answer(uri, headers) }
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        settings(port)
    }

    fn settings(port: u16) -> config::Registry {
        config::Registry {
            url: format!("http://127.0.0.1:{port}/"),
            username: None,
            password: None,
            timeout: config::Delay(Duration::from_millis(500)),
        }
    }

    #[tokio::test]
    async fn credentials_go_with_every_kind_of_call() {
        let mut settings = server(|_, headers: HeaderMap| match headers.get("authorization") {
            Some(value) if value == "Basic cm91dGVyOnMzY3JldA==" => {
                (Status::NOT_FOUND, r#"{"error_code":40401,"message":"none"}"#)
            }
            _ => (Status::UNAUTHORIZED, r#"{"error_code":40101,"message":"who are you?"}"#),
        })
        .await;
        settings.username = Some("router".to_owned());
        settings.password = Some(config::Secret::new("s3cret"));
        let registry = Registry::new(&settings).unwrap();
        assert_eq!(registry.latest("s").await.unwrap(), None);
        assert_eq!(registry.level("s").await.unwrap(), None);
        settings.password = Some(config::Secret::new("wrong"));
        let registry = Registry::new(&settings).unwrap();
        for error in [registry.latest("s").await.unwrap_err(), registry.level("s").await.unwrap_err()] {
            let text = error.to_string();
            assert!(text.contains("who are you?") && !text.contains("wrong"), "{text}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn only_the_registrys_own_words_make_a_schema_unknown() {
        let settings = server(|uri: Uri, _| match uri.path() {
            "/schemas/ids/1" => (Status::NOT_FOUND, r#"{"error_code":40403,"message":"Schema not found"}"#),
            "/schemas/ids/2" => (Status::NOT_FOUND, "<html>not here</html>"),
            "/schemas/ids/3" => (Status::NOT_FOUND, r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#),
            "/schemas/ids/4" => (Status::INTERNAL_SERVER_ERROR, r#"{"error_code":50001,"message":"store"}"#),
            _ => (Status::OK, r#"{"schema":"\"string\""}"#),
        })
        .await;
        let schemas = RegistrySchemas::new(Registry::new(&settings).unwrap(), tokio::runtime::Handle::current());
        let unknown = schemas.schema(SchemaId(1)).unwrap_err();
        assert_eq!(unknown, SchemaError::Unknown(SchemaId(1)));
        for id in [2, 3, 4] {
            let error = schemas.schema(SchemaId(id)).unwrap_err();
            assert!(matches!(error, SchemaError::Unavailable { .. }), "{error}");
        }
        let error = schemas.schema(SchemaId(5)).unwrap_err();
        assert_eq!(error.to_string(), "schema id 5 cannot be used: it is a string, not a record");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_registry_that_comes_back_is_asked_again() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let registry = Registry::new(&settings(port)).unwrap();
        let schemas = RegistrySchemas::new(registry, tokio::runtime::Handle::current());
        let down = schemas.schema(SchemaId(9)).unwrap_err().to_string();
        let expected = format!(
            "schema id 9 cannot be fetched now: the schema registry at 127.0.0.1:{port} cannot be reached: Connection \
             refused (os error 111); check `registry.url` and that it runs"
        );
        assert_eq!(down, expected);
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let body = json!({ "schema": RecordType::Event.schema_text() }).to_string();
        let app = Router::new().fallback(move || async move { body });
        tokio::spawn(async move { axum::serve(listener, app).await });
        assert_eq!(schemas.schema(SchemaId(9)).unwrap().name(), "notilog.v1.Event");
    }

    #[tokio::test]
    async fn a_registry_that_does_not_answer_is_given_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let registry = Registry::new(&settings(listener.local_addr().unwrap().port())).unwrap();
        let error = registry.latest("s").await.unwrap_err().to_string();
        assert!(error.contains("no answer within `registry.timeout`"), "{error}");
    }

    #[tokio::test]
    async fn a_registry_of_confluent_names_causes_too() {
        let settings = server(|uri: Uri, _| {
            assert_eq!(uri.to_string(), "/compatibility/subjects/s/versions?verbose=true");
            r#"{"is_compatible":false,"messages":["READER_FIELD_MISSING_DEFAULT_VALUE at /fields/1"]}"#
        })
        .await;
        let answer = Registry::new(&settings).unwrap().compatibility("s", "{}").await.unwrap();
        let causes = vec!["READER_FIELD_MISSING_DEFAULT_VALUE at /fields/1".to_owned()];
        assert_eq!(answer, Compatibility::Incompatible(causes));
    }

    #[tokio::test]
    async fn schemas_that_are_not_registered_are_named_with_what_to_do() {
        let settings = server(|_, _| (Status::NOT_FOUND, r#"{"error_code":40401,"message":"none"}"#)).await;
        let error = Registry::new(&settings).unwrap().writer_ids().await.unwrap_err().to_string();
        assert_eq!(
            error,
            "not registered, or in another version: notilog.v1.Event, notilog.v1.Preferences, notilog.v1.Outbound, \
             notilog.v1.Decision, notilog.v1.DeliveryStatus, notilog.v1.Suppression, notilog.v1.InboxItem, \
             notilog.v1.InboxState, notilog.v1.SentMessage, notilog.v1.Receipt; run `notilog schemas apply`"
        );
    }

    #[test]
    fn a_url_that_is_none_is_refused_without_showing_it() {
        for url in ["", "registry:8081", "ftp://user:pass@host/"] {
            let settings = config::Registry { url: url.to_owned(), ..settings(1) };
            let error = Registry::new(&settings).unwrap_err().to_string();
            assert!(error.starts_with("`registry.url` is of no use: ") && !error.contains("pass"), "{error}");
        }
    }
}
