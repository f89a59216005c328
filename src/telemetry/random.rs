//! The one place that draws randomness.

use uuid::Uuid;

/// A random UUID, for replay nonces and instance names.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn uuid() -> Uuid {
    Uuid::new_v4()
}

/// A fraction in `0.0..1.0`, for jitter.
pub fn fraction() -> f64 {
    // The low 53 bits of a v4 UUID are random; 2^53 distinct values fill a double's mantissa.
    #[expect(clippy::cast_precision_loss, reason = "exact: 53 bits fit")]
    let numerator = (uuid().as_u128() & ((1 << 53) - 1)) as f64;
    numerator / 9_007_199_254_740_992.0
}
