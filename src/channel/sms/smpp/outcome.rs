//! What a message centre's answer means for a message: one pure function, tested as a table.
//!
//! Source: SMPP 3.4 (issue 1.2), section 5.1.3, table 5-2 "SMPP Error Codes". Codes from 0x400 on are the provider's
//! own. Where our request is malformed the message is to blame: others may pass.

use crate::channel::{halt, reject, retry};
use rusmpp::CommandStatus;

use super::session::Failure;
use crate::channel::Verdict;
use crate::model::Reason;

/// What a status other than ESME_ROK in a submit_sm_resp means.
pub(super) fn refused(status: CommandStatus) -> Verdict {
    let code = u32::from(status);
    match code {
        // Slow down: throttled; the queue is full.
        0x58 => retry(Reason::RateLimited),
        0x14 => retry(Reason::ProviderBusy),
        // The destination: address, type of number, numbering plan.
        0x0b | 0x50 | 0x51 => reject(Reason::AddressRefused),
        // Our sender: address, type of number, numbering plan; the service type; the operation is not ours to use.
        0x0a | 0x48 | 0x49 | 0x15 | 0x53 | 0x100 | 0x101 => halt(Reason::AccountRefused),
        // Not, or not any more, bound; bind failed; password; system id.
        0x04 | 0x05 | 0x0d..=0x0f => halt(Reason::BadCredentials),
        // System error; submit failed; receiver's temporary, permanent and refusing errors; delivery failure; unknown;
        // service type unavailable.
        0x08 | 0x45 | 0x64 | 0xfe | 0xff | 0x102 => retry(Reason::ProviderError),
        0x65 | 0x66 => reject(Reason::MessageRefused),
        // Lengths, flags, classes, times, optional parameters, the data coding: this message cannot be said so.
        0x01..=0x03 | 0x06 | 0x07 | 0x0c | 0x33..=0x44 | 0x54 | 0x55 | 0x61..=0x63 | 0xc0..=0xc4 | 0x104 => {
            reject(Reason::MessageRefused)
        }
        _ => retry(Reason::ProviderError),
    }
}

/// What it means that no session could be had.
pub(super) fn unbound(status: Option<CommandStatus>) -> Verdict {
    match status.map(u32::from) {
        // Not bound so; already bound; bind failed; password; system id; system type; prohibited.
        Some(0x04 | 0x05 | 0x0d..=0x0f | 0x53 | 0x101) => halt(Reason::BadCredentials),
        Some(0x58 | 0x14) => halt(Reason::ProviderBusy),
        Some(_) => halt(Reason::ProviderError),
        None => halt(Reason::ConnectFailed),
    }
}

/// What a request that brought no answer means.
pub(super) fn failed(failure: Failure) -> Verdict {
    match failure {
        Failure::NotSent => halt(Reason::ConnectFailed),
        Failure::Busy => retry(Reason::ProviderBusy),
        Failure::Timeout => retry(Reason::Timeout),
        Failure::Lost => retry(Reason::Interrupted),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::throttled(0x58, retry(Reason::RateLimited))]
    #[case::queue_full(0x14, retry(Reason::ProviderBusy))]
    #[case::destination(0x0b, reject(Reason::AddressRefused))]
    #[case::destination_ton(0x50, reject(Reason::AddressRefused))]
    #[case::destination_npi(0x51, reject(Reason::AddressRefused))]
    #[case::source(0x0a, halt(Reason::AccountRefused))]
    #[case::source_ton(0x48, halt(Reason::AccountRefused))]
    #[case::service_type(0x15, halt(Reason::AccountRefused))]
    #[case::not_bound(0x04, halt(Reason::BadCredentials))]
    #[case::bind_failed(0x0d, halt(Reason::BadCredentials))]
    #[case::password(0x0e, halt(Reason::BadCredentials))]
    #[case::system_id(0x0f, halt(Reason::BadCredentials))]
    #[case::system_error(0x08, retry(Reason::ProviderError))]
    #[case::submit_failed(0x45, retry(Reason::ProviderError))]
    #[case::receivers_temporary_error(0x64, retry(Reason::ProviderError))]
    #[case::receivers_permanent_error(0x65, reject(Reason::MessageRefused))]
    #[case::receiver_refuses(0x66, reject(Reason::MessageRefused))]
    #[case::message_length(0x01, reject(Reason::MessageRefused))]
    #[case::command_length(0x02, reject(Reason::MessageRefused))]
    #[case::command_id(0x03, reject(Reason::MessageRefused))]
    #[case::priority(0x06, reject(Reason::MessageRefused))]
    #[case::registered_delivery(0x07, reject(Reason::MessageRefused))]
    #[case::esm_class(0x43, reject(Reason::MessageRefused))]
    #[case::validity(0x62, reject(Reason::MessageRefused))]
    #[case::optional_part(0xc4, reject(Reason::MessageRefused))]
    #[case::delivery_failure(0xfe, retry(Reason::ProviderError))]
    #[case::unknown(0xff, retry(Reason::ProviderError))]
    #[case::the_providers_own(0x401, retry(Reason::ProviderError))]
    fn a_status_has_one_meaning(#[case] status: u32, #[case] expected: Verdict) {
        assert_eq!(refused(CommandStatus::from(status)), expected);
    }

    #[rstest]
    #[case::no_connection(None, halt(Reason::ConnectFailed))]
    #[case::bind_failed(Some(0x0d), halt(Reason::BadCredentials))]
    #[case::password(Some(0x0e), halt(Reason::BadCredentials))]
    #[case::too_many_binds(Some(0x05), halt(Reason::BadCredentials))]
    #[case::throttled(Some(0x58), halt(Reason::ProviderBusy))]
    #[case::system_error(Some(0x08), halt(Reason::ProviderError))]
    fn without_a_session_the_provider_is_left_alone(#[case] status: Option<u32>, #[case] expected: Verdict) {
        assert_eq!(unbound(status.map(CommandStatus::from)), expected);
    }

    #[rstest]
    #[case(Failure::NotSent, halt(Reason::ConnectFailed))]
    #[case(Failure::Busy, retry(Reason::ProviderBusy))]
    #[case(Failure::Timeout, retry(Reason::Timeout))]
    #[case(Failure::Lost, retry(Reason::Interrupted))]
    fn without_an_answer_it_matters_whether_it_was_sent(#[case] failure: Failure, #[case] expected: Verdict) {
        assert_eq!(failed(failure), expected);
    }
}
