//! Hashes of keys. A table and its snapshot hash by one seed, so that what lay together in memory lies together in the
//! file, and again in memory.
//!
//! The seed is drawn at random and stands only where the rows do: who chooses a name cannot choose its hash.

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;

use crate::telemetry::random;

/// See the module.
pub(super) struct Hashing {
    seed: u64,
    shared: SharedSeed,
}

impl Hashing {
    /// By this seed; equal in every process that runs the same version of the hash.
    pub(super) fn by(seed: u64) -> Self {
        Hashing { seed, shared: SharedSeed::from_u64(seed) }
    }

    /// By a seed that nobody knows.
    pub(super) fn random() -> Self {
        let (high, low) = random::uuid().as_u64_pair();
        Hashing::by(high ^ low.rotate_left(32))
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn of(&self, key: &[u8]) -> u64 {
        use std::hash::Hasher as _;
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        hasher.write(key);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_hash_and_another_seed_another() {
        let (ours, same, other) = (Hashing::by(7), Hashing::by(7), Hashing::by(8));
        assert_eq!((ours.seed(), ours.of(b"default/ada")), (7, same.of(b"default/ada")));
        assert_ne!(ours.of(b"default/ada"), other.of(b"default/ada"));
        assert_ne!(Hashing::random().seed(), Hashing::random().seed());
    }
}
