//! The fault suite: each of the cases of docs/guarantees.md by its name, on real brokers, with the program as processes
//! that are killed, stopped and lied to. What came of it is judged by clients that are not notilog's.
//!
//! One case at a time: they share two cores and, some of them, a broker that they kill. `dev/faults` runs them all.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]
#![expect(clippy::disallowed_methods, reason = "ports and folders of the services come from the environment")]

mod brokers;
mod coordinator;
mod delivering;
mod input;
mod kills;
mod late_end;
mod pressure;
#[allow(dead_code, reason = "not every test needs every fault")]
mod proxy;
mod rebalances;
mod restore;
#[allow(dead_code, reason = "not every test needs every part of the scene")]
mod scene;
#[allow(dead_code, reason = "shared with tests/chaos")]
mod schedule;
#[allow(dead_code, reason = "shared with tests/it")]
#[path = "../it/stand_in.rs"]
mod stand_in;
#[allow(dead_code, reason = "shared with tests/it")]
#[path = "../it/support.rs"]
mod support;
mod zombies;
