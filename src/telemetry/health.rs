//! Readiness: named conditions that roles set, and one answer over all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The conditions of this process; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<String, State>>>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Ready,
    Waiting(String),
}

/// One condition, held by whoever knows.
#[derive(Debug, Clone)]
pub struct Condition {
    name: String,
    registry: Readiness,
}

impl Readiness {
    /// Adds a condition, not ready until it is said to be.
    pub fn condition(&self, name: impl Into<String>) -> Condition {
        let condition = Condition { name: name.into(), registry: self.clone() };
        condition.not_ready("starting");
        condition
    }

    /// The conditions that do not hold, with their reasons; empty when ready.
    pub fn waiting(&self) -> BTreeMap<String, String> {
        let states = self.0.lock();
        let waiting = states.iter().filter_map(|(name, state)| match state {
            State::Ready => None,
            State::Waiting(reason) => Some((name.clone(), reason.clone())),
        });
        waiting.collect()
    }

    /// Whether all conditions hold.
    pub fn is_ready(&self) -> bool {
        self.waiting().is_empty()
    }
}

impl Condition {
    /// It holds now.
    pub fn ready(&self) {
        self.set(State::Ready);
    }

    /// It does not hold, for this reason (without addresses or secrets: it is served).
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(State::Waiting(reason.into()));
    }

    /// It no longer matters.
    pub fn remove(self) {
        self.registry.0.lock().remove(&self.name);
    }

    fn set(&self, state: State) {
        self.registry.0.lock().insert(self.name.clone(), state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_every_condition_holds() {
        let readiness = Readiness::default();
        assert!(readiness.is_ready());
        let (table, partitions) = (readiness.condition("table"), readiness.condition("partitions"));
        table.ready();
        assert_eq!(readiness.waiting(), BTreeMap::from([("partitions".to_owned(), "starting".to_owned())]));
        partitions.ready();
        assert!(readiness.is_ready());
        table.not_ready("3 s behind");
        assert_eq!(readiness.waiting()["table"], "3 s behind");
        table.remove();
        assert!(readiness.is_ready());
    }
}
