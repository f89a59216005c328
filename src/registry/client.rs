//! Calls to the registry: the Confluent API, and Apicurio's own where it alone names causes.

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
        let (mut ids, mut subjects) = ([SchemaId(0); 5], Vec::new());
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
            .header("content-type", "application/json")
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
        let request =
            self.request(Method::POST, &url).body(json!({ "schema": text, "schemaType": "AVRO" }).to_string());
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
        let request = self.http.request(method, url).header("content-type", "application/vnd.schemaregistry.v1+json");
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
