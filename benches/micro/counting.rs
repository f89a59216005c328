//! Does one piece of work so often that what it costs once can be told; callgrind, around this process, counts.

use crate::work::{CASES, Work};

/// So often before it is counted: until every buffer, of every part of a table too, has its size.
const WARM_UP: usize = 2_000;
/// So often it is counted: until it does not show which keys come first.
const TIMES: usize = 10_000;
/// Rows of a table. Fewer than when time is taken, because callgrind needs long to fill it: instructions do not depend on
/// it, but for the index's few collisions.
const ROWS: usize = 20_000;

/// Prints the name of each piece of work, and how often [`count`] does it.
pub fn list() {
    CASES.iter().for_each(|case| println!("{} {}", case.name, TIMES.min(case.unbroken)));
}

/// Does it that often, and ends the process.
pub fn count(name: &str) -> ! {
    let case = CASES.iter().find(|case| case.name == name).unwrap();
    let mut work = (case.make)(ROWS);
    (0..WARM_UP.min(case.unbroken)).for_each(|number| work.once(number));
    work.rest();
    from_here_on(&mut *work, TIMES.min(case.unbroken))
}

/// Callgrind knows it by this name, puts away what it counted before, and so counts nothing else in this thread: the
/// process ends without what libraries have registered for its end.
#[inline(never)]
fn from_here_on(work: &mut dyn Work, times: usize) -> ! {
    for number in WARM_UP..WARM_UP + times {
        work.once(number);
    }
    signal_hook::low_level::exit(0)
}
