//! E-mail by SMTP.
//!
//! Invariant: one call hands over at most one mail and says exactly how far it came. The server's texts stay here:
//! they may quote addresses.

mod attachments;
mod content;
mod dkim;
mod message;
mod outcome;
mod pool;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Noop, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use tokio::time::timeout;

use self::attachments::{Attachments, Files};
use self::content::WholeContent;
use self::dkim::Signer;
use self::message::{Envelope, Letterhead};
use self::outcome::{Failure, Stage, verdict};
use self::pool::{ConnectError, Leased, Pool, Security, Server, Used, expect, failure};
use super::{Channel, ConfigProblem, Content, Message, Outcome, Verdict};
use crate::config::{self, TlsMode};
use crate::model::{Channel as ChannelName, Reason};
use crate::telemetry::clock::Clock;

/// One SMTP provider.
pub struct Email {
    letterhead: Letterhead,
    attachments: Option<Attachments>,
    pool: Pool,
    timeout: Duration,
    clock: Clock,
}

impl Email {
    /// Reads the settings; connects to nothing.
    ///
    /// # Errors
    /// Every setting that cannot work.
    pub fn new(config: &config::Email, clock: Clock) -> Result<Self, Vec<ConfigProblem>> {
        let mut problems = Vec::new();
        let mut note = |setting: &str, problem: String| {
            problems.push(ConfigProblem::new(format!("channels.email.{setting}"), problem));
        };
        let from = mailbox(&config.from).map_err(|problem| note("from", problem)).ok();
        let reply_to = config.reply_to.as_deref().map(mailbox).transpose();
        let reply_to = reply_to.map_err(|problem| note("reply_to", problem)).ok();
        let security = security(config).map_err(|(setting, problem)| note(setting, problem)).ok();
        let credentials = credentials(config).map_err(|problem| note("username", problem)).ok();
        if let Err(problem) = config.unsubscribe_url.as_deref().map_or(Ok(()), check_unsubscribe_url) {
            note("unsubscribe_url", problem);
        }
        let dkim = from.as_ref().map_or_else(Vec::new, |from| signers(&config.dkim, from.email.domain(), &mut note));
        if config.max_connections == 0 {
            note("max_connections", "is 0: nothing could be sent; use 1 or more".to_owned());
        }
        let attachments = config.attachments.as_ref();
        let attachments =
            attachments.and_then(|config_of| Attachments::new(config_of, config.max_connections, &mut problems));
        let (Some(from), Some(reply_to), Some(security), Some(credentials), true) =
            (from, reply_to, security, credentials, problems.is_empty())
        else {
            return Err(problems);
        };
        let hello = ClientId::default();
        let server = Server { host: config.host.clone(), port: config.port, security, credentials, hello };
        Ok(Email {
            letterhead: Letterhead { from, reply_to, unsubscribe_url: config.unsubscribe_url.clone(), dkim },
            attachments,
            pool: Pool::new(server, config.max_connections),
            timeout: config.timeout.0,
            clock,
        })
    }

    /// One mail over one connection; `stage` tells how far it came, also to a caller who stops waiting. The connection
    /// comes back when it may serve again.
    async fn send(&self, envelope: &Envelope, stage: &mut Stage) -> (Result<(), Failure>, Option<Leased>) {
        let mut leased = match self.pool.lease(stage).await {
            Ok(leased) => leased,
            Err(error) => return (Err(error.failure), None),
        };
        let mut result = converse(&mut leased, envelope, stage).await;
        // The server closed an idle connection: nothing was said about this mail yet.
        if leased.used != Used::Never && *stage == Stage::Sender && is_closed(result) {
            leased = match self.pool.fresh(stage).await {
                Ok(leased) => leased,
                Err(error) => return (Err(error.failure), None),
            };
            result = converse(&mut leased, envelope, stage).await;
        }
        let in_step = match result {
            Ok(()) | Err(Failure::Unsupported) => true,
            Err(Failure::Refused(reply)) => reply.code != CLOSING,
            Err(_) => false,
        };
        (result, in_step.then_some(leased))
    }

    /// A connection that answers, or the reason why there is none.
    async fn probe(&self, stage: &mut Stage) -> Result<(), ConnectError> {
        let mut leased = self.pool.lease(stage).await?;
        if leased.used != Used::Never && command(&mut leased.connection, Noop, &[250]).await.is_err() {
            leased = self.pool.fresh(stage).await?;
        }
        let state = if leased.used == Used::HalfWay { Used::HalfWay } else { Used::Cleanly };
        self.pool.give_back(leased.connection, state);
        Ok(())
    }

    /// What is to be attached; where nothing is configured, `attachments` is a word like any other.
    async fn files(&self, message: &Message) -> Result<Files<'_>, Outcome> {
        match (&self.attachments, &message.content) {
            (Some(attachments), Content::Mail { attachments: wanted, .. }) => {
                attachments.fetch(wanted, || self.clock.now()).await
            }
            _ => Ok(Files::default()),
        }
    }

    fn tidy(&self, result: Result<(), Failure>, leased: Option<Leased>) {
        let state = if result.is_ok() { Used::Cleanly } else { Used::HalfWay };
        if let Some(leased) = leased {
            self.pool.give_back(leased.connection, state);
        }
    }
}

#[async_trait::async_trait]
impl Channel for Email {
    fn name(&self) -> ChannelName {
        ChannelName::Email
    }

    fn provider(&self) -> &'static str {
        "smtp"
    }

    /// Bounce mail, and a relay's events, name the Message-ID.
    fn gives_receipts(&self) -> bool {
        true
    }

    async fn deliver(&self, message: &Message) -> Outcome {
        let files = match self.files(message).await {
            Ok(files) => files,
            Err(outcome) => return outcome,
        };
        let envelope = match self.letterhead.write(message, &files.files, self.clock.now()) {
            Ok(envelope) => envelope,
            Err(result) => return Outcome { result, code: None },
        };
        // Waiting for a place is not the provider's time, but bounded all the same.
        let Ok(_permit) = timeout(self.timeout, self.pool.permit()).await else {
            return Outcome { result: Verdict::Retry { reason: Reason::ProviderBusy, after: None }, code: None };
        };
        let mut stage = Stage::Connect;
        let call = timeout(self.timeout, self.send(&envelope, &mut stage)).await;
        let (result, leased) = call.unwrap_or((Err(Failure::Timeout), None));
        self.tidy(result, leased);
        match result {
            Ok(()) => Outcome {
                result: Verdict::Sent { provider_message_id: Some(envelope.message_id) },
                code: Some("250".to_owned()),
            },
            Err(Failure::Refused(reply)) => {
                let code = Some(reply.to_string());
                Outcome { result: verdict(stage, Failure::Refused(reply)), code }
            }
            Err(failure) => Outcome { result: verdict(stage, failure), code: None },
        }
    }

    async fn check(&self) -> Result<(), String> {
        // Every place taken: the server is being spoken to right now.
        let Some(_permit) = self.pool.free_permit() else { return Ok(()) };
        let mut stage = Stage::Connect;
        let detail = match timeout(self.timeout, self.probe(&mut stage)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.detail,
            Err(_) => format!("no answer within {:?}", self.timeout),
        };
        let (what, settings) = match stage {
            Stage::Auth => ("refuses the login", "`username` and `password`"),
            _ => ("cannot be reached", "`host`, `port`, `tls` and `ca_file`"),
        };
        Err(format!("SMTP server {} {what}: {detail}; check {settings} in [channels.email]", self.pool.address()))
    }
}

/// "Service closing transmission channel" (RFC 5321, section 3.8): the connection is of no further use.
const CLOSING: u16 = 421;

fn is_closed(result: Result<(), Failure>) -> bool {
    match result {
        Err(Failure::Lost) => true,
        Err(Failure::Refused(reply)) => reply.code == CLOSING,
        _ => false,
    }
}

/// The commands one by one, rather than lettre's `send`: so it is known which one failed, and a refusal costs no
/// connection.
async fn converse(leased: &mut Leased, envelope: &Envelope, stage: &mut Stage) -> Result<(), Failure> {
    let connection = &mut leased.connection;
    *stage = Stage::Sender;
    let parameters = parameters(connection, envelope)?;
    if leased.used == Used::HalfWay {
        command(connection, Rset, &[250]).await?;
    }
    command(connection, Mail::new(Some(envelope.from.clone()), parameters), &[250]).await?;
    *stage = Stage::Recipient;
    command(connection, Rcpt::new(envelope.to.clone(), Vec::new()), &[250, 251, 252]).await?;
    *stage = Stage::Data;
    command(connection, Data, &[354]).await?;
    *stage = Stage::Content;
    match WholeContent::of(&envelope.bytes) {
        Some(content) => command(connection, content, &[250]).await,
        None => {
            let response = connection.message(&envelope.bytes).await.map_err(|error| failure(&error))?;
            expect(&response, &[250])
        }
    }
}

async fn command(
    connection: &mut AsyncSmtpConnection,
    command: impl Display + Send,
    expected: &[u16],
) -> Result<(), Failure> {
    let response = connection.command(command).await.map_err(|error| failure(&error))?;
    expect(&response, expected)
}

/// SMTPUTF8 (RFC 6531) for an address that is not ASCII, 8BITMIME (RFC 6152) for bytes that are not.
fn parameters(connection: &AsyncSmtpConnection, envelope: &Envelope) -> Result<Vec<MailParameter>, Failure> {
    let offers = |extension| connection.server_info().supports_feature(extension);
    let mut parameters = Vec::new();
    let addresses: [&str; 2] = [envelope.from.as_ref(), envelope.to.as_ref()];
    if !addresses.iter().all(|address| address.is_ascii()) {
        if !offers(Extension::SmtpUtfEight) {
            return Err(Failure::Unsupported);
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    if !envelope.bytes.is_ascii() {
        if !offers(Extension::EightBitMime) {
            return Err(Failure::Unsupported);
        }
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    Ok(parameters)
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    text.parse().map_err(|_| format!("`{text}` is not `Name <address>`"))
}

fn security(config: &config::Email) -> Result<Security, (&'static str, String)> {
    let parameters = || -> Result<TlsParameters, (&'static str, String)> {
        let mut builder = TlsParameters::builder(config.host.clone());
        if let Some(path) = &config.ca_file {
            let refused = |problem: String| ("ca_file", format!("{}: {problem}", path.display()));
            let pem = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
            if !pem.windows(27).any(|window| window == b"-----BEGIN CERTIFICATE-----") {
                return Err(refused("has no certificate; it must be PEM".to_owned()));
            }
            let certificate = Certificate::from_pem(&pem).map_err(|error| refused(error.to_string()))?;
            builder = builder.add_root_certificate(certificate);
        }
        builder.build().map_err(|error| ("tls", error.to_string()))
    };
    Ok(match config.tls {
        TlsMode::None => Security::None,
        TlsMode::Starttls => Security::Starttls(parameters()?),
        TlsMode::Tls => Security::Tls(parameters()?),
    })
}

fn credentials(config: &config::Email) -> Result<Option<Credentials>, String> {
    match (&config.username, &config.password) {
        (Some(username), Some(password)) => Ok(Some(Credentials::new(username.clone(), password.reveal().to_owned()))),
        (None, None) => Ok(None),
        _ => Err("and `password` belong together; set both or neither".to_owned()),
    }
}

/// The keys that sign, each of a name of its own; `from` is the domain of From.
fn signers(config: &[config::Dkim], from: &str, note: &mut impl FnMut(&str, String)) -> Vec<Signer> {
    let mut signers: Vec<Signer> = Vec::new();
    for (index, config) in config.iter().enumerate() {
        match Signer::new(config, from) {
            Ok(signer) if signers.iter().any(|other| other.name() == signer.name()) => {
                let problem = format!("is given to two keys at {}; DNS has one for each name", signer.name());
                note(&format!("dkim[{index}].selector"), problem);
            }
            Ok(signer) => signers.push(signer),
            Err((setting, problem)) => note(&format!("dkim[{index}].{setting}"), problem),
        }
    }
    signers
}

/// RFC 8058, section 3.1: one HTTPS URI.
fn check_unsubscribe_url(template: &str) -> Result<(), String> {
    let sample = template
        .replace("{notification_id}", "id")
        .replace("{recipient}", "recipient")
        .replace("{category}", "category");
    let known = "known placeholders are {notification_id}, {recipient} and {category}";
    if sample.contains(['{', '}']) {
        return Err(format!("has an unknown placeholder; {known}"));
    }
    if !sample.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'<' && byte != b'>') {
        return Err("has characters that a header cannot carry; percent-encode them".to_owned());
    }
    match sample.parse::<url::Url>() {
        Ok(url) if url.scheme() == "https" => Ok(()),
        Ok(_) => Err("must begin with https:// (RFC 8058, section 3.1)".to_owned()),
        Err(error) => Err(format!("is not a URL: {error}")),
    }
}
