//! One mail as bytes: headers that cannot be injected into, text and HTML.
//!
//! Sources: RFC 5322 (format), RFC 2369 and RFC 8058 (one-click unsubscribe), RFC 3834 (Auto-Submitted).

use std::time::{Duration, UNIX_EPOCH};

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message as Mail};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::channel::{Content, Message};
use crate::model::{Reason, RecipientKey, Timestamp};
use crate::telemetry::random;

/// What stays readable in a URL's component: RFC 3986's unreserved characters.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What every mail of the channel has in common.
#[derive(Debug)]
pub(super) struct Letterhead {
    pub(super) from: Mailbox,
    pub(super) reply_to: Option<Mailbox>,
    pub(super) unsubscribe_url: Option<String>,
}

/// A mail ready to be handed over.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) from: Address,
    pub(super) to: Address,
    pub(super) message_id: String,
    pub(super) bytes: Vec<u8>,
}

impl Letterhead {
    /// Writes the mail.
    ///
    /// # Errors
    /// [`Reason::AddressRefused`] when the address is none; [`Reason::TemplateFailed`] when the content is not a
    /// mail's, or cannot be one.
    pub(super) fn write(&self, message: &Message, now: Timestamp) -> Result<Envelope, Reason> {
        let Content::Mail { subject, text, html } = &message.content else { return Err(Reason::TemplateFailed) };
        let to = address(&message.address).ok_or(Reason::AddressRefused)?;
        let message_id = format!("<{}@{}>", message.id, self.from.email.domain());
        let seconds = u64::try_from(now.0 / 1000).unwrap_or(0);
        let mut mail = Mail::builder()
            .message_id(Some(message_id.clone()))
            .date(UNIX_EPOCH + Duration::from_secs(seconds))
            .from(self.from.clone())
            .to(Mailbox::new(None, to.clone()))
            .subject(one_line(subject))
            .raw_header(header("Auto-Submitted", "auto-generated".to_owned()));
        if let Some(reply_to) = &self.reply_to {
            mail = mail.reply_to(reply_to.clone());
        }
        if let Some(url) = &self.unsubscribe_url {
            let url = unsubscribe_url(url, message);
            mail = mail
                .raw_header(unfolded("List-Unsubscribe", format!("<{url}>")))
                .raw_header(header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()));
        }
        let written = match html {
            Some(html) => mail.multipart(alternative(text, html)),
            None => mail.singlepart(part(ContentType::TEXT_PLAIN, text)),
        };
        let bytes = written.map_err(|_| Reason::TemplateFailed)?.formatted();
        Ok(Envelope { from: self.from.email.clone(), to, message_id, bytes })
    }
}

/// An address with its domain in ASCII (RFC 5890), so that only a local part beyond ASCII needs SMTPUTF8.
fn address(text: &str) -> Option<Address> {
    let (user, domain) = text.trim().rsplit_once('@')?;
    if domain.is_ascii() {
        return Address::new(user, domain).ok();
    }
    let url::Host::Domain(domain) = url::Host::parse(domain).ok()? else { return None };
    Address::new(user, domain).ok()
}

/// The boundary is drawn at random: nobody who knows the data can write a part of his own.
fn alternative(text: &str, html: &str) -> MultiPart {
    MultiPart::alternative()
        .boundary(random::uuid().simple().to_string())
        .singlepart(part(ContentType::TEXT_PLAIN, text))
        .singlepart(part(ContentType::TEXT_HTML, html))
}

fn part(kind: ContentType, body: &str) -> SinglePart {
    SinglePart::builder().header(kind).body(body.to_owned())
}

/// Fills the placeholders, percent-encoded.
fn unsubscribe_url(template: &str, message: &Message) -> String {
    let encode = |text: &str| utf8_percent_encode(text, COMPONENT).to_string();
    let recipient = RecipientKey::new(&message.event.tenant, &message.event.user_id);
    template
        .replace("{notification_id}", &encode(&message.id.to_string()))
        .replace("{recipient}", &encode(recipient.as_str()))
        .replace("{category}", &encode(&message.event.category))
}

fn header(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value)
}

/// A URL must reach the reader in one piece. It is ASCII without control characters: the configuration's part was
/// checked at the start, the rest is percent-encoded.
fn unfolded(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::dangerous_new_pre_encoded(HeaderName::new_from_ascii_str(name), value.clone(), value)
}

/// Without the line breaks and control characters that could begin another header.
fn one_line(text: &str) -> String {
    text.split(char::is_control).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}
