//! Receipts over a provider's own connection (SMPP): they come to the process that delivers, which writes them to the
//! inbox as any other way in does.

use crate::channel::receipt::{Receipt, ReceiptSink, ReceiptState};
use crate::model::State;
use crate::telemetry::metrics;

use super::intake::{Intake, Received};

#[async_trait::async_trait]
impl ReceiptSink for Intake {
    async fn take(&self, receipt: Receipt) -> Result<(), String> {
        metrics::receipts(&receipt.provider, receipt.state.as_str()).increment(1);
        let Some(state) = said(receipt.state) else { return Ok(()) };
        let received = Received {
            provider: receipt.provider,
            message_id: receipt.provider_message_id,
            state,
            // What its code means is the message centre's: none says for sure that a number does not exist.
            permanent: false,
            code: receipt.code,
            occurred_at: Some(receipt.at),
        };
        self.write(&received, "connection").await.map_err(|error| {
            tracing::warn!(provider = received.provider, %error, "a receipt was not written; it is asked for again");
            error.to_string()
        })
    }
}

/// The state that it tells; nothing when more will follow, or the provider does not know.
fn said(state: ReceiptState) -> Option<State> {
    match state {
        ReceiptState::Delivered => Some(State::Delivered),
        ReceiptState::Expired | ReceiptState::Failed => Some(State::Bounced),
        ReceiptState::Underway | ReceiptState::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(ReceiptState::Delivered, Some(State::Delivered))]
    #[case(ReceiptState::Expired, Some(State::Bounced))]
    #[case(ReceiptState::Failed, Some(State::Bounced))]
    #[case(ReceiptState::Underway, None)]
    #[case(ReceiptState::Unknown, None)]
    fn what_a_message_centre_says_is_a_state(#[case] state: ReceiptState, #[case] expected: Option<State>) {
        assert_eq!(said(state), expected);
    }
}
