//! What may be fetched, what an answer comes to, and what a file is called. Whole mails are read by others in
//! tests/it/email.rs.

use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;
use tokio::net::TcpListener;

use super::*;
use crate::config::Delay;

fn config(base: &str) -> config::Attachments {
    config::Attachments {
        bases: vec![base.to_owned()],
        max_bytes: 1_000,
        max_count: 2,
        timeout: Delay(Duration::from_secs(20)),
        allow_networks: vec!["127.0.0.0/8".to_owned()],
        allow_http: true,
    }
}

fn attachments(config: &config::Attachments) -> Attachments {
    let mut problems = Vec::new();
    let made = Attachments::new(config, 2, &mut problems);
    assert!(problems.is_empty(), "{problems:?}");
    made.unwrap()
}

/// A server that answers a path `/out/<status>` with that status, `/out/bytes/<n>` with so many bytes.
async fn server() -> String {
    async fn answer(uri: Uri) -> axum::response::Response {
        let last = uri.path().rsplit('/').next().unwrap().to_owned();
        if uri.path().contains("/bytes/") {
            return vec![b'x'; last.parse().unwrap()].into_response();
        }
        if last == "endless" {
            let chunks = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'x'; 1024]));
            return Body::from_stream(chunks).into_response();
        }
        if last == "broken" {
            let chunks = [Ok(vec![b'x'; 10]), Err(std::io::Error::other("gone"))];
            return Body::from_stream(futures::stream::iter(chunks)).into_response();
        }
        if last == "slow" {
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
        let status = StatusCode::from_u16(last.parse().unwrap_or(200)).unwrap();
        (status, [("content-type", "application/pdf"), ("retry-after", "90"), ("location", "/out/200")], "content")
            .into_response()
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    format!("http://{at}/out/")
}

async fn fetched(config: &config::Attachments, wanted: &Value) -> Result<Vec<File>, Outcome> {
    let attachments = attachments(config);
    let files = attachments.fetch(wanted, || Timestamp(0)).await;
    files.map(|files| files.files)
}

fn one(href: &str) -> Value {
    json!([{"href": href, "name": "invoice.pdf"}])
}

fn refused(code: Option<&str>) -> Outcome {
    Outcome { result: reject(Reason::AttachmentRefused), code: code.map(str::to_owned) }
}

fn later(code: Option<&str>, after: Option<u64>) -> Outcome {
    let result = Verdict::Retry { reason: Reason::AttachmentUnavailable, after: after.map(Duration::from_secs) };
    Outcome { result, code: code.map(str::to_owned) }
}

#[rstest]
#[case("400", refused(Some("http_400")))]
#[case("401", refused(Some("http_401")))]
#[case("403", refused(Some("http_403")))]
#[case("404", Outcome { result: reject(Reason::AttachmentMissing), code: Some("http_404".to_owned()) })]
#[case("410", Outcome { result: reject(Reason::AttachmentMissing), code: Some("http_410".to_owned()) })]
#[case("302", refused(Some("http_302")))]
#[case("307", refused(Some("http_307")))]
#[case("408", later(Some("http_408"), Some(90)))]
#[case("425", later(Some("http_425"), Some(90)))]
#[case("429", later(Some("http_429"), Some(90)))]
#[case("500", later(Some("http_500"), Some(90)))]
#[case("503", later(Some("http_503"), Some(90)))]
#[case("broken", later(None, None))]
#[case("bytes/1001", Outcome { result: reject(Reason::AttachmentTooLarge), code: Some("http_200".to_owned()) })]
#[case("endless", Outcome { result: reject(Reason::AttachmentTooLarge), code: Some("http_200".to_owned()) })]
#[tokio::test]
async fn what_the_server_answers(#[case] href: &str, #[case] expected: Outcome) {
    assert_eq!(fetched(&config(&server().await), &one(href)).await, Err(expected));
}

#[tokio::test]
async fn what_is_there_is_attached_in_order_under_its_name_and_type() {
    let base = server().await;
    let wanted = json!([{"href": "200", "name": "../a/invoice.pdf"},
                        {"href": format!("{base}bytes/3"), "name": "b.txt", "type": "text/plain; charset=utf-8"}]);
    let files = fetched(&config(&base), &wanted).await.unwrap();
    let pdf = ContentType::parse("application/pdf").unwrap();
    assert_eq!(files[0], File { name: "_a_invoice.pdf".to_owned(), kind: pdf, bytes: b"content".to_vec() });
    let text = ContentType::parse("text/plain; charset=utf-8").unwrap();
    assert_eq!(files[1], File { name: "b.txt".to_owned(), kind: text, bytes: b"xxx".to_vec() });
    assert_eq!(fetched(&config(&base), &Value::Null).await, Ok(Vec::new()));
}

#[tokio::test]
async fn the_limits_are_of_the_whole_mail() {
    let base = server().await;
    let of = |bytes: &[usize]| -> Value {
        bytes.iter().map(|bytes| json!({"href": format!("bytes/{bytes}"), "name": "a"})).collect()
    };
    assert_eq!(fetched(&config(&base), &of(&[600, 400])).await.unwrap().len(), 2);
    let too_large = Outcome { result: reject(Reason::AttachmentTooLarge), code: Some("http_200".to_owned()) };
    assert_eq!(fetched(&config(&base), &of(&[600, 401])).await, Err(too_large));
    assert_eq!(fetched(&config(&base), &of(&[1, 1, 1])).await, Err(refused(None)));
}

#[rstest]
#[case::beside("../secret/200")]
#[case::beside_encoded("%2e%2e/secret/200")]
#[case::root("/200")]
#[case::another_host("http://127.0.0.2/out/200")]
#[case::another_scheme("file:///etc/passwd")]
#[case::another_host_without_a_scheme("//127.0.0.2/out/200")]
#[case::backslashes("\\\\127.0.0.2\\out\\200")]
#[case::a_user("http://user@127.0.0.1/out/200")]
#[tokio::test]
async fn what_is_not_below_a_base_is_not_fetched(#[case] href: &str) {
    assert_eq!(fetched(&config(&server().await), &one(href)).await, Err(refused(None)));
}

#[rstest]
#[case::no_list(json!("https://files.example.com/secret"))]
#[case::no_name(json!([{"href": "200"}]))]
#[case::unknown(json!([{"href": "200", "name": "a", "content": "aGk="}]))]
#[tokio::test]
async fn what_is_no_list_of_references_is_refused(#[case] wanted: Value) {
    assert_eq!(fetched(&config(&server().await), &wanted).await, Err(refused(None)));
}

#[tokio::test]
async fn what_the_guard_forbids_is_refused_and_what_is_not_there_waits() {
    let base = server().await;
    let strict = config::Attachments { allow_networks: Vec::new(), ..config(&base) };
    assert_eq!(fetched(&strict, &one("200")).await, Err(refused(None)));
    let by_name = base.replace("127.0.0.1", "localhost");
    let strict = config::Attachments { allow_networks: Vec::new(), ..config(&by_name) };
    assert_eq!(fetched(&strict, &one("200")).await, Err(refused(None)));
    let no_http = config::Attachments { allow_http: false, ..config(&base) };
    assert_eq!(fetched(&no_http, &one("200")).await, Err(refused(None)));
    assert_eq!(fetched(&config("http://127.0.0.1:1/out/"), &one("200")).await, Err(later(None, None)));
    let hasty = config::Attachments { timeout: Delay(Duration::from_millis(300)), ..config(&base) };
    assert_eq!(fetched(&hasty, &one("slow")).await, Err(later(None, None)));
}

#[tokio::test]
async fn only_so_many_mails_have_their_attachments_in_memory() {
    let config = config::Attachments { timeout: Delay(Duration::from_millis(300)), ..config(&server().await) };
    let attachments = attachments(&config);
    let wanted = one("200");
    let first = attachments.fetch(&wanted, || Timestamp(0)).await.unwrap();
    let _second = attachments.fetch(&wanted, || Timestamp(0)).await.unwrap();
    assert_eq!(attachments.fetch(&wanted, || Timestamp(0)).await.unwrap_err(), later(None, None));
    drop(first);
    assert!(attachments.fetch(&wanted, || Timestamp(0)).await.is_ok());
}

#[rstest]
#[case("invoice.pdf", "invoice.pdf")]
#[case("Rechnung Nr. 7 – März.pdf", "Rechnung Nr. 7 – März.pdf")]
#[case("../../etc/passwd", "_.._etc_passwd")]
#[case("C:\\temp\\a.exe", "C__temp_a.exe")]
#[case(".bashrc", "bashrc")]
#[case("a.pdf. . ", "a.pdf")]
#[case("a\r\nX-Evil: 1\".pdf", "aX-Evil_ 1_.pdf")]
#[case("cod\u{202e}fdp.exe", "codfdp.exe")]
#[case("  ", "attachment")]
#[case("..", "attachment")]
fn a_name_is_one_file_and_reads_as_it_is(#[case] name: &str, #[case] expected: &str) {
    assert_eq!(safe_name(name), expected);
}

#[rstest]
#[case(Some("application/pdf"), "application/pdf")]
#[case(Some("text/csv; charset=utf-8"), "text/csv; charset=utf-8")]
#[case(Some("multipart/mixed; boundary=x"), "application/octet-stream")]
#[case(Some("Message/RFC822"), "application/octet-stream")]
#[case(Some("nonsense"), "application/octet-stream")]
#[case(Some("text/plain\r\nX-Evil: 1"), "application/octet-stream")]
#[case(None, "application/octet-stream")]
fn a_type_is_taken_as_it_is_said_unless_it_could_be_the_mails_own(#[case] said: Option<&str>, #[case] expected: &str) {
    assert_eq!(kind(said), ContentType::parse(expected).unwrap());
}

#[rstest]
#[case("https://files.example.com/out/", true)]
#[case("https://files.example.com", true)]
#[case("https://files.example.com/out", false)]
#[case("https://files.example.com/out/?a", false)]
#[case("https://user@files.example.com/", false)]
#[case("ftp://files.example.com/", false)]
#[case("files", false)]
fn a_base_is_a_folder(#[case] base: &str, #[case] expected: bool) {
    let mut problems = Vec::new();
    Attachments::new(&config(base), 1, &mut problems);
    assert_eq!(problems.is_empty(), expected, "{problems:?}");
}

proptest! {
    #[test]
    fn no_name_leaves_its_folder_or_its_header(name in "\\PC{0,200}|[./\\\\a\r\n\"]{0,200}") {
        let safe = safe_name(&name);
        prop_assert!(!safe.is_empty() && safe.len() <= MAX_NAME);
        prop_assert!(!safe.contains(['/', '\\', '"', '\r', '\n']) && !safe.starts_with('.'));
    }
}
