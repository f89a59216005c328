//! From configuration to channels: the one place where channels are registered.
//!
//! Invariant: no network I/O; a provider that is down must not keep a process from starting.

use std::fmt;
use std::sync::Arc;

use super::Channel;
use super::chat::Chat;
use super::email::Email;
use super::telegram::Telegram;
use super::webhook::Webhook;
use crate::config::Channels;
use crate::telemetry::clock::Clock;

/// Every configured channel, in the order of the configuration's sections.
///
/// # Errors
/// All settings that cannot work, at once, none of them quoting a secret.
pub fn build(config: &Channels) -> Result<Vec<Arc<dyn Channel>>, ChannelConfigErrors> {
    let clock = Clock::system();
    let mut registration = Registration::default();
    registration.add(config.email.as_ref(), |email| Email::new(email, clock.clone()));
    registration.add(config.telegram.as_ref(), Telegram::new);
    registration.add(config.webhook.as_ref(), |webhook| Webhook::new(webhook, clock.clone()));
    registration.add(config.chat.as_ref(), |chat| Chat::new(chat, clock.clone()));
    registration.finish()
}

#[derive(Default)]
struct Registration {
    channels: Vec<Arc<dyn Channel>>,
    problems: Vec<ConfigProblem>,
}

impl Registration {
    fn add<S, C: Channel + 'static>(
        &mut self,
        settings: Option<&S>,
        make: impl FnOnce(&S) -> Result<C, Vec<ConfigProblem>>,
    ) {
        match settings.map(make) {
            Some(Ok(channel)) => self.channels.push(Arc::new(channel)),
            Some(Err(problems)) => self.problems.extend(problems),
            None => {}
        }
    }

    fn finish(self) -> Result<Vec<Arc<dyn Channel>>, ChannelConfigErrors> {
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
