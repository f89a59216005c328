//! One message: the right files for channel and locale, rendered within bounds.

use std::collections::BTreeMap;
use std::io;

use minijinja::value::Serde;
use minijinja::{ErrorKind, Value};
use serde::{Deserialize, Serialize};

use super::{Content, Context, Parts, RenderError, Templates, buttons, locale};
use crate::channel::markup::Document;
use crate::channel::{EventFacts, InboxEntry, Push};
use crate::model::Channel;

/// The most bytes that one file may make; larger than any provider takes.
pub(super) const MAX_OUTPUT: usize = 1024 * 1024;

/// What templates see.
#[derive(Serialize)]
struct Root<'a> {
    event: EventVariables<'a>,
    data: &'a serde_json::Value,
    tenant: &'a str,
    user_id: &'a str,
    locale: &'a str,
    timezone: &'a str,
}

#[derive(Serialize)]
struct EventVariables<'a> {
    id: &'a str,
    r#type: &'a str,
    source: &'a str,
    time: &'a str,
    category: &'a str,
}

/// The recommended payload of Standard Webhooks 1.0.0 ("Payload structure"), with the event's id.
#[derive(Serialize)]
struct Envelope<'a> {
    id: &'a str,
    r#type: &'a str,
    timestamp: &'a str,
    data: &'a serde_json::Value,
}

pub(super) fn render(
    templates: &Templates,
    channel: Channel,
    template: &str,
    locale: &str,
    context: &Context<'_>,
) -> Result<Content, RenderError> {
    let missing = || RenderError::Missing { template: template.to_owned(), channel };
    let channels = templates.index.get(template).ok_or_else(missing)?;
    let data = parse(template, context.data)?;
    let Some(locales) = channels.get(&channel) else {
        return match channel {
            Channel::Webhook => envelope(template, context.event, &data),
            Channel::Kafka => Ok(Content::Json(data.to_string())),
            _ => Err(missing()),
        };
    };
    let (tag, parts) = locale::fallbacks(locale)
        .chain([templates.default_locale.clone()])
        .find_map(|tag| locales.get_key_value(&tag))
        .ok_or_else(missing)?;
    let root = Value::from(Serde(root(context, &data, locale::of_text(locale, tag))));
    let mut content = message(templates, parts, &root)?;
    if let Content::Mail { attachments, .. } = &mut content {
        *attachments = data.get("attachments").cloned().unwrap_or_default();
    }
    Ok(content)
}

fn message(templates: &Templates, parts: &Parts, root: &Value) -> Result<Content, RenderError> {
    match parts {
        Parts::Mail { subject, text, html } => Ok(Content::Mail {
            subject: one_line(&file(templates, subject, root)?),
            text: file(templates, text, root)?,
            html: html.as_ref().map(|html| file(templates, html, root)).transpose()?,
            attachments: serde_json::Value::Null,
        }),
        Parts::Text { file: name, html } => {
            Ok(Content::Text { text: file(templates, name, root)?.trim().to_owned(), html: *html })
        }
        Parts::Json { file: name } => json(name, &file(templates, name, root)?),
        Parts::Markup { file: name, markdown } => {
            let text = file(templates, name, root)?;
            Ok(Content::Markup(if *markdown { Document::markdown(&text) } else { Document::plain(&text) }))
        }
        Parts::Inbox { title, body, link } => {
            let part = |name: &Option<String>| name.as_ref().map(|name| file(templates, name, root)).transpose();
            let link = part(link)?.map(|link| one_line(&link)).filter(|link| !link.is_empty());
            Ok(Content::Inbox(InboxEntry {
                title: one_line(&file(templates, title, root)?),
                body: part(body)?.unwrap_or_default().trim().to_owned(),
                link,
            }))
        }
        Parts::Buttons { message: of, buttons } => {
            let message = message(templates, of, root)?;
            let rows = buttons::read(buttons, &file(templates, buttons, root)?)?;
            Ok(if rows.is_empty() { message } else { Content::WithButtons { message: Box::new(message), rows } })
        }
        Parts::Push { title, body } => {
            let title = title.as_ref().map(|title| file(templates, title, root)).transpose()?;
            let title = title.map(|title| one_line(&title)).filter(|title| !title.is_empty());
            let body = Some(file(templates, body, root)?.trim().to_owned()).filter(|body| !body.is_empty());
            Ok(Content::Push(Push { title, body, data: BTreeMap::new() }))
        }
        Parts::PushJson { file: name } => push(name, &file(templates, name, root)?),
    }
}

fn parse(template: &str, data: &str) -> Result<serde_json::Value, RenderError> {
    let data = if data.is_empty() { "{}" } else { data };
    serde_json::from_str(data)
        .ok()
        .filter(serde_json::Value::is_object)
        .ok_or_else(|| RenderError::failed(template, "the event's data is not a JSON object"))
}

fn root<'a>(context: &Context<'a>, data: &'a serde_json::Value, locale: &'a str) -> Root<'a> {
    let EventFacts { id, kind, source, time, tenant, user_id, category, .. } = context.event;
    let event = EventVariables { id, r#type: kind, source, time, category };
    Root { event, data, tenant, user_id, locale, timezone: context.timezone }
}

fn envelope(template: &str, event: &EventFacts, data: &serde_json::Value) -> Result<Content, RenderError> {
    let envelope = Envelope { id: &event.id, r#type: &event.kind, timestamp: &event.time, data };
    serde_json::to_string(&envelope)
        .map(Content::Json)
        .map_err(|_| RenderError::failed(template, "the event's data cannot be written as JSON"))
}

fn file(templates: &Templates, name: &str, root: &Value) -> Result<String, RenderError> {
    let template = templates.environment.get_template(name).map_err(|error| RenderError::from_engine(name, &error))?;
    let mut output = Bounded(Vec::new());
    match template.render_captured_to(root.clone(), &mut output) {
        Ok(_) => String::from_utf8(output.0).map_err(|_| RenderError::failed(name, "the output is not UTF-8")),
        Err(error) if error.kind() == ErrorKind::WriteFailure => {
            Err(RenderError::failed(name, format!("the output is longer than {MAX_OUTPUT} bytes")))
        }
        Err(error) => Err(RenderError::from_engine(name, &error)),
    }
}

fn json(name: &str, text: &str) -> Result<Content, RenderError> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| RenderError::Failed {
        file: name.to_owned(),
        line: None,
        problem: format!("the output is not JSON (line {}, column {} of it)", error.line(), error.column()),
    })?;
    Ok(Content::Json(value.to_string()))
}

/// What `push.json` may make.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PushFile {
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    data: BTreeMap<String, serde_json::Value>,
}

fn push(name: &str, text: &str) -> Result<Content, RenderError> {
    // The engine's message would quote a key or a value.
    let wrong = "the output is not a JSON object of `title`, `body` and `data`";
    let file: PushFile = serde_json::from_str(text).map_err(|_| RenderError::failed(name, wrong))?;
    let as_text = |value| match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    let data = file.data.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key, as_text(value)));
    let some = |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    Ok(Content::Push(Push { title: some(file.title), body: some(file.body), data: data.collect() }))
}

/// A subject is one line, whatever line breaks the file or the data have.
fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Collects at most [`MAX_OUTPUT`] bytes.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            return Err(io::Error::other("output too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
