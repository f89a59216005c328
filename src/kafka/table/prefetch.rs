//! Memory is asked for before it is read.

#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "the standard library's safe prefetch (core::hint) is not stable yet")
)]

/// Asks for the cache line in which `what` begins, and does not wait for it.
#[cfg(target_arch = "x86_64")]
pub(super) fn prefetch<T: Copy>(what: &T) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: every x86-64 processor has the instruction, which changes nothing that a program can see, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(what).cast()) };
}

/// Elsewhere a read that nobody waits for does nearly as well.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn prefetch<T: Copy>(what: &T) {
    std::hint::black_box(*what);
}
