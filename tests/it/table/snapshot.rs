//! A table's snapshot on local disk: what a restart reads after it, and when it is not trusted.

#[cfg(target_os = "linux")]
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use notilog::kafka::table::{Origin, SnapshotSettings};
use notilog::model::Timestamp;

use super::*;

/// A topic with a folder for its snapshot.
struct Kept {
    topic: Topic,
    folder: tempfile::TempDir,
    clock: Clock,
}

impl Kept {
    async fn new(name: &str, settings: &[(&str, &str)]) -> Kept {
        let topic = Topic::new(name, 3, settings).await;
        let now = Timestamp(crate::support::now());
        Kept { topic, folder: tempfile::tempdir().unwrap(), clock: Clock::manual(now) }
    }

    fn settings(&self) -> TableSettings {
        settings_in(&self.topic.name, self.folder.path(), self.clock.clone(), Duration::from_secs(3_600))
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join(format!("{}.snapshot", self.topic.name))
    }

    async fn start(&self) -> (Table, TableGuard) {
        restored(&self.topic.kafka, self.settings()).await
    }

    /// Holds the table once, so that its snapshot lies there; returns how many records were read for it.
    async fn keep(&self) -> u64 {
        let (table, guard) = self.start().await;
        let read = table.records_read();
        stop(guard).await;
        assert!(self.file().exists(), "a clean stop leaves a snapshot");
        read
    }

    /// The table is read from its topic, whatever lies in the folder, and is what it should be.
    async fn assert_rebuilt(&self) {
        let (table, guard) = self.start().await;
        assert_eq!(table.origin(), Origin::Topic);
        self.topic.assert_held(&table);
        stop(guard).await;
        // And what could not be trusted has been replaced.
        let (table, guard) = self.start().await;
        assert!(matches!(table.origin(), Origin::Snapshot { .. }), "{:?}", table.origin());
        self.topic.assert_held(&table);
        stop(guard).await;
    }
}

pub(super) fn settings_in(topic: &str, dir: &Path, clock: Clock, interval: Duration) -> TableSettings {
    let snapshot = SnapshotSettings { dir: dir.to_owned(), name: topic.to_owned(), interval };
    TableSettings { snapshot: Some(snapshot), ..TableSettings::new(topic, "test", clock) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_reads_only_what_came_after_the_snapshot_erases_included() {
    let mut kept = Kept::new("tail", &[]).await;
    let producer = kept.topic.producer(&[]);
    kept.topic.write(&producer, (0..2_000).map(|n| pair(n, n)));
    kept.topic.write(&producer, (0..2_000).step_by(9).map(erase));
    assert!(kept.keep().await >= 2_223);

    let (table, guard) = kept.start().await;
    assert_eq!(table.records_read(), 0, "nothing came since");
    assert!(matches!(table.origin(), Origin::Snapshot { as_of } if as_of <= kept.clock.now()), "{:?}", table.origin());
    kept.topic.assert_held(&table);
    stop(guard).await;

    kept.topic.write(&producer, [pair(1, "later"), erase(2), pair(2_000, "new"), pair(9, "back")]);
    let (table, guard) = kept.start().await;
    kept.topic.assert_held(&table);
    assert_eq!(table.records_read(), 4);
    stop(guard).await;
}

/// Or what is erased would live on in a file that was replaced.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_snapshot_that_a_table_began_with_is_let_go_of_and_the_table_is_the_same() {
    let mut kept = Kept::new("let-go", &[]).await;
    let producer = kept.topic.producer(&[]);
    kept.topic.write(&producer, (0..20_000).map(|n| pair(n, n)));
    kept.keep().await;
    let (table, guard) = kept.start().await;
    assert!(matches!(table.origin(), Origin::Snapshot { .. }), "{:?}", table.origin());
    kept.topic.assert_held(&table);
    let file = kept.file().display().to_string();
    until("nothing of the file is mapped", || !std::fs::read_to_string("/proc/self/maps").unwrap().contains(&file))
        .await;
    kept.topic.assert_held(&table);
    kept.topic.write(&producer, (0..20_000).step_by(3).map(erase));
    until("at the end", || look_up(&table, "k19998") == Found::Erased).await;
    until("at the end", || behind(&table) == Duration::ZERO).await;
    kept.topic.assert_held(&table);
    stop(guard).await;
}

/// The disk gives other bytes when the rows are copied than it gave when they were checked.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn one_that_changes_under_the_table_is_found_and_the_table_is_read_from_its_topic() {
    let mut kept = Kept::new("changed", &[]).await;
    let producer = kept.topic.producer(&[]);
    kept.topic.write(&producer, (0..20_000).map(|n| pair(n, n)));
    kept.keep().await;
    for round in 0.. {
        assert!(round < 10, "the table was always restored before its snapshot changed");
        // There is more to be read than the snapshot has: until it was, the rows are where the file is.
        for _ in 0..20 {
            kept.topic.write(&producer, (20_000..30_000).map(|n| pair(n, round)));
        }
        let (table, guard) = Table::start(&kept.topic.kafka, kept.settings()).unwrap();
        until("it goes on from the snapshot", || table.records_read() > 0).await;
        assert!(matches!(table.origin(), Origin::Snapshot { .. }), "{:?}", table.origin());
        let file = std::fs::OpenOptions::new().write(true).open(kept.file()).unwrap();
        let half = file.metadata().unwrap().len() / 2;
        file.write_all_at(&[b'?'; 4_096], half).unwrap();
        let was_in_time = !matches!(table.state(), TableState::Live { .. });
        if was_in_time {
            until("the table is the topic's", || {
                table.origin() == Origin::Topic && matches!(table.state(), TableState::Live { .. })
            })
            .await;
            kept.topic.assert_held(&table);
        }
        stop(guard).await;
        if was_in_time {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_written_while_records_came_misses_none_of_them() {
    let mut kept = Kept::new("busy", &[]).await;
    let producer = kept.topic.producer(&[]);
    kept.topic.write(&producer, (0..5_000).map(|n| pair(n, n)));
    let often = settings_in(&kept.topic.name, kept.folder.path(), kept.clock.clone(), Duration::from_millis(1));
    let (_, guard) = restored(&kept.topic.kafka, often).await;
    for round in 0..20 {
        kept.topic.write(&producer, (0..5_000).step_by(7).map(|n| pair(n, format!("{n}-{round}"))));
        kept.topic.write(&producer, (round..5_000).step_by(11).map(erase));
        let copied = tempfile::tempdir().unwrap();
        // While the table goes on, the file as it is now, in a folder of its own.
        if std::fs::copy(kept.file(), copied.path().join(kept.file().file_name().unwrap())).is_ok() {
            let hour = Duration::from_secs(3_600);
            let settings = settings_in(&kept.topic.name, copied.path(), kept.clock.clone(), hour);
            let (table, guard) = restored(&kept.topic.kafka, settings).await;
            assert!(matches!(table.origin(), Origin::Snapshot { .. }), "{:?}", table.origin());
            kept.topic.assert_held(&table);
            stop(guard).await;
        }
    }
    stop(guard).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_undecided_when_it_was_written_is_read_again() {
    let mut kept = Kept::new("undecided", &[]).await;
    kept.topic.write(&kept.topic.producer(&[]), (0..50).map(|n| pair(n, n)));
    let producer = kept.topic.transactional();
    producer.begin_transaction().unwrap();
    kept.topic.send(&producer, (0..50).step_by(2).map(|n| pair(n, "decided")));
    kept.keep().await;
    kept.topic.expected.extend((0..50).step_by(2).map(|n| pair(n, "decided")));
    producer.commit_transaction(PATIENCE).unwrap();
    let (table, guard) = kept.start().await;
    assert!(matches!(table.origin(), Origin::Snapshot { .. }));
    until("it was decided", || look_up(&table, "k0") == Found::Value("vdecided".to_owned())).await;
    until("at the end", || behind(&table) == Duration::ZERO).await;
    kept.topic.assert_held(&table);
    stop(guard).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_a_cut_and_rubbish_are_found_and_the_table_is_the_same_all_the_same() {
    let mut kept = Kept::new("damaged", &[]).await;
    kept.topic.write(&kept.topic.producer(&[]), (0..3_000).map(|n| pair(n, n)));
    kept.topic.write(&kept.topic.producer(&[]), (0..3_000).step_by(10).map(erase));
    kept.keep().await;
    let whole = std::fs::read(kept.file()).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let cases = [flipped(whole.len() / 2), flipped(20), whole[..whole.len() - 9].to_vec(), b"rubbish".to_vec()];
    for damaged in cases {
        std::fs::write(kept.file(), damaged).unwrap();
        kept.assert_rebuilt().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_could_bring_back_the_erased_is_not_used() {
    let mut kept = Kept::new("aged", &[("delete.retention.ms", "3600000")]).await;
    kept.topic.write(&kept.topic.producer(&[]), (0..100).map(|n| pair(n, n)));
    kept.keep().await;
    kept.clock.advance(Duration::from_secs(1_700));
    let (table, guard) = kept.start().await;
    assert!(matches!(table.origin(), Origin::Snapshot { .. }), "younger than half of an hour");
    stop(guard).await;
    kept.clock.advance(Duration::from_secs(1_801));
    kept.assert_rebuilt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_a_topic_that_was_created_anew_is_not_used() {
    let mut kept = Kept::new("anew", &[]).await;
    kept.topic.write(&kept.topic.producer(&[]), (0..100).map(|n| pair(n, n)));
    kept.keep().await;
    kept.topic.admin().delete(&[&kept.topic.name]).await.unwrap();
    kept.topic.expected.clear();
    kept.topic.create_again().await;
    // More than the old one had, so that its offsets tell nothing.
    kept.topic.write(&kept.topic.producer(&[]), (50..450).map(|n| pair(n, "anew")));
    kept.assert_rebuilt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_the_log_does_not_go_on_from_is_not_used_and_what_was_deleted_from_the_log_is_gone() {
    let mut kept = Kept::new("deleted", &[("cleanup.policy", "compact,delete")]).await;
    let producer = kept.topic.producer(&[]);
    kept.topic.write(&producer, (0..300).map(|n| pair(n, n)));
    kept.keep().await;
    // The snapshot's offsets are still there, what is before them only in part.
    let ends = notilog::kafka::reader::ends(&kept.topic.kafka, &kept.topic.name).unwrap();
    kept.topic.delete_records(&ends.iter().map(|(partition, end)| (*partition, end / 2)).collect()).await;
    let (table, guard) = kept.start().await;
    assert!(matches!(table.origin(), Origin::Snapshot { .. }));
    let left: i64 = ends.values().map(|end| end - end / 2).sum();
    assert_eq!((table.rows(), table.records_read()), (left.cast_unsigned(), 0));
    stop(guard).await;

    kept.topic.expected.clear();
    kept.topic.write(&producer, (0..300).map(|n| pair(n, "gone")));
    let ends = notilog::kafka::reader::ends(&kept.topic.kafka, &kept.topic.name).unwrap();
    kept.topic.delete_records(&ends).await;
    kept.topic.expected.clear();
    kept.topic.write(&producer, (200..400).map(|n| pair(n, "kept")));
    kept.assert_rebuilt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_while_it_writes_leaves_the_one_before() {
    let mut kept = Kept::new("killed", &[]).await;
    let producer = kept.topic.producer(&[]);
    kept.topic.write(&producer, (0..20_000).map(|n| pair(n, "x".repeat(500))));
    let new = kept.folder.path().join(format!("{}.snapshot.new", kept.topic.name));
    let mut killed = 0;
    for round in 0.. {
        assert!(round < 100, "no process was killed while it wrote");
        let mut writer = writer(&kept);
        // Each record makes the last snapshot old; once there is one, the process is killed within the next.
        let deadline = Instant::now() + PATIENCE;
        while !(kept.file().exists() && new.exists()) {
            assert!(Instant::now() < deadline, "nothing was written");
            kept.topic.write(&producer, [pair(round, Instant::now().duration_since(deadline - PATIENCE).as_nanos())]);
        }
        writer.kill().unwrap();
        writer.wait().unwrap();
        killed += u32::from(new.exists());
        let (table, guard) = kept.start().await;
        assert!(matches!(table.origin(), Origin::Snapshot { .. }), "{:?}", table.origin());
        kept.topic.assert_held(&table);
        stop(guard).await;
        assert!(!new.exists(), "what was left half written is gone");
        if killed >= 3 {
            return;
        }
    }
}

fn writer(kept: &Kept) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "table::snapshot::writes_snapshots_until_it_is_killed", "--ignored"])
        .env("NOTILOG_TEST_TABLE", &kept.topic.name)
        .env("NOTILOG_TEST_FOLDER", kept.folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the process that another test kills"]
async fn writes_snapshots_until_it_is_killed() {
    let (Ok(topic), Ok(folder)) = (std::env::var("NOTILOG_TEST_TABLE"), std::env::var("NOTILOG_TEST_FOLDER")) else {
        return;
    };
    let settings = settings_in(&topic, Path::new(&folder), Clock::system(), Duration::from_millis(1));
    let (_, _guard) = restored(&super::kafka(), settings).await;
    std::future::pending::<()>().await;
}
