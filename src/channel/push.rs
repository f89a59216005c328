//! Push notifications: Firebase, Apple and Web Push, one provider each.
//!
//! An endpoint's address says whose it is: `fcm:<registration token>`, `apns:<device token>`, or `webpush:` and the
//! browser's subscription (what `PushSubscription.toJSON()` gives) in base64url without padding.
//!
//! Invariant: a provider is handed addresses of its own kind alone, and a token, which lets its holder write to a
//! device, is in no log and no error.

pub mod apns;
pub mod fcm;
pub mod webpush;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Channel, ConfigProblem, Content, Message, Push};
use crate::config;
use crate::model::Reason;
use crate::telemetry::clock::Clock;

/// The app finds the notification's id under this name, to tell repeats and to say what was seen.
const ID: &str = "notification_id";

/// The provider that the settings describe; connects to nothing.
///
/// # Errors
/// Every setting that cannot work; secrets are not quoted.
pub(super) fn new(config: &config::Push, clock: &Clock) -> Result<Arc<dyn Channel>, Vec<ConfigProblem>> {
    Ok(match config {
        config::Push::Fcm(fcm) => Arc::new(fcm::Fcm::new(fcm, clock.clone())?),
        config::Push::Apns(apns) => Arc::new(apns::Apns::new(apns, clock.clone())?),
        config::Push::WebPush(webpush) => Arc::new(webpush::WebPush::new(webpush, clock.clone())?),
    })
}

/// What is to be said: the push, and its data with the notification's id.
pub(super) fn said(message: &Message) -> Result<(&Push, BTreeMap<String, String>), Reason> {
    let Content::Push(push) = &message.content else { return Err(Reason::TemplateFailed) };
    if push.title.is_none() && push.body.is_none() && push.data.is_empty() {
        return Err(Reason::MessageRefused);
    }
    let mut data = push.data.clone();
    data.insert(ID.to_owned(), message.id.to_string());
    Ok((push, data))
}

/// What comes after the kind of an address, if it is of this kind.
pub(super) fn of_kind<'a>(address: &'a str, kind: &str) -> Option<&'a str> {
    address.trim().strip_prefix(kind)?.strip_prefix(':').filter(|rest| !rest.is_empty())
}

#[cfg(test)]
pub(super) mod samples {
    use uuid::Uuid;

    use super::*;
    use crate::channel::EventFacts;

    pub(crate) fn message(address: &str) -> Message {
        let push = Push {
            title: Some("Order A-1".to_owned()),
            body: Some("on its way".to_owned()),
            data: [("order".to_owned(), "A-1".to_owned())].into(),
        };
        Message {
            id: Uuid::from_u128(7),
            address: address.to_owned(),
            content: Content::Push(push),
            traceparent: None,
            event: EventFacts::default(),
        }
    }

    pub(crate) fn silent(address: &str) -> Message {
        let push = Push { data: [("sync".to_owned(), "1".to_owned())].into(), ..Push::default() };
        Message { content: Content::Push(push), ..message(address) }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("fcm:abc", Some("abc"))]
    #[case(" fcm:a:b ", Some("a:b"))]
    #[case("fcm:", None)]
    #[case("fcmx:abc", None)]
    #[case("apns:abc", None)]
    #[case("abc", None)]
    fn an_address_says_whose_it_is(#[case] address: &str, #[case] expected: Option<&str>) {
        assert_eq!(of_kind(address, "fcm"), expected);
    }

    #[test]
    fn a_push_that_says_nothing_is_refused() {
        let message = Message { content: Content::Push(Push::default()), ..samples::message("fcm:x") };
        assert_eq!(said(&message), Err(Reason::MessageRefused));
    }
}
