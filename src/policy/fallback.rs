//! `fallback`: the chain of a category.
//!
//! ```toml
//! fallback = [{ channel = "push" }, { channel = "sms", after = "5m" }]
//! ```

use std::borrow::Cow;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Problem;
use super::file::File;
use crate::model::{CategoryPolicy, FallbackStep, format_delay, parse_delay};

const KEYS: [&str; 2] = ["channel", "after"];

/// Nothing is seen faster.
const SHORTEST: Duration = Duration::from_secs(1);

/// For so long what may follow is kept in Kafka (`topics/receipts.toml`) in any case.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl File<'_> {
    /// Reads the steps; those that are wrong are reported and left out.
    pub(super) fn fallback(&mut self, (path, value): (String, Option<&Spanned<DeValue<'_>>>)) -> Vec<FallbackStep> {
        let Some(value) = value else { return Vec::new() };
        let Some(list) = value.get_ref().as_array() else {
            self.wrong_type(&path, value, "a list of steps like { channel = \"push\" }");
            return Vec::new();
        };
        if list.len() < 2 {
            let problem = "a chain has at least two steps: add one, or leave `fallback` out";
            self.report(Some(value.span().start), &path, Problem::BadValue(problem.to_owned()));
        }
        let steps = list.iter().enumerate();
        steps.filter_map(|(index, item)| self.step(&format!("{path}[{index}]"), index == 0, item)).collect()
    }

    fn step(&mut self, path: &str, first: bool, item: &Spanned<DeValue<'_>>) -> Option<FallbackStep> {
        let table = self.table(path, item)?;
        self.only_known(path, table);
        let at = item.span().start;
        let channel = match table.get("channel") {
            Some(value) => self.channel(&format!("{path}.channel"), value),
            None => {
                self.report(Some(at), &format!("{path}.channel"), Problem::Missing("name the channel of this step"));
                None
            }
        };
        let after = self.after(format!("{path}.after"), first, at, table.get("after"));
        Some(FallbackStep { channel: channel?, after: after? })
    }

    fn only_known(&mut self, path: &str, table: &DeTable<'_>) {
        let unknown = |key: &&Spanned<Cow<'_, str>>| !KEYS.contains(&key.get_ref().as_ref());
        for key in table.keys().filter(unknown) {
            let name = key.get_ref().as_ref();
            self.unknown_key(key.span().start, &format!("{path}.{name}"), name, &KEYS);
        }
    }

    fn after(
        &mut self,
        path: String,
        first: bool,
        at: usize,
        value: Option<&Spanned<DeValue<'_>>>,
    ) -> Option<Duration> {
        let Some(value) = value else {
            if !first {
                let problem = Problem::Missing("say how long after the step before, like \"5m\"");
                self.report(Some(at), &path, problem);
            }
            return first.then_some(Duration::ZERO);
        };
        let text = self.optional((path.clone(), Some(value)), "a duration like \"5m\"", DeValue::as_str)?;
        let problem = match parse_delay(text) {
            _ if first => "the first step goes at once: leave `after` out".to_owned(),
            Ok(after) if after >= SHORTEST && after <= LONGEST => return Some(after),
            Ok(after) if after > LONGEST => format!("nobody waits so long: write at most {}", format_delay(LONGEST)),
            Ok(_) => format!("nothing is seen so soon: write at least {}", format_delay(SHORTEST)),
            Err(wrong) => wrong,
        };
        self.report(Some(value.span().start), &path, Problem::BadValue(problem));
        None
    }

    /// What the chain and the other keys must say together; not looked at when one of them is wrong already.
    pub(super) fn check_fallback(&mut self, path: &str, at: usize, rules: &CategoryPolicy, before: usize) {
        if self.has_more_than(before) {
            return;
        }
        let mut report = |step: usize, problem: String| {
            self.report(Some(at), &format!("{path}.fallback[{step}]"), Problem::BadValue(problem));
        };
        for (index, FallbackStep { channel, .. }) in rules.fallback.iter().enumerate() {
            if rules.fallback[..index].iter().any(|earlier| earlier.channel == *channel) {
                report(index, format!("`{channel}` is in the chain already: a channel has one step"));
            } else if !rules.allowed.contains(channel) {
                report(index, format!("`{channel}` is not among `allowed`: add it there, or leave it out"));
            } else if !rules.default.is_empty() && !rules.default.contains(channel) {
                let problem = "who chose nothing would never get it: add it there, or leave it out";
                report(index, format!("`{channel}` is not among `default`: {problem}"));
            }
        }
        let waits = rules.fallback.iter().map(|step| step.after).fold(Duration::ZERO, Duration::saturating_add);
        if waits >= rules.max_age {
            let last = rules.fallback.len().saturating_sub(1);
            report(last, "the event is older than `max_age` by then: it would expire".to_owned());
        }
    }
}
