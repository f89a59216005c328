//! Time, by criterion.

use std::time::{Duration, Instant};

use criterion::Criterion;

use crate::work::{CASES, Case, Work};

/// Rows of a table: more than a cache holds.
const ROWS: usize = 500_000;

pub fn time() {
    let mut criterion = Criterion::default().configure_from_args();
    for case in CASES {
        // Made only when it is asked for: a table needs a while.
        let mut made = None;
        criterion.bench_function(case.name, |bencher| {
            let work = made.get_or_insert_with(|| Numbered { case, next: 0, work: (case.make)(ROWS) });
            bencher.iter_custom(|times| work.timed(times));
        });
    }
    criterion.final_summary();
}

/// A piece of work that is done with another number each time.
struct Numbered {
    case: &'static Case,
    next: usize,
    work: Box<dyn Work>,
}

impl Numbered {
    #[expect(clippy::disallowed_methods, reason = "it measures time")]
    fn timed(&mut self, times: u64) -> Duration {
        let (mut left, mut took) = (usize::try_from(times).unwrap(), Duration::ZERO);
        while left > 0 {
            let now = left.min(self.case.unbroken);
            let begun = Instant::now();
            (self.next..self.next + now).for_each(|number| self.work.once(number));
            took += begun.elapsed();
            (self.next, left) = (self.next + now, left - now);
            self.work.rest();
        }
        took
    }
}
