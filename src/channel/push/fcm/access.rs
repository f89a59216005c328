//! Access tokens for a service account: fetched by a signed assertion, kept while they hold, fetched anew early.
//!
//! Source: RFC 7523, and "Using OAuth 2.0 for Server to Server Applications"
//! (<https://developers.google.com/identity/protocols/oauth2/service-account>).
//!
//! Invariant: one fetch at a time. While a token still holds, nobody waits for its successor.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use parking_lot::Mutex;
use reqwest::{Client, Url};
use serde::{Deserialize, Serialize};

use crate::channel::provider::{self, Failure};
use crate::model::Timestamp;
use crate::telemetry::clock::Clock;

const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// How long an assertion holds; the longest that is taken.
const ASSERTION: i64 = 3_600;
/// So long before its end a token is fetched anew, or after three quarters of its life if that is later.
const EARLY: Duration = Duration::from_secs(5 * 60);

/// A service account, from its key file.
pub(super) struct Account {
    pub(super) project: Option<String>,
    email: String,
    key_id: Option<String>,
    token_uri: Url,
    key: EncodingKey,
}

#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type")]
    kind: String,
    project_id: Option<String>,
    private_key_id: Option<String>,
    private_key: String,
    client_email: String,
    token_uri: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
}

impl Account {
    /// Reads a key file's content.
    ///
    /// # Errors
    /// What is wrong with it, without quoting it.
    pub(super) fn parse(text: &str) -> Result<Account, String> {
        let file: KeyFile = serde_json::from_str(text).map_err(|_| {
            "is not a service account's key file; put its content here with ${file:/run/secrets/fcm.json}".to_owned()
        })?;
        if file.kind != "service_account" {
            return Err("is a key file, but not of a service account".to_owned());
        }
        let token_uri: Url = file.token_uri.parse().map_err(|_| "has a `token_uri` that is no URL".to_owned())?;
        let wrong = || "has a `private_key` that is not an RSA key in PEM".to_owned();
        let key = EncodingKey::from_rsa_pem(file.private_key.as_bytes()).map_err(|_| wrong())?;
        let account =
            Account { project: file.project_id, email: file.client_email, key_id: file.private_key_id, token_uri, key };
        account.assertion(Timestamp(0)).ok_or_else(wrong)?;
        Ok(account)
    }

    fn assertion(&self, now: Timestamp) -> Option<String> {
        let mut header = Header::new(Algorithm::RS256);
        header.kid.clone_from(&self.key_id);
        let iat = now.0.div_euclid(1000);
        let claims = Claims { iss: &self.email, scope: SCOPE, aud: self.token_uri.as_str(), iat, exp: iat + ASSERTION };
        encode(&header, &claims, &self.key).ok()
    }
}

/// Why there is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The account is not accepted.
    Credentials,
    /// The token service answers with this status.
    Unavailable(u16),
    /// The token service does not answer.
    Unreachable,
}

#[derive(Clone)]
struct Token {
    text: String,
    renew_at: Timestamp,
    ends_at: Timestamp,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

/// Tokens of one account.
pub(super) struct Access {
    account: Account,
    client: Client,
    clock: Clock,
    current: Mutex<Option<Token>>,
    fetching: tokio::sync::Mutex<()>,
}

impl Access {
    pub(super) fn new(account: Account, client: Client, clock: Clock) -> Self {
        Access { account, client, clock, current: Mutex::new(None), fetching: tokio::sync::Mutex::new(()) }
    }

    /// A token that holds.
    pub(super) async fn token(&self) -> Result<String, Refused> {
        match self.held() {
            Some(token) if self.clock.steady() < token.renew_at => Ok(token.text),
            Some(token) => {
                // One fetches; whoever else comes uses the old one, and so does the one when that fails.
                if let Ok(_alone) = self.fetching.try_lock()
                    && let Ok(fresh) = self.fetch().await
                {
                    return Ok(fresh);
                }
                Ok(token.text)
            }
            None => {
                let _alone = self.fetching.lock().await;
                match self.held() {
                    Some(token) => Ok(token.text),
                    None => self.fetch().await,
                }
            }
        }
    }

    /// Forgets a token that was refused.
    pub(super) fn forget(&self, token: &str) {
        let mut current = self.current.lock();
        if current.as_ref().is_some_and(|current| current.text == token) {
            *current = None;
        }
    }

    fn held(&self) -> Option<Token> {
        self.current.lock().clone().filter(|token| self.clock.steady() < token.ends_at)
    }

    async fn fetch(&self) -> Result<String, Refused> {
        let assertion = self.account.assertion(self.clock.now()).ok_or(Refused::Credentials)?;
        let asked = self.clock.steady();
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", GRANT)
            .append_pair("assertion", &assertion)
            .finish();
        let request = self
            .client
            .post(self.account.token_uri.clone())
            .header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        let answer = match provider::call(request, || self.clock.now()).await {
            Ok(answer) => answer,
            Err(Failure::NoConnection | Failure::Timeout | Failure::Interrupted { .. }) => {
                return Err(Refused::Unreachable);
            }
        };
        let granted: Granted = match answer.status {
            200 => serde_json::from_slice(&answer.body).map_err(|_| Refused::Unavailable(200))?,
            status @ (429 | 500..) => return Err(Refused::Unavailable(status)),
            _ => return Err(Refused::Credentials),
        };
        let life = Duration::from_secs(granted.expires_in);
        let early = EARLY.min(life / 4);
        let token = Token {
            text: granted.access_token,
            renew_at: asked.plus(life.saturating_sub(early)),
            ends_at: asked.plus(life),
        };
        let text = token.text.clone();
        *self.current.lock() = Some(token);
        Ok(text)
    }
}
