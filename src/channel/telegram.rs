//! Telegram messages by the Bot API.
//!
//! Payloads, ids and error descriptions are teloxide-core's. The request itself is made here: teloxide-core's own
//! sleeps 10 s on a 5xx before it returns, hides the status, reads an answer of any size, calls a message that it
//! cannot parse an error although it was sent, and has the token in its errors.
//!
//! Invariant: the token is part of each URL, so no error, URL or text of the HTTP client leaves this file.

mod outcome;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::Duration;

use reqwest::{Client, Url};
use serde::Serialize;
use teloxide_core::payloads::{GetMe, SendMessage, SendMessageSetters};
use teloxide_core::requests::Payload;
use teloxide_core::types::{ChatId, InlineKeyboardButton, InlineKeyboardMarkup, ParseMode, Recipient};

use self::outcome::{Answer, Failure, verdict};
use super::markup::{Dialect, fit};
use super::{Button, Channel, ConfigProblem, Content, Message, Outcome, Verdict, connect_timeout};
use crate::config;
use crate::model::{Channel as ChannelName, Reason};

/// The most characters of a message after its entities were parsed (Bot API, `sendMessage`).
const MAX_CHARACTERS: usize = 4096;
/// The most bytes of an answer that are read: a sent message comes back whole, with its entities.
const MAX_ANSWER: usize = 256 * 1024;

/// One bot.
pub struct Telegram {
    client: Client,
    /// Ends in `/bot<token>`: never shown.
    base: Url,
    timeout: Duration,
}

impl Telegram {
    /// Reads the settings; connects to nothing.
    ///
    /// # Errors
    /// Every setting that cannot work; the token is not quoted.
    pub fn new(config: &config::Telegram) -> Result<Self, Vec<ConfigProblem>> {
        let problem = |setting: &str, text: &str| ConfigProblem::new(format!("channels.telegram.{setting}"), text);
        let mut problems = Vec::new();
        if !is_token(config.token.reveal()) {
            problems.push(problem("token", "is not a bot token (`<digits>:<letters>`); get one from @BotFather"));
        }
        let base = base(&config.api_url, config.token.reveal());
        if base.is_none() {
            problems.push(problem("api_url", "is not an http:// or https:// URL without a query"));
        }
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(connect_timeout(config.timeout.0))
            .timeout(config.timeout.0)
            .build();
        match (client, base) {
            (Ok(client), Some(base)) if problems.is_empty() => Ok(Telegram { client, base, timeout: config.timeout.0 }),
            (Err(_), _) => {
                problems.push(problem("api_url", "no HTTP client can be made: TLS does not start"));
                Err(problems)
            }
            _ => Err(problems),
        }
    }

    /// One call of a method, its answer read to the end or to the limit.
    async fn call<P: Payload + Serialize>(&self, payload: &P) -> Result<Answer, Failure> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.push(P::NAME);
        }
        let mut response = self.client.post(url).json(payload).send().await.map_err(|error| failure(&error))?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|_| Failure::Interrupted { status: Some(status) })? {
            body.extend_from_slice(&chunk[..chunk.len().min(MAX_ANSWER - body.len())]);
            if body.len() == MAX_ANSWER {
                break;
            }
        }
        Ok(Answer::parse(status, &body))
    }
}

#[async_trait::async_trait]
impl Channel for Telegram {
    fn name(&self) -> ChannelName {
        ChannelName::Telegram
    }

    fn provider(&self) -> &'static str {
        "telegram"
    }

    async fn deliver(&self, message: &Message) -> Outcome {
        let payload = match payload(message) {
            Ok(payload) => payload,
            Err(reason) => return Outcome { result: Verdict::Reject { reason }, code: None },
        };
        let answer = self.call(&payload).await;
        let code = match &answer {
            Ok(answer) => Some(format!("http_{}", answer.status)),
            Err(Failure::Interrupted { status: Some(status) }) => Some(format!("http_{status}")),
            Err(_) => None,
        };
        Outcome { result: verdict(answer), code }
    }

    async fn check(&self) -> Result<(), String> {
        let host = self.base.host_str().unwrap_or_default();
        match self.call(&GetMe::new()).await {
            Ok(answer) if answer.is_ok() => Ok(()),
            Ok(answer) if matches!(answer.status, 401 | 404) => {
                Err(format!("the Bot API at {host} refuses the token; check `token` in [channels.telegram]"))
            }
            Ok(answer) => {
                Err(format!("the Bot API at {host} answers with HTTP status {}; try again later", answer.status))
            }
            Err(Failure::Timeout) => Err(format!("the Bot API at {host} gives no answer within {:?}", self.timeout)),
            Err(_) => Err(format!(
                "the Bot API at {host} cannot be reached; check `api_url` in [channels.telegram] and the network"
            )),
        }
    }
}

/// What a failed exchange means; the error itself has the token in its URL and goes no further.
fn failure(error: &reqwest::Error) -> Failure {
    if error.is_connect() {
        Failure::NoConnection
    } else if error.is_timeout() {
        Failure::Timeout
    } else {
        Failure::Interrupted { status: None }
    }
}

fn payload(message: &Message) -> Result<SendMessage, Reason> {
    let (content, rows) = match &message.content {
        Content::WithButtons { message, rows } => (message.as_ref(), rows.as_slice()),
        content => (content, [].as_slice()),
    };
    let (text, html) = text(content)?;
    let recipient = recipient(&message.address).ok_or(Reason::AddressRefused)?;
    if text.trim().is_empty() || visible(&text, html) > MAX_CHARACTERS {
        return Err(Reason::MessageRefused);
    }
    let mut payload = SendMessage::new(recipient, text);
    if html {
        payload = payload.parse_mode(ParseMode::Html);
    }
    if !rows.is_empty() {
        payload = payload.reply_markup(keyboard(rows));
    }
    Ok(payload)
}

/// The text, and whether it is HTML. Markdown becomes HTML here, not Telegram's MarkdownV2: that refuses a whole message
/// for one full stop without a backslash. Only Markdown is cut: whoever writes HTML himself has to keep it short.
fn text(content: &Content) -> Result<(Cow<'_, str>, bool), Reason> {
    match content {
        Content::Text { text, html } => Ok((text.into(), *html)),
        Content::Markup(document) => {
            let fits = |text: &String| visible(text, true) <= MAX_CHARACTERS;
            Ok((fit(document, |document| Dialect::Html.write(document), fits).into(), true))
        }
        _ => Err(Reason::TemplateFailed),
    }
}

fn keyboard(rows: &[Vec<Button>]) -> InlineKeyboardMarkup {
    let button = |button: &Button| InlineKeyboardButton::url(button.text.clone(), button.url.clone());
    InlineKeyboardMarkup::new(rows.iter().map(|row| row.iter().map(button).collect::<Vec<_>>()))
}

/// A chat's number, or the name of a public channel.
fn recipient(address: &str) -> Option<Recipient> {
    let address = address.trim();
    if let Some(name) = address.strip_prefix('@') {
        let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        return plain.then(|| Recipient::ChannelUsername(address.to_owned()));
    }
    address.parse().ok().map(|id| Recipient::Id(ChatId(id)))
}

/// Characters that are left when tags are taken away and each entity counts as one. It never counts more than
/// Telegram does, so nothing is refused here that Telegram would take.
fn visible(text: &str, html: bool) -> usize {
    if !html {
        return text.chars().count();
    }
    let mut count = 0;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '<' => {
                characters.by_ref().find(|end| *end == '>');
            }
            '&' => {
                let entity: String = characters.as_str().chars().take(10).collect();
                if let Some(end) = entity.find(';') {
                    characters = characters.as_str()[end + 1..].chars();
                }
                count += 1;
            }
            _ => count += 1,
        }
    }
    count
}

fn is_token(token: &str) -> bool {
    token.split_once(':').is_some_and(|(bot, secret)| {
        !bot.is_empty()
            && bot.bytes().all(|byte| byte.is_ascii_digit())
            && !secret.is_empty()
            && secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    })
}

fn base(api_url: &str, token: &str) -> Option<Url> {
    let mut url: Url = api_url.parse().ok()?;
    if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some() {
        return None;
    }
    url.path_segments_mut().ok()?.pop_if_empty().push(&format!("bot{token}"));
    Some(url)
}
