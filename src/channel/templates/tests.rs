//! What a notification says, for templates of the tests' own and for the ones that come with notilog.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rstest::rstest;
use serde_json::json;

use super::*;
use crate::channel::Push;
use crate::model::Reason;

fn event() -> EventFacts {
    EventFacts {
        id: "e-1".to_owned(),
        kind: "order.placed".to_owned(),
        source: "shop/orders".to_owned(),
        time: "2026-11-21T21:05:00Z".to_owned(),
        tenant: "acme".to_owned(),
        user_id: "ada".to_owned(),
        category: "orders".to_owned(),
        ..EventFacts::default()
    }
}

fn templates(files: &[(&str, &str)]) -> Templates {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    Templates::load(dir.path(), "en").unwrap()
}

fn shipped() -> Templates {
    Templates::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("templates"), "en").unwrap_or_else(|e| panic!("{e}"))
}

fn render(
    templates: &Templates,
    channel: Channel,
    name: &str,
    locale: &str,
    data: &str,
) -> Result<Content, RenderError> {
    let event = event();
    templates.render(channel, name, locale, &Context { event: &event, data, timezone: "Europe/Berlin" })
}

/// The text of a one-file template for Telegram in plain text.
fn plain(source: &str, locale: &str, data: &str) -> Result<String, RenderError> {
    let templates = templates(&[("t/en/telegram.txt", source)]);
    match render(&templates, Channel::Telegram, "t", locale, data)? {
        Content::Text { text, html: false } => Ok(text),
        other => panic!("{other:?} is not plain text"),
    }
}

fn failure(source: &str, data: &str) -> String {
    let error = plain(source, "en", data).unwrap_err();
    assert_eq!(error.reason(), Reason::TemplateFailed);
    error.to_string()
}

#[rstest]
#[case("de-AT", "Servus")]
#[case("de_at", "Servus")]
#[case("de-CH", "Hallo")]
#[case("de", "Hallo")]
#[case("fr", "Hello")]
#[case("", "Hello")]
fn the_nearest_locale_is_taken(#[case] locale: &str, #[case] expected: &str) {
    let templates = templates(&[
        ("t/en/telegram.txt", "Hello"),
        ("t/de/telegram.txt", "Hallo"),
        ("t/de-AT/telegram.txt", "Servus"),
    ]);
    let content = render(&templates, Channel::Telegram, "t", locale, "").unwrap();
    assert_eq!(content, Content::Text { text: expected.to_owned(), html: false });
}

#[test]
fn a_template_that_is_not_there_is_missing() {
    let templates = templates(&[("t/en/telegram.txt", "Hello")]);
    for (channel, name) in
        [(Channel::Email, "t"), (Channel::Telegram, "u"), (Channel::Webhook, "u"), (Channel::Sms, "t")]
    {
        let error = render(&templates, channel, name, "en", "").unwrap_err();
        assert_eq!(error.reason(), Reason::TemplateMissing, "{error}");
        assert!(!templates.covers(channel, name));
    }
    assert!(templates.covers(Channel::Telegram, "t"));
    assert!(templates.covers(Channel::Webhook, "t"), "the envelope needs no file");
}

#[test]
fn html_escapes_and_text_does_not() {
    let templates = templates(&[
        ("t/en/email.subject.txt", "{{ data.x }}"),
        ("t/en/email.txt", "{{ data.x }}"),
        ("t/en/email.html", "<p>{{ data.x }}</p>"),
    ]);
    let content = render(&templates, Channel::Email, "t", "en", r#"{"x": "<b>&'/\"\n\rBcc: me"}"#).unwrap();
    let Content::Mail { subject, text, html, .. } = content else { panic!("not a mail") };
    assert_eq!(subject, "<b>&'/\" Bcc: me", "a subject is one line");
    assert_eq!(text, "<b>&'/\"\n\rBcc: me");
    assert_eq!(html.unwrap(), "<p>&lt;b&gt;&amp;&#39;/&quot;\n\rBcc: me</p>");
}

#[test]
fn a_webhook_without_a_file_gets_the_recommended_envelope() {
    let templates = templates(&[("t/en/telegram.txt", "Hello")]);
    let content = render(&templates, Channel::Webhook, "t", "en", r#"{"b": 1, "a": [null, "ü"]}"#).unwrap();
    let expected =
        r#"{"id":"e-1","type":"order.placed","timestamp":"2026-11-21T21:05:00Z","data":{"b":1,"a":[null,"ü"]}}"#;
    assert_eq!(content, Content::Json(expected.to_owned()));
}

#[test]
fn a_webhooks_own_file_writes_json_that_data_cannot_break() {
    let templates = templates(&[("t/en/webhook.json", r#"{"text": {{ data.x }}, "n": {{ data.n }}}"#)]);
    let content =
        render(&templates, Channel::Webhook, "t", "en", r#"{"x": "\", \"admin\": true, \"", "n": [1]}"#).unwrap();
    assert_eq!(content, Content::Json(r#"{"text":"\", \"admin\": true, \"","n":[1]}"#.to_owned()));
}

#[test]
fn a_webhook_file_that_makes_no_json_fails() {
    let templates = templates(&[("t/en/webhook.json", "{ data.x }")]);
    let error = render(&templates, Channel::Webhook, "t", "en", "").unwrap_err();
    assert_eq!(error.to_string(), "template t/en/webhook.json: the output is not JSON (line 1, column 3 of it)");
}

#[test]
fn a_text_message_is_plain_and_trimmed() {
    let templates = templates(&[("t/en/sms.txt", "Hi {{ data.x }}\n\n"), ("t/de/sms.txt", "Hallo {{ data.x }}")]);
    let text = |locale| render(&templates, Channel::Sms, "t", locale, r#"{"x": "<A&B>"}"#).unwrap();
    assert_eq!(text("fr"), Content::Text { text: "Hi <A&B>".to_owned(), html: false });
    assert_eq!(text("de-AT"), Content::Text { text: "Hallo <A&B>".to_owned(), html: false });
}

#[test]
fn a_push_is_a_title_and_a_body() {
    let templates = templates(&[
        ("t/en/push.title.txt", "Order\n{{ data.x }}"),
        ("t/en/push.txt", "on its way\n"),
        ("u/en/push.txt", "{{ data.x }}"),
    ]);
    let push = |name, data| match render(&templates, Channel::Push, name, "en", data).unwrap() {
        Content::Push(push) => push,
        other => panic!("{other:?} is no push"),
    };
    let (title, body) = (Some("Order A-1".to_owned()), Some("on its way".to_owned()));
    assert_eq!(push("t", r#"{"x": "A-1"}"#), Push { title, body: body.clone(), data: BTreeMap::new() });
    assert_eq!(push("u", r#"{"x": "on its way"}"#), Push { body, ..Push::default() });
}

#[test]
fn a_push_in_json_carries_data_that_is_text() {
    let source = r#"{"title": {{ data.x }}, "data": {"order": {{ data.x }}, "n": {{ data.n }}, "none": null}}"#;
    let templates = templates(&[("t/en/push.json", source), ("u/en/push.json", r#"{"titel": 1}"#)]);
    let content = render(&templates, Channel::Push, "t", "en", r#"{"x": "\"}", "n": {"a": [1]}}"#).unwrap();
    let data = [("n", r#"{"a":[1]}"#), ("order", "\"}")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    assert_eq!(content, Content::Push(Push { title: Some("\"}".to_owned()), body: None, data }));
    let error = render(&templates, Channel::Push, "u", "en", "").unwrap_err();
    assert!(error.to_string().ends_with("is not a JSON object of `title`, `body` and `data`"), "{error}");
}

#[test]
fn what_is_not_there_fails_with_file_and_line_unless_it_is_asked_for() {
    assert_eq!(
        failure("a\n{{ data.order_id }}", r#"{"secret": "4711"}"#),
        "template t/en/telegram.txt:2: undefined value: `data.order_id` is undefined"
    );
    assert!(failure("{% for x in data.items_ %}{% endfor %}", "").contains("`data.items_` is undefined"));
    assert!(failure("{{ data.a.b }}", "").contains("`data.a` is undefined"));
    assert_eq!(plain("{% if data.carrier %}x{% endif %}{{ data.c|default('-') }}", "en", "").unwrap(), "-");
}

#[rstest]
#[case("{{ data.x|datetime }}")]
#[case("{{ data.x|money('EUR') }}")]
#[case("{{ data.x|number }}")]
#[case("{{ data.x.y.z }}")]
#[case("{{ data.x + 1 }}")]
#[case("{{ data.x() }}")]
#[case("{% include data.x %}")]
#[case("{{ data.x|int }}")]
#[case("{% for a, b in data.x %}{% endfor %}")]
fn an_error_never_quotes_the_data(#[case] source: &str) {
    let message = failure(source, r#"{"x": "4711-secret"}"#);
    assert!(!message.contains("4711"), "{message}");
    assert!(message.contains("t/en/telegram.txt:1: "), "{message}");
}

#[rstest]
#[case("[1]")]
#[case("\"text\"")]
#[case("{")]
fn data_that_is_no_object_fails(#[case] data: &str) {
    assert!(failure("x", data).contains("not a JSON object"));
}

#[test]
fn an_endless_template_is_stopped() {
    let message = failure("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", "");
    assert!(message.contains("ran out of fuel"), "{message}");
}

#[test]
fn an_endless_output_is_stopped() {
    let data = json!({"x": "x".repeat(10_000)}).to_string();
    let message = failure("{% for a in range(1000) %}{{ data.x }}{% endfor %}", &data);
    assert!(message.contains("longer than 1048576 bytes"), "{message}");
}

#[rstest]
#[case("{{ event.time|datetime }}", "en", "21 Nov 2026, 22:05 CET")]
#[case("{{ event.time|datetime }}", "en-US", "Nov 21, 2026, 10:05 PM CET")]
#[case("{{ data.s|datetime }}", "en", "21 Jul 2026, 14:00 CEST")]
#[case("{{ data.ms|datetime('%Y-%m-%d %H:%M') }}", "en", "2026-07-21 14:00")]
#[case("{{ data.day|datetime('%A') }}", "en", "Tuesday")]
#[case("{{ data.n|number }}", "en", "1,234,568")]
#[case("{{ data.n|number(1) }}", "en", "1,234,567.9")]
#[case("{{ 999|number }}", "en", "999")]
#[case("{{ 0|number(2) }}", "en", "0.00")]
#[case("{{ (0 - 1234)|number }}", "en", "-1,234")]
#[case("{{ data.n|money('EUR') }}", "en", "€1,234,567.89")]
#[case("{{ '12.5'|money('CHF') }}", "en", "CHF\u{a0}12.50")]
#[case("{{ 1500|money('JPY') }}", "en", "¥1,500")]
#[case("{{ 1.5|money('KWD') }}", "en", "KWD\u{a0}1.500")]
#[case("{{ (0 - 5)|money('USD') }}", "en", "-$5.00")]
fn times_and_numbers_are_written_as_the_recipient_does(
    #[case] source: &str,
    #[case] locale: &str,
    #[case] expected: &str,
) {
    let data = r#"{"s": 1784635200, "ms": 1784635200000, "day": "2026-07-21T12:00:00Z", "n": 1234567.891}"#;
    assert_eq!(plain(source, locale, data).unwrap(), expected);
}

#[rstest]
#[case("de", "21.11.2026, 22:05 Uhr (CET) 1.234,50\u{a0}€")]
#[case("fr", "21/11/2026 22:05 (CET) 1\u{202f}234,50\u{a0}€")]
#[case("pl", "21.11.2026, 22:05 (CET) 1\u{a0}234,50\u{a0}€")]
#[case("nl", "21-11-2026 22:05 (CET) €\u{a0}1.234,50")]
#[case("it", "21 Nov 2026, 22:05 CET €1,234.50")] // no Italian text: written as the English text is
fn languages_have_their_customs(#[case] locale: &str, #[case] expected: &str) {
    let source = "{{ event.time|datetime }} {{ 1234.5|money('EUR') }}";
    let files: Vec<(String, &str)> =
        ["en", "de", "fr", "pl", "nl"].iter().map(|locale| (format!("t/{locale}/telegram.txt"), source)).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, source)| (path.as_str(), *source)).collect();
    let content = render(&templates(&files), Channel::Telegram, "t", locale, "").unwrap();
    assert_eq!(content, Content::Text { text: expected.to_owned(), html: false });
}

#[test]
fn an_unknown_zone_counts_as_utc() {
    let templates = templates(&[("t/en/telegram.txt", "{{ event.time|datetime }}")]);
    let event = event();
    let context = Context { event: &event, data: "", timezone: "Mars/Base" };
    let content = templates.render(Channel::Telegram, "t", "en", &context).unwrap();
    assert_eq!(content, Content::Text { text: "21 Nov 2026, 21:05 UTC".to_owned(), html: false });
}

#[test]
fn macros_and_partials_know_the_recipients_zone() {
    let templates = templates(&[
        ("_shared/m.txt", "{% macro at(x) %}{{ x|datetime('%H:%M') }}{% endmacro %}"),
        ("_shared/deep/i.txt", "{{ event.time|datetime('%H:%M') }}"),
        (
            "t/en/telegram.txt",
            "{% from '_shared/m.txt' import at %}{{ at(event.time) }} {% include '_shared/deep/i.txt' %}",
        ),
    ]);
    let content = render(&templates, Channel::Telegram, "t", "en", "").unwrap();
    assert_eq!(content, Content::Text { text: "22:05 22:05".to_owned(), html: false });
}

#[test]
fn one_set_of_templates_serves_many_threads() {
    let templates = shipped();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    render(&templates, Channel::Email, "message", "de", r#"{"title": "x"}"#).unwrap();
                }
            });
        }
    });
}

/// What the templates that come with notilog are given.
fn sample(template: &str) -> serde_json::Value {
    match template {
        "order_placed" | "order_shipped" => json!({
            "order_id": "A-1042", "items": [{"name": "Tea <Earl & Grey>", "qty": 2}, {"name": "Kettle", "qty": 1}],
            "total": 1079.9, "currency": "EUR", "carrier": "DHL", "tracking": "JD0146",
        }),
        "newsletter" => json!({"title": "Autumn & tea", "text": "First.\n\nSecond <paragraph>."}),
        "alert" => json!({
            "service": "checkout", "severity": "critical", "summary": "p99 > 2 s", "state": "firing",
            "url": "https://mon.example.org/a/1?x=1&y=2",
        }),
        "login_new_device" => json!({"device": "Firefox on Linux", "city": "Graz", "at": "2026-11-21T20:59:00Z"}),
        "card_blocked" => json!({"card_last4": "4242", "reason": "reported as lost"}),
        "transfer_large" => json!({"amount": 12500, "currency": "EUR", "to_masked": "AT•• •••• 1234"}),
        "message" => json!({"title": "Hello", "text": "A <text>."}),
        other => panic!("the template `{other}` has no sample: add one"),
    }
}

#[test]
fn every_shipped_template_speaks_to_every_channel_in_english_and_german() {
    let templates = shipped();
    assert_eq!(templates.names().len(), 8);
    for name in templates.names() {
        for locale in ["en", "de", "fr", "pl"] {
            for channel in [Channel::Email, Channel::Telegram, Channel::Webhook] {
                let content = render(&templates, channel, name, locale, &sample(name).to_string());
                let content = content.unwrap_or_else(|error| panic!("{name} {locale} {channel}: {error}"));
                if let Content::Mail { html: Some(html), .. } = &content {
                    assert!(!html.contains("Earl & Grey") && !html.contains("<paragraph>"), "{name}: not escaped");
                }
            }
        }
        let german = render(&templates, Channel::Email, name, "de", &sample(name).to_string()).unwrap();
        let english = render(&templates, Channel::Email, name, "en", &sample(name).to_string()).unwrap();
        assert_ne!(german, english, "{name} is translated");
    }
}

#[rstest]
#[case("order_placed", "de-AT")]
#[case("order_shipped", "en")]
#[case("alert", "pl")]
#[case("login_new_device", "fr")]
#[case("transfer_large", "de")]
fn shipped_texts(#[case] name: &str, #[case] locale: &str) {
    let templates = shipped();
    let data = sample(name).to_string();
    let Content::Mail { subject, text, .. } = render(&templates, Channel::Email, name, locale, &data).unwrap() else {
        panic!("not a mail")
    };
    let Content::Text { text: chat, .. } = render(&templates, Channel::Telegram, name, locale, &data).unwrap() else {
        panic!("not a text")
    };
    let all = format!("Subject: {subject}\n\n{text}\n=== telegram\n{chat}\n");
    insta::assert_snapshot!(format!("{name}-{locale}"), all);
}

#[rstest]
#[case("order_shipped", "en")]
#[case("alert", "pl")]
#[case("login_new_device", "fr")]
#[case("card_blocked", "de")]
#[case("transfer_large", "de-AT")]
fn shipped_short_texts(#[case] name: &str, #[case] locale: &str) {
    let templates = shipped();
    let data = sample(name).to_string();
    let Content::Text { text, html: false } = render(&templates, Channel::Sms, name, locale, &data).unwrap() else {
        panic!("not a text")
    };
    let Content::Push(Push { title, body, data }) = render(&templates, Channel::Push, name, locale, &data).unwrap()
    else {
        panic!("not a push")
    };
    let parts = crate::channel::sms::segments::Segments::of(&crate::channel::sms::segments::simplified(&text));
    assert_eq!(parts.parts.len(), 1, "{text} costs one part");
    let all = format!(
        "=== sms ({:?})\n{text}\n=== push\n{}\n{}\n{data:?}\n",
        parts.coding,
        title.unwrap_or_default(),
        body.unwrap_or_default()
    );
    insta::assert_snapshot!(format!("short-{name}-{locale}"), all);
}

#[test]
fn shipped_html() {
    let data = sample("order_placed").to_string();
    let content = render(&shipped(), Channel::Email, "order_placed", "de", &data).unwrap();
    let Content::Mail { html: Some(html), .. } = content else { panic!("no HTML") };
    insta::assert_snapshot!(html);
}
