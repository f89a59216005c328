//! Memory is asked for before it is read.

#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "the standard library's safe prefetch (core::hint) is not stable yet")
)]

use super::row::CACHE_LINE;

/// Asks for each cache line of these bytes, and waits for none.
pub(super) fn prefetch(bytes: &[u8]) {
    for line in bytes.chunks(CACHE_LINE) {
        prefetch_line(line);
    }
}

#[cfg(target_arch = "x86_64")]
fn prefetch_line(line: &[u8]) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: every x86-64 processor has the instruction, which changes nothing that a program can see, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
}

/// Elsewhere a read that nobody waits for does nearly as well.
#[cfg(not(target_arch = "x86_64"))]
fn prefetch_line(line: &[u8]) {
    std::hint::black_box(line.first().copied());
}
