//! What is measured, each once.

use std::time::{Duration, Instant};

use notilog::kafka::table::Origin;
use notilog::kafka::{Table, TableState};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use crate::world::{PARTITIONS, World};

/// Nothing takes longer.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A bare consumer with the table's own settings reads the records and only counts them.
pub fn bare(world: &World, records: u64) -> Duration {
    let begun = Instant::now();
    let consumer: BaseConsumer = world.client().create().unwrap();
    // As the table does: librdkafka waits half a second before it asks again who leads a partition.
    consumer.fetch_metadata(Some(&world.topics.preferences()), PATIENCE).unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(&world.topics.preferences(), partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut counted = 0;
    while counted < records {
        assert!(begun.elapsed() < PATIENCE, "only {counted} records came");
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            counted += u64::from(message.unwrap().payload().is_some());
        }
    }
    begun.elapsed()
}

/// How a table came to be there.
pub struct Restored {
    pub took: Duration,
    pub rows: u64,
    pub memory: u64,
    pub origin: Origin,
}

/// The table, from its start until it may be used.
pub fn table(world: &World, with_snapshot: bool) -> Restored {
    let begun = Instant::now();
    let (table, guard) = Table::start(&world.config.kafka, world.table_settings(with_snapshot)).unwrap();
    while !matches!(table.state(), TableState::Live { .. }) {
        assert!(begun.elapsed() < PATIENCE, "{:?}", table.state());
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = begun.elapsed();
    let restored = Restored { took, rows: table.rows(), memory: table.memory(), origin: table.origin() };
    drop(guard);
    restored
}

/// From the start of `notilog router` until a reader of committed records sees the decision of an event that waits.
pub async fn first_decision(world: &World, round: usize) -> Duration {
    let id = format!("first-{round}");
    world.produce_event(&id).await;
    let decisions = world.reader_at_the_end(&world.topics.decisions());
    let begun = Instant::now();
    let mut router = world.router();
    let took = tokio::task::block_in_place(|| {
        loop {
            assert!(begun.elapsed() < PATIENCE, "no decision came");
            if let Some(message) = decisions.poll(Duration::from_millis(5))
                && message
                    .unwrap()
                    .payload()
                    .is_some_and(|value| value.windows(id.len()).any(|part| part == id.as_bytes()))
            {
                return begun.elapsed();
            }
        }
    });
    router.stop();
    took
}
