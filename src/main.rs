//! Parse, run one command.

/// Serves librdkafka's C code too (feature `override_allocator_on_supported_platforms`): most of what is allocated on one
/// of its threads is freed on another; docs/performance.md.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    notilog::telemetry::faults::arm();
    notilog::cli::main().leave()
}
