//! Tables of several sizes without a broker: what they take of memory, at rest and at most, and how fast they answer.
//!
//! Each size in each round is a process of its own, so that what is resident is that table's alone.

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use notilog::kafka::table::{Entry, Rows};
use serde_json::{Value, json};

use crate::median;

/// What a table may take for a row besides its bytes.
const OVERHEAD: usize = 48;
/// Look-ups and updates that are timed.
const ASKED: usize = 1_000_000;
/// Distinct recipients among them, made beforehand.
const ASKERS: usize = 250_000;

/// Measures each size so many times in turn, in processes of their own.
pub fn all(sizes: &[usize], rounds: usize, path: Option<&Path>) {
    let mut runs: Vec<Vec<Value>> = vec![Vec::new(); sizes.len()];
    for _ in 0..rounds {
        for (rows, runs) in sizes.iter().zip(&mut runs) {
            let this = std::env::current_exe().unwrap();
            let output = Command::new(this).args(["--rows", &rows.to_string()]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            runs.push(serde_json::from_slice(&output.stdout).unwrap());
        }
    }
    println!(
        "     rows   B a row  resident  at most   rewritten   look-up ns  update ns  put ns   (medians of {rounds})"
    );
    for (rows, runs) in sizes.iter().zip(&runs) {
        let of = |name: &str| median(&runs.iter().map(|run| run[name].as_f64().unwrap()).collect::<Vec<f64>>());
        println!(
            "{rows:>9}  {:>8.1}  {:>8.3}  {:>7.3}  {:>10.3}  {:>11.0}  {:>9.0}  {:>6.0}",
            of("resident_bytes_a_row"),
            of("resident"),
            of("most"),
            of("rewritten"),
            of("look_up_ns"),
            of("update_ns"),
            of("put_ns"),
        );
    }
    println!(
        "resident, at most, and once a twentieth was rewritten: × (bytes of keys and values + {OVERHEAD} B a row)"
    );
    if let Some(path) = path {
        std::fs::write(path, format!("{:#}\n", json!(runs.concat()))).unwrap();
    }
}

/// Fills a table and prints what came of it.
pub fn one(count: usize) {
    let before = status("VmRSS:");
    let rows = Rows::default();
    let begun = Instant::now();
    (0..count).for_each(|n| put(&rows, n, 0));
    let put_ns = nanos(begun, count);
    let (resident, most) = (status("VmRSS:") - before, status("VmHWM:") - before);
    let allowed = rows.raw_bytes() + OVERHEAD * rows.rows();
    let said = rows.memory();

    let keys: Vec<Vec<u8>> = (0..ASKERS).map(|n| key(scattered(n) % count)).collect();
    let asked = keys.iter().cycle().take(ASKED);
    let begun = Instant::now();
    let found = asked.filter(|key| rows.get(key, |entry| read(&entry))).count();
    let look_up_ns = nanos(begun, ASKED);
    assert_eq!(found, ASKED, "each key is there");
    drop(keys);

    // Other lengths: rows move, and what is dead is cleared away.
    let rewritten = (count / 20).max(1);
    let begun = Instant::now();
    (0..rewritten).for_each(|n| put(&rows, scattered(n) % count, 1));
    let update_ns = nanos(begun, rewritten);
    let allowed_then = rows.raw_bytes() + OVERHEAD * rows.rows();
    let result = json!({
        "rows": rows.rows(),
        "raw_bytes": rows.raw_bytes(),
        "resident_bytes_a_row": ratio(resident, count),
        "resident": ratio(resident, allowed),
        "most": ratio(most, allowed),
        "said": ratio(said, allowed),
        "rewritten": ratio(rows.memory(), allowed_then),
        "put_ns": put_ns,
        "look_up_ns": look_up_ns,
        "update_ns": update_ns,
    });
    println!("{result}");
}

fn put(rows: &Rows, n: usize, round: usize) {
    // 250 B on average, the key among them.
    let mut value = [0x5a; 300];
    value[..8].copy_from_slice(&scattered(n).to_le_bytes());
    let length = 199 + (n * 7 + round * 31) % 61;
    rows.put(&key(n), Some(&value[..length]), 0, i64::try_from(count_of(n, round)).unwrap(), 0).unwrap();
}

/// Offsets rise.
fn count_of(n: usize, round: usize) -> usize {
    round * 1_000_000_000 + n
}

fn key(n: usize) -> Vec<u8> {
    format!("default/user-{n:08}").into_bytes()
}

/// Touches each cache line of a value, as who decodes it does; false when there is none.
fn read(entry: &Entry<'_>) -> bool {
    let Entry::Present { value, .. } = entry else { return false };
    black_box(value.iter().step_by(64).fold(0u8, |sum, byte| sum.wrapping_add(*byte)));
    true
}

/// Spreads numbers evenly, so that a row is seldom in a cache.
fn scattered(n: usize) -> usize {
    let mut z = (n as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from((z ^ (z >> 31)) >> 1).unwrap()
}

/// Bytes that the kernel counts for this process.
fn status(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

fn nanos(begun: Instant, count: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    let count = count as f64;
    begun.elapsed().as_secs_f64() * 1e9 / count
}

#[expect(clippy::cast_precision_loss, reason = "a ratio")]
fn ratio(part: usize, of: usize) -> f64 {
    part as f64 / of as f64
}
