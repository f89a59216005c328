//! The inbox: what a user has in the app, as records of the compacted topic `notify.inbox`.
//!
//! Nothing is called: the item is written in the transaction that takes the notification's offset and says SENT, once,
//! whatever crashes. What the user does with it is another record, with a key of its own: an item that comes again, by a
//! producer's repeat or a redrive, does not become unread.

use url::Url;

use super::{Channel, Content, InboxEntry, Message, Outcome, Produce, Verdict, reject};
use crate::config;
use crate::model::{Channel as ChannelName, Reason};

/// Everybody's inbox.
pub struct Inbox;

impl Inbox {
    /// There is nothing to set.
    pub fn new(_: &config::Inbox) -> Self {
        Inbox
    }
}

#[async_trait::async_trait]
impl Channel for Inbox {
    fn name(&self) -> ChannelName {
        ChannelName::Inbox
    }

    fn provider(&self) -> &'static str {
        "inbox"
    }

    async fn deliver(&self, message: &Message) -> Outcome {
        let result = match &message.content {
            Content::Inbox(InboxEntry { title, .. }) if title.is_empty() => reject(Reason::MessageRefused),
            Content::Inbox(entry) => {
                let link = entry.link.clone().filter(|link| leads_somewhere(link));
                Verdict::Written { records: vec![Produce::Inbox(InboxEntry { link, ..entry.clone() })] }
            }
            _ => reject(Reason::TemplateFailed),
        };
        Outcome { result, code: None }
    }

    /// It is Kafka itself: when that is away, nothing is asked of any channel.
    async fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Whether an app can follow a link without harm: a path of its own, or a URL that is no script. Links come from events'
/// data, and a page that follows `javascript:` runs it.
fn leads_somewhere(link: &str) -> bool {
    const SCRIPTS: [&str; 6] = ["javascript", "data", "vbscript", "blob", "file", "about"];
    match Url::parse(link) {
        Ok(url) => !SCRIPTS.contains(&url.scheme()),
        // Two slashes name another host; a browser takes a backslash for one, and passes over control characters.
        Err(_) => {
            let plain = !link.contains(['\\', '\t', '\n', '\r']);
            plain && link.starts_with('/') && !link.starts_with("//")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::EventFacts;

    #[rstest::rstest]
    #[case("https://example.org/orders/1", true)]
    #[case("shop://orders/1", true)]
    #[case("mailto:help@example.org", true)]
    #[case("/orders/1?a=b#c", true)]
    #[case("javascript:alert(1)", false)]
    #[case(" JavaScript:alert(1)", false)]
    #[case("java\tscript:alert(1)", false)]
    #[case("data:text/html,x", false)]
    #[case("//evil.example.org", false)]
    #[case("/\\evil.example.org", false)]
    #[case("/\t/evil.example.org", false)]
    #[case("orders", false)]
    fn a_link_leads_to_the_app_or_to_a_page(#[case] link: &str, #[case] kept: bool) {
        assert_eq!(leads_somewhere(link), kept);
    }

    async fn deliver(content: Content) -> Verdict {
        let message = Message {
            id: uuid::Uuid::from_u128(7),
            address: "app".to_owned(),
            content,
            traceparent: None,
            event: EventFacts::default(),
        };
        Inbox.deliver(&message).await.result
    }

    #[tokio::test]
    async fn an_item_is_written_and_one_without_a_title_is_not() {
        let entry = InboxEntry { title: "Shipped".to_owned(), body: String::new(), link: None };
        let written = Verdict::Written { records: vec![Produce::Inbox(entry.clone())] };
        assert_eq!(deliver(Content::Inbox(entry.clone())).await, written);
        let nameless = Content::Inbox(InboxEntry { title: String::new(), ..entry });
        assert_eq!(deliver(nameless).await, reject(Reason::MessageRefused));
        let other = Content::Json("{}".to_owned());
        assert_eq!(deliver(other).await, reject(Reason::TemplateFailed));
    }
}
