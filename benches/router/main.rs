//! What the benchmarks of the router need in Rust; `benches/router/run` and `benches/latency/run` build it, and call it
//! with a role:
//!
//! | role | does |
//! |---|---|
//! | `facts` | says what the Kafka Streams application has to know: schema ids, the policy's version |
//! | `fill` | writes recipients and events, the same ones each time |
//! | `copy` | the bare transactional copy: no decode, no join |
//! | `digest` | reads what a contestant wrote under read_committed, and says how much, and a digest of what |
//! | `latency` | writes events at a steady rate, and says how long each took to become visible under read_committed |

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on says so by panicking")]
#![expect(clippy::disallowed_methods, reason = "it measures time, and is told of the services by the configuration")]

mod copy;
mod digest;
mod fill;
mod latency;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use notilog::config::{self, Config, FileChoice, LoadOptions};
use notilog::model::Topics;
use notilog::registry::Registry;
use notilog::wire::{RecordType, WriterIds};
use rdkafka::ClientConfig;

/// As in `notilog`: what the copy costs is librdkafka's, not an allocator's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Events go to this domain.
const DOMAIN: &str = "shop";

#[derive(Parser)]
struct Arguments {
    /// `notilog.toml` of the benchmark.
    #[arg(long)]
    config: PathBuf,
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Prints schema ids and the policy's version as JSON.
    Facts,
    /// Writes recipients or events.
    Fill(fill::Fill),
    /// Copies events to outputs.
    Copy(copy::Copy),
    /// Digests outputs.
    Digest(digest::Digest),
    /// Paces events and measures them.
    Latency(latency::Latency),
}

/// What every role knows.
pub struct World {
    pub config: Arc<Config>,
    pub topics: Topics,
}

impl World {
    fn new(path: PathBuf) -> World {
        let options = LoadOptions { file: FileChoice::At(path), ..LoadOptions::default() };
        let config = config::load(&options).unwrap_or_else(|errors| panic!("{errors}"));
        let topics = Topics::new(&config.kafka.topic_prefix);
        World { config: Arc::new(config), topics }
    }

    /// A client of these brokers.
    pub fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.config.kafka.bootstrap_servers);
        client
    }

    pub fn writer_ids(&self) -> WriterIds {
        let registry = Registry::new(&self.config.registry).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(registry.writer_ids()).unwrap()
    }

    fn facts(&self) {
        let (ids, policy) = (self.writer_ids(), notilog::policy::load(&self.config.policies.dir).unwrap());
        let id = |record| ids.get(record).0;
        let facts = serde_json::json!({
            "policy_version": policy.version,
            "schema_ids": {
                "event": id(RecordType::Event), "preferences": id(RecordType::Preferences),
                "outbound": id(RecordType::Outbound), "decision": id(RecordType::Decision),
            },
        });
        println!("{facts}");
    }
}

fn main() {
    let arguments = Arguments::parse();
    let world = World::new(arguments.config);
    match arguments.role {
        Role::Facts => world.facts(),
        Role::Fill(fill) => fill.run(&world),
        Role::Copy(copy) => copy.run(&world),
        Role::Digest(digest) => digest.run(&world),
        Role::Latency(latency) => latency.run(&world),
    }
}
