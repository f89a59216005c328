//! What an endpoint's answer means for a notification: one pure function, tested as a table.
//!
//! Sources: Standard Webhooks 1.0.0, "Delivery success and failure" (2xx is success, 410 ends it, everything else is
//! a failure to try again, `Retry-After` is obeyed); RFC 9110, section 10.2.3 (`Retry-After`). The endpoint is a
//! customer's: it can never hold the channel for others, so nothing here is a Halt.

use std::time::Duration;

use jiff::fmt::rfc2822;

use crate::channel::Verdict;
use crate::model::{Reason, Timestamp};

/// The longest that an endpoint may ask us to wait.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The name resolves to an address that may not be called.
    Forbidden,
    /// No name, no connection, no TLS: nothing was sent.
    NoConnection,
    /// No answer in time.
    Timeout,
    /// The connection broke after the request was on its way.
    Interrupted,
}

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

pub(super) fn failed(failure: Failure) -> Verdict {
    let reason = match failure {
        Failure::Forbidden => return Verdict::Reject { reason: Reason::AddressForbidden },
        Failure::NoConnection => Reason::ConnectFailed,
        Failure::Timeout => Reason::Timeout,
        Failure::Interrupted => Reason::Interrupted,
    };
    Verdict::Retry { reason, after: None }
}

/// `Retry-After`: seconds or an HTTP date, at most [`MAX_RETRY_AFTER`]; a date that has passed, and what is neither,
/// asks for nothing.
pub(super) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    let wanted = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a u64 has is more than the most, too.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        // IMF-fixdate (RFC 9110, section 5.6.7) is a date of RFC 2822 with the zone `GMT`.
        let at = rfc2822::parse(value).ok()?.timestamp();
        Timestamp::from(at).since(now)
    };
    (!wanted.is_zero()).then_some(wanted.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

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

    #[rstest]
    #[case("120", Some(120))]
    #[case(" 5 ", Some(5))]
    #[case("0", None)]
    #[case("86401", Some(86_400))]
    #[case("99999999999999999999999", Some(86_400))]
    #[case("Sun, 06 Nov 1994 08:50:37 GMT", Some(60))]
    #[case("Sun, 06 Nov 1994 08:49:37 GMT", None)]
    #[case("Tue, 06 Nov 2094 08:49:37 GMT", None)] // a Saturday: not a date
    #[case("Sat, 06 Nov 2094 08:49:37 GMT", Some(86_400))]
    #[case("-5", None)]
    #[case("1.5", None)]
    #[case("soon", None)]
    #[case("", None)]
    fn retry_after_is_seconds_or_a_date_and_never_more_than_a_day(#[case] value: &str, #[case] expected: Option<u64>) {
        let now = "1994-11-06T08:49:37Z".parse::<jiff::Timestamp>().unwrap().into();
        assert_eq!(retry_after(value, now), expected.map(Duration::from_secs));
    }
}
