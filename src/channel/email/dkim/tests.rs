//! What is signed, by which key, and which keys are refused. A verifier that others wrote judges whole mails in
//! tests/it/email.rs.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ED25519, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use rstest::rstest;

use super::*;
use crate::config::Secret;

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----", BASE64.encode(der))
}

fn rsa() -> (RsaKeyPair, String) {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let der = key.as_der().unwrap();
    let pem = pem("PRIVATE KEY", der.as_ref());
    (key, pem)
}

fn ed25519() -> (Ed25519KeyPair, String) {
    let key = Ed25519KeyPair::generate().unwrap();
    let pem = pem("PRIVATE KEY", key.to_pkcs8v1().unwrap().as_ref());
    (key, pem)
}

fn dkim(key: &str) -> config::Dkim {
    config::Dkim { domain: None, selector: "s1".to_owned(), key: Secret::new(key) }
}

const MAIL: &str = "From: Shop <shop@example.com>\r\nTo: ada@example.org\r\nSubject: Hello\r\n there\r\n\
                    X-Other: x\r\n\r\nHi,\r\n\r\nbye\r\n\r\n";

/// The tags of a signature, unfolded and without white space.
fn tags(header: &str) -> Vec<(String, String)> {
    let value: String = header.split_once(':').unwrap().1.split_ascii_whitespace().collect();
    let tag = |tag: &str| tag.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap();
    value.split(';').map(tag).collect()
}

fn tag(header: &str, name: &str) -> String {
    tags(header).into_iter().find(|(tag, _)| tag == name).unwrap().1
}

/// The header up to its signature, without its name.
fn unsigned(header: &str) -> String {
    let end = header.rfind("b=").unwrap() + 2;
    header[..end].strip_prefix("DKIM-Signature: ").unwrap().to_owned()
}

#[test]
fn a_signature_says_what_it_covers_and_no_line_of_it_is_long() {
    let signer = Signer::new(&dkim(&rsa().1), "Bücher.example").unwrap();
    let header = signer.sign(MAIL.as_bytes(), Timestamp(1_795_000_000_999)).unwrap();
    assert_eq!(tag(&header, "d"), "xn--bcher-kva.example");
    assert_eq!((tag(&header, "s"), tag(&header, "t")), ("s1".to_owned(), "1795000000".to_owned()));
    assert_eq!((tag(&header, "a"), tag(&header, "c")), ("rsa-sha256".to_owned(), "relaxed/relaxed".to_owned()));
    let sealed = "From:From:To:To:Cc:Reply-To:Subject:Subject:Date:Message-ID:Content-Type:\
                  List-Unsubscribe:List-Unsubscribe-Post";
    assert_eq!(tag(&header, "h"), sealed);
    assert!(header.ends_with("\r\n") && header.lines().all(|line| line.len() <= 78), "{header}");
}

#[test]
fn each_kind_of_key_signs_what_is_covered() {
    let fields = split(MAIL.as_bytes()).0;
    let covered = |header: &str| covered(&fields, &names(&fields), &unsigned(header));
    let (key, text) = rsa();
    let header = Signer::new(&dkim(&text), "example.com").unwrap().sign(MAIL.as_bytes(), Timestamp(0)).unwrap();
    let signature = BASE64.decode(tag(&header, "b")).unwrap();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref().to_vec());
    assert!(public.verify(&covered(&header), &signature).is_ok());

    let (key, text) = ed25519();
    let header = Signer::new(&dkim(&text), "example.com").unwrap().sign(MAIL.as_bytes(), Timestamp(0)).unwrap();
    let signature = BASE64.decode(tag(&header, "b")).unwrap();
    let public = UnparsedPublicKey::new(&ED25519, key.public_key().as_ref().to_vec());
    let hash = digest(&SHA256, &covered(&header));
    assert!(public.verify(hash.as_ref(), &signature).is_ok());
}

#[test]
fn the_example_of_the_standard_has_the_signature_that_it_says() {
    // RFC 8463, appendix A.
    const MAIL: &str = "From: Joe SixPack <joe@football.example.com>\r\nTo: Suzie Q <suzie@shopping.example.net>\r\n\
                        Subject: Is dinner ready?\r\nDate: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n\
                        Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\r\n\
                        Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";
    const HEADER: &str = "v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n d=football.example.com; \
                          i=@football.example.com;\r\n q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n subject : \
                          date : message-id : from : subject : date;\r\n \
                          bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=";
    let seed = BASE64.decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=").unwrap();
    let key = Key::Ed25519(Ed25519KeyPair::from_seed_unchecked(&seed).unwrap());
    let (fields, body) = split(MAIL.as_bytes());
    assert!(HEADER.contains(&BASE64.encode(digest(&SHA256, &relaxed_body(body)))));
    let names = ["from", "to", "subject", "date", "message-id", "from", "subject", "date"];
    let signature = BASE64.encode(key.sign(&covered(&fields, &names, HEADER)).unwrap());
    let expected = "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==";
    assert_eq!(signature, expected);
}

#[test]
fn fields_of_one_name_are_signed_from_the_last() {
    let fields = split(b"A: 1\r\nA: 2\r\n\r\n").0;
    let text = covered(&fields, &["A", "A", "A"], "v=1");
    assert_eq!(text, b"a:2\r\na:1\r\ndkim-signature:v=1");
}

/// 1024 bits: only to be refused.
const SHORT: &str = include_str!("../../../../tests/fixtures/dkim/rsa-1024.pem");
/// P-256.
const OTHER: &str = include_str!("../../../../tests/fixtures/dkim/p-256.pem");

#[rstest]
#[case::no_pem("hidden", "is no private key in PEM")]
#[case::a_certificate("-----BEGIN CERTIFICATE-----\naGlkZGVu\n-----END CERTIFICATE-----", "is no private key in PEM")]
#[case::with_a_passphrase(
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\naGlkZGVu\n-----END ENCRYPTED PRIVATE KEY-----",
    "without a passphrase"
)]
#[case::broken("-----BEGIN PRIVATE KEY-----\naGlkZGVu\n-----END PRIVATE KEY-----", "is no private key in PEM")]
#[case::short(SHORT, "fewer than 2048 bits")]
#[case::neither(OTHER, "neither an RSA nor an Ed25519 key")]
fn a_key_that_cannot_sign_is_refused_and_not_quoted(#[case] key: &str, #[case] why: &str) {
    let (setting, problem) = Signer::new(&dkim(key), "example.com").err().unwrap();
    assert_eq!(setting, "key");
    assert!(problem.contains(why) && problem.contains("openssl"), "{problem}");
    assert!(!problem.contains("hidden") && !problem.contains("aGlkZGVu"), "{problem}");
}

#[rstest]
#[case("s1", None, None)]
#[case("2026.mail", Some("example.com"), None)]
#[case("s 1", None, Some("selector"))]
#[case("s1;", None, Some("selector"))]
#[case("", None, Some("selector"))]
#[case("s1", Some("example..com"), Some("domain"))]
#[case("s1", Some("10.0.0.1"), Some("domain"))]
fn names_are_names_in_dns(#[case] selector: &str, #[case] domain: Option<&str>, #[case] wrong: Option<&str>) {
    let key = Secret::new(ed25519().1);
    let config = config::Dkim { domain: domain.map(str::to_owned), selector: selector.to_owned(), key };
    let found = Signer::new(&config, "example.com").err().map(|(setting, _)| setting);
    assert_eq!(found, wrong);
}
