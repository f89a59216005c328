//! Why: the reason codes of decisions, statuses and dead letters.

use super::open::vocabulary;

vocabulary! {
    /// A reason code. The first block are the decision chain's, in its order.
    pub enum Reason {
        // Rule 1: refused events.
        /// The value is not in the Confluent wire format or not an Avro `Event`.
        NotAnEvent = "not_an_event",
        /// The schema id is not in the registry.
        UnknownSchema = "unknown_schema",
        /// id, source, type, tenant or a recipient is empty.
        InvalidEvent = "invalid_event",
        /// The event has no category.
        NoCategory = "no_category",
        /// No policy speaks of the category, and there is no default one.
        UnknownCategory = "unknown_category",
        /// The event names a channel that this version does not know.
        UnknownChannel = "unknown_channel",
        /// `data` is not a JSON object.
        InvalidData = "invalid_data",
        /// Neither recipients nor an audience.
        NoRecipients = "no_recipients",
        /// More than 1,000 recipients.
        TooManyRecipients = "too_many_recipients",
        /// An audience: groups are not expanded yet.
        Unsupported = "unsupported",
        /// The source may not claim this tenant, category or priority.
        NotAllowed = "not_allowed",
        /// The record is not keyed by its one recipient, or not in that key's partition, and the router holds only the
        /// preferences of its partitions.
        NotKeyedByRecipient = "not_keyed_by_recipient",
        // Rules 2 to 13.
        /// Past `expires_at`, or older than the category's `max_age`.
        Expired = "expired",
        /// Seen before (documented as absent).
        Duplicate = "duplicate",
        /// No preferences record, even after the grace.
        UnknownRecipient = "unknown_recipient",
        /// The preferences record was erased.
        Erased = "erased",
        /// The preferences record cannot be used; nothing is sent.
        InvalidPreferences = "invalid_preferences",
        /// No channel that the recipient, the policy and the event agree on.
        NoChannel = "no_channel",
        /// The recipient opted out of the category.
        OptedOutCategory = "opted_out_category",
        /// The recipient opted out of the channel.
        OptedOutChannel = "opted_out_channel",
        /// No endpoint on the channel.
        NoEndpoint = "no_endpoint",
        /// The recipient did not prove that the endpoint is theirs.
        EndpointUnverified = "endpoint_unverified",
        /// Hard bounce or complaint.
        AddressSuppressed = "address_suppressed",
        /// The recipient paused everything.
        Paused = "paused",
        /// The recipient's quiet hours.
        QuietHours = "quiet_hours",
        /// The event is not to be sent yet.
        NotBefore = "not_before",
        /// Too many (documented as absent).
        Throttled = "throttled",
        /// Collected (documented as absent).
        Digest = "digest",
        /// A later step of a fallback chain.
        Fallback = "fallback",
        /// A later step of a fallback chain goes to another endpoint of the recipient on this channel.
        OtherEndpoint = "other_endpoint",
        /// Nothing stands against it.
        Routed = "routed",
        // Delivery.
        /// The provider took it.
        Accepted = "accepted",
        /// The provider asks to slow down.
        RateLimited = "rate_limited",
        /// The provider says "later".
        ProviderBusy = "provider_busy",
        /// Recorded by a provider in sandbox mode, or for a recipient that is not allowed here; nothing was sent.
        Sandboxed = "sandboxed",
        /// No configured provider of the channel takes such an address.
        NoProvider = "no_provider",
        /// No connection to the provider or endpoint.
        ConnectFailed = "connect_failed",
        /// No answer in time.
        Timeout = "timeout",
        /// The connection broke; whether it was taken is unknown.
        Interrupted = "interrupted",
        /// The provider's own fault.
        ProviderError = "provider_error",
        /// Our credentials are refused.
        BadCredentials = "bad_credentials",
        /// Our account is refused: suspended, out of credit, not allowed to send like this.
        AccountRefused = "account_refused",
        /// The address does not exist or cannot be one.
        AddressRefused = "address_refused",
        /// The endpoint is no more: the app was removed, the subscription ended. It can be taken off the preferences.
        EndpointGone = "endpoint_gone",
        /// The recipient blocked us.
        Blocked = "blocked",
        /// The message is refused.
        MessageRefused = "message_refused",
        /// The address is in a range that is not allowed.
        AddressForbidden = "address_forbidden",
        /// A file to attach is not there (any more).
        AttachmentMissing = "attachment_missing",
        /// A file to attach may not be fetched, or `attachments` is no list of references.
        AttachmentRefused = "attachment_refused",
        /// The files to attach are larger than what is allowed.
        AttachmentTooLarge = "attachment_too_large",
        /// A file to attach cannot be had now.
        AttachmentUnavailable = "attachment_unavailable",
        /// No template of this name for the channel.
        TemplateMissing = "template_missing",
        /// The template does not render with this data.
        TemplateFailed = "template_failed",
        /// The record is not an Avro `Outbound`, or of another channel.
        NotAnOutbound = "not_an_outbound",
        /// All attempts are used up, and the endpoint has failed for so long that nothing is sent to it any more.
        EndpointDisabled = "endpoint_disabled",
        /// All attempts are used up.
        AttemptsExhausted = "attempts_exhausted",
        /// The recipient's address changed while it waited, or a later one of its collapse key overtook it.
        Superseded = "superseded",
        /// An earlier one of its recipient waits, in a category of strict order.
        StrictOrder = "strict_order",
        // Receipts.
        /// A receipt says that it arrived.
        Arrived = "arrived",
        /// The app says that it was shown, or read.
        Seen = "seen",
        /// A receipt says that it came back.
        Bounced = "bounced",
        /// A receipt says that the recipient complained.
        Complained = "complained",
        /// The record is not an Avro `Receipt`.
        NotAReceipt = "not_a_receipt",
        /// A receipt speaks of a message that nobody sent, as far as anyone knows.
        UnknownMessage = "unknown_message",
        // Writing.
        /// An output is above the topic's `max.message.bytes`.
        TooLarge = "too_large",
        /// An output's topic does not exist.
        TopicMissing = "topic_missing",
    }
}
