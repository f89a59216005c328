//! Where a key lands: the hash of Java's default partitioner, so that one key can be read from one partition.

/// The partition of `key` among `count`, as `murmur2_random` (librdkafka) and Java's default partitioner choose it.
pub fn partition_of(key: &[u8], count: i32) -> i32 {
    let positive = murmur2(key) & 0x7fff_ffff;
    i32::try_from(positive).unwrap_or(0) % count.max(1)
}

/// Murmur2 with Kafka's seed (`org.apache.kafka.common.utils.Utils.murmur2`).
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let mix = |k: u32| {
        let k = k.wrapping_mul(M);
        (k ^ (k >> 24)).wrapping_mul(M)
    };
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let (words, tail) = data.as_chunks::<4>();
    let mut h = words.iter().fold(SEED ^ length, |h, word| h.wrapping_mul(M) ^ mix(u32::from_le_bytes(*word)));
    if !tail.is_empty() {
        h ^= tail.iter().rev().fold(0, |word, byte| (word << 8) | u32::from(*byte));
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    // The vectors of Kafka's own UtilsTest.testMurmur2.
    #[rstest]
    #[case("21", -973_932_308)]
    #[case("foobar", -790_332_482)]
    #[case("a-little-bit-long-string", -985_981_536)]
    #[case("a-little-bit-longer-string", -1_486_304_829)]
    #[case("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971)]
    #[case("abc", 479_470_107)]
    fn hashes_as_java_does(#[case] key: &str, #[case] expected: i32) {
        assert_eq!(murmur2(key.as_bytes()).cast_signed(), expected);
    }

    #[test]
    fn every_key_lands_within_the_partitions() {
        assert!((0..1_000).all(|n: i32| (0..6).contains(&partition_of(n.to_string().as_bytes(), 6))));
    }
}
