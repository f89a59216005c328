//! What is known of messages that were sent: `notify.receipts` as a table, and before it what this worker itself wrote
//! and the table has not read yet.
//!
//! Invariant: what an open transaction writes is seen by the records that follow in it, and forgotten when it is not
//! committed.

use std::collections::HashMap;

use crate::kafka::{Entry, NotRestored, Table};

/// One worker's view.
pub struct Book {
    table: Table,
    /// Of the open transaction.
    pending: HashMap<Vec<u8>, Vec<u8>>,
    /// Committed; the table is behind.
    written: HashMap<Vec<u8>, Vec<u8>>,
}

impl Book {
    /// A view over a table.
    pub fn new(table: Table) -> Self {
        Book { table, pending: HashMap::new(), written: HashMap::new() }
    }

    /// The newest value of a key.
    ///
    /// # Errors
    /// [`NotRestored`] while the table is being read again.
    pub fn look_up(&self, key: &[u8]) -> Result<Option<Vec<u8>>, NotRestored> {
        match self.pending.get(key).or_else(|| self.written.get(key)) {
            Some(own) => Ok(Some(own.clone())),
            None => value_in(&self.table, key),
        }
    }

    /// The open transaction writes this.
    pub fn write(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.pending.insert(key, value);
    }

    /// The transaction is committed.
    pub fn committed(&mut self) {
        self.written.extend(self.pending.drain());
        let table = &self.table;
        self.written.retain(|key, value| value_in(table, key).ok().flatten().as_ref() != Some(value));
    }

    /// The transaction is not committed, or nobody knows: the table tells in the end.
    pub fn given_up(&mut self) {
        self.pending.clear();
    }

    /// The partitions are someone else's: what was written before says nothing any more.
    pub fn forget(&mut self) {
        self.pending.clear();
        self.written.clear();
    }
}

fn value_in(table: &Table, key: &[u8]) -> Result<Option<Vec<u8>>, NotRestored> {
    table.get(key, |entry| match entry {
        Entry::Present { value, .. } => Some(value.to_vec()),
        Entry::Absent | Entry::Erased { .. } => None,
    })
}
