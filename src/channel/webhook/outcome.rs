//! What an endpoint's answer means for a notification: one pure function, tested as a table.
//!
//! Sources: Standard Webhooks 1.0.0, "Delivery success and failure" (2xx is success, 410 ends it, everything else is
//! a failure to try again, `Retry-After` is obeyed). The endpoint is a customer's: it can never hold the channel for
//! others, so nothing here is a Halt.

use std::time::Duration;

use crate::channel::Verdict;
pub(super) use crate::channel::endpoint::failed;
use crate::model::Reason;

pub(super) fn answered(status: u16, after: Option<Duration>) -> Verdict {
    let reason = match status {
        200..=299 => return Verdict::Sent { provider_message_id: None },
        410 => return Verdict::Reject { reason: Reason::AddressRefused },
        429 => Reason::RateLimited,
        408 | 425 | 503 => Reason::ProviderBusy,
        400..=499 => Reason::MessageRefused,
        _ => Reason::ProviderError,
    };
    Verdict::Retry { reason, after }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::channel::endpoint::Failure;

    #[rstest]
    #[case(200, None)]
    #[case(204, None)]
    #[case(299, None)]
    fn every_2xx_is_success(#[case] status: u16, #[case] after: Option<Duration>) {
        assert_eq!(answered(status, after), Verdict::Sent { provider_message_id: None });
    }

    #[rstest]
    #[case(301, Reason::ProviderError)]
    #[case(302, Reason::ProviderError)]
    #[case(400, Reason::MessageRefused)]
    #[case(401, Reason::MessageRefused)]
    #[case(403, Reason::MessageRefused)]
    #[case(404, Reason::MessageRefused)]
    #[case(408, Reason::ProviderBusy)]
    #[case(422, Reason::MessageRefused)]
    #[case(425, Reason::ProviderBusy)]
    #[case(429, Reason::RateLimited)]
    #[case(500, Reason::ProviderError)]
    #[case(502, Reason::ProviderError)]
    #[case(503, Reason::ProviderBusy)]
    #[case(504, Reason::ProviderError)]
    #[case(799, Reason::ProviderError)]
    fn everything_else_is_tried_again_when_the_endpoint_wants(#[case] status: u16, #[case] reason: Reason) {
        let after = Some(Duration::from_secs(7));
        assert_eq!(answered(status, after), Verdict::Retry { reason, after });
    }

    #[test]
    fn gone_is_gone() {
        assert_eq!(answered(410, None), Verdict::Reject { reason: Reason::AddressRefused });
    }

    #[rstest]
    #[case(Failure::Forbidden, Verdict::Reject { reason: Reason::AddressForbidden })]
    #[case(Failure::NoConnection, Verdict::Retry { reason: Reason::ConnectFailed, after: None })]
    #[case(Failure::Timeout, Verdict::Retry { reason: Reason::Timeout, after: None })]
    #[case(Failure::Interrupted, Verdict::Retry { reason: Reason::Interrupted, after: None })]
    fn without_an_answer_it_is_tried_again_unless_it_may_not_be_called(
        #[case] failure: Failure,
        #[case] expected: Verdict,
    ) {
        assert_eq!(failed(failure), expected);
    }
}
