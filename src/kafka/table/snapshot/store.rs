//! Where a snapshot lies: one file for a topic, in a folder that several processes may share.
//!
//! Invariants: the file is always a whole snapshot, the last one or the one before, whatever was killed: it is written
//! under another name, forced to disk and renamed. One process at a time writes. Nobody but the owner may read it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::Mmap;
use parking_lot::Mutex;

use super::format::{Reader, Unread, Writer};
use super::{Distrust, Header};
use crate::kafka::table::arena::Full;
use crate::kafka::table::block::Unput;
use crate::kafka::table::putting_threads;
use crate::kafka::table::row::Row;
use crate::kafka::table::rows::{Rows, SHARDS};
use crate::telemetry::faults::{self, Point};

/// See the module.
#[derive(Debug, Clone)]
pub(in crate::kafka::table) struct Store {
    folder: PathBuf,
    file: PathBuf,
    /// What is being written.
    new: PathBuf,
    /// Locked by who writes; the system unlocks it when that process ends, however it ends.
    lock: PathBuf,
}

impl Store {
    /// Of a table whose name is a file name too, as Kafka's names are.
    pub(in crate::kafka::table) fn new(folder: &Path, table: &str) -> Self {
        let named = |ending: &str| folder.join(format!("{table}.{ending}"));
        let (file, new, lock) = (named("snapshot"), named("snapshot.new"), named("snapshot.lock"));
        Store { folder: folder.to_owned(), file, new, lock }
    }

    /// Replaces the snapshot by these rows, shard by shard under read locks. Returns its length in bytes, or `None`
    /// when another process is about to do the same.
    pub(in crate::kafka::table) fn write(&self, header: &Header, rows: &Rows) -> io::Result<Option<u64>> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let lock = private().create(true).truncate(false).open(&self.lock)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        self.remove_new()?;
        let written = self.write_new(header, rows).and_then(|bytes| {
            faults::at(Point::SnapshotWritten);
            fs::rename(&self.new, &self.file)?;
            // Without this a power failure could undo the rename.
            File::open(&self.folder)?.sync_all()?;
            Ok(Some(bytes))
        });
        if written.is_err() {
            // The disk may be full: what could not be finished must not fill it.
            let _ = self.remove_new();
        }
        written
    }

    fn write_new(&self, header: &Header, rows: &Rows) -> io::Result<u64> {
        let mut writer = Writer::new(private().create_new(true).open(&self.new)?, header)?;
        let mut block = Vec::new();
        for shard in 0..SHARDS {
            block.clear();
            let laid = rows.lay_shard(shard, &mut block);
            writer.block(laid, &block)?;
            faults::at(Point::SnapshotWriting);
        }
        let (file, bytes) = writer.end()?;
        file.sync_all()?;
        Ok(bytes)
    }

    /// A process that was killed while it wrote leaves one behind.
    fn remove_new(&self) -> io::Result<()> {
        match fs::remove_file(&self.new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Opens the snapshot and reads what it says of itself; `None` when there is none.
    pub(in crate::kafka::table) fn open(&self) -> Result<Option<Found>, Distrust> {
        let unreadable = |error: io::Error| Distrust::Unreadable(error.to_string());
        let file = match File::open(&self.file) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        let length = file.metadata().map_err(unreadable)?.len();
        let (header, reader) = Reader::new(Arc::new(file), length)?;
        Ok(Some(Found { header, reader }))
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// A snapshot whose header was read.
pub(in crate::kafka::table) struct Found {
    header: Header,
    reader: Reader<Arc<File>>,
}

impl Found {
    /// What it says of itself.
    pub(in crate::kafka::table) fn header(&self) -> &Header {
        &self.header
    }

    /// Puts its rows into `rows`, and tells how many, again and again.
    ///
    /// # Errors
    /// Why it may not be used; some of its rows may be in `rows`.
    pub(in crate::kafka::table) fn load(self, rows: &Rows, tell: impl Fn(u64) + Sync) -> Result<Header, Distrust> {
        rows.adopt(self.header.seed);
        let reader = Mutex::new(Some(self.reader));
        let load = Load { reader, said: 0.into(), read: 0.into(), next: &self.header.next, rows, tell };
        let ends: Vec<Result<(), Distrust>> = std::thread::scope(|scope| {
            let others: Vec<_> = (1..putting_threads()).map(|_| scope.spawn(|| load.blocks())).collect();
            let panicked = |_| Err(Distrust::Damaged("its rows make no sense"));
            let own = load.blocks();
            others.into_iter().map(|other| other.join().unwrap_or_else(panicked)).chain([own]).collect()
        });
        ends.into_iter().collect::<Result<(), Distrust>>()?;
        if load.said.into_inner() == load.read.into_inner() {
            Ok(self.header)
        } else {
            Err(Distrust::Damaged("rows are missing"))
        }
    }
}

/// What the threads that read a snapshot share.
struct Load<'l, T> {
    /// `None` once a thread read the end, or found damage.
    reader: Mutex<Option<Reader<Arc<File>>>>,
    /// Rows, as the end says.
    said: AtomicU64,
    /// Rows that were there.
    read: AtomicU64,
    next: &'l [Option<i64>],
    rows: &'l Rows,
    tell: T,
}

impl<T: Fn(u64)> Load<'_, T> {
    /// One thread's work: takes block after block.
    fn blocks(&self) -> Result<(), Distrust> {
        while let Some(unread) = self.next()? {
            let put = unread.read().and_then(|block| self.put(block));
            if put.is_err() {
                // The others need not go on.
                *self.reader.lock() = None;
            }
            (self.tell)(put?);
        }
        Ok(())
    }

    fn next(&self) -> Result<Option<Unread<Arc<File>>>, Distrust> {
        let mut reader = self.reader.lock();
        let Some(open) = reader.as_mut() else { return Ok(None) };
        let next = open.next();
        if let Ok(None) = next {
            self.said.store(open.rows(), Ordering::Relaxed);
        }
        if !matches!(next, Ok(Some(_))) {
            *reader = None;
        }
        next
    }

    /// Puts a block's rows into the table; returns how many rows were read so far, by all threads.
    fn put(&self, block: Mmap) -> Result<u64, Distrust> {
        // A partition that was not held whole is read from its beginning, and what was erased there may have left the
        // topic without a trace.
        let whole = |row: &Row<'_>| self.next_of(row).map(|next| next.is_some()).ok_or(());
        let put = self.rows.put_block(block, whole);
        let rows = put.map_err(|unput| match unput {
            Unput::Full => Distrust::Unreadable(Full.to_string()),
            Unput::NoRow => Distrust::Damaged("a row makes no sense"),
            Unput::Refused(()) => Distrust::Damaged("a row's partition does not exist"),
        })?;
        Ok(self.read.fetch_add(rows as u64, Ordering::Relaxed) + rows as u64)
    }

    fn next_of(&self, row: &Row<'_>) -> Option<Option<i64>> {
        usize::try_from(row.partition).ok().and_then(|partition| self.next.get(partition)).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::trust::Identity;
    use super::*;
    use crate::kafka::table::Entry;
    use crate::kafka::table::rows::Moving;
    use crate::model::Timestamp;

    fn header() -> Header {
        let identity = Identity {
            cluster: "cluster".to_owned(),
            topic: "notify.preferences".to_owned(),
            id: "id".to_owned(),
            partitions: 2,
        };
        Header { identity, as_of: Timestamp(1), next: vec![Some(1_000), Some(900)], rows: 300, seed: 7 }
    }

    fn table() -> Rows {
        let rows = Rows::default();
        for n in 0..300u16 {
            let (key, value) = (format!("default/u{n}"), vec![b'v'; usize::from(n)]);
            let value = (n % 7 != 0).then_some(value.as_slice());
            rows.put(key.as_bytes(), value, i32::from(n % 2), i64::from(n), i64::from(n)).unwrap();
        }
        rows
    }

    fn content(rows: &Rows) -> Vec<(u16, Option<Vec<u8>>, i64)> {
        let found = |n: u16| {
            rows.get(format!("default/u{n}").as_bytes(), |entry| match entry {
                Entry::Absent => None,
                Entry::Erased { offset, .. } => Some((n, None, offset)),
                Entry::Present { value, offset, .. } => Some((n, Some(value.to_vec()), offset)),
            })
        };
        (0..300).filter_map(found).collect()
    }

    fn recall(store: &Store) -> Result<Rows, Distrust> {
        let rows = Rows::default();
        store.open()?.unwrap().load(&rows, |_| {}).map(|_| rows)
    }

    #[test]
    fn a_table_is_the_same_after_it_was_written_and_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let (store, rows) = (Store::new(&folder.path().join("made/here"), "notify.preferences"), table());
        assert!(store.open().unwrap().is_none());
        let bytes = store.write(&header(), &rows).unwrap().unwrap();
        assert_eq!(fs::metadata(&store.file).unwrap().len(), bytes);
        let found = store.open().unwrap().unwrap();
        assert_eq!(found.header(), &header());
        let again = recall(&store).unwrap();
        assert_eq!((again.rows(), again.raw_bytes()), (rows.rows(), rows.raw_bytes()));
        assert_eq!(content(&again), content(&rows));
        assert!(!store.new.exists());
    }

    #[test]
    fn a_table_that_hashes_otherwise_holds_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (store, rows, again) = (Store::new(folder.path(), "t"), table(), Rows::default());
        store.write(&Header { seed: rows.seed(), ..header() }, &rows).unwrap();
        assert_ne!(again.seed(), rows.seed());
        store.open().unwrap().unwrap().load(&again, |_| {}).unwrap();
        assert_eq!(content(&again), content(&rows));
        let alike = recall(&store).unwrap();
        assert_eq!(alike.seed(), rows.seed());
        assert_eq!(content(&alike), content(&rows));
    }

    #[test]
    fn rows_of_a_partition_that_was_not_held_whole_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let (store, rows) = (Store::new(folder.path(), "t"), table());
        let part = Header { next: vec![Some(1_000), None], ..header() };
        store.write(&part, &rows).unwrap();
        let again = recall(&store).unwrap();
        let of_even: Vec<_> = content(&rows).into_iter().filter(|(n, ..)| n % 2 == 0).collect();
        assert_eq!(content(&again), of_even);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_table_lies_in_its_file_until_it_is_moved_in_whatever_becomes_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (store, rows) = (Store::new(folder.path(), "t"), table());
        store.write(&Header { seed: rows.seed(), ..header() }, &rows).unwrap();
        let file = store.file.display().to_string();
        let is_mapped = || fs::read_to_string("/proc/self/maps").unwrap().contains(&file);
        let again = recall(&store).unwrap();
        assert!(is_mapped());
        store.write(&Header { seed: rows.seed(), ..header() }, &again).unwrap();
        fs::write(&store.new, b"half").unwrap();
        assert_eq!(content(&recall(&store).unwrap()), content(&rows));
        fs::remove_file(&store.file).unwrap();
        assert_eq!(content(&again), content(&rows));
        let mut moving = Moving::default();
        while again.move_in(&mut moving) {}
        assert!(!is_mapped());
        assert_eq!(content(&again), content(&rows));
    }

    /// A table that began with a file one byte of which changed since.
    #[cfg(target_os = "linux")]
    fn changed_under(folder: &Path) -> Rows {
        use std::os::unix::fs::FileExt as _;
        let (store, rows) = (Store::new(folder, "t"), table());
        store.write(&Header { seed: rows.seed(), ..header() }, &rows).unwrap();
        let again = recall(&store).unwrap();
        let file = OpenOptions::new().write(true).open(&store.file).unwrap();
        let (whole, value) = (fs::read(&store.file).unwrap(), [b'v'; 299]);
        let at = whole.windows(value.len()).position(|window| window == value).unwrap();
        file.write_all_at(b"w", at as u64).unwrap();
        again
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn rows_that_changed_in_their_file_are_found_as_they_are_moved_in() {
        let folder = tempfile::tempdir().unwrap();
        let rows = changed_under(folder.path());
        assert!(!rows.is_damaged());
        let mut moving = Moving::default();
        while rows.move_in(&mut moving) {}
        assert!(rows.is_damaged());
        rows.clear();
        assert!(!rows.is_damaged());
    }

    #[test]
    fn only_the_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&folder.path().join("state"), "t");
        store.write(&header(), &table()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&store.file), mode(&store.lock), mode(&store.folder)), (0o600, 0o600, 0o700));
    }

    #[test]
    fn one_that_was_left_half_written_is_replaced_and_the_old_one_is_used_until_then() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path(), "t");
        store.write(&header(), &table()).unwrap();
        fs::write(&store.new, b"half").unwrap();
        assert_eq!(recall(&store).unwrap().rows(), 300);
        assert!(store.write(&header(), &table()).unwrap().is_some());
        assert!(!store.new.exists());
    }

    #[test]
    fn who_finds_another_writing_leaves_it_to_that_one() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path(), "t");
        store.write(&header(), &table()).unwrap();
        let lock = private().open(&store.lock).unwrap();
        lock.try_lock().unwrap();
        assert_eq!(store.write(&header(), &table()).unwrap(), None);
        drop(lock);
        assert!(store.write(&header(), &table()).unwrap().is_some());
    }

    #[test]
    fn a_flipped_byte_anywhere_and_a_cut_anywhere_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path(), "t");
        let rows = Rows::default();
        for n in 0..8i64 {
            rows.put(&n.to_be_bytes(), Some(b"value"), 0, n, n).unwrap();
        }
        store.write(&header(), &rows).unwrap();
        assert_eq!(recall(&store).unwrap().rows(), 8);
        let whole = fs::read(&store.file).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            fs::write(&store.file, flipped).unwrap();
            assert!(recall(&store).is_err(), "byte {at}");
            fs::write(&store.file, &whole[..at]).unwrap();
            assert!(recall(&store).is_err(), "cut to {at}");
        }
    }
}
