//! What a notification says: minijinja files by name, locale and channel.
//!
//! `<dir>/<template>/<locale>/<channel>.<part>`; folders that begin with `_` hold partials that others include or
//! extend by their path below `<dir>`. Everything is read and compiled once; rendering is pure computation, bounded
//! in steps and in output, and may run on any thread.
//!
//! Invariant: an error names a file and a line, never a value of the event's data.

mod buttons;
mod error;
mod filters;
mod load;
mod locale;
mod render;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;

use minijinja::Environment;

pub use error::{RenderError, TemplateErrors, TemplateProblem};

use super::{Content, EventFacts};
use crate::model::Channel;

/// All templates of a folder, compiled.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
    index: Index,
    default_locale: String,
}

/// Template name → channel → locale (lower case) → files.
type Index = HashMap<String, HashMap<Channel, HashMap<String, Parts>>>;

/// The files that make one message, by their names in the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Parts {
    Mail { subject: String, text: String, html: Option<String> },
    Text { file: String, html: bool },
    Json { file: String },
    Markup { file: String, markdown: bool },
    Buttons { message: Box<Parts>, buttons: String },
    Push { title: Option<String>, body: String },
    PushJson { file: String },
    Inbox { title: String, body: Option<String>, link: Option<String> },
}

/// What a template may speak of, besides `locale`: the recipient's tag, or that of the text where there is none in his
/// language.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// `event.id`, `event.type`, `event.source`, `event.time`, `event.category`, and `tenant`, `user_id`.
    pub event: &'a EventFacts,
    /// `data`: a JSON object as text; empty means `{}`.
    pub data: &'a str,
    /// `timezone`: the recipient's IANA zone, which the filter `datetime` uses; unknown ones count as UTC.
    pub timezone: &'a str,
}

impl Templates {
    /// Reads and compiles every template below `dir`. `default_locale` is the last one tried, and every template
    /// must have it for each channel it speaks to.
    ///
    /// # Errors
    /// All problems at once, each with its file and, where it has one, its line.
    pub fn load(dir: &Path, default_locale: &str) -> Result<Self, TemplateErrors> {
        load::load(dir, default_locale)
    }

    /// Renders `template` for `channel` in the best locale there is: `de-AT`, then `de`, then the default one
    /// (RFC 4647, section 3.4). A webhook without a file of its own gets the envelope that Standard Webhooks
    /// recommends: id, type, timestamp, data; a Kafka topic the event's data.
    ///
    /// # Errors
    /// [`RenderError::Missing`] without such a template, [`RenderError::Failed`] when it does not render with this
    /// data.
    pub fn render(
        &self,
        channel: Channel,
        template: &str,
        locale: &str,
        context: &Context<'_>,
    ) -> Result<Content, RenderError> {
        render::render(self, channel, template, locale, context)
    }

    /// The names of all templates, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.index.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// Whether `template` can be rendered for `channel`; for `doctor` and the check of policies.
    pub fn covers(&self, channel: Channel, template: &str) -> bool {
        let needs_no_file = matches!(channel, Channel::Webhook | Channel::Kafka);
        self.index.get(template).is_some_and(|channels| needs_no_file || channels.contains_key(&channel))
    }
}
