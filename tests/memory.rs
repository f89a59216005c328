//! What is held in memory, measured at the allocator: a table's rows cost at most 1.1 × (bytes of keys and values + 48 B a
//! key), before and after churn, not only by the table's own account; what metrics hold does not grow with use.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]
#![expect(unsafe_code, reason = "an allocator that counts is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use notilog::kafka::table::Rows;
use notilog::telemetry::metrics;

/// Counts what each thread holds, as a usual allocator would round it.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
}

/// An allocation's size with the 8 bytes before it, in steps of 16 and at least 32 (glibc); whole pages from 128 KiB on.
fn rounded(size: usize) -> isize {
    let size =
        if size >= 128 << 10 { (size + 16).next_multiple_of(4096) } else { (size + 8).next_multiple_of(16).max(32) };
    size.cast_signed()
}

fn count(change: isize) {
    // A thread that ends has no counter any more, and nobody who reads it.
    let _ = HELD.try_with(|held| held.set(held.get() + change));
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(rounded(layout.size()));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-rounded(layout.size()));
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Below zero where a thread freed what another one had allocated for it (the test runner does).
fn held() -> isize {
    HELD.with(Cell::get)
}

fn key(n: usize) -> Vec<u8> {
    format!("default/user-{n:08}").into_bytes()
}

/// 150 to 250 bytes, other lengths in each round.
fn value(n: usize, round: usize) -> Vec<u8> {
    vec![u8::try_from(round % 256).unwrap(); 150 + (n * 7 + round * 31) % 101]
}

fn put(rows: &Rows, n: usize, round: usize, value: Option<&[u8]>) {
    rows.put(&key(n), value, 0, i64::try_from(round).unwrap(), 0).unwrap();
}

/// The ratio to raw bytes + 48 B a key, and what the table itself says.
fn ratios(rows: &Rows, before: isize) -> (f64, f64) {
    let allowed = rows.raw_bytes() + 48 * rows.rows();
    let ratio = |bytes: usize| {
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        let ratio = bytes as f64 / allowed as f64;
        ratio
    };
    (ratio(usize::try_from(held() - before).unwrap()), ratio(rows.memory()))
}

#[track_caller]
fn within_bound(what: &str, rows: &Rows, before: isize) {
    let (measured, said) = ratios(rows, before);
    println!("{what}: {} rows, {measured:.3} of raw + 48 B a key; the table says {said:.3}", rows.rows());
    assert!(measured <= 1.1, "{what}: {measured}");
    assert!((measured - said).abs() < 0.02, "{what}: the table says {said}, the allocator {measured}");
}

#[test]
fn a_million_rows_take_at_most_a_tenth_more_than_their_bytes_and_48_each() {
    let before = held();
    let rows = Rows::default();
    for n in 0..1_000_000 {
        put(&rows, n, 0, Some(&value(n, 0)));
    }
    within_bound("written once", &rows, before);
    for n in (0..1_000_000).step_by(5) {
        put(&rows, n, 1, Some(&value(n, 1)));
    }
    within_bound("every fifth one rewritten", &rows, before);
    for n in (0..1_000_000).step_by(5) {
        put(&rows, n, 2, None);
    }
    within_bound("every fifth one erased", &rows, before);
}

#[test]
fn rewriting_every_key_twenty_times_in_changing_order_stays_within_the_bound() {
    let before = held();
    let rows = Rows::default();
    let keys = 60_000;
    for round in 0..=20 {
        for n in 0..keys {
            // A stride that is coprime to the number of keys: every key once, in another order each time.
            let n = (n * (7_921 + 10 * round)) % keys;
            put(&rows, n, round, Some(&value(n, round)));
        }
        within_bound(&format!("round {round}"), &rows, before);
    }
    assert_eq!(rows.rows(), keys);
}

#[test]
fn rows_of_every_size_stay_within_the_bound() {
    for length in [0, 10, 500, 1_000, 2_000, 5_000, 100_000] {
        let before = held();
        let rows = Rows::default();
        let count = (150_000_000 / (length + 1)).min(80_000);
        for round in 0..2 {
            for n in 0..count {
                put(&rows, n, round, Some(&vec![1; length + (n * 13 + round * 7) % (length / 4 + 1)]));
            }
        }
        within_bound(&format!("values from {length} B"), &rows, before);
    }
}

/// A sample is eight bytes; a router takes one for each decision.
#[test]
fn samples_of_histograms_that_nobody_scrapes_do_not_pile_up() {
    const SAMPLES: isize = 50_000;
    let exposition = metrics::install().unwrap();
    let latency = metrics::decision_latency();
    let round = || {
        (0..SAMPLES).for_each(|_| latency.record(0.1));
        exposition.keep_up();
        held()
    };
    let early = (0..3).fold(0, |_, _| round());
    let late = (0..20).fold(0, |_, _| round());
    assert!(late - early < SAMPLES * 8 * 2, "{} bytes more after twenty rounds", late - early);
}
