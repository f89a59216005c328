//! What the parts of the router's way cost, each by itself:
//!
//! - `cargo bench --bench micro [NAME]`: time, by criterion;
//! - `benches/micro/run`: instructions and allocations, by callgrind, beside the baseline in `baseline.json`. It calls
//!   this program with `list`, and under valgrind with `count NAME`.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on says so by panicking")]

// The library's own sources as modules of this program, as far as the router needs them: what cannot be reached from here
// is not compiled. To link the library would be to compile all of it with optimisation, for minutes in each check.
#[allow(warnings, reason = "the library's, and checked there")]
#[path = "../../src/audience/mod.rs"]
mod audience;
#[allow(warnings, reason = "the library's, and checked there")]
#[path = "../../src/config/mod.rs"]
mod config;
#[allow(warnings, reason = "the library's, and checked there")]
#[path = "../../src/decide/mod.rs"]
mod decide;
#[allow(warnings, reason = "the library's, and checked there")]
#[path = "../../src/join/mod.rs"]
mod join;
#[allow(warnings, reason = "the library's, and checked there")]
#[path = "../../src/kafka/mod.rs"]
mod kafka;
#[allow(warnings, reason = "the library's, and checked there")]
#[path = "../../src/model/mod.rs"]
mod model;
#[allow(warnings, reason = "the library's, and checked there")]
#[path = "../../src/policy/mod.rs"]
mod policy;
#[allow(warnings, reason = "the library's, and checked there")]
#[path = "../../src/router/mod.rs"]
mod router;
#[allow(warnings, reason = "the library's, and checked there")]
#[path = "../../src/suppression/mod.rs"]
mod suppression;
#[allow(warnings, reason = "the library's, and checked there")]
#[path = "../../src/telemetry/mod.rs"]
mod telemetry;
#[allow(warnings, reason = "the library's, and checked there")]
#[path = "../../src/wire/mod.rs"]
mod wire;

mod counting;
mod data;
mod pipeline;
mod timing;
mod work;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["list"] => counting::list(),
        ["count", name] => counting::count(name),
        _ => timing::time(),
    }
}
