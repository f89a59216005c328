//! Looks at everything that a running installation needs and says what is wrong and what to do.
//!
//! Invariant: changes nothing, writes nothing, and one thing that is wrong hides no other.

use serde::Serialize;

use super::inputs::{self, Input};
use super::schemas;
use super::session::Session;
use super::topics::{Partitions, desired_of, observe, plan};
use crate::channel::{self, Providers, Surroundings, Templates};
use crate::config::Config;
use crate::decide::Zones;
use crate::kafka::admin::Admin;
use crate::kafka::client::library_version;
use crate::model::{CategoryPolicy, Policy, Topics};
use crate::policy;
use crate::suppression::Hashes;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Works, and is worth knowing.
    Notice,
    /// Does not work.
    Fault,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: String,
    /// How it is.
    pub severity: Severity,
    /// What was found.
    pub found: String,
    /// What to do; empty when nothing is.
    pub advice: String,
}

impl Finding {
    fn ok(check: &str, found: impl Into<String>) -> Self {
        Finding { check: check.to_owned(), severity: Severity::Ok, found: found.into(), advice: String::new() }
    }

    fn notice(check: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        let (found, advice) = (found.into(), advice.into());
        Finding { check: check.to_owned(), severity: Severity::Notice, found, advice }
    }

    fn fault(check: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Finding { severity: Severity::Fault, ..Finding::notice(check, found, advice) }
    }
}

/// Everything there is to look at, in the order in which it would be set up.
pub async fn examine(session: &Session) -> Vec<Finding> {
    let config = &session.config;
    let mut findings = kafka(session).await;
    findings.extend(registry(session).await);
    let policy = policies(config, &mut findings);
    let channels = channels(config, &mut findings);
    templates(config, policy.as_ref(), &channels, &mut findings);
    providers(&channels, &mut findings).await;
    findings.extend(holds(session).await);
    findings.push(sources(config));
    findings.push(suppressions(config));
    findings.extend(policy.as_ref().and_then(|policy| fallback(config, policy)));
    findings.push(zones());
    findings
}

async fn kafka(session: &Session) -> Vec<Finding> {
    const REACH: &str = "kafka";
    let admin = match Admin::new(session.kafka()) {
        Ok(admin) => admin,
        Err(error) => return vec![Finding::fault(REACH, error.to_string(), "mend [kafka]")],
    };
    let brokers = match admin.brokers().await {
        Ok(brokers) => brokers,
        Err(error) => return vec![Finding::fault(REACH, error.to_string(), "nothing works without Kafka; start here")],
    };
    let (_, version) = library_version();
    let reached =
        format!("{} answers, brokers: {brokers} (client: librdkafka {version})", session.kafka().bootstrap_servers);
    let mut findings = vec![Finding::ok(REACH, reached)];
    if brokers < 3 {
        let advice = "a record may exist once only and be lost with its broker; fine for development";
        findings.push(Finding::notice(REACH, format!("fewer than 3 brokers: {brokers}"), advice));
    }
    findings.extend(topics(session, &admin, brokers).await);
    findings
}

async fn topics(session: &Session, admin: &Admin, brokers: usize) -> Vec<Finding> {
    const CHECK: &str = "topics";
    let planned = async {
        let desired = desired_of(&session.config, brokers, None, &[], None).map_err(|error| error.to_string())?;
        let actual = observe(admin, &desired).await.map_err(|error| error.to_string())?;
        Ok::<_, String>((desired.len(), plan(&desired, &actual, Partitions::Keep)))
    };
    match planned.await {
        Err(error) => vec![Finding::fault(CHECK, error, "mend the topic families or the broker's permissions")],
        Ok((count, plan)) if plan.is_empty() => vec![Finding::ok(CHECK, format!("all {count} are as they should be"))],
        Ok((_, plan)) => {
            let mut findings = Vec::new();
            if !plan.changes.is_empty() {
                let found = format!("to create or change: {}", plan.changes.len());
                findings.push(Finding::fault(CHECK, found, "see `notilog topics plan`, then `notilog topics apply`"));
            }
            let drift = plan
                .drift
                .iter()
                .map(|drift| Finding::fault(CHECK, format!("{}: {drift}", drift.topic()), "see `notilog topics plan`"));
            findings.extend(drift);
            findings
        }
    }
}

/// Input topics that are held. What cannot be asked was told before.
async fn holds(session: &Session) -> Vec<Finding> {
    const CHECK: &str = "inputs";
    let Ok(inputs) = inputs::list(session).await else { return Vec::new() };
    let held = |input: &Input| {
        let hold = input.hold.as_ref()?;
        let why = hold.reason.as_ref().map_or(String::new(), |why| format!(": {why}"));
        let found = format!("{} is held since {} by {}{why}", input.topic, hold.since, hold.by);
        let advice =
            format!("mend the producer, see `notilog dlq ls events`, then `notilog inputs resume {}`", input.topic);
        Some(Finding::fault(CHECK, found, advice))
    };
    let findings: Vec<Finding> = inputs.iter().filter_map(held).collect();
    if findings.is_empty() { vec![Finding::ok(CHECK, "none is held")] } else { findings }
}

async fn registry(session: &Session) -> Vec<Finding> {
    let registry = session.registry();
    if let Err(error) = registry.ping().await {
        return vec![Finding::fault("registry", error.to_string(), "start it, or mend registry.url")];
    }
    let reached = Finding::ok("registry", format!("{} answers", registry.host()));
    let schemas = match schemas::plan(registry, &schemas::wanted()).await {
        Ok(plan) if plan.is_clean() => Finding::ok("schemas", format!("all {} are registered", plan.rows.len())),
        Ok(plan) => {
            let rows: Vec<String> = plan.rows.iter().filter(|row| !row.is_clean()).map(ToString::to_string).collect();
            Finding::fault("schemas", rows.join("; "), "see `notilog schemas plan`, then `notilog schemas apply`")
        }
        Err(error) => Finding::fault("schemas", error.to_string(), "see the registry's log"),
    };
    vec![reached, schemas]
}

fn policies(config: &Config, findings: &mut Vec<Finding>) -> Option<Policy> {
    const CHECK: &str = "policies";
    match policy::load(&config.policies.dir) {
        Ok(policy) => {
            let found = format!("{} categories, version {}", policy.categories.len(), policy.version);
            findings.push(Finding::ok(CHECK, found));
            Some(policy)
        }
        Err(errors) => {
            findings.push(Finding::fault(CHECK, errors.to_string(), "mend the files, or set policies.dir"));
            None
        }
    }
}

fn channels(config: &Config, findings: &mut Vec<Finding>) -> Vec<Providers> {
    const CHECK: &str = "channels";
    match channel::build_with(&config.channels, &Surroundings::of(&config.kafka)) {
        Ok(channels) if channels.is_empty() => {
            let advice = "add a section like [channels.email] or [channels.webhook] to deliver";
            findings.push(Finding::notice(CHECK, "none is configured", advice));
            channels
        }
        Ok(channels) => {
            let names: Vec<&str> = channels.iter().map(|providers| providers.channel.as_str()).collect();
            findings.push(Finding::ok(CHECK, names.join(", ")));
            channels
        }
        Err(errors) => {
            findings.push(Finding::fault(CHECK, errors.to_string(), "mend [channels]"));
            Vec::new()
        }
    }
}

/// The templates load, and every one that the policy names exists for every configured channel that the policy allows.
fn templates(config: &Config, policy: Option<&Policy>, channels: &[Providers], findings: &mut Vec<Finding>) {
    const CHECK: &str = "templates";
    let templates = match Templates::load(&config.templates.dir, &config.templates.default_locale) {
        Ok(templates) => templates,
        Err(errors) => {
            findings.push(Finding::fault(CHECK, errors.to_string(), "mend the files, or set templates.dir"));
            return;
        }
    };
    findings.push(Finding::ok(CHECK, format!("{} templates", templates.names().len())));
    let named = |rules: &CategoryPolicy| {
        let mut names: Vec<String> = rules.templates.values().cloned().collect();
        names.push(rules.template.clone());
        names
    };
    let categories = policy.into_iter().flat_map(|policy| &policy.categories);
    for (category, rules) in categories {
        for channel in channels.iter().map(|providers| providers.channel).filter(|name| rules.allowed.contains(name)) {
            for template in named(rules).iter().filter(|template| !templates.covers(channel, template)) {
                let found =
                    format!("category `{category}` sends template `{template}` by {channel}, and there is none");
                let advice = format!("add {template}/<locale>/{channel}.* to the templates, or change the policy");
                findings.push(Finding::fault(CHECK, found, advice));
            }
        }
    }
}

async fn providers(channels: &[Providers], findings: &mut Vec<Finding>) {
    for (channel, provider) in channels.iter().flat_map(|one| one.all.iter().map(|provider| (one.channel, provider))) {
        let check = format!("provider {channel}");
        findings.push(match provider.by.check().await {
            Ok(()) => Finding::ok(&check, format!("{} can be reached", provider.name)),
            Err(why) => Finding::fault(&check, why, "mend the channel's settings or bring the provider back"),
        });
    }
}

fn sources(config: &Config) -> Finding {
    const CHECK: &str = "sources";
    if config.sources.is_empty() {
        let advice = "add [[sources]] to bind topics to tenants, categories and the highest priority";
        return Finding::notice(
            CHECK,
            "none is listed: every producer may claim every tenant, category and priority",
            advice,
        );
    }
    Finding::ok(CHECK, format!("{} rules", config.sources.len()))
}

fn suppressions(config: &Config) -> Finding {
    const CHECK: &str = "suppressions";
    match Hashes::new(&config.suppressions) {
        Ok(Some(hashes)) => {
            let ids: Vec<&str> = hashes.key_ids().collect();
            Finding::ok(CHECK, format!("addresses are hashed with key {}", ids.join(", earlier ones ")))
        }
        Ok(None) => {
            let advice = "set suppressions.key, the same for all roles, to stop sending to addresses that bounced";
            Finding::notice(CHECK, "there is no suppression list: no key is set", advice)
        }
        Err(error) => Finding::fault(CHECK, error.to_string(), "set a longer one"),
    }
}

/// Fallback chains, if there are any: without the receipts role nothing of them goes on.
fn fallback(config: &Config, policy: &Policy) -> Option<Finding> {
    const CHECK: &str = "fallback";
    let chained: Vec<&str> = policy.with_fallback().collect();
    if chained.is_empty() {
        return None;
    }
    if let Some(warning) = fallback_warning(config, policy) {
        return Some(Finding::fault(
            CHECK,
            warning,
            "set receipts.enabled, and run `notilog receipts` or `notilog up`",
        ));
    }
    let group = Topics::new(&config.kafka.topic_prefix).named(&config.receipts.group);
    let members = Admin::new(&config.kafka).and_then(|admin| admin.members(&group));
    Some(match members {
        Ok(0) => Finding::notice(
            CHECK,
            format!("no receipts role runs (group `{group}` has no member): chains of {} wait", chained.join(", ")),
            "run `notilog receipts` or `notilog up`",
        ),
        Ok(members) => Finding::ok(CHECK, format!("{}; {members} in group `{group}`", chained.join(", "))),
        Err(error) => Finding::notice(CHECK, error.to_string(), "who may describe groups sees whether a role runs"),
    })
}

/// What is wrong when a policy has fallback chains and receipts are switched off; `None` when nothing is.
pub fn fallback_warning(config: &Config, policy: &Policy) -> Option<String> {
    let chained: Vec<&str> = policy.with_fallback().collect();
    (!chained.is_empty() && !config.receipts.enabled).then(|| {
        format!(
            "categories with a fallback chain ({}), and receipts.enabled is false: only first steps are sent",
            chained.join(", ")
        )
    })
}

fn zones() -> Finding {
    match Zones::load().get("Europe/Berlin") {
        Some(_) => Finding::ok("time zones", "known"),
        None => Finding::fault("time zones", "the zone database is empty", "install tzdata"),
    }
}
