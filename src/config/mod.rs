//! `notilog.toml`: embedded defaults ← file ← environment ← flags; all problems at once.

mod types;

pub use types::{
    Channels, Config, Delay, Delivery, Email, Kafka, LogFormat, Policies, Registry, Router, Secret, Source, Telegram,
    Telemetry, Templates, TlsMode, Webhook,
};
