//! The channels a notification can go by.

use super::open::vocabulary;

vocabulary! {
    /// A way to reach someone; one file under `channel/` each.
    pub enum Channel {
        /// SMTP.
        Email = "email",
        /// Telegram Bot API.
        Telegram = "telegram",
        /// HTTP with a Standard Webhooks signature.
        Webhook = "webhook",
        /// SMPP or an HTTP provider.
        Sms = "sms",
        /// FCM, APNs, Web Push.
        Push = "push",
        /// Slack, Mattermost, Teams, Discord.
        Chat = "chat",
        /// A customer's Kafka topic.
        Kafka = "kafka",
        /// What a user sees in the app.
        Inbox = "inbox",
    }
}
