//! Which refusals say that an address is of no use to anyone: a hard bounce.
//!
//! Pure. In doubt a refusal is none: a suppressed address gets nothing until an operator lifts it, so that a provider
//! that blames an address for its own blocklist must not silence it.

use crate::model::{Channel, Reason};

/// Whether a refusal by `channel`, with the provider's status code, means that the address does not exist.
///
/// | channel | hard | not hard |
/// |---|---|---|
/// | e-mail | an enhanced code that names the mailbox or its domain: X.1.1, X.1.2, X.1.3, X.1.6, X.1.10, X.2.1; reply 556 | a bare 550 (as often a blocklist), X.7.x, a full mailbox |
/// | sms | `address_refused`: unknown subscriber | `blocked`: a STOP can be taken back |
/// | push | `endpoint_gone`: the app was removed, the subscription ended; `address_refused`: no token at all | |
/// | webhook, chat | `address_refused`: 410 Gone (Standard Webhooks: disable it), a removed incoming webhook | everything else |
/// | telegram | nothing: a chat that is not found is one whose owner did not begin it yet, or blocked the bot | |
/// | kafka, inbox | nothing: the address is a topic or a user, and the operator's own | |
pub fn is_hard_bounce(channel: Channel, reason: Reason, code: Option<&str>) -> bool {
    if reason == Reason::EndpointGone {
        return true;
    }
    if reason != Reason::AddressRefused {
        return false;
    }
    match channel {
        Channel::Email => code.is_some_and(names_the_mailbox),
        Channel::Sms | Channel::Push | Channel::Webhook | Channel::Chat => true,
        Channel::Telegram | Channel::Kafka | Channel::Inbox => false,
    }
}

/// RFC 3463, section 3, and the registry of enhanced status codes (RFC 5248); 556 and X.1.10 are RFC 7504 and 7505.
/// `code` is a reply code, an enhanced code, or both in this order.
fn names_the_mailbox(code: &str) -> bool {
    code.split_whitespace().any(|word| match word.split('.').collect::<Vec<_>>()[..] {
        ["556"] => true,
        ["5", "1", detail] => matches!(detail, "1" | "2" | "3" | "6" | "10"),
        ["5", "2", "1"] => true,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::no_such_user(Channel::Email, Reason::AddressRefused, Some("550 5.1.1"), true)]
    #[case::as_a_delivery_report_says_it(Channel::Email, Reason::AddressRefused, Some("5.1.1"), true)]
    #[case::no_mail_for_the_domain(Channel::Email, Reason::AddressRefused, Some("556"), true)]
    #[case::null_mx(Channel::Email, Reason::AddressRefused, Some("556 5.1.10"), true)]
    #[case::disabled(Channel::Email, Reason::AddressRefused, Some("550 5.2.1"), true)]
    #[case::bare(Channel::Email, Reason::AddressRefused, Some("550"), false)]
    #[case::no_answer(Channel::Email, Reason::AddressRefused, None, false)]
    #[case::no_route(Channel::Email, Reason::AddressRefused, Some("550 5.4.4"), false)]
    #[case::policy(Channel::Email, Reason::MessageRefused, Some("550 5.7.1"), false)]
    #[case::later(Channel::Email, Reason::AddressRefused, Some("450 4.1.1"), false)]
    #[case::unknown_subscriber(Channel::Sms, Reason::AddressRefused, Some("0x0000000b"), true)]
    #[case::stop(Channel::Sms, Reason::Blocked, Some("21610"), false)]
    #[case::unregistered(Channel::Push, Reason::AddressRefused, None, true)]
    #[case::app_removed(Channel::Push, Reason::EndpointGone, Some("http_404 UNREGISTERED"), true)]
    #[case::gone(Channel::Webhook, Reason::AddressRefused, Some("http_410"), true)]
    #[case::a_private_network(Channel::Webhook, Reason::AddressForbidden, None, false)]
    #[case::chat_not_found(Channel::Telegram, Reason::AddressRefused, Some("http_400"), false)]
    #[case::blocked_the_bot(Channel::Telegram, Reason::Blocked, Some("http_403"), false)]
    fn a_refusal_is_a_hard_bounce(
        #[case] channel: Channel,
        #[case] reason: Reason,
        #[case] code: Option<&str>,
        #[case] hard: bool,
    ) {
        assert_eq!(is_hard_bounce(channel, reason, code), hard);
    }
}
