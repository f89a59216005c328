//! The one place that reads clocks. Everything else is handed a [`Clock`] or a moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use crate::model::Timestamp;

/// A clock that can be injected; cheap to clone.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System {
        started: Instant,
        wall_at_start: Timestamp,
    },
    /// Tests move it: wall and steady time apart, in milliseconds.
    Manual {
        wall: Arc<AtomicI64>,
        steady: Arc<AtomicI64>,
    },
}

impl Clock {
    /// The system's clocks.
    pub fn system() -> Self {
        Clock(Source::System { started: steady_now(), wall_at_start: wall_now() })
    }

    /// A clock that stands at `wall` until it is moved.
    pub fn manual(wall: Timestamp) -> Self {
        Clock(Source::Manual { wall: Arc::new(AtomicI64::new(wall.0)), steady: Arc::new(AtomicI64::new(wall.0)) })
    }

    /// The wall clock: may jump. For decisions and records.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System { .. } => wall_now(),
            Source::Manual { wall, .. } => Timestamp(wall.load(Ordering::SeqCst)),
        }
    }

    /// The wall clock as it stood when the process started, moved on by monotonic time: never jumps. For "not
    /// before": a step of the wall clock while the process runs makes nothing early.
    pub fn steady(&self) -> Timestamp {
        match &self.0 {
            Source::System { started, wall_at_start } => wall_at_start.plus(started.elapsed()),
            Source::Manual { steady, .. } => Timestamp(steady.load(Ordering::SeqCst)),
        }
    }

    /// Moves a manual clock: time passes. Does nothing to the system's.
    pub fn advance(&self, by: Duration) {
        let ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        if let Source::Manual { wall, steady } = &self.0 {
            wall.fetch_add(ms, Ordering::SeqCst);
            steady.fetch_add(ms, Ordering::SeqCst);
        }
    }

    /// Makes a manual clock's wall time jump, as an operator or NTP would. Does nothing to the system's.
    pub fn jump(&self, by_ms: i64) {
        if let Source::Manual { wall, .. } = &self.0 {
            wall.fetch_add(by_ms, Ordering::SeqCst);
        }
    }
}

/// Monotonic time, for measuring spans.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn steady_now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "this is the one place")]
fn wall_now() -> Timestamp {
    jiff::Timestamp::now().into()
}
