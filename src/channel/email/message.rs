//! One mail as bytes: headers that cannot be injected into, text and HTML.
//!
//! Sources: RFC 5322 (format), RFC 2369 and RFC 8058 (one-click unsubscribe), RFC 3834 (Auto-Submitted).

use std::time::{Duration, UNIX_EPOCH};

use lettre::message::header::{ContentDisposition, ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message as Mail};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::attachments::File;
use super::dkim::Signer;
use crate::channel::{Content, Message, Verdict, halt, reject};
use crate::model::{Reason, RecipientKey, Timestamp};
use crate::telemetry::random;

/// What stays readable in a URL's component: RFC 3986's unreserved characters.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A longer one would not fit into a line (998 octets, RFC 5322, section 2.1.1), and may not be folded.
const MAX_URL: usize = 900;

/// What every mail of the channel has in common.
pub(super) struct Letterhead {
    pub(super) from: Mailbox,
    pub(super) reply_to: Option<Mailbox>,
    pub(super) unsubscribe_url: Option<String>,
    pub(super) dkim: Vec<Signer>,
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
    /// Writes the mail, with these files attached.
    ///
    /// # Errors
    /// Reject, [`Reason::AddressRefused`] when the address is none, [`Reason::TemplateFailed`] when the content is not a
    /// mail's, or cannot be one. Halt when it cannot be signed: nothing leaves unsigned that should be.
    pub(super) fn write(&self, message: &Message, files: &[File], now: Timestamp) -> Result<Envelope, Verdict> {
        let Content::Mail { subject, text, html, .. } = &message.content else {
            return Err(reject(Reason::TemplateFailed));
        };
        let to = address(&message.address).ok_or(reject(Reason::AddressRefused))?;
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
        let unsubscribe = self.unsubscribe_url.as_ref().map(|url| unsubscribe_url(url, message));
        if let Some(url) = unsubscribe.filter(|url| url.len() <= MAX_URL) {
            mail = mail
                .raw_header(unfolded("List-Unsubscribe", format!("<{url}>")))
                .raw_header(header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()));
        }
        let written = match (html, files) {
            (Some(html), []) => mail.multipart(alternative(text, html)),
            (None, []) => mail.singlepart(part(ContentType::TEXT_PLAIN, text)),
            (html, files) => mail.multipart(mixed(text, html.as_deref(), files)),
        };
        let bytes = self.signed(written.map_err(|_| reject(Reason::TemplateFailed))?.formatted(), now)?;
        Ok(Envelope { from: self.from.email.clone(), to, message_id, bytes })
    }
}

impl Letterhead {
    /// The mail with each key's signature above it; none signs another's.
    fn signed(&self, mail: Vec<u8>, now: Timestamp) -> Result<Vec<u8>, Verdict> {
        let signatures = self.dkim.iter().map(|signer| signer.sign(&mail, now)).collect::<Result<Vec<_>, _>>();
        let mut signed = signatures.map_err(|_| halt(Reason::BadCredentials))?.concat().into_bytes();
        signed.extend(mail);
        Ok(signed)
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

/// What is read, and the files below it.
fn mixed(text: &str, html: Option<&str>, files: &[File]) -> MultiPart {
    let mixed = MultiPart::mixed().boundary(random::uuid().simple().to_string());
    let mixed = match html {
        Some(html) => mixed.multipart(alternative(text, html)),
        None => mixed.singlepart(part(ContentType::TEXT_PLAIN, text)),
    };
    files.iter().fold(mixed, |mixed, file| mixed.singlepart(attached(file)))
}

/// In base64, whatever it is: no line of it is too long, and no line end in it is one of the mail's.
fn attached(file: &File) -> SinglePart {
    SinglePart::builder()
        .header(file.kind.clone())
        .header(ContentDisposition::attachment(&file.name))
        .header(ContentTransferEncoding::Base64)
        .body(Body::dangerous_pre_encoded(base64_lines(&file.bytes), ContentTransferEncoding::Base64))
}

/// Lines of 76 characters (RFC 2045, section 6.8).
fn base64_lines(bytes: &[u8]) -> Vec<u8> {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    text.as_bytes().chunks(76).collect::<Vec<_>>().join(&b"\r\n"[..])
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::channel::EventFacts;

    fn letterhead() -> Letterhead {
        Letterhead {
            from: "Shop <shop@example.com>".parse().unwrap(),
            reply_to: Some("help@example.com".parse().unwrap()),
            unsubscribe_url: Some("https://example.com/u?n={notification_id}&r={recipient}&c={category}".to_owned()),
            dkim: Vec::new(),
        }
    }

    fn message(subject: &str, text: &str, html: Option<&str>) -> Message {
        Message {
            id: Uuid::from_u128(7),
            address: "ada@example.org".to_owned(),
            content: Content::Mail {
                subject: subject.to_owned(),
                text: text.to_owned(),
                html: html.map(str::to_owned),
                attachments: serde_json::Value::Null,
            },
            traceparent: Some("00-1-2-01".to_owned()),
            event: EventFacts {
                tenant: "acme".to_owned(),
                user_id: "ada lovelace".to_owned(),
                category: "news & more".to_owned(),
                ..EventFacts::default()
            },
        }
    }

    fn written(letterhead: &Letterhead, message: &Message) -> String {
        let envelope = letterhead.write(message, &[], Timestamp(1_795_000_000_000)).unwrap();
        String::from_utf8(envelope.bytes).unwrap()
    }

    /// Header lines, unfolded, up to the empty line.
    fn headers(mail: &str) -> Vec<String> {
        let head = mail.split("\r\n\r\n").next().unwrap();
        head.replace("\r\n ", " ").split("\r\n").map(str::to_owned).collect()
    }

    #[test]
    fn a_mail_has_what_receivers_and_list_managers_look_for() {
        let mail = written(&letterhead(), &message("Grüße", "Hello", Some("<p>Hello</p>")));
        let boundary = mail.split("boundary=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        insta::assert_snapshot!(mail.replace(&boundary, "BOUNDARY").replace("\r\n", "\n"));
    }

    #[test]
    fn a_mail_without_html_is_plain_text() {
        let plain = Letterhead { reply_to: None, unsubscribe_url: None, ..letterhead() };
        let mail = written(&plain, &message("Hello", "Hello", None));
        let headers = headers(&mail);
        assert!(headers.iter().any(|line| line == "Content-Type: text/plain; charset=utf-8"), "{headers:?}");
        assert!(!mail.contains("List-Unsubscribe") && !mail.contains("Reply-To"));
    }

    #[test]
    fn the_boundary_cannot_be_known_beforehand() {
        let one = written(&letterhead(), &message("Hello", "Hello", Some("")));
        assert_ne!(one, written(&letterhead(), &message("Hello", "Hello", Some(""))));
    }

    #[test]
    fn a_line_break_in_a_subject_is_a_space() {
        let mail = written(&letterhead(), &message("a\r\nBcc: eve@example.org\0", "Hello", None));
        let headers = headers(&mail);
        assert!(headers.contains(&"Subject: a Bcc: eve@example.org".to_owned()), "{headers:?}");
    }

    #[test]
    fn placeholders_are_percent_encoded() {
        let url = unsubscribe_url(letterhead().unsubscribe_url.as_ref().unwrap(), &message("", "", None));
        let id = "00000000-0000-0000-0000-000000000007";
        assert_eq!(url, format!("https://example.com/u?n={id}&r=acme%2Fada%2520lovelace&c=news%20%26%20more"));
    }

    #[test]
    fn content_of_another_channel_is_not_a_mail() {
        let message = Message { content: Content::Json("{}".to_owned()), ..message("", "", None) };
        assert_eq!(letterhead().write(&message, &[], Timestamp(0)).unwrap_err(), reject(Reason::TemplateFailed));
    }

    proptest! {
        #[test]
        fn no_subject_can_add_a_header(subject in "\\PC*(\r|\n|\r\n|\u{85}|\u{2028}| )*Bcc: eve@example.org\\PC*") {
            let mail = written(&letterhead(), &message(&subject, "Hello", None));
            let names: Vec<String> =
                headers(&mail).iter().map(|line| line.split(':').next().unwrap().to_owned()).collect();
            let expected = written(&letterhead(), &message("x", "Hello", None));
            let expected: Vec<String> =
                headers(&expected).iter().map(|line| line.split(':').next().unwrap().to_owned()).collect();
            prop_assert_eq!(names, expected);
        }

        #[test]
        fn every_line_fits_into_smtp(subject in "\\PC{0,500}", text in "(\\PC|\n){0,3000}") {
            let envelope = letterhead().write(&message(&subject, &text, Some(&text)), &[], Timestamp(0)).unwrap();
            // RFC 5321, section 4.5.3.1.6: 1000 octets with CRLF; and no bare CR or LF.
            let mail = String::from_utf8(envelope.bytes).unwrap();
            for line in mail.split("\r\n") {
                prop_assert!(line.len() <= 998 && !line.contains(['\r', '\n']), "{}", line);
            }
        }
    }
}
