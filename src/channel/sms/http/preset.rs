//! The APIs that need not be described: what a preset puts where the settings say nothing.
//!
//! Sources: Twilio, "Messages resource" (Programmable Messaging, API version 2010-04-01,
//! <https://www.twilio.com/docs/messaging/api/message-resource>); Vonage, "SMS API"
//! (<https://developer.vonage.com/en/api/sms>).

use std::collections::BTreeMap;

use crate::config::{Preset, SmsHttp};

struct Shape {
    url: &'static str,
    check_url: &'static str,
    form: &'static [(&'static str, &'static str)],
    message_id: &'static str,
    error_code: &'static str,
}

/// A messaging service's id begins with MG, and stands in a field of its own.
const TWILIO: Shape = Shape {
    url: "https://api.twilio.com/2010-04-01/Accounts/{{ account }}/Messages.json",
    check_url: "https://api.twilio.com/2010-04-01/Accounts/{{ account }}.json",
    form: &[
        ("To", "{{ to }}"),
        ("From", "{% if from is not startingwith('MG') %}{{ from }}{% endif %}"),
        ("MessagingServiceSid", "{% if from is startingwith('MG') %}{{ from }}{% endif %}"),
        ("Body", "{{ text }}"),
        ("StatusCallback", "{{ callback_url }}"),
        // Seconds, at most 36,000, which is also the default.
        (
            "ValidityPeriod",
            "{% if seconds_left is not none and seconds_left < 36000 %}{{ [seconds_left, 1]|max }}{% endif %}",
        ),
    ],
    message_id: "/sid",
    error_code: "/code",
};

const VONAGE: Shape = Shape {
    url: "https://rest.nexmo.com/sms/json",
    check_url: "https://rest.nexmo.com/account/get-balance",
    form: &[
        ("from", "{{ from }}"),
        ("to", "{{ number }}"),
        ("text", "{{ text }}"),
        ("type", "{{ 'unicode' if unicode else 'text' }}"),
        ("client-ref", "{{ id }}"),
        ("callback", "{{ callback_url }}"),
        ("status-report-req", "{% if callback_url %}true{% endif %}"),
        // Milliseconds, 20,000 at least, a week at most.
        (
            "ttl",
            "{% if seconds_left is not none and seconds_left < 604800 %}{{ [seconds_left, 20]|max * 1000 }}{% endif %}",
        ),
    ],
    message_id: "/messages/0/message-id",
    error_code: "/messages/*/status",
};

/// The settings, with the preset's in the places of those that are not there. A field of the settings' form takes the
/// place of the preset's field of that name; a body takes the place of the whole form.
pub(super) fn filled(config: &SmsHttp) -> SmsHttp {
    let shape = match config.preset {
        Preset::None => return config.clone(),
        Preset::Twilio => &TWILIO,
        Preset::Vonage => &VONAGE,
    };
    let mut filled = config.clone();
    let or = |own: &Option<String>, preset: &str| own.clone().or_else(|| Some(preset.to_owned()));
    // Settings that lead elsewhere are not checked at the provider's own place.
    filled.check_url = match (&config.check_url, &config.url) {
        (None, Some(_)) => None,
        (own, _) => or(own, shape.check_url),
    };
    filled.url = or(&config.url, shape.url);
    filled.message_id = or(&config.message_id, shape.message_id);
    filled.error_code = or(&config.error_code, shape.error_code);
    if config.body.is_none() {
        let mut form: BTreeMap<String, String> =
            shape.form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        form.extend(config.form.clone());
        filled.form = form;
    }
    filled
}
