//! `notilog router`.

use clap::Args;

use super::process::{Process, Role};
use super::{Exit, Failure, Global};
use crate::router::{self, Restart, When};

/// Routes events: joins them with preferences, decides, writes outbound records
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  notilog router --config notilog.toml --set router.instance=a\n  \
    notilog router --from notify.events.shop=2026-11-21T18:00:00Z")]
pub(super) struct RouterArgs {
    #[command(flatten)]
    from: From,
}

/// Where to go on after offsets were lost; for every command that runs the router.
#[derive(Debug, Args)]
pub(super) struct From {
    /// Where to go on in inputs whose place is lost, and only there: earliest, latest, committed, or a moment
    /// (RFC 3339); for one topic as in `notify.events.shop=latest`, may be given several times
    #[arg(long, value_name = "[TOPIC=]WHEN", value_parser = from)]
    from: Vec<(Option<String>, When)>,
}

fn from(text: &str) -> Result<(Option<String>, When), String> {
    match text.split_once('=') {
        Some((topic, when)) if !topic.is_empty() => Ok((Some(topic.to_owned()), when.parse()?)),
        _ => Ok((None, text.parse()?)),
    }
}

impl From {
    /// What the operator said.
    pub(super) fn restart(&self, global: &Global) -> Result<Restart, Failure> {
        let mut restart = Restart { actor: global.actor(), ..Restart::default() };
        for (topic, when) in &self.from {
            let twice = match topic {
                Some(topic) => restart.topics.insert(topic.clone(), *when).is_some(),
                None => restart.all.replace(*when).is_some(),
            };
            if twice {
                let what = topic.as_ref().map_or(String::new(), |topic| format!(" for `{topic}`"));
                return Err(Failure::Usage(format!("--from says two things{what}")));
            }
        }
        Ok(restart)
    }
}

pub(super) async fn run(global: &Global, args: RouterArgs) -> Result<Exit, Failure> {
    let restart = args.from.restart(global)?;
    let Some(process) = Process::start(global).await? else { return Ok(Exit::Done) };
    let role = role(&process, restart);
    process.run(vec![role]).await
}

/// The router, to run beside others.
pub(super) fn role(process: &Process, restart: Restart) -> Role {
    let setup = router::Setup {
        config: process.config.clone(),
        policy: process.policy.clone(),
        schemas: process.schemas.clone(),
        writer_ids: process.writer_ids,
        preferences: process.preferences.clone(),
        clock: process.clock.clone(),
        restart,
        readiness: process.readiness.clone(),
        stop: process.stop.clone(),
    };
    let routing = router::run(setup);
    ("router", Box::pin(async move { Ok(routing.await?) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_go_on_is_read_with_and_without_a_topic() {
        assert_eq!(from("latest"), Ok((None, When::Latest)));
        assert_eq!(from("notify.events.shop=earliest"), Ok((Some("notify.events.shop".to_owned()), When::Earliest)));
        assert!(from("notify.events.shop=").is_err());
        assert!(from("notify.events.shop").unwrap_err().contains("notify.events.shop"));
    }
}
