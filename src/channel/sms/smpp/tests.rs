//! What goes out, and what settings cannot work. tests/it/sms.rs speaks with a message centre.

use std::time::Duration;

use rstest::rstest;
use uuid::Uuid;

use super::*;
use crate::channel::receipt::Counted;
use crate::channel::{Content, EventFacts};
use crate::config::{Delay, Secret};
use crate::model::Timestamp;

fn config() -> config::Smpp {
    config::Smpp {
        host: "localhost".to_owned(),
        port: 2775,
        tls: false,
        ca_file: None,
        system_id: "notilog".to_owned(),
        password: Secret::new("s3cret"),
        system_type: String::new(),
        from: "Shop".to_owned(),
        window: 10,
        enquire_link: Delay(Duration::from_secs(30)),
        receipts: true,
        max_parts: 4,
        timeout: Delay(Duration::from_secs(5)),
    }
}

fn channel(config: &config::Smpp) -> Smpp {
    Smpp::new(config, Counted::shared(), Clock::manual(Timestamp(0))).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn message(text: &str) -> Message {
    Message {
        id: Uuid::from_u128(0xabcd),
        address: "+491701234567".to_owned(),
        content: Content::Text { text: text.to_owned(), html: false },
        traceparent: None,
        event: EventFacts::default(),
    }
}

fn octets_of(submit: &SubmitSm) -> &[u8] {
    submit.short_message().as_ref()
}

#[test]
fn a_short_text_is_one_request_without_a_header() {
    let parts = channel(&config()).parts(&message("Hi €")).unwrap();
    let [submit] = parts.as_slice() else { panic!("{parts:?}") };
    assert_eq!(octets_of(submit), b"Hi \x1be");
    assert_eq!((u8::from(submit.esm_class), u8::from(submit.data_coding)), (0x00, 0x00));
    assert_eq!(u8::from(submit.registered_delivery), 0x01);
    assert_eq!((submit.dest_addr_ton, submit.dest_addr_npi), (Ton::International, Npi::Isdn));
    assert_eq!(submit.destination_addr.as_str().trim_end_matches('\0'), "491701234567");
    assert_eq!((submit.source_addr_ton, submit.source_addr_npi), (Ton::Alphanumeric, Npi::Unknown));
}

#[test]
fn a_long_text_is_cut_into_parts_that_belong_together_at_every_attempt() {
    let channel = channel(&config());
    let text = "😀".repeat(70);
    let parts = channel.parts(&message(&text)).unwrap();
    assert_eq!(parts.len(), 3);
    let mut joined = Vec::new();
    for (index, submit) in (1..).zip(&parts) {
        let (header, rest) = octets_of(submit).split_at(6);
        assert_eq!(header, [0x05, 0x00, 0x03, 0xcd, 3, index]);
        assert_eq!((u8::from(submit.esm_class), u8::from(submit.data_coding)), (0x40, 0x08));
        assert_eq!(u8::from(submit.registered_delivery), u8::from(index == 3), "a receipt for the last one");
        assert!(octets_of(submit).len() <= 140);
        joined.extend_from_slice(rest);
    }
    let units: Vec<u16> = joined.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    assert_eq!(String::from_utf16(&units).unwrap(), text);
    assert_eq!(channel.parts(&message(&text)).unwrap(), parts);
}

#[rstest]
#[case(30, "000000000100000R")] // a minute at least
#[case(90, "000000000130000R")]
#[case(93_784, "000001020304000R")]
#[case(10_000_000, "000002150000000R")] // 63 hours at most
fn what_expires_is_not_delivered_later(#[case] seconds: i64, #[case] expected: &str) {
    let mut message = message("x");
    message.event.expires_at = Some(Timestamp(seconds * 1_000));
    let parts = channel(&config()).parts(&message).unwrap();
    assert_eq!(parts[0].validity_period.as_str().trim_end_matches('\0'), expected);
}

#[test]
fn more_parts_than_allowed_are_refused() {
    let text = "a".repeat(153 * 4 + 1);
    assert_eq!(channel(&config()).parts(&message(&text)), Err(Reason::MessageRefused));
}

#[rstest]
#[case("+49 170 1234567", Some((Ton::International, Npi::Isdn, "491701234567")))]
#[case("12345", Some((Ton::NetworkSpecific, Npi::Unknown, "12345")))]
#[case("Shop 24", Some((Ton::Alphanumeric, Npi::Unknown, "Shop 24")))]
#[case("A name too long", None)]
#[case("Bäcker", None)]
#[case("123456789", None)]
#[case("", None)]
fn a_sender_is_a_number_a_short_number_or_a_name(#[case] text: &str, #[case] expected: Option<(Ton, Npi, &str)>) {
    let sender = Sender::parse(text);
    let found = sender.as_ref().map(|s| (s.ton, s.npi, s.address.as_str().trim_end_matches('\0')));
    assert_eq!(found, expected);
}

#[test]
fn every_setting_that_cannot_work_is_named_at_once_and_the_password_is_not_quoted() {
    let config = config::Smpp {
        system_id: "sixteen-letters-".to_owned(),
        password: Secret::new("nine-long"),
        system_type: "ä".to_owned(),
        from: "A name too long".to_owned(),
        tls: true,
        ca_file: Some("/no/such.pem".into()),
        ..config()
    };
    let problems = Smpp::new(&config, Counted::shared(), Clock::system()).err().unwrap();
    let settings: Vec<&str> = problems.iter().map(|problem| problem.setting.as_str()).collect();
    assert_eq!(
        settings,
        ["system_id", "password", "system_type", "from", "ca_file"].map(|key| format!("channels.sms.{key}"))
    );
    assert!(!format!("{problems:?}").contains("nine-long"));
}
