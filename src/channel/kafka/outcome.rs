//! What Kafka's answer, or what is known of a topic, means for a notification: one table.
//!
//! Source: Kafka's protocol guide, "Error codes" (kafka.apache.org/protocol.html#protocol_error_codes). A topic is a
//! customer's: it can never hold the channel for others, so nothing here is a Halt.

use super::standing::Standing;
use crate::channel::{Verdict, reject, retry};
use crate::kafka::RecordFault;
use crate::kafka::producer::{ProduceError, Written};
use crate::model::Reason;

/// What to do about a topic of our own cluster, if it cannot simply be written to.
pub(super) fn stands(standing: Standing) -> Option<Verdict> {
    match standing {
        // Nobody could be asked: the transaction finds out.
        Standing::Writable | Standing::Unknown => None,
        // Someone may be creating it.
        Standing::Missing => Some(retry(Reason::TopicMissing)),
        // Ours to mend, yet no reason to hold other customers.
        Standing::Denied => Some(retry(Reason::BadCredentials)),
    }
}

/// What came of a record to another cluster.
pub(super) fn produced(result: Result<Written, ProduceError>) -> Verdict {
    match result {
        Ok(Written { partition, offset }) => {
            Verdict::Sent { provider_message_id: Some(format!("{partition}@{offset}")) }
        }
        Err(ProduceError::Denied(_)) => retry(Reason::BadCredentials),
        Err(ProduceError::Client(_)) => retry(Reason::ConnectFailed),
        Err(ProduceError::Failed { fault: Some(RecordFault::TopicMissing), .. }) => retry(Reason::TopicMissing),
        Err(ProduceError::Failed { fault: Some(RecordFault::TooLarge), .. }) => reject(Reason::TooLarge),
        Err(ProduceError::Failed { fault: Some(RecordFault::Refused), .. }) => reject(Reason::MessageRefused),
        // It may have been written: the same id tells.
        Err(ProduceError::Failed { fault: None, .. }) => retry(Reason::Interrupted),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Standing::Writable, None)]
    #[case(Standing::Unknown, None)]
    #[case(Standing::Missing, Some(retry(Reason::TopicMissing)))]
    #[case(Standing::Denied, Some(retry(Reason::BadCredentials)))]
    fn a_topic_stands(#[case] standing: Standing, #[case] expected: Option<Verdict>) {
        assert_eq!(stands(standing), expected);
    }

    #[rstest]
    #[case(Some(RecordFault::TopicMissing), retry(Reason::TopicMissing))]
    #[case(Some(RecordFault::TooLarge), reject(Reason::TooLarge))]
    #[case(Some(RecordFault::Refused), reject(Reason::MessageRefused))]
    #[case(None, retry(Reason::Interrupted))]
    fn another_cluster_says_no(#[case] fault: Option<RecordFault>, #[case] expected: Verdict) {
        let error = ProduceError::Failed { topic: "t".to_owned(), cause: "c".to_owned(), fault };
        assert_eq!(produced(Err(error)), expected);
    }

    #[test]
    fn what_is_written_is_named_by_its_place() {
        let sent = Verdict::Sent { provider_message_id: Some("3@42".to_owned()) };
        assert_eq!(produced(Ok(Written { partition: 3, offset: 42 })), sent);
    }
}
