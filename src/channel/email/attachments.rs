//! Attachments by reference: fetched when the mail is sent, from where the operator allows it.
//!
//! `data.attachments` of an event is a list of `{"href", "name", "type"?}`. The invoice itself stays where it is made and
//! out of Kafka, and whoever erases it there has erased it.
//!
//! Invariant: nothing is fetched but from below the configured bases and through the guard, nothing above the limits is
//! kept, and a reference, which may be a secret, is in nothing that leaves this file. A mail leaves with all of its
//! attachments or not at all.

#[cfg(test)]
mod tests;

use std::time::Duration;

use lettre::message::header::ContentType;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout_at;
use url::Url;

use crate::channel::endpoint::{Access, Endpoints, Failure, Fetched, fetch};
use crate::channel::{ConfigProblem, Outcome, Verdict, reject, retry};
use crate::config;
use crate::model::{Reason, Timestamp};

/// The most bytes of a file's name (most file systems take 255).
const MAX_NAME: usize = 120;

/// Fetches what mails refer to.
pub(super) struct Attachments {
    endpoints: Endpoints,
    /// Each ends with `/`; relative references stand below the first.
    bases: Vec<Url>,
    max_bytes: usize,
    max_count: usize,
    timeout: Duration,
    /// So many mails at once keep their attachments in memory.
    places: Semaphore,
}

/// A file to attach.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) kind: ContentType,
    pub(super) bytes: Vec<u8>,
}

/// The files of one mail; to be kept until it is sent.
#[derive(Debug, Default)]
pub(super) struct Files<'a> {
    pub(super) files: Vec<File>,
    _place: Option<SemaphorePermit<'a>>,
}

/// What an event's data says of one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reference {
    href: String,
    name: String,
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

impl Attachments {
    /// Reads the settings; at most `places` mails have their attachments in memory at once.
    pub(super) fn new(config: &config::Attachments, places: usize, problems: &mut Vec<ConfigProblem>) -> Option<Self> {
        const SECTION: &str = "channels.email.attachments";
        let mut bases = Vec::new();
        for (index, base) in config.bases.iter().enumerate() {
            match base.parse::<Url>() {
                Ok(base) if is_base(&base) => bases.push(base),
                _ => problems.push(ConfigProblem::new(
                    format!("{SECTION}.bases[{index}]"),
                    "is not the beginning of URLs; it ends with / and has no query, as in https://files.example.com/out/",
                )),
            }
        }
        if bases.is_empty() && config.bases.is_empty() {
            problems.push(ConfigProblem::new(format!("{SECTION}.bases"), "is empty: nothing could be attached"));
        }
        let access =
            Access { timeout: config.timeout.0, allow_networks: &config.allow_networks, allow_http: config.allow_http };
        let endpoints = Endpoints::new(SECTION, access, problems)?;
        let (max_bytes, max_count, timeout) = (config.max_bytes, config.max_count, config.timeout.0);
        Some(Attachments { endpoints, bases, max_bytes, max_count, timeout, places: Semaphore::new(places.max(1)) })
    }

    /// All that `wanted`, an event's `data.attachments`, refers to.
    ///
    /// # Errors
    /// What comes of the message instead.
    pub(super) async fn fetch(&self, wanted: &Value, now: impl Fn() -> Timestamp) -> Result<Files<'_>, Outcome> {
        if wanted.is_null() {
            return Ok(Files::default());
        }
        let refused = || without_answer(reject(Reason::AttachmentRefused));
        let wanted = Vec::<Reference>::deserialize(wanted).map_err(|_| refused())?;
        if wanted.len() > self.max_count {
            return Err(refused());
        }
        let wanted: Vec<(Url, Reference)> = wanted
            .into_iter()
            .map(|reference| Some((self.url(&reference.href)?, reference)))
            .collect::<Option<_>>()
            .ok_or_else(refused)?;
        let late = || without_answer(retry(Reason::AttachmentUnavailable));
        let deadline = tokio::time::Instant::now() + self.timeout;
        let place = timeout_at(deadline, self.places.acquire()).await.map_err(|_| late())?.map_err(|_| late())?;
        let (mut files, mut left) = (Vec::new(), self.max_bytes);
        for (url, reference) in wanted {
            let request = self.endpoints.get(url);
            let answer = timeout_at(deadline, fetch(request, left, &now)).await.unwrap_or(Err(Failure::Timeout));
            let file = file(reference, answer)?;
            left -= file.bytes.len();
            files.push(file);
        }
        Ok(Files { files, _place: Some(place) })
    }

    /// A reference as a URL, if it may be fetched. Parsing has resolved `..`, so that a prefix is a folder.
    fn url(&self, href: &str) -> Option<Url> {
        let url = self.bases.first()?.join(href.trim()).ok()?;
        let below = self.bases.iter().any(|base| url.as_str().starts_with(base.as_str()));
        // Judges schemes, users and literal addresses; names are judged when they are resolved.
        below.then(|| self.endpoints.url(url.as_str()).ok()).flatten()
    }
}

fn is_base(url: &Url) -> bool {
    let no_more = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    no_more && matches!(url.scheme(), "http" | "https") && url.path().ends_with('/')
}

fn without_answer(result: Verdict) -> Outcome {
    Outcome { result, code: None }
}

/// What an answer comes to: the file, or what becomes of the message.
fn file(reference: Reference, answer: Result<Fetched, Failure>) -> Result<File, Outcome> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(Failure::Forbidden) => return Err(without_answer(reject(Reason::AttachmentRefused))),
        Err(_) => return Err(without_answer(retry(Reason::AttachmentUnavailable))),
    };
    let result = match answer.status {
        200..=299 => match answer.body {
            Some(bytes) => {
                let said = reference.kind.or(answer.content_type);
                return Ok(File { name: safe_name(&reference.name), kind: kind(said.as_deref()), bytes });
            }
            None => reject(Reason::AttachmentTooLarge),
        },
        404 | 410 => reject(Reason::AttachmentMissing),
        408 | 425 | 429 | 500..=599 => Verdict::Retry { reason: Reason::AttachmentUnavailable, after: answer.after },
        // Redirects too: what they lead to was not looked at.
        _ => reject(Reason::AttachmentRefused),
    };
    Err(Outcome { result, code: Some(format!("http_{}", answer.status)) })
}

/// The type as it was said, unless it is none, or one that a mail program would read as part of the mail's own frame.
fn kind(said: Option<&str>) -> ContentType {
    let is_leaf = |text: &&str| {
        let lower = text.trim_start().to_ascii_lowercase();
        !lower.starts_with("multipart/") && !lower.starts_with("message/")
    };
    said.filter(is_leaf)
        .filter(|text| !text.contains(char::is_control))
        .and_then(|text| ContentType::parse(text).ok())
        .unwrap_or_else(|| ContentType::parse("application/octet-stream").expect("a type"))
}

/// A name that is one file in whatever folder it is saved to (RFC 2183, section 2.3), and reads as what it is: without
/// paths, control characters and those that turn the direction of text around.
fn safe_name(name: &str) -> String {
    let is_plain = |c: &char| {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        !c.is_control() && !turns
    };
    let one = |c: char| if matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|') { '_' } else { c };
    let plain: String = name.chars().filter(is_plain).map(one).collect();
    // No hidden file, no `..`; Windows drops dots and spaces at the end.
    let plain = plain.trim().trim_start_matches('.').trim_end_matches(['.', ' ']).trim_start();
    if plain.is_empty() { "attachment".to_owned() } else { shortened(plain) }
}

/// Cut in its middle, so that the extension stays.
fn shortened(name: &str) -> String {
    if name.len() <= MAX_NAME {
        return name.to_owned();
    }
    let dot = name.rfind('.').filter(|dot| name.len() - dot <= 12);
    let (stem, extension) = name.split_at(dot.unwrap_or(name.len()));
    let mut end = MAX_NAME - extension.len();
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{extension}", &stem[..end])
}
