//! Team chats by their incoming webhooks: Slack, Mattermost, Microsoft Teams (Workflows) and Discord.
//!
//! The address is the webhook's URL. Which chat it leads to is told by a prefix (`mattermost:https://…`) or, for those
//! with hosts of their own, by the host.
//!
//! Invariant: the URL is a secret of the customer's: it is in no error, status or log. Like any customer's endpoint (see
//! `endpoint`) it can never halt the channel.

mod outcome;
mod shape;
#[cfg(test)]
mod tests;

use reqwest::RequestBuilder;
use reqwest::header::{CONTENT_TYPE, HeaderValue};

use self::outcome::answered;
use super::endpoint::{Access, Endpoints, call};
use super::webhook::unanswered;
use super::{Channel, ConfigProblem, Content, Message, Outcome, Verdict};
use crate::config;
use crate::model::{Channel as ChannelName, Reason};
use crate::telemetry::clock::Clock;

/// Whose webhook it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Slack,
    Mattermost,
    Teams,
    Discord,
}

/// Everybody's chats.
pub struct Chat {
    endpoints: Endpoints,
    clock: Clock,
}

impl Chat {
    /// Reads the settings; connects to nothing.
    ///
    /// # Errors
    /// Every setting that cannot work.
    pub fn new(config: &config::Chat, clock: Clock) -> Result<Self, Vec<ConfigProblem>> {
        let mut problems = Vec::new();
        let access =
            Access { timeout: config.timeout.0, allow_networks: &config.allow_networks, allow_http: config.allow_http };
        match Endpoints::new("channels.chat", access, &mut problems) {
            Some(endpoints) if problems.is_empty() => Ok(Chat { endpoints, clock }),
            _ => Err(problems),
        }
    }

    fn request(&self, message: &Message) -> Result<(Service, RequestBuilder), Reason> {
        let Content::Markup(document) = &message.content else { return Err(Reason::TemplateFailed) };
        if document.is_blank() {
            return Err(Reason::MessageRefused);
        }
        let (service, url) = Service::of(&message.address).ok_or(Reason::AddressRefused)?;
        let mut url = self.endpoints.url(url)?;
        if service == Service::Discord && !url.query_pairs().any(|(name, _)| name == "wait") {
            // The answer then has the message's id, and comes when the message is there.
            url.query_pairs_mut().append_pair("wait", "true");
        }
        let request = self.endpoints.post(url).header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok((service, request.body(shape::payload(service, document).to_string())))
    }
}

#[async_trait::async_trait]
impl Channel for Chat {
    fn name(&self) -> ChannelName {
        ChannelName::Chat
    }

    fn provider(&self) -> &'static str {
        "chat"
    }

    fn is_shared(&self) -> bool {
        false
    }

    async fn deliver(&self, message: &Message) -> Outcome {
        let (service, request) = match self.request(message) {
            Ok(request) => request,
            Err(reason) => return Outcome { result: Verdict::Reject { reason }, code: None },
        };
        match call(request, || self.clock.now()).await {
            Ok(answer) => Outcome { code: Some(format!("http_{}", answer.status)), result: answered(service, &answer) },
            Err(failure) => Outcome { result: unanswered(failure), code: None },
        }
    }

    /// There is no provider to ask: each webhook is a customer's own, and asking would be posting.
    async fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

impl Service {
    /// The service of an address, and its URL; none when the address says neither by a prefix nor by its host, or is
    /// one of the connectors of Microsoft 365, which were retired in May 2026.
    fn of(address: &str) -> Option<(Service, &str)> {
        let address = address.trim();
        let prefixed = address.split_once(':').and_then(|(prefix, url)| Some((Service::named(prefix)?, url)));
        let (named, url) = prefixed.map_or((None, address), |(service, url)| (Some(service), url));
        let host = url.parse::<url::Url>().ok()?.host_str()?.to_ascii_lowercase();
        if is_retired(&host) {
            return None;
        }
        named.or_else(|| Service::at(&host)).map(|service| (service, url))
    }

    fn named(prefix: &str) -> Option<Service> {
        Some(match prefix {
            "slack" => Service::Slack,
            "mattermost" => Service::Mattermost,
            "teams" => Service::Teams,
            "discord" => Service::Discord,
            _ => return None,
        })
    }

    /// Mattermost is at home anywhere: it needs the prefix.
    fn at(host: &str) -> Option<Service> {
        let within =
            |domain: &str| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        if within("hooks.slack.com") || within("hooks.slack-gov.com") {
            Some(Service::Slack)
        } else if within("discord.com") || within("discordapp.com") {
            Some(Service::Discord)
        } else if within("logic.azure.com") || within("environment.api.powerplatform.com") {
            Some(Service::Teams)
        } else {
            None
        }
    }
}

fn is_retired(host: &str) -> bool {
    host.ends_with(".webhook.office.com") || matches!(host, "outlook.office.com" | "outlook.office365.com")
}
