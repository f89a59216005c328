//! Which snapshots may be used. Pure: what the cluster says and the time are arguments.
//!
//! Each rule is one function. What they guard against: a snapshot of another topic, also of one that was deleted and
//! created anew under the same name; one that cannot know of an erase whose tombstone the topic dropped meanwhile; one
//! that the log does not go on from, because it was truncated, or records between were deleted. Compaction does neither
//! move a log's beginning nor its end.

use std::time::Duration;

use super::{Distrust, Header};
use crate::model::Timestamp;
use crate::telemetry::faults::{self, Breakage};

/// Which topic of which cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kafka::table) struct Identity {
    pub(in crate::kafka::table) cluster: String,
    pub(in crate::kafka::table) topic: String,
    /// The one that the cluster gave the topic when it was created; empty when it gives none.
    pub(in crate::kafka::table) id: String,
    pub(in crate::kafka::table) partitions: usize,
}

/// What the cluster says of the topic now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kafka::table) struct Log {
    pub(in crate::kafka::table) identity: Identity,
    /// How long a tombstone is kept at least, once all that is older was cleaned away.
    pub(in crate::kafka::table) delete_retention: Duration,
    /// Where the log of each partition begins and ends.
    pub(in crate::kafka::table) bounds: Vec<(i64, i64)>,
}

/// Clocks of machines that are kept in step differ by less.
const CLOCKS_APART: Duration = Duration::from_secs(60);

/// Whether a snapshot with this header may be used.
///
/// # Errors
/// Why not.
pub(super) fn judge(header: &Header, log: &Log, now: Timestamp) -> Result<(), Distrust> {
    is_of(&header.identity, &log.identity)?;
    is_young(header.as_of, log.delete_retention, now)?;
    goes_on(&header.next, &log.bounds)
}

/// It is of this very topic.
fn is_of(theirs: &Identity, ours: &Identity) -> Result<(), Distrust> {
    if ours.id.is_empty() || ours.cluster.is_empty() {
        return Err(Distrust::Unidentified);
    }
    let partitions = |identity: &Identity| identity.partitions.to_string();
    let facts = [
        ("cluster", theirs.cluster.clone(), ours.cluster.clone()),
        ("topic", theirs.topic.clone(), ours.topic.clone()),
        ("topic's id", theirs.id.clone(), ours.id.clone()),
        ("number of partitions", partitions(theirs), partitions(ours)),
    ];
    let foreign = |(what, theirs, ours)| Distrust::Foreign { what, theirs, ours };
    facts.into_iter().find(|(_, theirs, ours)| theirs != ours).map(foreign).map_or(Ok(()), Err)
}

/// No tombstone that came after it can be gone: the topic keeps each for `delete_retention` at least. Half of that, for
/// the time that reading on takes and for clocks that differ.
fn is_young(as_of: Timestamp, delete_retention: Duration, now: Timestamp) -> Result<(), Distrust> {
    if faults::broken(Breakage::SnapshotAge) {
        return Ok(());
    }
    if as_of > now.plus(CLOCKS_APART.min(delete_retention / 4)) {
        Err(Distrust::Early { as_of })
    } else if now.since(as_of) > delete_retention / 2 {
        Err(Distrust::Aged { as_of })
    } else {
        Ok(())
    }
}

/// Each partition's log has all that followed.
fn goes_on(next: &[Option<i64>], bounds: &[(i64, i64)]) -> Result<(), Distrust> {
    let parts = next.iter().zip(bounds).enumerate();
    let lost = parts.into_iter().find_map(|(partition, (next, (low, high)))| {
        let next = (*next).filter(|next| !(*low..=*high).contains(next))?;
        Some(Distrust::Offsets { partition, next, low: *low, high: *high })
    });
    lost.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const NOW: Timestamp = Timestamp(1_763_900_000_000);

    fn log() -> Log {
        let identity = Identity {
            cluster: "cluster".to_owned(),
            topic: "notify.preferences".to_owned(),
            id: "id".to_owned(),
            partitions: 2,
        };
        Log { identity, delete_retention: 10 * HOUR, bounds: vec![(0, 100), (40, 50)] }
    }

    fn header() -> Header {
        Header { identity: log().identity, as_of: NOW.minus(HOUR), next: vec![Some(100), Some(40)], rows: 0, seed: 0 }
    }

    fn judged(change: impl FnOnce(&mut Header, &mut Log)) -> Result<(), Distrust> {
        let (mut header, mut log) = (header(), log());
        change(&mut header, &mut log);
        judge(&header, &log, NOW)
    }

    #[test]
    fn one_of_this_topic_that_is_young_and_that_the_log_goes_on_from_is_used() {
        assert_eq!(judged(|_, _| {}), Ok(()));
    }

    #[rstest]
    #[case::cluster("cluster", |log: &mut Log| log.identity.cluster = "other".to_owned())]
    #[case::topic("topic", |log: &mut Log| log.identity.topic = "other".to_owned())]
    #[case::created_anew("topic's id", |log: &mut Log| log.identity.id = "other".to_owned())]
    #[case::raised("number of partitions", |log: &mut Log| log.identity.partitions = 3)]
    fn one_of_another_topic_is_foreign(#[case] differs: &str, #[case] change: fn(&mut Log)) {
        let judged = judged(|_, log| change(log));
        assert!(matches!(&judged, Err(Distrust::Foreign { what, .. }) if *what == differs), "{judged:?}");
    }

    #[test]
    fn without_a_topic_id_none_is_used_even_when_the_snapshot_has_none_either() {
        let judged = judged(|header, log| {
            header.identity.id.clear();
            log.identity.id.clear();
        });
        assert_eq!(judged, Err(Distrust::Unidentified));
    }

    #[test]
    fn one_older_than_half_of_the_tombstones_life_could_bring_back_the_erased() {
        let aged = |by: Duration| judged(|header, _| header.as_of = NOW.minus(by));
        assert_eq!(aged(5 * HOUR), Ok(()));
        assert!(matches!(aged(5 * HOUR + Duration::from_millis(1)), Err(Distrust::Aged { .. })));
    }

    #[test]
    fn where_tombstones_are_not_kept_at_all_none_but_this_very_moments_is_used() {
        let judged = judged(|_, log| log.delete_retention = Duration::ZERO);
        assert!(matches!(judged, Err(Distrust::Aged { .. })));
    }

    #[test]
    fn one_from_the_future_has_an_age_that_nobody_knows() {
        let early = |by: Duration| judged(|header, _| header.as_of = NOW.plus(by));
        assert_eq!(early(CLOCKS_APART), Ok(()));
        assert!(matches!(early(CLOCKS_APART + Duration::from_millis(1)), Err(Distrust::Early { .. })));
    }

    #[test]
    fn a_log_that_ends_before_it_was_truncated_or_is_another() {
        let judged = judged(|header, _| header.next[0] = Some(101));
        assert_eq!(judged, Err(Distrust::Offsets { partition: 0, next: 101, low: 0, high: 100 }));
    }

    #[test]
    fn a_log_that_begins_after_it_lost_records_that_it_does_not_know() {
        let judged = judged(|header, _| header.next[1] = Some(39));
        assert_eq!(judged, Err(Distrust::Offsets { partition: 1, next: 39, low: 40, high: 50 }));
    }

    #[test]
    fn a_partition_that_is_not_in_it_is_not_judged() {
        assert_eq!(judged(|header, _| header.next = vec![None, Some(50)]), Ok(()));
    }
}
