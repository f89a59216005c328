//! A table that holds a part of its topic: the partitions that someone wants, and nothing of the others.

use std::collections::BTreeSet;

use notilog::kafka::partition_of;
use notilog::kafka::table::Origin;

use super::snapshot::settings_in;
use super::*;

const PARTITIONS: i32 = 4;
const KEYS: usize = 400;

fn home(key: &str) -> i32 {
    partition_of(key.as_bytes(), PARTITIONS)
}

/// The table answers for the keys of these partitions as the topic has them, and says of the others that it does not
/// know them.
#[track_caller]
fn assert_held_in(topic: &Topic, table: &Table, partitions: &[i32]) {
    let mut held = 0;
    for (key, expected) in &topic.expected {
        let expected = expected.clone().map_or(Found::Erased, Found::Value);
        if partitions.contains(&home(key)) {
            assert_eq!(look_up(table, key), expected, "{key}");
            held += 1;
        } else {
            assert_eq!(table.get(key.as_bytes(), |_| ()), Err(NotRestored), "{key}");
        }
    }
    assert_eq!(table.rows(), held);
}

fn want(table: &Table, owner: usize, partitions: &[i32]) {
    table.want(owner, partitions.iter().copied().collect::<BTreeSet<_>>());
}

async fn until_served(table: &Table, partitions: &[i32]) {
    until("the partitions are served", || partitions.iter().all(|partition| table.serves(*partition))).await;
}

async fn until_gone(topic: &Topic, table: &Table, partitions: &[i32]) {
    until("the partitions are let go", || partitions.iter().all(|partition| !table.serves(*partition))).await;
    // Their rows are dropped a moment later.
    let kept = topic.expected.keys().filter(|key| table.serves(home(key))).count();
    until("their rows are dropped", || table.rows() as usize == kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_wanted_partitions_are_held_and_they_move_with_who_wants_them() {
    let mut topic = Topic::new("part", PARTITIONS, &[]).await;
    let producer = topic.producer(&[]);
    topic.write(&producer, (0..KEYS).map(|n| pair(n, n)));
    topic.write(&producer, (0..KEYS).step_by(7).map(erase));
    let (table, guard) = restored(&topic.kafka, topic.settings().in_part("a")).await;
    assert_held_in(&topic, &table, &[]);

    want(&table, 0, &[1]);
    until_served(&table, &[1]).await;
    assert_held_in(&topic, &table, &[1]);
    want(&table, 1, &[2, 3]);
    until_served(&table, &[2, 3]).await;
    assert_held_in(&topic, &table, &[1, 2, 3]);
    let stranger = (0..).map(|n| format!("stranger{n}")).find(|key| home(key) == 1).unwrap();
    assert_eq!(look_up(&table, &stranger), Found::Absent);

    topic.write(&producer, (0..KEYS).step_by(5).map(|n| pair(n, "again")));
    let last = (0..KEYS).step_by(5).map(|n| format!("k{n}")).filter(|key| home(key) != 0);
    let last: Vec<String> = last.collect();
    until("what was written arrived", || {
        last.iter().all(|key| look_up(&table, key) == Found::Value("vagain".to_owned()))
    })
    .await;
    assert_held_in(&topic, &table, &[1, 2, 3]);

    let before = table.changes();
    want(&table, 1, &[0, 3]);
    until_served(&table, &[0]).await;
    until_gone(&topic, &table, &[2]).await;
    assert_ne!(table.changes(), before);
    assert_held_in(&topic, &table, &[0, 1, 3]);
    until("at the end", || behind(&table) == Duration::ZERO).await;
    stop(guard).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_comes_back_is_read_anew_with_what_happened_meanwhile() {
    let mut topic = Topic::new("part-back", PARTITIONS, &[]).await;
    let producer = topic.producer(&[]);
    topic.write(&producer, (0..KEYS).map(|n| pair(n, n)));
    let (table, guard) = restored(&topic.kafka, topic.settings().in_part("a")).await;
    want(&table, 0, &[0, 1]);
    until_served(&table, &[0, 1]).await;
    want(&table, 0, &[0]);
    until_gone(&topic, &table, &[1]).await;
    topic.write(&producer, (0..KEYS).step_by(2).map(erase));
    want(&table, 0, &[0, 1]);
    until_served(&table, &[0, 1]).await;
    until("partition 0 came as far", || {
        (0..KEYS).step_by(2).all(|n| look_up_of(&table, &format!("k{n}"), &[0, 1]) != Some(Found::Absent))
            && (0..KEYS)
                .step_by(2)
                .all(|n| look_up_of(&table, &format!("k{n}"), &[0, 1]).is_none_or(|found| found == Found::Erased))
    })
    .await;
    assert_held_in(&topic, &table, &[0, 1]);
    stop(guard).await;
}

/// What is known of a key that is at home in one of these partitions.
fn look_up_of(table: &Table, key: &str, partitions: &[i32]) -> Option<Found> {
    partitions.contains(&home(key)).then(|| look_up(table, key))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_recalls_the_partitions_that_it_held_and_reads_the_others() {
    let mut topic = Topic::new("part-kept", PARTITIONS, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let settings = |instance: &str| {
        let hour = Duration::from_secs(3_600);
        settings_in(&topic.name.clone(), folder.path(), Clock::system(), hour).in_part(instance)
    };
    let (first, again, other) = (settings("a"), settings("a"), settings("b"));
    let producer = topic.producer(&[]);
    topic.write(&producer, (0..KEYS).map(|n| pair(n, n)));
    let (table, guard) = restored(&topic.kafka, first).await;
    want(&table, 0, &[0, 1]);
    until_served(&table, &[0, 1]).await;
    stop(guard).await;
    assert!(folder.path().join(format!("{}.a.snapshot", topic.name)).exists());

    topic.write(&producer, (0..KEYS).step_by(3).map(erase));
    let (table, guard) = restored(&topic.kafka, again).await;
    assert!(matches!(table.origin(), Origin::Snapshot { .. }), "{:?}", table.origin());
    assert_held_in(&topic, &table, &[0, 1]);
    let came_since = topic.expected.iter().filter(|(key, value)| value.is_none() && home(key) <= 1).count();
    assert_eq!(table.records_read() as usize, came_since, "nothing is read twice");
    want(&table, 0, &[1, 2]);
    until_served(&table, &[1, 2]).await;
    until_gone(&topic, &table, &[0]).await;
    assert_held_in(&topic, &table, &[1, 2]);
    stop(guard).await;

    let (table, guard) = restored(&topic.kafka, other).await;
    assert_eq!(table.origin(), Origin::Topic, "another process's snapshot is not its own");
    stop(guard).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_end_a_table_whose_keys_are_at_home_elsewhere_now() {
    let topic = Topic::new("part-added", PARTITIONS, &[]).await;
    let (table, guard) = restored(&topic.kafka, topic.watched().in_part("a")).await;
    topic.admin().raise_partitions(&topic.name, PARTITIONS + 1).await.unwrap();
    until("it gives up", || matches!(table.state(), TableState::Failed(why) if why.contains("were added"))).await;
    stop(guard).await;
}
