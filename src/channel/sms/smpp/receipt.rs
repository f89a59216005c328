//! Reads a delivery receipt out of a deliver_sm.
//!
//! Source: SMPP 3.4, Appendix B (the text `id:… sub:… dlvrd:… submit date:… done date:… stat:… err:… text:…`), and
//! section 5.3.2 for the optional parameters receipted_message_id (0x001e) and message_state (0x0427), which are
//! exact where the text, whose form is the vendor's, may not be.

use rusmpp::pdus::DeliverSm;
use rusmpp::tlvs::TlvValue;
use rusmpp::values::MessageState;

use crate::channel::receipt::ReceiptState;
use crate::model::Timestamp;

/// What a receipt says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) message_id: String,
    pub(super) state: ReceiptState,
    /// `err`, unless it says that there was none.
    pub(super) code: Option<String>,
    pub(super) done: Option<Timestamp>,
}

/// The receipt that a deliver_sm carries, if it carries one and not someone's message.
pub(super) fn report(deliver: &DeliverSm) -> Option<Report> {
    // esm_class, bits 2 and 5: a receipt, or an intermediate notification (section 5.2.12).
    if u8::from(deliver.esm_class) & 0b0010_0100 == 0 {
        return None;
    }
    let text = String::from_utf8_lossy(deliver.short_message().as_ref());
    let (mut id, mut state) = (None, None);
    for tlv in deliver.tlvs() {
        match tlv.value() {
            Some(TlvValue::ReceiptedMessageId(text)) => id = Some(text.as_str().trim_end_matches('\0').to_owned()),
            Some(TlvValue::MessageState(known)) => state = Some(of_parameter(*known)),
            _ => {}
        }
    }
    let said = of_text(&text);
    let message_id = id.filter(|id| !id.is_empty()).or_else(|| said.as_ref().map(|said| said.message_id.clone()))?;
    let state = state.or_else(|| said.as_ref().map(|said| said.state)).unwrap_or(ReceiptState::Unknown);
    let (code, done) = said.map_or((None, None), |said| (said.code, said.done));
    Some(Report { message_id, state, code, done })
}

/// Section 5.2.28.
fn of_parameter(state: MessageState) -> ReceiptState {
    match u8::from(state) {
        1 | 6 => ReceiptState::Underway, // ENROUTE, ACCEPTED
        2 => ReceiptState::Delivered,
        3 => ReceiptState::Expired,
        4 | 5 | 8 => ReceiptState::Failed, // DELETED, UNDELIVERABLE, REJECTED
        _ => ReceiptState::Unknown,
    }
}

/// Appendix B, "Message States".
fn of_word(word: &str) -> ReceiptState {
    match word.to_ascii_uppercase().as_str() {
        "ENROUTE" | "ACCEPTD" => ReceiptState::Underway,
        "DELIVRD" => ReceiptState::Delivered,
        "EXPIRED" => ReceiptState::Expired,
        "DELETED" | "UNDELIV" | "REJECTD" => ReceiptState::Failed,
        _ => ReceiptState::Unknown,
    }
}

/// Reads the text; an id and a state there must be.
fn of_text(text: &str) -> Option<Report> {
    // `text:` is the beginning of the message itself: what looks like a field in it is none.
    let lower = text.to_ascii_lowercase();
    let fields = &text[..lower.find(" text:").unwrap_or(text.len())];
    let field = |name: &str| {
        let at = lower[..fields.len()].match_indices(name).map(|(at, _)| at).find(|at| {
            // A field begins the text or follows a blank: `submit date:` ends in `date:`.
            *at == 0 || fields.as_bytes()[at - 1] == b' '
        })?;
        fields[at + name.len()..].split_ascii_whitespace().next().filter(|value| !value.is_empty())
    };
    Some(Report {
        message_id: field("id:")?.to_owned(),
        state: of_word(field("stat:")?),
        code: field("err:").filter(|code| code.bytes().any(|byte| byte != b'0')).map(str::to_owned),
        done: field("done date:").and_then(moment),
    })
}

/// `YYMMDDhhmm`, some add seconds; in the message centre's zone, which it does not tell: taken as UTC.
fn moment(text: &str) -> Option<Timestamp> {
    if !matches!(text.len(), 10 | 12) || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |at: usize| text[at..at + 2].parse::<i8>().ok();
    let second = if text.len() == 12 { number(10)? } else { 0 };
    let year = 2000 + i16::from(number(0)?);
    let date = jiff::civil::DateTime::new(year, number(2)?, number(4)?, number(6)?, number(8)?, second, 0).ok()?;
    Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use rusmpp::types::OctetString;
    use rusmpp::values::EsmClass;

    use super::*;

    fn deliver(esm_class: u8, text: &str) -> DeliverSm {
        DeliverSm::builder()
            .esm_class(EsmClass::from(esm_class))
            .short_message(OctetString::from_vec(text.as_bytes().to_vec()).unwrap())
            .build()
    }

    const TEXT: &str =
        "id:0123456789 sub:001 dlvrd:001 submit date:2611242150 done date:2611242151 stat:DELIVRD err:000 text:Order A";

    #[test]
    fn a_receipt_is_read() {
        let done = "2026-11-24T21:51:00Z".parse::<jiff::Timestamp>().unwrap().into();
        let message_id = "0123456789".to_owned();
        let expected = Report { message_id, state: ReceiptState::Delivered, code: None, done: Some(done) };
        assert_eq!(report(&deliver(0x04, TEXT)), Some(expected));
    }

    #[rstest]
    #[case("ENROUTE", ReceiptState::Underway)]
    #[case("ACCEPTD", ReceiptState::Underway)]
    #[case("DELIVRD", ReceiptState::Delivered)]
    #[case("EXPIRED", ReceiptState::Expired)]
    #[case("DELETED", ReceiptState::Failed)]
    #[case("UNDELIV", ReceiptState::Failed)]
    #[case("REJECTD", ReceiptState::Failed)]
    #[case("UNKNOWN", ReceiptState::Unknown)]
    #[case("NEWWORD", ReceiptState::Unknown)]
    #[case("delivrd", ReceiptState::Delivered)]
    fn every_state_of_the_appendix_is_known(#[case] word: &str, #[case] expected: ReceiptState) {
        let found = report(&deliver(0x04, &TEXT.replace("DELIVRD", word))).unwrap();
        assert_eq!(found.state, expected);
    }

    #[test]
    fn an_error_is_kept_and_no_error_is_none() {
        let failed = TEXT.replace("DELIVRD err:000", "UNDELIV err:069");
        assert_eq!(report(&deliver(0x04, &failed)).unwrap().code.as_deref(), Some("069"));
    }

    #[test]
    fn what_the_message_itself_says_is_no_field() {
        let text = "id:1 stat:DELIVRD text:id:2 stat:UNDELIV err:009";
        let found = report(&deliver(0x04, text)).unwrap();
        assert_eq!((found.message_id.as_str(), found.state, found.code), ("1", ReceiptState::Delivered, None));
    }

    #[rstest]
    #[case::someones_message(0x00, TEXT)]
    #[case::no_id(0x04, "sub:001 stat:DELIVRD")]
    #[case::not_a_receipts_text(0x04, "hello")]
    fn what_is_no_receipt_is_none(#[case] esm_class: u8, #[case] text: &str) {
        assert_eq!(report(&deliver(esm_class, text)), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,100}", esm_class: u8) {
            let text: String = text.chars().take(60).collect();
            let _ = report(&deliver(esm_class, &text));
            let _ = of_text(&text);
        }
    }
}
