//! How far a group is behind, by partition: asked from the brokers now and then, apart from the hot path.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;

use super::client::{Context, Kind, base_config};
use crate::config;
use crate::telemetry::clock::steady_now;
use crate::telemetry::metrics::consumer_lag;

/// How often the brokers are asked.
const INTERVAL: Duration = Duration::from_secs(10);

/// For one question.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Watches a group's lag until dropped.
pub struct LagWatch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl LagWatch {
    /// Watches `group` on the topics that `reads` picks, and sets the gauges. Without a watch there are no gauges,
    /// and nothing else is missing, so a failure is logged only.
    pub fn start(kafka: &config::Kafka, group: &str, reads: impl Fn(&str) -> bool + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, group, kafka) = (Arc::clone(&stop), group.to_owned(), kafka.clone());
        let thread = std::thread::Builder::new().name("lag".to_owned()).spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                // A client of its own each time: it never joins the group, and holds no connection in between.
                if let Err(error) = measure(&kafka, &group, &reads) {
                    tracing::debug!(group, %error, "lag is not known now");
                }
                let until = steady_now() + INTERVAL;
                while steady_now() < until && !stopped.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        });
        LagWatch { stop, thread: thread.ok() }
    }
}

impl Drop for LagWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn measure(kafka: &config::Kafka, group: &str, reads: &impl Fn(&str) -> bool) -> Result<(), KafkaError> {
    let mut config = base_config(kafka, Kind::Consumer, "lag", &[]);
    config.set("group.id", group).set("enable.auto.commit", "false");
    let consumer: BaseConsumer<Context> = BaseConsumer::from_config_and_context(&config, Context::default())?;
    let metadata = consumer.fetch_metadata(None, CALL_TIMEOUT)?;
    let mut asked = TopicPartitionList::new();
    for topic in metadata.topics().iter().filter(|topic| reads(topic.name())) {
        for partition in topic.partitions() {
            asked.add_partition(topic.name(), partition.id());
        }
    }
    if asked.count() == 0 {
        return Ok(());
    }
    let committed = consumer.committed_offsets(asked, CALL_TIMEOUT)?;
    for element in committed.elements() {
        let (low, high) = consumer.fetch_watermarks(element.topic(), element.partition(), CALL_TIMEOUT)?;
        let position = match element.offset() {
            Offset::Offset(offset) => offset.max(low),
            _ => low,
        };
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        consumer_lag(group, element.topic(), element.partition()).set((high - position).max(0) as f64);
    }
    Ok(())
}
