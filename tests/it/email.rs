//! Mails as receivers judge them: DKIM signatures by dkimpy, attachments by Python's own parser.

use std::path::Path;
use std::time::Duration;

use notilog::channel::{self, Message, Verdict};
use notilog::config::{self, Channels, Delay, Dkim, Secret};
use notilog::model::{Channel as Name, Reason};
use rstest::rstest;
use serde_json::{Value, json};

use crate::channels::{email, email_channel, order};
use crate::delivery::{FAST, Someone, policy, statuses};
use crate::stand_in::{StandIn, for_tests, unique};
use crate::support::{World, script, script_by, with};

/// Keys, and what DNS says of them at `rsa` and `ed` below the domain.
struct Keys {
    folder: tempfile::TempDir,
    records: Value,
}

async fn dkimpy(arguments: &[&str], input: String) -> Value {
    let python = for_tests("test-python").join("bin/python");
    serde_json::from_str(&script_by(&python, "dkim_verify.py", arguments, input).await).unwrap()
}

impl Keys {
    async fn make(domain: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = dkimpy(&["keys", folder.path().to_str().unwrap()], String::new()).await;
        let name = |selector: &str| format!("{selector}._domainkey.{domain}");
        let mut records = json!({});
        records[name("rsa")] = made["rsa"].clone();
        records[name("ed")] = made["ed25519"].clone();
        Keys { folder, records }
    }

    fn key(&self, selector: &str, file: &str) -> Dkim {
        let pem = std::fs::read_to_string(self.folder.path().join(file)).unwrap();
        Dkim { domain: None, selector: selector.to_owned(), key: Secret::new(pem.trim_end()) }
    }

    fn both(&self) -> config::Email {
        config::Email { dkim: vec![self.key("rsa", "rsa.pem"), self.key("ed", "ed25519.pem")], ..email() }
    }

    /// What dkimpy says of each signature of each mail.
    async fn judge(&self, mails: &[String]) -> Vec<Vec<String>> {
        let asked = json!({"records": self.records, "mails": mails}).to_string();
        serde_json::from_value(dkimpy(&["judge"], asked).await).unwrap()
    }
}

/// The mail as the server took it.
async fn sent(config: config::Email, message: &Message) -> String {
    let outcome = email_channel(config).deliver(message).await;
    assert_eq!(outcome.code.as_deref(), Some("250"), "{outcome:?}");
    let kept = StandIn::smtp().list("/messages", &[("address", &message.address)]).await;
    kept[0]["raw"].as_str().unwrap().to_owned()
}

fn message() -> Message {
    order(Name::Email, &format!("{}@example.org", unique()))
}

fn plain(mut message: Message) -> Message {
    let text = "Hello \t world  \r\n\r\n.\r\n..two\r\n\r\n\r\n".to_owned();
    message.content =
        channel::Content::Mail { subject: "  Hello   there ".to_owned(), text, html: None, attachments: Value::Null };
    message
}

#[tokio::test]
async fn a_mail_is_signed_by_each_key_and_a_verifier_agrees() {
    let keys = Keys::make("example.com").await;
    let old = config::Email { dkim: vec![keys.key("rsa", "rsa1.pem")], ..email() };
    let mut long = message();
    let words = "wörter und noch mehr Wörter, ".repeat(40);
    if let channel::Content::Mail { subject, .. } = &mut long.content {
        *subject = words;
    }
    let mails =
        [sent(keys.both(), &message()).await, sent(keys.both(), &plain(message())).await, sent(old, &long).await];
    assert_eq!(keys.judge(&mails).await, [vec!["pass", "pass"], vec!["pass", "pass"], vec!["pass"]]);
    let [first, ..] = &mails;
    for (algorithm, selector) in [("rsa-sha256", "rsa"), ("ed25519-sha256", "ed")] {
        assert!(
            first.contains(&format!("a={algorithm}; c=relaxed/relaxed;\r\n d=example.com; s={selector};")),
            "{first}"
        );
    }
}

#[tokio::test]
async fn a_domain_of_its_own_signs_where_it_is_told_to() {
    let keys = Keys::make("mail.example.net").await;
    let dkim = Dkim { domain: Some("mail.example.net".to_owned()), ..keys.key("ed", "ed25519.pem") };
    let mail = sent(config::Email { dkim: vec![dkim], ..email() }, &message()).await;
    assert_eq!(keys.judge(&[mail]).await, [["pass"]]);
}

/// What a relay, or somebody, did to a mail on its way.
type Change = fn(&str) -> String;

fn with_header(mail: &str, header: &str) -> String {
    mail.replacen("\r\nSubject:", &format!("\r\n{header}\r\nSubject:"), 1)
}

fn without(mail: &str, name: &str) -> String {
    let (head, body) = mail.split_once("\r\n\r\n").unwrap();
    let fields = head.replace("\r\n ", "\u{0} ");
    let kept: Vec<&str> = fields.split("\r\n").filter(|field| !field.starts_with(&format!("{name}:"))).collect();
    format!("{}\r\n\r\n{body}", kept.join("\r\n").replace("\u{0} ", "\r\n "))
}

/// What the verifier notices, and what it does not.
const CHANGES: &[(&str, Change, bool)] = &[
    ("a word of the body", |mail| mail.replace("A-1042", "A-1043"), true),
    ("a word of the subject", |mail| mail.replacen("Subject: ", "Subject: No ", 1), true),
    ("another sender", |mail| mail.replacen("From: Shop", "From: Bank", 1), true),
    ("another date", |mail| mail.replacen("+0000", "+0100", 1), true),
    ("another recipient", |mail| mail.replacen("\r\nTo: ", "\r\nTo: x", 1), true),
    ("another way to unsubscribe", |mail| mail.replacen("example.com/u", "example.com/x", 1), true),
    ("no one click", |mail| without(mail, "List-Unsubscribe-Post"), true),
    ("no message id", |mail| without(mail, "Message-ID"), true),
    ("another type", |mail| mail.replacen("multipart/alternative", "multipart/mixed", 1), true),
    ("no mime", |mail| without(mail, "MIME-Version"), true),
    ("a second sender", |mail| format!("From: Bank <bank@example.com>\r\n{mail}"), true),
    ("a second sender below", |mail| with_header(mail, "From: Bank <bank@example.com>"), true),
    ("a second subject", |mail| format!("Subject: Pay at once\r\n{mail}"), true),
    ("a copy to somebody", |mail| with_header(mail, "Cc: eve@example.org"), true),
    ("a second type", |mail| format!("Content-Type: text/html\r\n{mail}"), true),
    ("a header of a relay", |mail| with_header(mail, "X-Spam-Score: 0"), false),
    ("received", |mail| format!("Received: by mx.example.net\r\n{mail}"), false),
    ("another fold", |mail| mail.replacen("Auto-Submitted: ", "auto-submitted:\r\n\t ", 1), false),
    ("space at the end of lines", |mail| format!("{}\r\n\r\n", mail.replace("--\r\n", "-- \t\r\n")), false),
];

#[tokio::test]
async fn a_verifier_notices_what_matters_and_nothing_else() {
    let keys = Keys::make("example.com").await;
    let mail = sent(keys.both(), &message()).await;
    let changed: Vec<String> = CHANGES.iter().map(|(_, change, _)| change(&mail)).collect();
    let verdicts = keys.judge(&changed).await;
    for (((what, _, noticed), changed), verdicts) in CHANGES.iter().zip(&changed).zip(verdicts) {
        assert_ne!(*changed, mail, "{what}: something was changed");
        let expected = if *noticed { "fail" } else { "pass" };
        assert_eq!(verdicts, [expected, expected], "{what}");
    }
}

/// What the program says of a configuration file with this `dkim`.
async fn refusal(dkim: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notilog.toml");
    let text = format!(
        "[channels.email]\nhost = \"127.0.0.1\"\nport = 25\ntls = \"none\"\nfrom = \"shop@example.com\"\ndkim = [{dkim}]\n"
    );
    std::fs::write(&file, text).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_notilog"));
    let output = command.args(["config", "check", "--config"]).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dkim").join(name).display().to_string()
}

#[rstest]
#[case::no_such_file("/nowhere/dkim.pem".to_owned(), "file /nowhere/dkim.pem cannot be read")]
#[case::too_short(fixture("rsa-1024.pem"), "fewer than 2048 bits")]
#[case::another_kind(fixture("p-256.pem"), "neither an RSA nor an Ed25519 key")]
#[case::no_key(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").to_owned(), "is no private key in PEM")]
#[tokio::test]
async fn a_key_that_cannot_sign_is_refused_with_what_to_do(#[case] file: String, #[case] why: &str) {
    let said = refusal(&format!("{{ selector = \"s1\", key = \"${{file:{file}}}\" }}")).await;
    assert!(said.contains("channels.email.dkim[0].key") && said.contains(why), "{said}");
    assert!(!said.contains("PRIVATE KEY"), "{said}");
}

#[tokio::test]
async fn two_keys_of_one_name_are_refused() {
    let keys = Keys::make("example.com").await;
    let dkim = vec![keys.key("rsa", "rsa.pem"), keys.key("rsa", "ed25519.pem")];
    let config = config::Email { dkim, ..email() };
    let problems = channel::build(&Channels { email: vec![config.into()], ..Channels::default() }).err().unwrap();
    assert_eq!(
        problems.to_string(),
        "channels.email.dkim[1].selector: is given to two keys at rsa._domainkey.example.com; DNS has one for each name"
    );
}

/// A folder of the HTTP stand-in that no other test uses.
struct Folder {
    path: String,
}

impl Folder {
    fn new() -> Self {
        Folder { path: format!("/{}/", unique()) }
    }

    fn base(&self) -> String {
        format!("{}{}", StandIn::webhook().base, self.path)
    }

    async fn answers(&self, name: &str, answer: Value) {
        let script = json!({"path": format!("{}{name}", self.path), "answers": [answer]});
        StandIn::webhook().script("/_script", script).await;
    }

    fn config(&self) -> config::Email {
        let attachments = config::Attachments {
            bases: vec![self.base()],
            max_bytes: 100_000,
            max_count: 3,
            timeout: Delay(Duration::from_secs(10)),
            allow_networks: vec!["127.0.0.0/8".to_owned()],
            allow_http: true,
        };
        config::Email { attachments: Some(attachments), ..email() }
    }
}

fn with_attachments(mut message: Message, wanted: Value) -> Message {
    let channel::Content::Mail { attachments, .. } = &mut message.content else { panic!("not a mail") };
    *attachments = wanted;
    message
}

#[rstest]
#[case::text_and_html(message(), &["text/plain", "text/html"])]
#[case::text_alone(plain(message()), &["text/plain"])]
#[tokio::test]
async fn a_mail_program_reads_what_is_attached(#[case] message: Message, #[case] before: &[&str]) {
    let (folder, keys) = (Folder::new(), Keys::make("example.com").await);
    let long = "zeile mit ümlaut\n.\nno end of line ".repeat(400);
    let pdf = json!({"status": 200, "headers": {"Content-Type": "application/pdf"}, "body": long});
    folder.answers("a.pdf", pdf).await;
    folder.answers("b", json!({"status": 200, "headers": {"Content-Type": "text/html"}, "body": "<p>hi"})).await;
    let wanted = json!([
        {"href": "a.pdf?token=secret", "name": "Rechnung – März 2026.pdf"},
        {"href": format!("{}b", folder.base()), "name": "../b.csv", "type": "text/csv; charset=utf-8"},
    ]);
    let config = config::Email { dkim: keys.both().dkim, ..folder.config() };
    let raw = sent(config, &with_attachments(message, wanted)).await;
    assert!(!raw.contains("token=secret"));
    assert_eq!(keys.judge(std::slice::from_ref(&raw)).await, [["pass", "pass"]]);
    let read: Value = serde_json::from_str(&script("mail_parts.py", &[], raw).await).unwrap();
    assert_eq!(read["type"], "multipart/mixed");
    let leaves = read["leaves"].as_array().unwrap();
    let types: Vec<&str> = leaves.iter().map(|leaf| leaf["type"].as_str().unwrap()).collect();
    assert_eq!(types, [before, &["application/pdf", "text/csv"]].concat());
    assert!(leaves.iter().all(|leaf| leaf["defects"] == json!([])), "{leaves:#?}");
    let [.., first, second] = &leaves[..] else { panic!("{leaves:#?}") };
    assert_eq!((&first["filename"], &first["text"]), (&json!("Rechnung – März 2026.pdf"), &json!(long)));
    assert_eq!((&second["filename"], &second["text"]), (&json!("_b.csv"), &json!("<p>hi")));
    assert!([first, second].iter().all(|leaf| leaf["disposition"] == "attachment"));
}

#[rstest]
#[case::not_there(json!(404), Verdict::Reject { reason: Reason::AttachmentMissing }, "http_404")]
#[case::gone(json!(410), Verdict::Reject { reason: Reason::AttachmentMissing }, "http_410")]
#[case::not_allowed(json!(403), Verdict::Reject { reason: Reason::AttachmentRefused }, "http_403")]
#[case::moved(
    json!({"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}}),
    Verdict::Reject { reason: Reason::AttachmentRefused },
    "http_302"
)]
#[case::too_large(
    json!({"status": 200, "body": "x".repeat(100_001)}),
    Verdict::Reject { reason: Reason::AttachmentTooLarge },
    "http_200"
)]
#[case::busy(
    json!({"status": 503, "retry_after": 30}),
    Verdict::Retry { reason: Reason::AttachmentUnavailable, after: Some(Duration::from_secs(30)) },
    "http_503"
)]
#[case::broken(json!("disconnect"), Verdict::Retry { reason: Reason::AttachmentUnavailable, after: None }, "")]
#[tokio::test]
async fn a_mail_without_its_attachment_does_not_leave(
    #[case] answer: Value,
    #[case] expected: Verdict,
    #[case] code: &str,
) {
    let folder = Folder::new();
    folder.answers("a", answer).await;
    let message = with_attachments(message(), json!([{"href": "a", "name": "a.pdf"}]));
    let outcome = email_channel(folder.config()).deliver(&message).await;
    assert_eq!((outcome.result, outcome.code.unwrap_or_default().as_str()), (expected, code));
    assert!(StandIn::smtp().list("/messages", &[("address", &message.address)]).await.is_empty());
}

#[tokio::test]
async fn a_status_says_why_and_not_from_where() {
    let (world, ada, folder) = (World::new("attachments", FAST).await, Someone::new(), Folder::new());
    folder.answers("there", json!({"status": 200, "body": "content"})).await;
    folder.answers("gone", json!(404)).await;
    let providers = channel::build(&Channels { email: vec![folder.config().into()], ..Channels::default() }).unwrap();
    let delivery = world.deliver(policy(), providers).await.unwrap();
    for (event, name) in [("e-1", "there"), ("e-2", "gone")] {
        let href = format!("{name}?token=secret");
        let data = json!({"title": "Invoice", "text": "x", "attachments": [{"href": href, "name": "a.pdf"}]});
        ada.send(&world, with(ada.outbound(event), json!({"data": data.to_string()}))).await;
    }
    let sent = statuses(&world, &ada.id("e-1"), 1).await;
    let failed = statuses(&world, &ada.id("e-2"), 1).await;
    delivery.stop().await.unwrap();
    assert_eq!((&sent[0]["state"], &sent[0]["reason"]), (&json!("SENT"), &json!("accepted")));
    let told = (&failed[0]["state"], &failed[0]["reason"], &failed[0]["code"]);
    assert_eq!(told, (&json!("FAILED"), &json!("attachment_missing"), &json!("http_404")));
    assert!(!format!("{sent:?}{failed:?}").contains("secret"));
    let mails = ada.mails().await;
    assert_eq!(mails.len(), 1);
    assert!(mails[0]["raw"].as_str().unwrap().contains("filename=\"a.pdf\""), "{}", mails[0]["raw"]);
}
