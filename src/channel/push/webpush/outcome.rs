//! What a push service's answer means for a message: one pure function, tested as a table.
//!
//! Sources: RFC 8030, sections 5 (201; 202 with a receipt), 7.3 (404 and 410: the subscription is no more), 8.4 (429);
//! RFC 8292, section 4.2 (401 and 403: our token). The service is one of many, chosen by a browser: nothing here is a
//! Halt.

use std::time::Duration;

use crate::channel::Verdict;
pub(super) use crate::channel::endpoint::failed;
use crate::model::Reason;

pub(super) fn answered(status: u16, after: Option<Duration>) -> Verdict {
    let reason = match status {
        200..=299 => return Verdict::Sent { provider_message_id: None },
        404 | 410 => return Verdict::Reject { reason: Reason::EndpointGone },
        // Ours to mend (the subscription was made for another key, or the clock is wrong): it waits, and ends in the
        // DLQ.
        401 | 403 => Reason::BadCredentials,
        429 => Reason::RateLimited,
        408 | 425 | 503 => Reason::ProviderBusy,
        400..=499 => return Verdict::Reject { reason: Reason::MessageRefused },
        _ => Reason::ProviderError,
    };
    Verdict::Retry { reason, after }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::channel::endpoint::Failure;
    use crate::channel::reject;

    const AFTER: Option<Duration> = Some(Duration::from_secs(7));

    fn retry(reason: Reason) -> Verdict {
        Verdict::Retry { reason, after: AFTER }
    }

    #[rstest]
    #[case(201, Verdict::Sent { provider_message_id: None })]
    #[case(202, Verdict::Sent { provider_message_id: None })]
    #[case(404, reject(Reason::EndpointGone))]
    #[case(410, reject(Reason::EndpointGone))]
    #[case(400, reject(Reason::MessageRefused))]
    #[case(413, reject(Reason::MessageRefused))]
    #[case(401, retry(Reason::BadCredentials))]
    #[case(403, retry(Reason::BadCredentials))]
    #[case(429, retry(Reason::RateLimited))]
    #[case(301, retry(Reason::ProviderError))]
    #[case(500, retry(Reason::ProviderError))]
    #[case(503, retry(Reason::ProviderBusy))]
    fn a_status_has_one_meaning(#[case] status: u16, #[case] expected: Verdict) {
        assert_eq!(answered(status, AFTER), expected);
    }

    #[rstest]
    #[case(Failure::Forbidden, reject(Reason::AddressForbidden))]
    #[case(Failure::NoConnection, Verdict::Retry { reason: Reason::ConnectFailed, after: None })]
    #[case(Failure::Timeout, Verdict::Retry { reason: Reason::Timeout, after: None })]
    #[case(Failure::Interrupted, Verdict::Retry { reason: Reason::Interrupted, after: None })]
    fn without_an_answer_nothing_halts(#[case] failure: Failure, #[case] expected: Verdict) {
        assert_eq!(failed(failure), expected);
    }
}
