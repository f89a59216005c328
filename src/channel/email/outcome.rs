//! What an SMTP server's answer means for a notification: one pure function, tested as a table.
//!
//! Sources: RFC 5321 sections 3.8, 4.2 and 4.5.3.2 (reply codes, closing, time-outs), RFC 3463 and its registry
//! (enhanced status codes), RFC 4954 section 6 (AUTH), RFC 3207 section 4 (STARTTLS), RFC 7504 (521, 556).

use crate::channel::Verdict;
use crate::channel::{halt, reject, retry};
use crate::model::Reason;

/// How far a call had come when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Resolving, connecting, greeting, EHLO, STARTTLS.
    Connect,
    /// AUTH.
    Auth,
    /// MAIL FROM: what is judged is us.
    Sender,
    /// RCPT TO: what is judged is the address.
    Recipient,
    /// DATA: nothing of the message was sent yet.
    Data,
    /// The message is on its way: without an answer its fate is unknown.
    Content,
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// A negative answer.
    Refused(Reply),
    /// The connection broke, or could not be made.
    Lost,
    /// No answer in time.
    Timeout,
    /// An answer that does not belong here, or none that SMTP knows.
    Protocol,
    /// The server does not offer what the configuration requires (STARTTLS, AUTH).
    NotOffered,
    /// This message needs an extension that the server does not offer (SMTPUTF8, RFC 6531).
    Unsupported,
}

/// A negative answer: its code, and the enhanced one when there is one (`5.1.1` is `(5, 1, 1)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: u16,
    pub(super) enhanced: Option<(u8, u16, u16)>,
}

impl Reply {
    /// Reads the enhanced status code from the beginning of the answer's text (RFC 2034, section 4).
    pub(super) fn new(code: u16, text: &str) -> Self {
        let mut numbers = text.split_whitespace().next().unwrap_or_default().splitn(3, '.');
        let enhanced = (|| {
            let class = numbers.next()?.parse().ok()?;
            let subject = numbers.next()?.parse().ok()?;
            let detail = numbers.next()?.parse().ok()?;
            (u16::from(class) == code / 100).then_some((class, subject, detail))
        })();
        Reply { code, enhanced }
    }
}

impl std::fmt::Display for Reply {
    /// The reply code and, if there is one, the enhanced code.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.code)?;
        self.enhanced.map_or(Ok(()), |(class, subject, detail)| write!(f, " {class}.{subject}.{detail}"))
    }
}

pub(super) fn verdict(stage: Stage, failure: Failure) -> Verdict {
    match (failure, stage) {
        (Failure::Refused(reply), _) => refused(stage, reply),
        (Failure::Lost | Failure::Timeout | Failure::Protocol, Stage::Connect | Stage::Auth) => {
            halt(Reason::ConnectFailed)
        }
        (Failure::Lost | Failure::Timeout | Failure::Protocol, Stage::Content) => retry(Reason::Interrupted),
        (Failure::Timeout, _) => retry(Reason::Timeout),
        (Failure::Lost, _) => retry(Reason::Interrupted),
        (Failure::Protocol, _) => retry(Reason::ProviderError),
        (Failure::NotOffered, Stage::Auth) => halt(Reason::BadCredentials),
        (Failure::NotOffered, _) => halt(Reason::ConnectFailed),
        (Failure::Unsupported, _) => reject(Reason::AddressRefused),
    }
}

fn refused(stage: Stage, reply: Reply) -> Verdict {
    if reply.code < 500 {
        return retry(Reason::ProviderBusy);
    }
    if is_about_us(reply) {
        return halt(Reason::BadCredentials);
    }
    match stage {
        Stage::Connect => halt(Reason::ConnectFailed),
        Stage::Auth => halt(Reason::BadCredentials),
        // Only the size is this message's own; everything else would be said to any message of ours.
        Stage::Sender if reply.code == 552 => reject(Reason::MessageRefused),
        Stage::Sender => halt(Reason::BadCredentials),
        Stage::Recipient => reject(recipient_refused(reply)),
        // After the message was seen, 550 usually speaks of what it says; only an enhanced code blames the address.
        Stage::Data | Stage::Content if names_the_address(reply) => reject(Reason::AddressRefused),
        Stage::Data | Stage::Content => reject(Reason::MessageRefused),
    }
}

/// Authentication required or too weak (RFC 4954), our address refused as a sender (X.1.7, X.1.8), our credentials
/// (X.7.8, X.7.9, X.7.11).
fn is_about_us(reply: Reply) -> bool {
    matches!(reply.code, 530 | 534 | 535 | 538) || matches!(reply.enhanced, Some((_, 1, 7 | 8) | (_, 7, 8 | 9 | 11)))
}

fn recipient_refused(reply: Reply) -> Reason {
    let by_code = matches!(reply.code, 550 | 551 | 553 | 556);
    // X.7.x is policy and X.2.2 to X.2.4 a state of the mailbox: the address itself is good.
    let not_the_address = matches!(reply.enhanced, Some((_, 7, _) | (_, 2, 2..=4)));
    if names_the_address(reply) || (by_code && !not_the_address) {
        Reason::AddressRefused
    } else {
        Reason::MessageRefused
    }
}

/// X.1.x speaks of the address, X.2.1 of a disabled mailbox, X.4.4 of a domain without a route, X.1.10 and 556 of a
/// domain without mail.
fn names_the_address(reply: Reply) -> bool {
    reply.code == 556 || matches!(reply.enhanced, Some((_, 1, _) | (_, 2, 1) | (_, 4, 4)))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    // Busy, greylisted, shutting down: later, wherever it is said.
    #[case::greeting_421(Stage::Connect, 421, "4.3.2 closing", retry(Reason::ProviderBusy))]
    #[case::auth_454(Stage::Auth, 454, "4.7.0 temporary", retry(Reason::ProviderBusy))]
    #[case::greylisted_450(Stage::Recipient, 450, "4.2.0 greylisted", retry(Reason::ProviderBusy))]
    #[case::greylisted_451(Stage::Content, 451, "4.7.1 try later", retry(Reason::ProviderBusy))]
    #[case::storage_452(Stage::Sender, 452, "4.3.1 storage", retry(Reason::ProviderBusy))]
    // The address.
    #[case::no_user(Stage::Recipient, 550, "5.1.1 no such user", reject(Reason::AddressRefused))]
    #[case::no_user_plain(Stage::Recipient, 550, "no such user", reject(Reason::AddressRefused))]
    #[case::moved(Stage::Recipient, 551, "not local", reject(Reason::AddressRefused))]
    #[case::syntax(Stage::Recipient, 553, "5.1.3 bad syntax", reject(Reason::AddressRefused))]
    #[case::null_mx(Stage::Recipient, 556, "5.1.10 no mail", reject(Reason::AddressRefused))]
    #[case::disabled(Stage::Recipient, 554, "5.2.1 disabled", reject(Reason::AddressRefused))]
    #[case::no_user_late(Stage::Content, 550, "5.1.1 no such user", reject(Reason::AddressRefused))]
    // The message, or a policy: the address stays good.
    #[case::full(Stage::Recipient, 552, "5.2.2 mailbox full", reject(Reason::MessageRefused))]
    #[case::full_550(Stage::Recipient, 550, "5.2.2 mailbox full", reject(Reason::MessageRefused))]
    #[case::policy(Stage::Recipient, 550, "5.7.1 policy", reject(Reason::MessageRefused))]
    #[case::relay(Stage::Recipient, 554, "5.7.1 relay denied", reject(Reason::MessageRefused))]
    #[case::spam(Stage::Content, 554, "5.7.1 spam", reject(Reason::MessageRefused))]
    #[case::spam_550(Stage::Content, 550, "looks like spam", reject(Reason::MessageRefused))]
    #[case::too_big(Stage::Sender, 552, "5.3.4 too big", reject(Reason::MessageRefused))]
    // Us.
    #[case::not_authenticated(Stage::Sender, 530, "5.7.0 authenticate", halt(Reason::BadCredentials))]
    #[case::bad_password(Stage::Auth, 535, "5.7.8 wrong", halt(Reason::BadCredentials))]
    #[case::weak(Stage::Auth, 534, "5.7.9 too weak", halt(Reason::BadCredentials))]
    #[case::not_our_sender(Stage::Sender, 553, "5.7.1 not yours", halt(Reason::BadCredentials))]
    #[case::bad_sender_late(Stage::Recipient, 550, "5.1.8 bad sender domain", halt(Reason::BadCredentials))]
    #[case::no_service(Stage::Connect, 554, "no SMTP here", halt(Reason::ConnectFailed))]
    fn an_answer_has_one_meaning(
        #[case] stage: Stage,
        #[case] code: u16,
        #[case] text: &str,
        #[case] expected: Verdict,
    ) {
        assert_eq!(verdict(stage, Failure::Refused(Reply::new(code, text))), expected);
    }

    #[rstest]
    #[case(Stage::Connect, Failure::Lost, halt(Reason::ConnectFailed))]
    #[case(Stage::Connect, Failure::Timeout, halt(Reason::ConnectFailed))]
    #[case(Stage::Connect, Failure::NotOffered, halt(Reason::ConnectFailed))]
    #[case(Stage::Auth, Failure::NotOffered, halt(Reason::BadCredentials))]
    #[case(Stage::Auth, Failure::Lost, halt(Reason::ConnectFailed))]
    #[case(Stage::Recipient, Failure::Timeout, retry(Reason::Timeout))]
    #[case(Stage::Recipient, Failure::Lost, retry(Reason::Interrupted))]
    #[case(Stage::Data, Failure::Protocol, retry(Reason::ProviderError))]
    #[case(Stage::Content, Failure::Timeout, retry(Reason::Interrupted))]
    #[case(Stage::Content, Failure::Lost, retry(Reason::Interrupted))]
    #[case(Stage::Content, Failure::Protocol, retry(Reason::Interrupted))]
    #[case(Stage::Sender, Failure::Unsupported, reject(Reason::AddressRefused))]
    fn without_an_answer_the_stage_decides(#[case] stage: Stage, #[case] failure: Failure, #[case] expected: Verdict) {
        assert_eq!(verdict(stage, failure), expected);
    }

    #[rstest]
    #[case(550, "5.1.1 no", Some((5, 1, 1)))]
    #[case(550, "5.1.1", Some((5, 1, 1)))]
    #[case(550, "4.1.1 of another class", None)]
    #[case(550, "5.1 no", None)]
    #[case(550, "", None)]
    #[case(550, "a.b.c no", None)]
    fn the_enhanced_code_must_agree_with_the_reply(
        #[case] code: u16,
        #[case] text: &str,
        #[case] expected: Option<(u8, u16, u16)>,
    ) {
        assert_eq!(Reply::new(code, text).enhanced, expected);
    }
}
