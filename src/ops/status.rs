//! What became of a notification, an event, or all that a user was sent: read from `notify.delivery-status`.

use std::ops::ControlFlow;

use serde::Serialize;

use super::documents::Moment;
use super::session::{OpsError, Session};
use crate::kafka::reader::{From, Scan};
use crate::model::{DeliveryStatus, NotificationId, Timestamp};

/// Whose statuses are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// One notification: its key's partition is read only.
    Notification(NotificationId),
    /// All notifications of an event.
    Event(String),
    /// All notifications to a user.
    User {
        /// Whose user.
        tenant: String,
        /// The user.
        user_id: String,
    },
}

/// One status, for output.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StatusLine {
    /// When it was observed.
    pub occurred_at: Moment,
    /// Which notification.
    pub notification_id: String,
    /// Which life of it.
    pub run: i32,
    /// The channel.
    pub channel: String,
    /// Where the run stands.
    pub state: String,
    /// Why.
    pub reason: String,
    /// Attempts so far.
    pub attempt: i32,
    /// Which provider.
    pub provider: String,
    /// The provider's status code.
    pub code: Option<String>,
    /// The event.
    pub event_id: String,
    /// Whose user.
    pub tenant: String,
    /// The user.
    pub user_id: String,
    /// The category.
    pub category: String,
    /// Not before this the next attempt is made.
    pub next_attempt_at: Option<Moment>,
    /// The notification that this one stands in for.
    pub fallback_of: Option<String>,
    /// Where the record stands.
    pub partition: i32,
    /// Where the record stands.
    pub offset: i64,
}

/// What a scan found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// In the order of time.
    pub lines: Vec<StatusLine>,
    /// Records of the topic that could not be read.
    pub unreadable: u64,
}

/// All statuses of `subject`, perhaps only those written since a moment.
///
/// # Errors
/// When the topic cannot be read.
pub async fn find(session: &Session, subject: Subject, since: Option<Timestamp>) -> Result<Found, OpsError> {
    session
        .blocking(move |session| {
            let topic = session.topics.delivery_status();
            let key = match &subject {
                Subject::Notification(id) => Some(id.to_string()),
                Subject::Event(_) | Subject::User { .. } => None,
            };
            let from = since.map_or(From::Beginning, From::Time);
            let scan = Scan { topic: &topic, key: key.as_deref().map(str::as_bytes), partition: None, from };
            let (mut records, mut found) = (session.records(), Found::default());
            session.scan(scan, |record| {
                match record.value.as_deref().map(|value| records.status(value)) {
                    Some(Ok(status)) if subject.is_of(&status) => {
                        found.lines.push(line(&status, record.partition, record.offset));
                    }
                    Some(Ok(_)) | None => {}
                    Some(Err(_)) => found.unreadable += 1,
                }
                ControlFlow::Continue(())
            })?;
            found.lines.sort_by(|one, other| {
                (one.occurred_at, &one.notification_id, one.offset).cmp(&(
                    other.occurred_at,
                    &other.notification_id,
                    other.offset,
                ))
            });
            Ok(found)
        })
        .await
}

impl Subject {
    fn is_of(&self, status: &DeliveryStatus<'_>) -> bool {
        match self {
            Subject::Notification(id) => status.notification_id == *id,
            Subject::Event(id) => status.event_id == id,
            Subject::User { tenant, user_id } => status.tenant == tenant && status.user_id == user_id,
        }
    }
}

fn line(status: &DeliveryStatus<'_>, partition: i32, offset: i64) -> StatusLine {
    StatusLine {
        occurred_at: Moment(status.occurred_at),
        notification_id: status.notification_id.to_string(),
        run: status.run,
        channel: status.channel.as_str().to_owned(),
        state: status.state.as_str().to_owned(),
        reason: status.reason.as_str().to_owned(),
        attempt: status.attempt,
        provider: status.provider.to_owned(),
        code: status.code.map(str::to_owned),
        event_id: status.event_id.to_owned(),
        tenant: status.tenant.to_owned(),
        user_id: status.user_id.to_owned(),
        category: status.category.to_owned(),
        next_attempt_at: status.next_attempt_at.map(Moment),
        fallback_of: status.fallback_of.map(|id| id.to_string()),
        partition,
        offset,
    }
}
