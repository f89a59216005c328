//! Delivery reports: `multipart/report` with a `message/delivery-status` part (RFC 3464), as servers really write them.
//!
//! Pure. What is taken: Action, Status and the reply code of Diagnostic-Code of the recipient's group, and the Message-ID
//! of the mail that is spoken of, from the copy (or the headers) that comes with the report. Nothing else of a mail from
//! anyone is believed or kept.

use mail_parser::{Message, MessageParser, MimeHeaders as _, PartType};

use crate::model::{Channel, Reason, State};
use crate::receipts::intake::Received;
use crate::suppression::is_hard_bounce;

/// A report within a report within …: no deeper than this.
const DEEPEST: usize = 8;

/// The receipts of a mail; none when it is no report, or one of a mail that is still on its way.
pub(super) fn read(raw: &[u8], provider: &str) -> Vec<Received> {
    let Some(mail) = MessageParser::default().parse(raw) else { return Vec::new() };
    let mut found = Found::default();
    found.walk(&mail, 0);
    let Some(message_id) = found.message_id else { return Vec::new() };
    let receipt = |group: &Group| {
        let state = group.state()?;
        let code = group.code();
        let hard = is_hard_bounce(Channel::Email, Reason::AddressRefused, code.as_deref());
        Some(Received {
            provider: provider.to_owned(),
            message_id: message_id.clone(),
            state,
            permanent: state == State::Bounced && hard,
            code,
            occurred_at: None,
        })
    };
    // A mail of ours has one recipient: the first group that says something is its.
    found.groups.iter().find_map(receipt).into_iter().collect()
}

/// What was found on the way through a mail.
#[derive(Default)]
struct Found {
    groups: Vec<Group>,
    message_id: Option<String>,
}

impl Found {
    fn walk(&mut self, mail: &Message<'_>, depth: usize) {
        for part in &mail.parts {
            let kind = part
                .content_type()
                .map(|kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default()).to_ascii_lowercase());
            match (kind.as_deref(), &part.body) {
                (Some("message/delivery-status" | "message/global-delivery-status"), _) => {
                    self.groups.extend(groups(&String::from_utf8_lossy(part.contents())));
                }
                (Some("text/rfc822-headers" | "message/global-headers"), _) => {
                    let headers = MessageParser::default().parse(part.contents());
                    self.of_original(headers.as_ref());
                }
                (_, PartType::Message(inner)) if depth < DEEPEST => {
                    let before = self.groups.len();
                    self.walk(inner, depth + 1);
                    if self.groups.len() == before {
                        self.of_original(Some(inner));
                    }
                }
                _ => {}
            }
        }
    }

    /// The first that comes with the report; a report that was forwarded holds it deeper.
    fn of_original(&mut self, mail: Option<&Message<'_>>) {
        if self.message_id.is_none() {
            self.message_id = mail.and_then(Message::message_id).map(str::to_owned).filter(|id| !id.is_empty());
        }
    }
}

/// The fields of one recipient.
#[derive(Debug, Default)]
struct Group {
    action: String,
    status: String,
    diagnostic: String,
}

/// The groups of fields, one for each recipient; the first, about the report itself, has no action and says nothing.
fn groups(text: &str) -> Vec<Group> {
    let mut groups = vec![Group::default()];
    let mut field = String::new();
    for line in text.lines().chain([""]) {
        if line.starts_with([' ', '\t']) && !line.trim().is_empty() {
            field.push(' ');
            field.push_str(line.trim());
            continue;
        }
        if let Some(group) = groups.last_mut() {
            group.take(&field);
        }
        line.trim_end().clone_into(&mut field);
        if line.trim().is_empty() {
            groups.push(Group::default());
        }
    }
    groups
}

impl Group {
    fn take(&mut self, field: &str) {
        let Some((name, value)) = field.split_once(':') else { return };
        let value = value.trim();
        match name.trim().to_ascii_lowercase().as_str() {
            "action" => self.action = value.to_ascii_lowercase(),
            "status" => value.clone_into(&mut self.status),
            "diagnostic-code" => value.clone_into(&mut self.diagnostic),
            _ => {}
        }
    }

    /// Servers write more than RFC 3464 has: `failure`, `error`, with comments.
    fn state(&self) -> Option<State> {
        let word = self.action.split(|c: char| !c.is_ascii_alphabetic()).find(|word| !word.is_empty())?;
        match word {
            "failed" | "failure" | "error" => Some(State::Bounced),
            // `relayed` and `expanded` say that nobody will report any more, not that it arrived.
            "delivered" => Some(State::Delivered),
            _ => None,
        }
    }

    /// `550 5.1.1`, or what there is of it.
    fn code(&self) -> Option<String> {
        let reply = self.diagnostic.split(|c: char| !c.is_ascii_digit() && c != '.').find(|word| is_reply(word));
        let enhanced = enhanced(&self.status).or_else(|| enhanced(&self.diagnostic));
        let parts: Vec<&str> = reply.into_iter().chain(enhanced).collect();
        (!parts.is_empty()).then(|| parts.join(" "))
    }
}

fn is_reply(word: &str) -> bool {
    word.len() == 3 && word.starts_with(['2', '4', '5']) && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// The first enhanced status code in a text (RFC 3463): a class and two numbers of at most three digits.
fn enhanced(text: &str) -> Option<&str> {
    text.split(|c: char| !c.is_ascii_digit() && c != '.').find(|word| {
        let parts: Vec<&str> = word.split('.').collect();
        let number = |part: &&str| (1..=3).contains(&part.len());
        parts.len() == 3 && matches!(parts[0], "2" | "4" | "5") && parts[1..].iter().all(number)
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// As Postfix writes it.
    fn report(fields: &str) -> String {
        format!(
            "From: MAILER-DAEMON@mx.example.org\r\nTo: shop@example.com\r\nSubject: Undelivered Mail Returned to Sender\r\n\
             Message-ID: <20260101.ABC@mx.example.org>\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\r\n\r\n\
             --b\r\nContent-Type: text/plain\r\n\r\nI'm sorry to have to inform you that your message could not be delivered.\r\n\r\n\
             --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.org\r\nX-Postfix-Queue-ID: ABC\r\n\r\n\
             {fields}\r\n\r\n\
             --b\r\nContent-Type: message/rfc822\r\n\r\nFrom: shop@example.com\r\nTo: ada@example.org\r\n\
             Message-ID: <0192f0c1-5a7b-5c3d-8e4f-0123456789ab@example.com>\r\nSubject: Shipped\r\n\r\nHello\r\n\r\n--b--\r\n"
        )
    }

    const NO_SUCH_USER: &str = "Final-Recipient: rfc822; ada@example.org\r\nAction: failed\r\nStatus: 5.1.1\r\n\
        Diagnostic-Code: smtp; 550 5.1.1 <ada@example.org>: Recipient address\r\n    rejected: User unknown";

    fn only(raw: &str) -> Received {
        let mut found = read(raw.as_bytes(), "smtp");
        assert_eq!(found.len(), 1, "{raw}");
        found.remove(0)
    }

    #[test]
    fn a_report_names_the_mail_it_speaks_of_and_what_became_of_it() {
        let receipt = only(&report(NO_SUCH_USER));
        assert_eq!(receipt.message_id, "0192f0c1-5a7b-5c3d-8e4f-0123456789ab@example.com");
        assert_eq!((receipt.state, receipt.permanent), (State::Bounced, true));
        assert_eq!(receipt.code.as_deref(), Some("550 5.1.1"));
    }

    #[rstest]
    #[case::failure("Action: failure\r\nStatus: 5.1.2", State::Bounced, true, Some("5.1.2"))]
    #[case::with_a_comment(
        "Action: failed (permanently)\r\nStatus: 5.1.1 (bad mailbox)",
        State::Bounced,
        true,
        Some("5.1.1")
    )]
    #[case::full("Action: failed\r\nStatus: 5.2.2", State::Bounced, false, Some("5.2.2"))]
    #[case::policy(
        "Action: failed\r\nStatus: 5.7.1\r\nDiagnostic-Code: smtp; 554 no",
        State::Bounced,
        false,
        Some("554 5.7.1")
    )]
    #[case::given_up("Action: failed\r\nStatus: 4.4.1", State::Bounced, false, Some("4.4.1"))]
    #[case::no_status("Action: error\r\nStatus: ", State::Bounced, false, None)]
    #[case::status_in_the_text(
        "Action: failed\r\nDiagnostic-Code: X; 553 5.1.3 x",
        State::Bounced,
        true,
        Some("553 5.1.3")
    )]
    #[case::arrived("Action: delivered\r\nStatus: 2.0.0", State::Delivered, false, Some("2.0.0"))]
    fn an_action_is_a_state(
        #[case] fields: &str,
        #[case] state: State,
        #[case] permanent: bool,
        #[case] code: Option<&str>,
    ) {
        let receipt = only(&report(fields));
        assert_eq!((receipt.state, receipt.permanent, receipt.code.as_deref()), (state, permanent, code));
    }

    #[test]
    fn headers_alone_name_the_mail_too() {
        let headers = report(NO_SUCH_USER)
            .replace("Content-Type: message/rfc822", "Content-Type: text/rfc822-headers")
            .replace("\r\n\r\nHello", "");
        assert_eq!(only(&headers).message_id, "0192f0c1-5a7b-5c3d-8e4f-0123456789ab@example.com");
    }

    #[test]
    fn a_forwarded_report_is_read() {
        let inner = report(NO_SUCH_USER);
        let outer = format!(
            "From: postmaster@example.com\r\nMessage-ID: <fwd@example.com>\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/mixed; boundary=\"o\"\r\n\r\n--o\r\nContent-Type: message/rfc822\r\n\r\n{inner}\r\n--o--\r\n"
        );
        assert_eq!(only(&outer).message_id, "0192f0c1-5a7b-5c3d-8e4f-0123456789ab@example.com");
    }

    #[rstest]
    #[case::delayed(report("Action: delayed\r\nStatus: 4.2.1"))]
    #[case::relayed(report("Action: relayed\r\nStatus: 2.0.0"))]
    #[case::an_answer("From: ada@example.org\r\nSubject: Re: Shipped\r\n\r\nThanks! Action: failed\r\n".to_owned())]
    #[case::nothing(String::new())]
    #[case::no_copy_of_the_mail(report(NO_SUCH_USER).replace("message/rfc822", "text/plain"))]
    fn what_says_nothing_about_a_mail_is_no_receipt(#[case] raw: String) {
        assert_eq!(read(raw.as_bytes(), "smtp"), Vec::new());
    }

    proptest::proptest! {
        #[test]
        fn no_mail_panics(raw: Vec<u8>, cut in 0usize..2_000) {
            let _ = read(&raw, "smtp");
            let report = report(NO_SUCH_USER);
            let _ = read(&report.as_bytes()[..cut.min(report.len())], "smtp");
        }
    }
}
