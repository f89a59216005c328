//! Text messages by SMPP 3.4, over one bound transceiver session.
//!
//! Source: Short Message Peer to Peer Protocol Specification v3.4, issue 1.2.
//!
//! Invariant: the parts of a message go out in order, each when the one before was taken, and carry the same reference
//! at every attempt, so that a handset which got some of them twice still makes one message of them. Numbers and texts
//! are in no log and no error.

mod link;
mod outcome;
mod receipt;
mod session;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rusmpp::pdus::{BindTransceiver, SubmitSm};
use rusmpp::types::{COctetString, OctetString};
use rusmpp::values::{DataCoding, EsmClass, InterfaceVersion, Npi, RegisteredDelivery, Ton};
use rusmpp::{CommandStatus, types::EmptyOrFullCOctetString};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use self::link::{Connector, Link};
use self::session::{Settings, Unbound};
use super::segments::Coding;
use super::{Number, prepare};
use crate::channel::receipt::ReceiptSink;
use crate::channel::{Channel, ConfigProblem, Message, Outcome, Verdict};
use crate::config;
use crate::model::{Channel as ChannelName, Reason};
use crate::telemetry::clock::Clock;

const PROVIDER: &str = "smpp";

/// One account with a message centre.
pub struct Smpp {
    link: Link,
    address: String,
    sender: Sender,
    receipts: bool,
    max_parts: usize,
    clock: Clock,
}

/// Who sends: an address with its type of number and numbering plan (section 5.2.5 and 5.2.6).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sender {
    ton: Ton,
    npi: Npi,
    address: COctetString<1, 21>,
}

impl Sender {
    /// An international number, a short number of the network, or a name.
    fn parse(text: &str) -> Option<Sender> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (ton, npi, address) = if let Some(number) = Number::parse(text) {
            (Ton::International, Npi::Isdn, number.digits().to_owned())
        } else if digits(text) && text.len() <= 8 {
            (Ton::NetworkSpecific, Npi::Unknown, text.to_owned())
        } else if text.len() <= 11
            && text.bytes().any(|b| b.is_ascii_alphabetic())
            && text.bytes().all(|b| matches!(b, b' '..=b'~'))
        {
            (Ton::Alphanumeric, Npi::Unknown, text.to_owned())
        } else {
            return None;
        };
        Some(Sender { ton, npi, address: COctetString::from_string(address).ok()? })
    }
}

impl Smpp {
    /// Reads the settings; connects to nothing.
    ///
    /// # Errors
    /// Every setting that cannot work; the password is not quoted.
    pub fn new(
        config: &config::Smpp,
        receipts: Arc<dyn ReceiptSink>,
        clock: Clock,
    ) -> Result<Self, Vec<ConfigProblem>> {
        let mut problems = Vec::new();
        let mut refuse = |setting: &str, text: String| {
            problems.push(ConfigProblem::new(format!("channels.sms.{setting}"), text));
        };
        let system_id = octets::<16>(&config.system_id).map_err(|text| refuse("system_id", text));
        let password = octets::<9>(config.password.reveal()).map_err(|text| refuse("password", text));
        let system_type = octets::<13>(&config.system_type).map_err(|text| refuse("system_type", text));
        let sender = Sender::parse(&config.from).ok_or_else(|| {
            let text =
                format!("`{}` is neither `+` and a number, nor a short number, nor a name of 11 letters", config.from);
            refuse("from", text);
        });
        let tls = config.tls.then(|| tls(config)).transpose().map_err(|(setting, text)| refuse(setting, text));
        let (Ok(system_id), Ok(password), Ok(system_type), Ok(sender), Ok(tls)) =
            (system_id, password, system_type, sender, tls)
        else {
            return Err(problems);
        };
        let bind = BindTransceiver::builder()
            .system_id(system_id)
            .password(password)
            .system_type(system_type)
            .interface_version(InterfaceVersion::Smpp3_4)
            .build();
        let settings = Settings {
            provider: PROVIDER.to_owned(),
            window: config.window,
            enquire_link: config.enquire_link.0,
            timeout: config.timeout.0,
            receipts,
            clock: clock.clone(),
        };
        let address = format!("{}:{}", config.host, config.port);
        let connector = Connector { host: config.host.clone(), port: config.port, tls, bind, settings };
        let (link, max_parts) = (Link::new(connector), config.max_parts);
        Ok(Smpp { link, address, sender, receipts: config.receipts, max_parts, clock })
    }

    /// The requests that make the message, in order.
    fn parts(&self, message: &Message) -> Result<Vec<SubmitSm>, Reason> {
        let (number, _, segments) = prepare(message, self.max_parts)?;
        let total = u8::try_from(segments.parts.len()).map_err(|_| Reason::MessageRefused)?;
        let data_coding = match segments.coding {
            Coding::Gsm7 => DataCoding::McSpecific,
            Coding::Ucs2 => DataCoding::Ucs2,
        };
        let destination = COctetString::from_string(number.digits().to_owned()).map_err(|_| Reason::AddressRefused)?;
        let validity = self.validity(message);
        let reference = message.id.as_bytes()[15];
        let mut parts = Vec::with_capacity(segments.parts.len());
        for (index, octets) in (1..=total).zip(segments.parts) {
            let (esm_class, octets) = if total == 1 {
                (0x00, octets)
            } else {
                // A user data header (3GPP TS 23.040, section 9.2.3.24.1): five octets, of which the element 0 has
                // three: reference, how many, which.
                (0x40, [&[0x05, 0x00, 0x03, reference, total, index][..], &octets].concat())
            };
            // A receipt for the last part: it is sent when those before were taken, and its id is the message's.
            let receipt = u8::from(self.receipts && index == total);
            let submit = SubmitSm::builder()
                .source_addr_ton(self.sender.ton)
                .source_addr_npi(self.sender.npi)
                .source_addr(self.sender.address.clone())
                .dest_addr_ton(Ton::International)
                .dest_addr_npi(Npi::Isdn)
                .destination_addr(destination.clone())
                .esm_class(EsmClass::from(esm_class))
                .registered_delivery(RegisteredDelivery::from(receipt))
                .validity_period(validity.clone())
                .data_coding(data_coding)
                .short_message(OctetString::from_vec(octets).map_err(|_| Reason::MessageRefused)?)
                .build();
            parts.push(submit);
        }
        Ok(parts)
    }

    /// How long it is worth delivering, as a relative time (section 7.1.1), `YYMMDDhhmmss000R`; at least a minute, at
    /// most 63 hours, which every message centre takes. Without an end, the message centre's own.
    fn validity(&self, message: &Message) -> EmptyOrFullCOctetString<17> {
        let left = message.event.expires_at.map(|at| at.since(self.clock.now()).as_secs().clamp(60, 63 * 3_600));
        let text = left.map(|left| {
            let (days, hours, minutes, seconds) = (left / 86_400, left / 3_600 % 24, left / 60 % 60, left % 60);
            format!("0000{days:02}{hours:02}{minutes:02}{seconds:02}000R")
        });
        text.and_then(|text| text.parse().ok()).unwrap_or_else(EmptyOrFullCOctetString::empty)
    }
}

#[async_trait::async_trait]
impl Channel for Smpp {
    fn name(&self) -> ChannelName {
        ChannelName::Sms
    }

    fn provider(&self) -> &'static str {
        PROVIDER
    }

    /// Over the same connection.
    fn gives_receipts(&self) -> bool {
        self.receipts
    }

    async fn deliver(&self, message: &Message) -> Outcome {
        let parts = match self.parts(message) {
            Ok(parts) => parts,
            Err(reason) => return Outcome { result: Verdict::Reject { reason }, code: None },
        };
        let session = match self.link.session().await {
            Ok(session) => session,
            Err(Unbound::NoConnection) => return Outcome { result: outcome::unbound(None), code: None },
            Err(Unbound::Refused(status)) => {
                return Outcome { result: outcome::unbound(Some(status)), code: Some(code(status)) };
            }
        };
        let mut provider_message_id = None;
        for part in parts {
            match session.submit(part).await {
                Ok(answer) if answer.status == CommandStatus::EsmeRok => provider_message_id = answer.message_id,
                Ok(answer) => {
                    return Outcome { result: outcome::refused(answer.status), code: Some(code(answer.status)) };
                }
                Err(failure) => return Outcome { result: outcome::failed(failure), code: None },
            }
        }
        Outcome { result: Verdict::Sent { provider_message_id }, code: Some(code(CommandStatus::EsmeRok)) }
    }

    async fn check(&self) -> Result<(), String> {
        let address = &self.address;
        match self.link.session().await {
            Ok(_) => Ok(()),
            Err(Unbound::NoConnection) => Err(format!(
                "message centre {address} cannot be reached; check `host`, `port` and `tls` in [channels.sms]"
            )),
            Err(Unbound::Refused(status)) => Err(format!(
                "message centre {address} refuses the bind ({}); check `system_id`, `password` and `system_type` in \
                 [channels.sms]",
                code(status)
            )),
        }
    }
}

/// As statuses carry it.
fn code(status: CommandStatus) -> String {
    format!("smpp_0x{:02x}", u32::from(status))
}

/// A text of at most `MAX` octets with the zero at its end.
fn octets<const MAX: usize>(text: &str) -> Result<COctetString<1, MAX>, String> {
    if !text.is_ascii() || text.contains('\0') {
        return Err("must be ASCII".to_owned());
    }
    let longest = MAX - 1;
    COctetString::from_string(text.to_owned()).map_err(|_| format!("is longer than {longest} characters"))
}

fn tls(config: &config::Smpp) -> Result<(TlsConnector, ServerName<'static>), (&'static str, String)> {
    let name = ServerName::try_from(config.host.clone())
        .map_err(|_| ("host", format!("`{}` is not a name that a certificate can have", config.host)))?;
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = &config.ca_file {
        let refused = |problem: &dyn std::fmt::Display| ("ca_file", format!("{}: {problem}", path.display()));
        let found = CertificateDer::pem_file_iter(path).map_err(|error| refused(&error))?;
        let (known, _) = roots.add_parsable_certificates(found.filter_map(Result::ok));
        if known == 0 {
            return Err(refused(&"has no certificate; it must be PEM"));
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| ("tls", "TLS does not start".to_owned()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((TlsConnector::from(Arc::new(config)), name))
}
