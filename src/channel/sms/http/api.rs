//! How a provider's API is spoken: templates that become a URL and a form or JSON body.

use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value, escape_formatter};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, RequestBuilder, Url};

use crate::config::SmsHttp;

/// What a value in a URL may not have: everything but RFC 3986's unreserved characters.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Steps of the engine that one field may take.
const FUEL: u64 = 20_000;

const URL: &str = "url";
const CHECK_URL: &str = "check_url";
const BODY: &str = "body";

/// A provider's API, compiled.
pub(super) struct Api {
    environment: Environment<'static>,
    payload: Payload,
    has_check: bool,
    /// Of every request.
    pub(super) headers: HeaderMap,
}

enum Payload {
    /// Names of fields; the template of each is `form.<name>`.
    Form(Vec<String>),
    Json,
}

impl Api {
    /// Compiles the templates of the settings.
    ///
    /// # Errors
    /// The keys of those that are missing or do not compile, with why.
    pub(super) fn new(config: &SmsHttp) -> Result<Self, Vec<(String, String)>> {
        let mut compiler = Compiler { environment: environment(), problems: Vec::new() };
        match &config.url {
            Some(url) => compiler.add(URL, URL, url),
            None => compiler.refuse(URL, "is missing: say where messages are posted, or name a `preset`"),
        }
        if let Some(url) = &config.check_url {
            compiler.add(CHECK_URL, CHECK_URL, url);
        }
        let payload = match (&config.body, config.form.is_empty()) {
            (Some(body), true) => {
                compiler.add(BODY, BODY, body);
                Payload::Json
            }
            (None, false) => {
                for (name, source) in &config.form {
                    compiler.add(&format!("form.{name}"), &format!("form.{name}"), source);
                }
                Payload::Form(config.form.keys().cloned().collect())
            }
            (Some(_), false) => {
                compiler.refuse(BODY, "and `form` cannot both be set; remove one");
                Payload::Json
            }
            (None, true) => {
                compiler.refuse("form", "is missing: give its fields, or a JSON `body`, or name a `preset`");
                Payload::Json
            }
        };
        if compiler.problems.is_empty() {
            let (environment, has_check) = (compiler.environment, config.check_url.is_some());
            return Ok(Api { environment, payload, has_check, headers: HeaderMap::new() });
        }
        Err(compiler.problems)
    }

    /// The request that says it.
    ///
    /// # Errors
    /// A template does not render with these values, or makes no URL or no JSON.
    pub(super) fn request(&self, client: &Client, variables: &Value) -> Result<RequestBuilder, Error> {
        let request = client.post(self.url(URL, variables)?).headers(self.headers.clone());
        match &self.payload {
            Payload::Json => {
                let body = self.render(BODY, variables)?;
                let value: serde_json::Value = serde_json::from_str(&body)
                    .map_err(|_| Error::new(ErrorKind::InvalidOperation, "the body is not JSON"))?;
                Ok(request.header(CONTENT_TYPE, HeaderValue::from_static("application/json")).body(value.to_string()))
            }
            Payload::Form(names) => {
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                for name in names {
                    let value = self.render(&format!("form.{name}"), variables)?;
                    if !value.is_empty() {
                        form.append_pair(name, &value);
                    }
                }
                let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
                Ok(request.header(CONTENT_TYPE, form_type).body(form.finish()))
            }
        }
    }

    /// What is asked to see whether the account is accepted, where there is something to ask.
    pub(super) fn check_url(&self, variables: &Value) -> Option<Result<Url, Error>> {
        self.has_check.then(|| self.url(CHECK_URL, variables))
    }

    fn url(&self, name: &str, variables: &Value) -> Result<Url, Error> {
        self.render(name, variables)?.parse().map_err(|_| Error::new(ErrorKind::InvalidOperation, "not a URL"))
    }

    fn render(&self, name: &str, variables: &Value) -> Result<String, Error> {
        self.environment.get_template(name)?.render(variables)
    }
}

struct Compiler {
    environment: Environment<'static>,
    problems: Vec<(String, String)>,
}

impl Compiler {
    fn refuse(&mut self, key: &str, problem: &str) {
        self.problems.push((key.to_owned(), problem.to_owned()));
    }

    /// Compiles, and renders once with values like those to come, so that a misspelt name is seen now.
    fn add(&mut self, key: &str, name: &str, source: &str) {
        let compiled = self.environment.add_template_owned(name.to_owned(), source.to_owned());
        let rendered =
            compiled.and_then(|()| self.environment.get_template(name)?.render(sample()).map(|text| (name, text)));
        match rendered {
            Err(error) => {
                let text = format!("is not a template that can be filled: {}", error.detail().unwrap_or("it fails"));
                self.refuse(key, &text);
            }
            Ok((URL | CHECK_URL, text)) if !is_http(&text) => {
                self.refuse(key, "does not make an http:// or https:// URL");
            }
            Ok((BODY, text)) if serde_json::from_str::<serde_json::Value>(&text).is_err() => {
                self.refuse(key, "does not make JSON; values bring their quotes: {\"text\": {{ text }}}");
            }
            Ok(_) => {}
        }
    }
}

fn is_http(text: &str) -> bool {
    text.parse::<Url>().is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

fn sample() -> Value {
    minijinja::context! {
        to => "+491701234567", number => "491701234567", text => "x", id => "00000000-0000-0000-0000-000000000000",
        unicode => false, parts => 1, seconds_left => Option::<u64>::None, from => "x", account => "x",
        callback_url => "",
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|name| match name {
        URL | CHECK_URL => AutoEscape::Custom(URL.into()),
        BODY => AutoEscape::Json,
        _ => AutoEscape::None,
    });
    environment.set_formatter(write);
    environment.set_fuel(Some(FUEL));
    environment
}

/// Values in a URL are percent-encoded; `none` is nothing.
fn write(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    match state.auto_escape() {
        AutoEscape::Custom(_) => {
            let text = value.to_string();
            Ok(utf8_percent_encode(&text, VALUE).try_for_each(|piece| out.write_str(piece))?)
        }
        AutoEscape::None if value.kind() == ValueKind::None => Ok(()),
        _ => escape_formatter(out, state, value),
    }
}
