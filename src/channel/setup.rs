//! From configuration to providers by channel: the one place where channels are registered.
//!
//! Invariant: no network I/O; a provider that is down must not keep a process from starting.

use std::fmt;
use std::sync::Arc;

use super::chat::Chat;
use super::email::Email;
use super::inbox::Inbox;
use super::kafka::KafkaTopics;
use super::receipt::{Counted, ReceiptSink, named};
use super::telegram::Telegram;
use super::webhook::Webhook;
use super::{Channel, push, sms};
use crate::config::{self, Channels, Kafka, Mode, RateLimit};
use crate::model::Channel as ChannelName;
use crate::telemetry::clock::Clock;

/// The providers of one channel.
#[derive(Clone)]
pub struct Providers {
    /// Which channel.
    pub channel: ChannelName,
    /// In the order of the configuration; never empty, no two of one name.
    pub all: Vec<Provider>,
}

/// One provider, and what was configured about when to choose it.
#[derive(Clone)]
pub struct Provider {
    /// Its name in statuses, metrics and logs.
    pub name: Arc<str>,
    /// Who calls it.
    pub by: Arc<dyn Channel>,
    /// Lower ones are asked first.
    pub priority: u32,
    /// Its share among those of equal priority; at least 1.
    pub weight: u32,
    /// Whether it sends.
    pub mode: Mode,
    /// How many calls it takes.
    pub limit: Option<RateLimit>,
}

impl Providers {
    /// One provider of a channel, live and without a limit.
    pub fn only(provider: Arc<dyn Channel>) -> Self {
        let all = vec![Provider {
            name: provider.provider().into(),
            priority: 0,
            weight: 1,
            mode: Mode::Live,
            limit: None,
            by: Arc::clone(&provider),
        }];
        Providers { channel: provider.name(), all }
    }
}

/// Every configured channel with its providers.
///
/// # Errors
/// All settings that cannot work, at once, none of them quoting a secret.
pub fn build(config: &Channels) -> Result<Vec<Providers>, ChannelConfigErrors> {
    build_with(config, &Surroundings::default())
}

/// What a process has that channels may make use of.
pub struct Surroundings<'a> {
    /// Where receipts go that come over a provider's own connection.
    pub receipts: Arc<dyn ReceiptSink>,
    /// notilog's own cluster, for channels that are topics: it is asked what may be written.
    pub home: Option<&'a Kafka>,
}

impl Default for Surroundings<'_> {
    fn default() -> Self {
        Surroundings { receipts: Counted::shared(), home: None }
    }
}

impl<'a> Surroundings<'a> {
    /// Those of a process that reaches this cluster.
    pub fn of(home: &'a Kafka) -> Self {
        Surroundings { home: Some(home), ..Surroundings::default() }
    }
}

/// [`build`] for a process that has more than the channels' settings.
///
/// # Errors
/// As [`build`].
pub fn build_with(config: &Channels, around: &Surroundings<'_>) -> Result<Vec<Providers>, ChannelConfigErrors> {
    let clock = Clock::system();
    let mut registration = Registration::default();
    registration.add(ChannelName::Email, &config.email, |email| Email::new(email, clock.clone()));
    registration.add(ChannelName::Telegram, &config.telegram, Telegram::new);
    registration.add(ChannelName::Webhook, &config.webhook, |webhook| Webhook::new(webhook, clock.clone()));
    registration.add(ChannelName::Chat, &config.chat, |chat| Chat::new(chat, clock.clone()));
    registration
        .add_any(ChannelName::Sms, &config.sms, |sms, name| sms::new(sms, &named(name, &around.receipts), &clock));
    registration.add_any(ChannelName::Push, &config.push, |push, _| push::new(push, &clock));
    registration.add(ChannelName::Kafka, &config.kafka, |topics| KafkaTopics::new(topics, around.home));
    registration.add(ChannelName::Inbox, &config.inbox, |inbox| Ok(Inbox::new(inbox)));
    registration.finish()
}

#[derive(Default)]
struct Registration {
    channels: Vec<Providers>,
    problems: Vec<ConfigProblem>,
}

impl Registration {
    fn add<S, C: Channel + 'static>(
        &mut self,
        channel: ChannelName,
        configured: &[config::Provider<S>],
        make: impl Fn(&S) -> Result<C, Vec<ConfigProblem>>,
    ) {
        self.add_any(channel, configured, |settings, _| Ok(Arc::new(make(settings)?)));
    }

    /// [`Registration::add`] for a channel whose providers are of several kinds; they are told their name, if they have
    /// one.
    fn add_any<S>(
        &mut self,
        channel: ChannelName,
        configured: &[config::Provider<S>],
        make: impl Fn(&S, Option<&str>) -> Result<Arc<dyn Channel>, Vec<ConfigProblem>>,
    ) {
        let mut all: Vec<Provider> = Vec::new();
        for (index, config::Provider { common, settings }) in configured.iter().enumerate() {
            let several = (configured.len() > 1).then_some(index);
            let by = match make(settings, common.name.as_deref()) {
                Ok(provider) => provider,
                Err(problems) => {
                    self.problems
                        .extend(problems.into_iter().map(|problem| problem.of_one_of_several(channel, several)));
                    continue;
                }
            };
            let name: Arc<str> = common.name.as_deref().unwrap_or(by.provider()).into();
            if all.iter().any(|other| other.name == name) {
                let problem =
                    format!("another provider of this channel is called `{name}`; give each a name of its own");
                let problem = ConfigProblem::new(format!("channels.{channel}.name"), problem);
                self.problems.push(problem.of_one_of_several(channel, several));
            }
            let config::Common { priority, weight, mode, limit, .. } = *common;
            all.push(Provider { name, by, priority, weight, mode, limit });
        }
        if !all.is_empty() {
            self.channels.push(Providers { channel, all });
        }
    }

    fn finish(self) -> Result<Vec<Providers>, ChannelConfigErrors> {
        if self.problems.is_empty() { Ok(self.channels) } else { Err(ChannelConfigErrors(self.problems)) }
    }
}

/// One setting that cannot work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The setting's full name, for example `channels.email.from`.
    pub setting: String,
    /// What is wrong with it and what to do; never quotes a secret.
    pub problem: String,
}

impl ConfigProblem {
    pub(super) fn new(setting: impl Into<String>, problem: impl Into<String>) -> Self {
        ConfigProblem { setting: setting.into(), problem: problem.into() }
    }

    /// Names the place of a provider that is one of several: `channels.email[1].from`.
    fn of_one_of_several(mut self, channel: ChannelName, index: Option<usize>) -> Self {
        let (alone, Some(index)) = (format!("channels.{channel}"), index) else { return self };
        if let Some(rest) = self.setting.strip_prefix(&alone) {
            self.setting = format!("{alone}[{index}]{rest}");
        }
        self
    }
}

/// Everything that is wrong with the channels' settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelConfigErrors(pub Vec<ConfigProblem>);

impl fmt::Display for ChannelConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, ConfigProblem { setting, problem }) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{setting}: {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ChannelConfigErrors {}

#[cfg(test)]
mod tests {
    use super::*;

    fn telegram(name: Option<&str>, token: &str) -> config::Provider<config::Telegram> {
        let timeout = config::Delay(std::time::Duration::from_secs(1));
        let api_url = "https://api.telegram.org".to_owned();
        let settings = config::Telegram { token: config::Secret::new(token), api_url, timeout };
        let common = config::Common { name: name.map(str::to_owned), ..config::Common::default() };
        config::Provider { common, settings }
    }

    fn built(telegram: Vec<config::Provider<config::Telegram>>) -> Result<Vec<Providers>, String> {
        build(&Channels { telegram, ..Channels::default() }).map_err(|errors| errors.to_string())
    }

    #[test]
    fn a_provider_is_called_as_its_kind_unless_it_has_a_name() {
        let built = built(vec![telegram(None, "1:AA"), telegram(Some("spare"), "2:BB")]).unwrap();
        let names: Vec<&str> = built[0].all.iter().map(|provider| &*provider.name).collect();
        assert_eq!((built.len(), names), (1, vec!["telegram", "spare"]));
    }

    #[test]
    fn two_of_one_name_and_what_is_wrong_with_one_of_several_are_told_apart() {
        let problems = built(vec![telegram(None, "1:AA"), telegram(None, "2:BB"), telegram(Some("c"), "?")]);
        insta::assert_snapshot!(problems.err().unwrap(), @r"
        channels.telegram[1].name: another provider of this channel is called `telegram`; give each a name of its own
        channels.telegram[2].token: is not a bot token (`<digits>:<letters>`); get one from @BotFather
        ");
    }
}
