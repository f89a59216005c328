//! What can go wrong at the registry.

use std::error::Error;

use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::RawError;

/// A call to the registry that did not end well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The settings do not make a client.
    #[error("`registry.{setting}` is of no use: {why}")]
    Settings {
        /// Which key.
        setting: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// No answer, or none in time.
    #[error("the schema registry at {host} cannot be reached: {why}; check `registry.url` and that it runs")]
    Unreachable {
        /// Host and port.
        host: String,
        /// What the network said.
        why: String,
    },
    /// An answer that is an error.
    #[error("the schema registry at {host} answered with an error to {what}: {message}{}", advice(*.code))]
    Answer {
        /// Host and port.
        host: String,
        /// What was asked.
        what: String,
        /// Code of the Confluent API (`40401`), or the HTTP status.
        code: u32,
        /// The registry's words.
        message: String,
    },
    /// Some of our own schemas are not registered.
    #[error("not registered, or in another version: {}; run `notilog schemas apply`", .subjects.join(", "))]
    NotRegistered {
        /// Which.
        subjects: Vec<&'static str>,
    },
}

/// What to do about an answer, where it is known.
fn advice(code: u32) -> &'static str {
    match code {
        401 | 40_100..=40_199 => "; check registry.username and registry.password",
        403 | 40_300..=40_399 => "; registry.username may not do this: grant it there",
        _ => "",
    }
}

impl RegistryError {
    /// The registry itself says that there is no such subject (40401), version (40402), schema (40403) or setting
    /// (40408). A bare 404 does not count: it also means a wrong URL.
    pub fn is_not_found(&self) -> bool {
        matches!(self, RegistryError::Answer { code: 40_400..=40_499, .. })
    }

    /// Waiting does not help: the login or the certificate is refused, or our own settings or schemas are wrong.
    pub fn is_lasting(&self) -> bool {
        match self {
            RegistryError::Settings { .. } | RegistryError::NotRegistered { .. } => true,
            RegistryError::Answer { code, .. } => matches!(code, 401 | 403 | 40_100..=40_199 | 40_300..=40_399),
            RegistryError::Unreachable { why, .. } => why.contains("certificate"),
        }
    }

    /// Reads an error of `schema_registry_converter`.
    pub(super) fn from_converter(host: &str, what: &str, error: &SRCError) -> Self {
        if let Some(raw) = error.source().and_then(|source| source.downcast_ref::<RawError>()) {
            // 0 stands for an answer that was no JSON of the registry; its status is in the text.
            let message = if raw.error_code == 0 { error.error.clone() } else { raw.message.clone() };
            return RegistryError::Answer { host: host.into(), what: what.into(), code: raw.error_code, message };
        }
        let why = error.source().map_or_else(|| error.error.clone(), innermost);
        RegistryError::Unreachable { host: host.into(), why }
    }

    /// Reads an error of `reqwest`.
    pub(super) fn from_http(host: &str, error: &reqwest::Error) -> Self {
        RegistryError::Unreachable { host: host.into(), why: innermost(error) }
    }
}

/// The innermost cause: it says what happened, and names no URL, in which a password might stand.
fn innermost(error: &(dyn Error + 'static)) -> String {
    if error.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_timeout) {
        return "no answer within `registry.timeout`".to_owned();
    }
    match error.source() {
        Some(source) => innermost(source),
        None => error.to_string(),
    }
}
