//! DKIM signatures (RFC 6376), with RSA and with Ed25519 (RFC 8463), relaxed in header and body.
//!
//! Invariant: every mail of a provider with keys leaves signed by each of them, and a key's text is in no error. What a
//! signature covers is read from the mail's bytes as they are handed over, so that it cannot speak of another mail.

mod canon;

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use self::canon::{Field, relaxed_body, relaxed_field, split};
use crate::config;
use crate::model::Timestamp;

/// What is signed where it is there, and whether nobody may add one: what a reader sees or a mail program acts on is
/// named once more than it is there (RFC 6376, sections 5.4.1, 5.4.2 and 8.15).
const SIGNED: &[(&str, bool)] = &[
    ("From", true),
    ("To", true),
    ("Cc", true),
    ("Reply-To", true),
    ("Subject", true),
    ("Date", true),
    ("Message-ID", true),
    ("MIME-Version", false),
    ("Content-Type", true),
    ("Content-Transfer-Encoding", false),
    ("Auto-Submitted", false),
    ("List-Unsubscribe", true),
    ("List-Unsubscribe-Post", true),
];

/// A line of a header should not be longer (RFC 5322, section 2.1.1).
const LINE: usize = 76;

/// Signs in the name of one domain by one key.
pub(super) struct Signer {
    domain: String,
    selector: String,
    key: Key,
}

enum Key {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// The key did not sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotSigned;

/// A setting of one key that cannot work, and why; the key itself is not quoted.
pub(super) type Wrong = (&'static str, String);

impl Signer {
    /// Reads the settings of one key; `from` is the domain of From, which signs unless another one is set.
    ///
    /// # Errors
    /// The setting that cannot work.
    pub(super) fn new(config: &config::Dkim, from: &str) -> Result<Self, Wrong> {
        let domain = ascii(config.domain.as_deref().unwrap_or(from))
            .ok_or_else(|| ("domain", "is not a domain name".to_owned()))?;
        let selector = ascii(&config.selector)
            .ok_or_else(|| ("selector", "is not a name; it stands before ._domainkey in DNS".to_owned()))?;
        let key = Key::read(config.key.reveal()).map_err(|problem| ("key", problem.to_owned()))?;
        Ok(Signer { domain, selector, key })
    }

    /// Where the public key stands in DNS.
    pub(super) fn name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }

    /// The header that signs `mail`, with its line end; it goes before the others.
    ///
    /// # Errors
    /// [`NotSigned`].
    pub(super) fn sign(&self, mail: &[u8], now: Timestamp) -> Result<String, NotSigned> {
        let (fields, body) = split(mail);
        let names = names(&fields);
        let mut header = format!(
            "v=1; a={}; c=relaxed/relaxed;\r\n d={}; s={};\r\n t={}; h=",
            self.key.algorithm(),
            self.domain,
            self.selector,
            now.0.div_euclid(1000),
        );
        fold(&mut header, names.iter().enumerate().map(|(index, name)| (if index == 0 { "" } else { ":" }, *name)));
        let hash = BASE64.encode(digest(&SHA256, &relaxed_body(body)));
        let _ = write!(header, ";\r\n bh={hash};\r\n b=");
        let signature = BASE64.encode(self.key.sign(&covered(&fields, &names, &header))?);
        fold(&mut header, chunks(&signature).map(|chunk| ("", chunk)));
        Ok(format!("DKIM-Signature: {header}\r\n"))
    }
}

impl Key {
    fn read(pem: &str) -> Result<Self, &'static str> {
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| NO_KEY)?;
        let (ed25519, rsa) = match &der {
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                (Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok(), RsaKeyPair::from_pkcs8(der))
            }
            PrivateKeyDer::Pkcs1(der) => (None, RsaKeyPair::from_der(der.secret_pkcs1_der())),
            _ => return Err(OTHER_KEY),
        };
        match (ed25519, rsa) {
            (Some(key), _) => Ok(Key::Ed25519(key)),
            (None, Ok(key)) => Ok(Key::Rsa(key)),
            (None, Err(rejected)) => Err(match rejected.description_() {
                "TooSmall" => SHORT_KEY,
                "WrongAlgorithm" => OTHER_KEY,
                _ => NO_KEY,
            }),
        }
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Key::Rsa(_) => "rsa-sha256",
            Key::Ed25519(_) => "ed25519-sha256",
        }
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, NotSigned> {
        match self {
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature).map_err(|_| NotSigned)?;
                Ok(signature)
            }
            // Of the hash, not of the text (RFC 8463, section 3).
            Key::Ed25519(key) => {
                let signature = key.try_sign(digest(&SHA256, text).as_ref()).map_err(|_| NotSigned)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

const NO_KEY: &str = "is no private key in PEM (PKCS#8 or PKCS#1, without a passphrase); make one with `openssl genrsa \
                      -out FILE 2048` or `openssl genpkey -algorithm ed25519 -out FILE`, and put it here with \
                      ${file:FILE}";
const OTHER_KEY: &str = "is neither an RSA nor an Ed25519 key, and DKIM has no other (RFC 6376, RFC 8463); make one with \
                         `openssl genrsa -out FILE 2048` or `openssl genpkey -algorithm ed25519 -out FILE`";
const SHORT_KEY: &str = "is an RSA key of fewer than 2048 bits, which is what RFC 8301 asks signers for; make one with \
                         `openssl genrsa -out FILE 2048`, and publish it under a new selector";

/// A DNS name in lower case, in its ASCII form.
fn ascii(name: &str) -> Option<String> {
    let url::Host::Domain(name) = url::Host::parse(name.trim()).ok()? else { return None };
    let is_label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        inner && !label.is_empty() && label.len() <= 63
    };
    name.split('.').all(is_label).then_some(name)
}

/// `h=`: what of [`SIGNED`] is there, as often as it is, and once more what nobody may add.
fn names(fields: &[Field<'_>]) -> Vec<&'static str> {
    let mut names = Vec::new();
    for (name, sealed) in SIGNED {
        let there = fields.iter().filter(|field| field.is(name)).count();
        names.extend(std::iter::repeat_n(*name, there + usize::from(*sealed)));
    }
    names
}

/// What is signed: the fields that are named, from the last of each name to the first (RFC 6376, section 5.4.2), and
/// the signature's own as far as it is written.
fn covered(fields: &[Field<'_>], names: &[&str], header: &str) -> Vec<u8> {
    let mut left: Vec<&Field<'_>> = fields.iter().collect();
    let mut text = Vec::new();
    for name in names {
        if let Some(last) = left.iter().rposition(|field| field.is(name)) {
            let field = left.remove(last);
            relaxed_field(&mut text, field);
            text.extend_from_slice(b"\r\n");
        }
    }
    relaxed_field(&mut text, &Field { name: b"DKIM-Signature", value: header.as_bytes() });
    text
}

/// Appends parts after what separates them, and breaks the line where it would become too long.
fn fold<'a>(header: &mut String, parts: impl Iterator<Item = (&'static str, &'a str)>) {
    for (separator, part) in parts {
        header.push_str(separator);
        let line = header.len() - header.rfind('\n').map_or(0, |at| at + 1);
        if line + part.len() > LINE {
            header.push_str("\r\n ");
        }
        header.push_str(part);
    }
}

/// Base64 in pieces that leave room on the line.
fn chunks(base64: &str) -> impl Iterator<Item = &str> {
    base64.as_bytes().chunks(LINE - 8).filter_map(|chunk| std::str::from_utf8(chunk).ok())
}

#[cfg(test)]
mod tests;
