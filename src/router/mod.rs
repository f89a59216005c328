//! The router: shards that join events with preferences and write what follows in one transaction.
