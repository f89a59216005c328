//! Which notification of a collapse key is the newest, so that what waited is not sent after it.
//!
//! A mark stands for one recipient's endpoint, a collapse key and a replay. The later of two is the one that was decided
//! later, in the same millisecond the one that stands later in its topic. A redrive keeps its decision, and with it its
//! place: what was superseded stays so, and it supersedes nothing. A replay has marks of its own.
//!
//! Invariants: pure. Nothing is overtaken but by one that came after it and was seen; the newest never is. Memory is
//! bounded for each partition: what is forgotten supersedes nothing any more, and what it would have is sent.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::model::{Outbound, Timestamp};

/// So many marks of a partition are remembered at least, and at most twice as many.
const REMEMBERED: usize = 16_384;

/// Stands for a recipient's endpoint, a collapse key and a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark(u128);

impl Mark {
    /// The mark of a notification, as if it went to `address`; none without a collapse key.
    pub fn at(outbound: &Outbound<'_>, address: &str) -> Option<Mark> {
        let key = outbound.collapse_key?;
        let mut hash = Sha256::new();
        for part in [outbound.tenant, outbound.user_id, address, key, outbound.replay_id.unwrap_or_default()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest: [u8; 32] = hash.finalize().into();
        Some(Mark(digest.iter().take(16).fold(0, |sum, byte| sum << 8 | u128::from(*byte))))
    }

    /// The mark of a notification.
    pub fn of(outbound: &Outbound<'_>) -> Option<Mark> {
        Mark::at(outbound, outbound.address)
    }
}

/// Where a notification stands among those of its mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// When the router decided it.
    pub decided_at: Timestamp,
    /// Where it was first written: its offset in the topic of first attempts; zero where it waited from the start.
    pub offset: i64,
    /// Whose it is. A repeat of the same one overtakes nothing.
    pub id: Uuid,
}

/// The newest notification of each mark, by partition number.
#[derive(Debug, Default)]
pub struct Newest {
    partitions: BTreeMap<i32, Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Mark, Place>,
    old: HashMap<Mark, Place>,
}

impl Generations {
    fn get(&self, mark: Mark) -> Option<Place> {
        self.young.get(&mark).or_else(|| self.old.get(&mark)).copied()
    }
}

impl Newest {
    /// A notification of this mark was seen.
    pub fn note(&mut self, partition: i32, mark: Mark, place: Place) {
        let known = self.partitions.entry(partition).or_default();
        let newest = known.get(mark).map_or(place, |newest| newest.max(place));
        known.young.insert(mark, newest);
        if known.young.len() >= REMEMBERED {
            known.old = std::mem::take(&mut known.young);
        }
    }

    /// Whether a later notification of this mark was seen.
    pub fn overtakes(&self, partition: i32, mark: Mark, place: Place) -> bool {
        let newest = self.partitions.get(&partition).and_then(|known| known.get(mark));
        newest.is_some_and(|newest| newest > place && newest.id != place.id)
    }

    /// A partition is someone else's, or begins anew.
    pub fn forget(&mut self, partition: i32) {
        self.partitions.remove(&partition);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::delivery::samples;

    fn collapsing(key: &'static str) -> Outbound<'static> {
        Outbound { collapse_key: Some(key), ..samples::outbound() }
    }

    fn place(decided_at: i64, offset: i64, id: u128) -> Place {
        Place { decided_at: Timestamp(decided_at), offset, id: Uuid::from_u128(id) }
    }

    #[test]
    fn without_a_collapse_key_there_is_no_mark() {
        assert_eq!(Mark::of(&samples::outbound()), None);
    }

    #[rstest]
    #[case::of_the_key(Outbound { collapse_key: Some("b"), ..collapsing("a") })]
    #[case::of_the_address(Outbound { address: "ada@elsewhere.example", ..collapsing("a") })]
    #[case::of_the_user(Outbound { user_id: "bob", ..collapsing("a") })]
    #[case::of_the_tenant(Outbound { tenant: "other", ..collapsing("a") })]
    #[case::of_the_replay(Outbound { replay_id: Some("r"), ..collapsing("a") })]
    #[case::of_where_one_part_ends(Outbound { user_id: "adaada@example.org", address: "", ..collapsing("a") })]
    fn a_mark_is_one(#[case] other: Outbound<'static>) {
        assert_ne!(Mark::of(&other), Mark::of(&collapsing("a")));
    }

    #[test]
    fn what_makes_no_difference_to_the_recipient_makes_none_to_the_mark() {
        let other = Outbound { event_id: "e-2", decided_at: Timestamp(7), data: "{\"a\":1}", ..collapsing("a") };
        assert_eq!(Mark::of(&other), Mark::of(&collapsing("a")));
    }

    #[rstest]
    #[case::a_later_decision(place(2, 1, 2), true)]
    #[case::an_earlier_decision(place(0, 9, 2), false)]
    #[case::in_the_same_millisecond_the_later_offset(place(1, 6, 2), true)]
    #[case::in_the_same_millisecond_the_earlier_offset(place(1, 4, 2), false)]
    #[case::itself(place(1, 5, 1), false)]
    #[case::a_repeat_of_itself(place(2, 9, 1), false)]
    fn overtaking(#[case] seen: Place, #[case] overtakes: bool) {
        let (mut newest, mark) = (Newest::default(), Mark::of(&collapsing("a")).unwrap());
        newest.note(0, mark, place(1, 5, 1));
        newest.note(0, mark, seen);
        assert_eq!(newest.overtakes(0, mark, place(1, 5, 1)), overtakes);
    }

    #[test]
    fn partitions_know_nothing_of_each_other_and_a_forgotten_one_nothing_at_all() {
        let (mut newest, mark) = (Newest::default(), Mark::of(&collapsing("a")).unwrap());
        newest.note(0, mark, place(2, 0, 2));
        assert!(!newest.overtakes(1, mark, place(1, 0, 1)));
        newest.forget(0);
        assert!(!newest.overtakes(0, mark, place(1, 0, 1)));
    }

    #[test]
    fn memory_is_bounded_and_what_was_seen_last_is_still_known() {
        let mut newest = Newest::default();
        for n in 0..10 * REMEMBERED as u128 {
            newest.note(0, Mark(n), place(2, 0, 2));
        }
        let known = &newest.partitions[&0];
        assert!(known.young.len() + known.old.len() <= 2 * REMEMBERED);
        let last = 10 * REMEMBERED as u128;
        assert!((last - REMEMBERED as u128..last).all(|n| newest.overtakes(0, Mark(n), place(1, 0, 1))));
    }

    proptest! {
        /// However notifications of a few marks come, in whatever order they are seen again: the newest of each is
        /// never overtaken, and all others are once it was seen.
        #[test]
        fn all_but_the_newest_are_overtaken(seen in prop::collection::vec((0u128..3, 0i64..4, 0i64..4), 1..40)) {
            let mut newest = Newest::default();
            let all: Vec<(Mark, Place)> = seen.iter().zip(1u128..)
                .map(|((mark, decided_at, offset), id)| (Mark(*mark), place(*decided_at, *offset, id)))
                .collect();
            for (mark, place) in &all {
                newest.note(0, *mark, *place);
            }
            for (mark, place) in &all {
                let later = all.iter().any(|(other, than)| other == mark && than > place);
                prop_assert_eq!(newest.overtakes(0, *mark, *place), later);
            }
        }
    }
}
