//! An explanation for people.

use std::fmt;

use crate::model::Reason;

use super::{ExplainedOutcome, Explanation};

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "event {} ({}) from {}", self.event_id, self.kind, self.source)?;
        writeln!(f, "  tenant {}, category {}", self.tenant, or_none(&self.category))?;
        writeln!(f, "  happened {}, decided {}", self.event_time, self.decided_at)?;
        writeln!(f, "  policy {}", or_none(&self.policy_version))?;
        if let Some(replay) = &self.replay_id {
            writeln!(f, "  replay {replay}")?;
        }
        self.outcomes.iter().try_for_each(|outcome| write!(f, "\n{outcome}"))
    }
}

impl fmt::Display for ExplainedOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.user_id.as_deref().unwrap_or("the event as a whole"))?;
        if let Some(channel) = &self.channel {
            write!(f, ", {channel}")?;
        }
        if let Some(hash) = &self.endpoint_hash {
            write!(f, ", endpoint {hash}")?;
        }
        writeln!(f, ": {} {}", self.verdict, self.reason)?;
        writeln!(f, "  {}", self.meaning)?;
        writeln!(f, "  rule {}: {}", self.rule, self.question)?;
        for setting in &self.decided_by {
            writeln!(f, "  {}: {} = {}", setting.of, setting.path, setting.value)?;
        }
        if let Some(preferences) = &self.preferences {
            let place = preferences.place;
            write!(f, "  preferences record: partition {}, offset {}", place.partition, place.offset)?;
            write!(f, ", version {}", place.version)?;
            let lost = !preferences.at_hand && self.reason != Reason::Erased.as_str();
            writeln!(f, "{}", if lost { " (compacted since; its settings are unknown)" } else { "" })?;
        }
        if let Some(id) = &self.notification_id {
            writeln!(f, "  notification {id}")?;
        }
        if let Some(until) = &self.until {
            writeln!(f, "  decided anew at {until}")?;
        }
        Ok(())
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "(none)" } else { text }
}
