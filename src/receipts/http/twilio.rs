//! Twilio's message status callbacks.
//!
//! Sources: <https://www.twilio.com/docs/usage/security#validating-requests> (`X-Twilio-Signature`: base64 of
//! HMAC-SHA1 under the auth token over the full URL and every form parameter, name and value, sorted by name),
//! <https://www.twilio.com/docs/messaging/guides/outbound-message-status-in-status-callbacks> (`MessageSid`,
//! `MessageStatus`, `ErrorCode`), <https://www.twilio.com/docs/api/errors> (the codes).

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

use super::Refusal;
use crate::model::{Channel, Reason, State};
use crate::receipts::intake::Received;
use crate::suppression::is_hard_bounce;

/// Reads a callback; what says that the message is still on its way is no receipt.
pub(super) fn read(
    provider: &str,
    token: &[u8],
    url: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Vec<Received>, Refusal> {
    let mut form: Vec<(String, String)> =
        url::form_urlencoded::parse(body).map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    form.sort();
    verify(token, url, headers, &form)?;
    let of = |name: &str| form.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
    let message_id = of("MessageSid").filter(|id| !id.is_empty()).ok_or(Refusal::Shape("it has no MessageSid"))?;
    let code = of("ErrorCode").filter(|code| !code.is_empty());
    let state = match of("MessageStatus").ok_or(Refusal::Shape("it has no MessageStatus"))? {
        "delivered" | "read" => State::Delivered,
        "undelivered" | "failed" => State::Bounced,
        _ => return Ok(Vec::new()),
    };
    let permanent = state == State::Bounced && is_hard_bounce(Channel::Sms, reason(code), code);
    Ok(vec![Received {
        provider: provider.to_owned(),
        message_id: message_id.to_owned(),
        state,
        permanent,
        code: code.map(str::to_owned),
        // A callback carries no time.
        occurred_at: None,
    }])
}

/// 30005 unknown destination handset, 30006 landline or unreachable carrier, 21211 and 21614 not a (mobile) number.
fn reason(code: Option<&str>) -> Reason {
    match code {
        Some("30005" | "30006" | "21211" | "21614") => Reason::AddressRefused,
        _ => Reason::Bounced,
    }
}

fn verify(token: &[u8], url: &str, headers: &HeaderMap, form: &[(String, String)]) -> Result<(), Refusal> {
    let signature = headers.get("x-twilio-signature").and_then(|value| STANDARD.decode(value.as_bytes()).ok());
    let signature = signature.ok_or(Refusal::Signature)?;
    let mut mac = Hmac::<Sha1>::new_from_slice(token).map_err(|_| Refusal::Signature)?;
    mac.update(url.as_bytes());
    for (name, value) in form {
        mac.update(name.as_bytes());
        mac.update(value.as_bytes());
    }
    mac.verify_slice(&signature).map_err(|_| Refusal::Signature)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn signed(token: &[u8], url: &str, body: &str) -> HeaderMap {
        let mut form: Vec<(String, String)> = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        form.sort();
        let mut mac = Hmac::<Sha1>::new_from_slice(token).unwrap();
        mac.update(url.as_bytes());
        form.iter().for_each(|(name, value)| mac.update(format!("{name}{value}").as_bytes()));
        let mut headers = HeaderMap::new();
        headers.insert("X-Twilio-Signature", STANDARD.encode(mac.finalize().into_bytes()).parse().unwrap());
        headers
    }

    fn callback(body: &str) -> Result<Vec<Received>, Refusal> {
        let url = "https://example.org/receipts/twilio";
        read("twilio", b"12345", url, &signed(b"12345", url, body), body.as_bytes())
    }

    /// The example of Twilio's own documentation.
    #[test]
    fn the_documented_signature_is_the_one_that_is_taken() {
        let (token, url) = (b"12345", "https://example.com/myapp.php?foo=1&bar=2");
        let form = [
            ("CallSid", "CA1234567890ABCDE"),
            ("Caller", "+14158675310"),
            ("Digits", "1234"),
            ("From", "+14158675310"),
            ("To", "+18005551212"),
        ];
        let form: Vec<(String, String)> = form.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let mut headers = HeaderMap::new();
        headers.insert("X-Twilio-Signature", "L/OH5YylLD5NRKLltdqwSvS0BnU=".parse().unwrap());
        assert_eq!(verify(token, url, &headers, &form), Ok(()));
        assert_eq!(verify(b"12346", url, &headers, &form), Err(Refusal::Signature));
        assert_eq!(verify(token, "https://example.com/myapp.php", &headers, &form), Err(Refusal::Signature));
    }

    #[rstest]
    #[case::arrived("MessageSid=SM1&MessageStatus=delivered", Some((State::Delivered, false)))]
    #[case::unknown_handset("MessageSid=SM1&MessageStatus=undelivered&ErrorCode=30005", Some((State::Bounced, true)))]
    #[case::filtered("MessageSid=SM1&MessageStatus=undelivered&ErrorCode=30007", Some((State::Bounced, false)))]
    #[case::stop("MessageSid=SM1&MessageStatus=failed&ErrorCode=21610", Some((State::Bounced, false)))]
    #[case::on_its_way("MessageSid=SM1&MessageStatus=sent", None)]
    #[case::a_novelty("MessageSid=SM1&MessageStatus=pondered", None)]
    fn a_callback_is_a_receipt(#[case] body: &str, #[case] expected: Option<(State, bool)>) {
        let found = callback(body).unwrap().pop().map(|receipt| (receipt.state, receipt.permanent));
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_not_signed_is_not_read() {
        let body = "MessageSid=SM1&MessageStatus=delivered";
        let read = |headers: &HeaderMap| read("twilio", b"12345", "https://x.example/", headers, body.as_bytes());
        assert_eq!(read(&HeaderMap::new()), Err(Refusal::Signature));
        assert_eq!(read(&signed(b"12345", "https://y.example/", body)), Err(Refusal::Signature));
        let other = signed(b"12345", "https://x.example/", "MessageSid=SM2&MessageStatus=delivered");
        assert_eq!(read(&other), Err(Refusal::Signature), "another message's");
    }

    #[test]
    fn a_signed_request_of_another_shape_is_refused_as_such() {
        assert_eq!(callback("MessageStatus=delivered"), Err(Refusal::Shape("it has no MessageSid")));
    }
}
