//! Text messages by a provider's HTTP API, as the settings or a preset describe it.
//!
//! Invariant: what is sent is made of templates that were compiled at the start; values are escaped as the place needs
//! it (URL, JSON, form), so that no text can add a field or leave its own. The provider's words go nowhere: statuses
//! carry codes.

mod api;
mod outcome;
mod preset;
#[cfg(test)]
mod tests;

use std::time::Duration;

use minijinja::{Value, context};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder, Url};

use self::api::Api;
use self::outcome::Reading;
use super::segments::Coding;
use super::{Number, prepare};
use crate::channel::provider::{self, Failure};
use crate::channel::{Channel, ConfigProblem, Message, Outcome, Verdict};
use crate::config::{Preset, Secret, SmsHttp};
use crate::model::{Channel as ChannelName, Reason};
use crate::telemetry::clock::Clock;

/// One account with an HTTP provider.
pub struct HttpSms {
    client: Client,
    api: Api,
    reading: Reading,
    sender: Sender,
    credentials: Credentials,
    max_parts: usize,
    provider: &'static str,
    timeout: Duration,
    clock: Clock,
}

/// What templates know of our side.
struct Sender {
    from: String,
    account: String,
    callback_url: String,
}

enum Credentials {
    None,
    Basic { username: String, password: Secret },
    Bearer(Secret),
}

impl HttpSms {
    /// Reads the settings; connects to nothing.
    ///
    /// # Errors
    /// Every setting that cannot work; secrets are not quoted.
    pub fn new(config: &SmsHttp, clock: Clock) -> Result<Self, Vec<ConfigProblem>> {
        let mut problems = Vec::new();
        let mut refuse = |setting: &str, text: String| {
            problems.push(ConfigProblem::new(format!("channels.sms.{setting}"), text));
        };
        let config = &preset::filled(config);
        let api = Api::new(config).map_err(|wrong| wrong.into_iter().for_each(|(key, text)| refuse(&key, text)));
        let reading = Reading::new(config).map_err(|wrong| wrong.into_iter().for_each(|(key, text)| refuse(key, text)));
        let credentials = credentials(config).map_err(|text| refuse("username", text));
        let headers = headers(config).map_err(|text| refuse("headers", text));
        let client =
            provider::client(config.timeout.0, config.ca_file.as_deref()).map_err(|text| refuse("ca_file", text));
        match (api, reading, credentials, headers, client) {
            (Ok(mut api), Ok(reading), Ok(credentials), Ok(headers), Ok(client)) => {
                api.headers = headers;
                let account = config.account.as_ref().or(config.username.as_ref()).cloned().unwrap_or_default();
                let callback_url = config.callback_url.clone().unwrap_or_default();
                let sender = Sender { from: config.from.clone(), account, callback_url };
                Ok(HttpSms {
                    client,
                    api,
                    reading,
                    sender,
                    credentials,
                    max_parts: config.max_parts,
                    provider: provider_name(config.preset),
                    timeout: config.timeout.0,
                    clock,
                })
            }
            _ => Err(problems),
        }
    }

    fn request(&self, message: &Message) -> Result<RequestBuilder, Reason> {
        let (number, text, segments) = prepare(message, self.max_parts)?;
        let variables = self.variables(message, &number, &text, segments.coding, segments.parts.len());
        let request = self.api.request(&self.client, &variables).map_err(|_| Reason::TemplateFailed)?;
        let traceparent = message.traceparent.as_ref().and_then(|text| HeaderValue::from_str(text).ok());
        Ok(match traceparent {
            Some(traceparent) => self.signed(request).header("traceparent", traceparent),
            None => self.signed(request),
        })
    }

    fn variables(&self, message: &Message, number: &Number, text: &str, coding: Coding, parts: usize) -> Value {
        let left = message.event.expires_at.map(|at| at.since(self.clock.now()).as_secs());
        context! {
            to => format!("+{}", number.digits()),
            number => number.digits(),
            text,
            id => message.id.to_string(),
            unicode => coding == Coding::Ucs2,
            parts,
            seconds_left => left,
            ..self.own()
        }
    }

    fn own(&self) -> Value {
        context! {
            from => &self.sender.from,
            account => &self.sender.account,
            callback_url => &self.sender.callback_url,
        }
    }

    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.credentials {
            Credentials::None => request,
            Credentials::Basic { username, password } => request.basic_auth(username, Some(password.reveal())),
            Credentials::Bearer(token) => request.bearer_auth(token.reveal()),
        }
    }
}

#[async_trait::async_trait]
impl Channel for HttpSms {
    fn name(&self) -> ChannelName {
        ChannelName::Sms
    }

    fn provider(&self) -> &'static str {
        self.provider
    }

    /// Where the provider was told whom to call.
    fn gives_receipts(&self) -> bool {
        !self.sender.callback_url.is_empty()
    }

    async fn deliver(&self, message: &Message) -> Outcome {
        let request = match self.request(message) {
            Ok(request) => request,
            Err(reason) => return Outcome { result: Verdict::Reject { reason }, code: None },
        };
        match provider::call(request, || self.clock.now()).await {
            Ok(answer) => self.reading.answered(&answer),
            Err(failure) => Outcome { result: outcome::failed(failure), code: failure.code() },
        }
    }

    async fn check(&self) -> Result<(), String> {
        let Some(url) = self.api.check_url(&self.own()) else { return Ok(()) };
        let url: Url = url.map_err(|_| "`check_url` in [channels.sms] makes no URL; mend it".to_owned())?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let provider = self.provider;
        match provider::call(self.signed(self.client.get(url).headers(self.api.headers.clone())), || self.clock.now())
            .await
        {
            Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
            Ok(answer) if matches!(answer.status, 401 | 403 | 404) => Err(format!(
                "{provider} at {host} refuses the account (HTTP {}); check the credentials in [channels.sms]",
                answer.status
            )),
            Ok(answer) => {
                Err(format!("{provider} at {host} answers with HTTP status {}; try again later", answer.status))
            }
            Err(Failure::Timeout) => Err(format!("{provider} at {host} gives no answer within {:?}", self.timeout)),
            Err(_) => {
                Err(format!("{provider} at {host} cannot be reached; check `url` in [channels.sms] and the network"))
            }
        }
    }
}

fn provider_name(preset: Preset) -> &'static str {
    match preset {
        Preset::None => "http",
        Preset::Twilio => "twilio",
        Preset::Vonage => "vonage",
    }
}

fn credentials(config: &SmsHttp) -> Result<Credentials, String> {
    match (&config.username, &config.password, &config.token) {
        (Some(username), Some(password), None) => {
            Ok(Credentials::Basic { username: username.clone(), password: password.clone() })
        }
        (None, None, Some(token)) => Ok(Credentials::Bearer(token.clone())),
        (None, None, None) if config.preset == Preset::None => Ok(Credentials::None),
        (None, None, None) => Err("and `password` are what this provider wants; set both".to_owned()),
        _ => Err("and `password` belong together, and `token` is instead of them".to_owned()),
    }
}

fn headers(config: &SmsHttp) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &config.headers {
        let wrong = |what| format!("the {what} of `{name}` is not one that HTTP can carry");
        let known = HeaderName::try_from(name.as_str()).map_err(|_| wrong("name"))?;
        let mut value = HeaderValue::try_from(value.reveal()).map_err(|_| wrong("value"))?;
        value.set_sensitive(true);
        headers.insert(known, value);
    }
    Ok(headers)
}
