//! Members of groups, tables and transactions against a real Kafka, where librdkafka alone would wait for ever or for
//! too long.

use std::time::{Duration, Instant};

use notilog::kafka::admin::Admin;
use notilog::kafka::producer::{Outgoing, Producer};
use notilog::kafka::{
    Assignor, ConsumerFault, Ended, Failure, GroupConsumer, MissingTopics, OutRecord, OwnIds, Polled, Rebalance,
    Settings, Table, TableSettings, TableState, TopicPartition, TransactionalProducer,
};
use notilog::telemetry::clock::Clock;
use rstest::rstest;

use crate::support::{PATIENCE, World};

fn member(world: &World, assignor: Assignor) -> GroupConsumer {
    subscribe(world, assignor, |_| true, 1)
}

fn subscribe(world: &World, assignor: Assignor, split: fn(&str) -> bool, ahead: usize) -> GroupConsumer {
    subscribe_with(world, |settings| {
        (settings.assignor, settings.split, settings.ahead) = (assignor, split, ahead);
    })
}

fn subscribe_with(world: &World, change: impl FnOnce(&mut Settings<'_>)) -> GroupConsumer {
    let (group, name) = (world.topics.named("drop"), world.topics.named("drop-member"));
    let topics = [world.topics.events_pattern()];
    let mut settings = Settings {
        kafka: &world.config.kafka,
        group: &group,
        topics: &topics,
        name: &name,
        is_static: false,
        ids: OwnIds::default(),
        assignor: Assignor::Range,
        queue_kib: 1_024,
        split: |_| true,
        tells_ends: true,
        ahead: 1,
    };
    change(&mut settings);
    GroupConsumer::subscribe(&settings).unwrap()
}

fn next_rebalance(consumer: &mut GroupConsumer) -> Rebalance {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "no rebalance came");
        match consumer.poll(Duration::from_millis(100)) {
            Polled::Rebalance(rebalance) => return rebalance,
            Polled::Fault(fault) => panic!("no rebalance came: {fault}"),
            Polled::Record(_) | Polled::Idle => {}
        }
    }
}

#[rstest]
#[case::range(Assignor::Range)]
#[case::cooperative(Assignor::CooperativeSticky)]
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_gives_up_in_the_middle_of_a_rebalance_leaves_the_group(#[case] assignor: Assignor) {
    let world = World::new("drop", "").await;
    let (gone, went) = std::sync::mpsc::channel();
    let work = move || {
        let mut first = member(&world, assignor);
        let Rebalance::Assigned(partitions) = next_rebalance(&mut first) else { panic!("nothing was ours yet") };
        first.accept(&partitions).unwrap();
        let mut second = member(&world, assignor);
        // The second one's joining is served by its own client's threads; it takes the partitions from the first.
        let Rebalance::Revoked { .. } = next_rebalance(&mut first) else { panic!("all was ours already") };
        drop(first);
        let Rebalance::Assigned(_) = next_rebalance(&mut second) else { panic!("nothing was the second's yet") };
        drop(second);
        gone.send(()).unwrap();
    };
    tokio::task::spawn_blocking(move || {
        std::thread::spawn(work);
        went.recv_timeout(PATIENCE).expect("leaving the group ends");
    })
    .await
    .unwrap();
}

#[rstest]
#[case::range(Assignor::Range)]
#[case::cooperative(Assignor::CooperativeSticky)]
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_lost_its_partitions_and_gives_up_leaves_the_group(#[case] assignor: Assignor) {
    let world = World::new(
        "lost",
        "[kafka.properties]\n\"max.poll.interval.ms\" = \"10000\"\n\"session.timeout.ms\" = \"10000\"\n",
    )
    .await;
    let (gone, went) = std::sync::mpsc::channel();
    let work = move || {
        let mut member = member(&world, assignor);
        let Rebalance::Assigned(partitions) = next_rebalance(&mut member) else { panic!("nothing was ours yet") };
        member.accept(&partitions).unwrap();
        std::thread::sleep(Duration::from_secs(12));
        assert!(matches!(next_rebalance(&mut member), Rebalance::Revoked { lost: true, .. }));
        assert!(member.assignment_lost());
        drop(member);
        gone.send(()).unwrap();
    };
    tokio::task::spawn_blocking(move || {
        std::thread::spawn(work);
        went.recv_timeout(PATIENCE).expect("leaving the group ends");
    })
    .await
    .unwrap();
}

fn create(world: &World, domain: &str) {
    tokio::runtime::Handle::current().block_on(world.add_topic(world.topics.events(domain), 2, &[]));
}

fn delete(world: &World, domain: &str) {
    let admin = Admin::new(&world.config.kafka).unwrap();
    tokio::runtime::Handle::current().block_on(admin.delete(&[&world.topics.events(domain)])).unwrap();
}

fn at_their_beginning(partitions: &[TopicPartition]) -> Vec<(TopicPartition, i64)> {
    partitions.iter().map(|partition| (partition.clone(), 0)).collect()
}

/// One record is written to each of these topics.
fn reads_of_each(consumer: &mut GroupConsumer, world: &World, topics: &[String]) {
    let producer = Producer::new(&world.config.kafka).unwrap();
    for topic in topics {
        tokio::runtime::Handle::current().block_on(write(&producer, topic, "k", Some(1)));
    }
    let (deadline, mut left) = (Instant::now() + PATIENCE, topics.to_vec());
    while !left.is_empty() {
        assert!(Instant::now() < deadline, "nobody reads {left:?}");
        match consumer.poll(Duration::from_millis(100)) {
            Polled::Record(record) => left.retain(|topic| topic != record.topic()),
            Polled::Rebalance(Rebalance::Assigned(partitions)) => {
                consumer.begin(&at_their_beginning(&partitions)).unwrap();
            }
            Polled::Rebalance(revoked) => panic!("{revoked:?}"),
            Polled::Fault(fault) => panic!("{fault}"),
            Polled::Idle => {}
        }
    }
}

/// On a thread that may hang; nothing waits for it then.
async fn ends_in_time(work: impl FnOnce() + Send + 'static) {
    let (ended, end) = std::sync::mpsc::channel();
    let runtime = tokio::runtime::Handle::current();
    std::thread::spawn(move || {
        let _entered = runtime.enter();
        work();
        ended.send(()).unwrap();
    });
    tokio::task::spawn_blocking(move || end.recv_timeout(PATIENCE * 2).expect("it ends")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_can_go_before_its_partitions_began() {
    let world = World::new("early", "").await;
    ends_in_time(move || {
        create(&world, "bank");
        let mut member = subscribe(&world, Assignor::CooperativeSticky, |_| false, 1);
        let Rebalance::Assigned(mut partitions) = next_rebalance(&mut member) else { panic!("nothing was ours yet") };
        assert_eq!(partitions.len(), 5);
        delete(&world, "bank");
        let Rebalance::Revoked { partitions: gone, lost: true } = next_rebalance(&mut member) else {
            panic!("it is there no more")
        };
        assert_eq!(gone.len(), 2);
        member.release(&gone).unwrap();
        partitions.retain(|partition| !gone.contains(partition));
        member.begin(&at_their_beginning(&partitions)).unwrap();
        reads_of_each(&mut member, &world, &[world.topics.events("shop")]);
    })
    .await;
}

#[rstest]
#[case::range(Assignor::Range)]
#[case::cooperative(Assignor::CooperativeSticky)]
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_can_come_before_the_partitions_of_others_began(#[case] assignor: Assignor) {
    let world = World::new("soon", "").await;
    ends_in_time(move || {
        let mut member = subscribe(&world, assignor, |_| false, 1);
        let Rebalance::Assigned(first) = next_rebalance(&mut member) else { panic!("nothing was ours yet") };
        create(&world, "bank");
        let Rebalance::Assigned(second) = next_rebalance(&mut member) else { panic!("nothing was taken away") };
        assert_eq!((first.len(), second.len()), (3, if member.is_eager() { 5 } else { 2 }));
        if !member.is_eager() {
            member.begin(&at_their_beginning(&first)).unwrap();
        }
        member.begin(&at_their_beginning(&second)).unwrap();
        reads_of_each(&mut member, &world, &[world.topics.events("shop"), world.topics.events("bank")]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_is_told_also_behind_what_was_aborted_and_again_after_a_rewind() {
    let world = World::new("ends", "").await;
    tokio::task::spawn_blocking(move || {
        let (id, topic) = (world.topics.named("ends"), world.topics.events("shop"));
        let mut member = member(&world, Assignor::Range);
        let Rebalance::Assigned(partitions) = next_rebalance(&mut member) else { panic!("nothing was ours yet") };
        let producer =
            TransactionalProducer::connect(&world.config.kafka, &id, Duration::ZERO, MissingTopics::default()).unwrap();
        let mut transaction = producer.begin().unwrap();
        let record = OutRecord {
            topic: &topic,
            partition: Some(0),
            key: None,
            value: Some(b"seen"),
            headers: &[],
            timestamp_ms: None,
        };
        transaction.send(&record).unwrap();
        let Ended::Committed(producer) = transaction.commit(&[], &member.group_metadata().unwrap()) else {
            panic!("it was to be committed")
        };
        let mut transaction = producer.begin().unwrap();
        transaction.send(&OutRecord { value: Some(b"never seen"), ..record }).unwrap();
        let Ended::Aborted(..) = transaction.abort(Failure::Group("a test".to_owned())) else {
            panic!("it was to be aborted")
        };
        member.accept(&partitions).unwrap();
        let partition = partitions.iter().find(|partition| partition.partition == 0).unwrap();
        for _ in 0..2 {
            assert!(!member.was_at_end(partition), "before anything was read");
            let (mut read, deadline) = (0, Instant::now() + PATIENCE);
            while !member.was_at_end(partition) {
                assert!(Instant::now() < deadline, "the end was not told");
                read += usize::from(member.poll_split(partition).unwrap().is_some());
            }
            assert_eq!(read, 1);
            member.rewind(&[(partition.clone(), 0)]).unwrap();
        }
    })
    .await
    .unwrap();
}

/// Offsets of the next records, and how many keys were shown ahead of them.
fn read(member: &mut GroupConsumer, count: usize) -> (Vec<i64>, usize) {
    let (mut offsets, mut shown, deadline) = (Vec::new(), 0, Instant::now() + PATIENCE);
    while offsets.len() < count {
        assert!(Instant::now() < deadline, "only {offsets:?} came");
        match member.poll_ahead(Duration::from_millis(100), |keys| shown += keys.len()) {
            Polled::Record(record) => offsets.push(record.offset()),
            Polled::Idle => {}
            Polled::Rebalance(_) | Polled::Fault(_) => panic!("only records were to come"),
        }
    }
    (offsets, shown)
}

#[rstest]
#[case::range(Assignor::Range)]
#[case::cooperative(Assignor::CooperativeSticky)]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_ahead_is_forgotten_by_a_rewind_and_a_release(#[case] assignor: Assignor) {
    let world = World::new("ahead", "").await;
    tokio::task::spawn_blocking(move || {
        let (id, topic) = (world.topics.named("ahead"), world.topics.events("shop"));
        let mut member = subscribe(&world, assignor, |_| false, 32);
        let Rebalance::Assigned(partitions) = next_rebalance(&mut member) else { panic!("nothing was ours yet") };
        let producer =
            TransactionalProducer::connect(&world.config.kafka, &id, Duration::ZERO, MissingTopics::default()).unwrap();
        let mut transaction = producer.begin().unwrap();
        for _ in 0..100 {
            let (key, value) = (Some(b"k".as_slice()), Some(b"value".as_slice()));
            let record = OutRecord { topic: &topic, partition: Some(0), key, value, headers: &[], timestamp_ms: None };
            transaction.send(&record).unwrap();
        }
        let Ended::Committed(_) = transaction.commit(&[], &member.group_metadata().unwrap()) else {
            panic!("it was to be committed")
        };
        member.accept(&partitions).unwrap();
        let first = partitions.iter().find(|partition| partition.partition == 0).unwrap().clone();
        let (offsets, _) = read(&mut member, 5);
        assert_eq!(offsets, [0, 1, 2, 3, 4]);
        member.rewind(&[(first, 2)]).unwrap();
        let (offsets, shown) = read(&mut member, 40);
        assert_eq!(offsets, (2..42).collect::<Vec<_>>());
        assert!(shown > 32, "{shown} keys were shown");
        member.release(&partitions).unwrap();
        let gone = member.poll(Duration::from_secs(1));
        assert!(!matches!(gone, Polled::Record(_)), "of a partition that is ours no longer");
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_aborted_at_once_while_its_first_record_is_under_way() {
    let world = World::new("abort", "").await;
    tokio::task::spawn_blocking(move || {
        let (id, topic) = (world.topics.named("abort"), world.topics.events("shop"));
        let connect = TransactionalProducer::connect;
        let mut producer =
            connect(&world.config.kafka, &id, Duration::from_millis(5), MissingTopics::default()).unwrap();
        for _ in 0..3 {
            let began = Instant::now();
            let mut transaction = producer.begin().unwrap();
            let record = OutRecord {
                topic: &topic,
                partition: None,
                key: Some(b"k"),
                value: Some(b"never seen"),
                headers: &[],
                timestamp_ms: None,
            };
            transaction.send(&record).unwrap();
            producer = match transaction.abort(Failure::Group("a test".to_owned())) {
                Ended::Aborted(producer, Failure::Group(_)) => producer,
                Ended::Aborted(_, other) | Ended::Unknown(other) | Ended::Fenced(other) => panic!("{other}"),
                Ended::Committed(_) | Ended::CommittedLast => panic!("it was to be aborted"),
            };
            assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        }
    })
    .await
    .unwrap();
}

/// What the router waits for between transactions rests on librdkafka's words.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_begins_before_the_markers_of_the_last_one_are_written_is_told_from_one_that_does_not() {
    let world = World::new("overlap", "").await;
    tokio::task::spawn_blocking(move || {
        let (id, linger) = (world.topics.named("overlap"), Duration::from_millis(5));
        let producer =
            TransactionalProducer::connect(&world.config.kafka, &id, linger, MissingTopics::default()).unwrap();
        let (producer, overlaps) = overlaps(&world, producer, Duration::ZERO, 200);
        assert_ne!(overlaps, 0, "at once");
        let (_, overlaps) = self::overlaps(&world, producer, Duration::from_secs(1), 5);
        assert!(overlaps < 5, "after a second");
    })
    .await
    .unwrap();
}

/// How many of so many transactions overlapped with the one before, with a pause before each.
fn overlaps(
    world: &World,
    mut producer: TransactionalProducer,
    pause: Duration,
    times: usize,
) -> (TransactionalProducer, usize) {
    let (topic, mut overlaps) = (world.topics.events("shop"), 0);
    for _ in 0..times {
        std::thread::sleep(pause);
        let mut transaction = producer.begin().unwrap();
        let (key, value) = (Some(b"k".as_slice()), Some(b"never seen".as_slice()));
        transaction
            .send(&OutRecord { topic: &topic, partition: None, key, value, headers: &[], timestamp_ms: None })
            .unwrap();
        producer = match transaction.abort(Failure::Group("a test".to_owned())) {
            Ended::Aborted(producer, _) => producer,
            _ => panic!("it was to be aborted"),
        };
        overlaps += usize::from(producer.overlapped());
    }
    (producer, overlaps)
}

async fn write(producer: &Producer, topic: &str, key: &str, partition: Option<i32>) {
    let record = Outgoing { topic, key: Some(key.as_bytes()), value: Some(b"value"), partition, ..Outgoing::default() };
    producer.send(record).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_restored_and_stays_fresh_while_it_is_written_to_all_the_time() {
    let world = World::new("busy", "").await;
    let (topic, kafka) = (world.topics.preferences(), world.config.kafka.clone());
    let writer = tokio::spawn({
        let topic = topic.clone();
        async move {
            let producer = Producer::new(&kafka).unwrap();
            for n in 0.. {
                // One partition, which librdkafka then never tells the end of.
                write(&producer, &topic, &format!("default/u-{n}"), Some(0)).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (table, _guard) =
        Table::start(&world.config.kafka, TableSettings::new(&topic, "test", Clock::system())).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !matches!(table.state(), TableState::Live { .. }) {
        assert!(Instant::now() < deadline, "{:?}", table.state());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut fresh = 0;
    for _ in 0..150 {
        let TableState::Live { behind } = table.state() else { panic!("{:?}", table.state()) };
        fresh += usize::from(behind < Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    writer.abort();
    // One that waits for all partitions' ends at once never is in time. How often it may be late is the machine's affair.
    assert!(fresh > 0, "never in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_finds_partitions_that_are_added_while_it_is_read() {
    let world = World::new("grow", "").await;
    let topic = world.topics.preferences();
    let (table, _guard) =
        Table::start(&world.config.kafka, TableSettings::new(&topic, "test", Clock::system())).unwrap();
    let producer = Producer::new(&world.config.kafka).unwrap();
    write(&producer, &topic, "default/old", Some(0)).await;
    Admin::new(&world.config.kafka).unwrap().raise_partitions(&topic, 4).await.unwrap();
    let added = Producer::new(&world.config.kafka).unwrap();
    write(&added, &topic, "default/new", Some(3)).await;
    let deadline = Instant::now() + PATIENCE;
    while table.rows() < 2 {
        assert!(Instant::now() < deadline, "the partition was not found");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A life of a static member; those with the same ids are of one process.
fn life(world: &World, ids: &OwnIds) -> GroupConsumer {
    subscribe_with(world, |settings| {
        settings.is_static = true;
        settings.ids = ids.clone();
    })
}

fn takes_up_all(consumer: &mut GroupConsumer) {
    let Rebalance::Assigned(partitions) = next_rebalance(consumer) else { panic!("nothing was its own yet") };
    consumer.accept(&partitions).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_member_that_is_made_anew_does_not_join_when_another_has_its_name() {
    let world = World::new("anew", "").await;
    let work = move || {
        let ids = OwnIds::default();
        let mut first = life(&world, &ids);
        takes_up_all(&mut first);
        let mut successor = life(&world, &OwnIds::default());
        takes_up_all(&mut successor);
        drop(first);
        let mut second = life(&world, &ids);
        let deadline = Instant::now() + PATIENCE;
        let fault = loop {
            assert!(Instant::now() < deadline, "it was not told that it was replaced");
            match second.poll(Duration::from_millis(100)) {
                Polled::Fault(fault) => break fault,
                Polled::Rebalance(_) => panic!("it took the name back"),
                Polled::Record(_) | Polled::Idle => {}
            }
        };
        assert!(matches!(fault, ConsumerFault::Replaced { .. }), "{fault}");
        drop(second);
        for _ in 0..30 {
            let polled = successor.poll(Duration::from_millis(100));
            assert!(!matches!(polled, Polled::Fault(_)), "it is in the group");
        }
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_member_that_is_made_anew_takes_its_own_old_id_for_no_other() {
    let world = World::new("own", "").await;
    let work = move || {
        let ids = OwnIds::default();
        let mut first = life(&world, &ids);
        takes_up_all(&mut first);
        // It does not leave: its id stays in the group for the length of a session.
        drop(first);
        takes_up_all(&mut life(&world, &ids));
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}
