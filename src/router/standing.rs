//! Where a partition that became ours begins, or why nobody can tell.
//!
//! Pure. A committed offset that is missing is either lost or was never there, and what to do is the opposite: starting
//! over would send 30 days of notifications again, skipping would lose new ones. `notify.inputs` tells which; where it
//! cannot, an operator has to say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::kafka::{Bounds, TopicPartition};
use crate::model::{Known, Timestamp};

/// What is known of a partition.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The group's committed offset.
    pub committed: Option<i64>,
    /// What its log holds.
    pub bounds: Bounds,
    /// The id that its topic got when it was created.
    pub topic_id: &'a str,
    /// What `notify.inputs` says of it.
    pub known: Option<&'a Known>,
    /// The id of `notify.inputs`.
    pub register_id: &'a str,
    /// The group has begun here.
    pub begun: bool,
    /// Someone has routed here before.
    pub decided: bool,
    /// Its records come in transactions alone: the marker of one follows each of them.
    pub marked: bool,
}

/// Where a partition begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Where the group stands.
    Goes(i64),
    /// Here, for the first time: `notify.inputs` has to say so from now on.
    First(i64),
    /// Nobody can tell.
    Lost(Loss),
}

/// How a place was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// There is no committed offset any more.
    NoOffset,
    /// Records were deleted before they were read.
    Deleted {
        /// Where the group stands.
        committed: i64,
        /// Where the log begins.
        begins: i64,
    },
    /// The log ends before it.
    Beyond {
        /// Where the group stands.
        committed: i64,
        /// Where the log ends.
        ends: i64,
    },
    /// The topic is another one of the same name, and there is an offset all the same.
    OtherTopic {
        /// Where the group stands.
        committed: i64,
    },
    /// `notify.inputs` was copied from another cluster, the offsets were not.
    Copied,
    /// The group never read here, and someone has routed before.
    OtherGroup,
}

/// Says where a partition begins.
pub fn judge(facts: &Facts<'_>) -> Verdict {
    match (facts.known, facts.committed) {
        (Some(known), None) if known.topic_id == facts.topic_id => Verdict::Lost(Loss::NoOffset),
        (Some(known), Some(at)) if known.topic_id == facts.topic_id => within(at, facts, Verdict::Goes),
        (Some(_), Some(committed)) => Verdict::Lost(Loss::OtherTopic { committed }),
        // Created anew: a new topic.
        (Some(known), None) if known.register_id == facts.register_id => Verdict::First(facts.bounds.begins),
        (Some(_), None) => Verdict::Lost(Loss::Copied),
        (None, Some(at)) => within(at, facts, Verdict::First),
        (None, None) if facts.decided && !facts.begun => Verdict::Lost(Loss::OtherGroup),
        (None, None) => Verdict::First(facts.bounds.begins),
    }
}

fn within(committed: i64, facts: &Facts<'_>, fine: fn(i64) -> Verdict) -> Verdict {
    let Bounds { begins, ends } = facts.bounds;
    match committed {
        // A record that was not read would take its marker's offset as well: this was the marker of the last one read.
        _ if facts.marked && committed + 1 == begins => fine(begins),
        _ if committed < begins => Verdict::Lost(Loss::Deleted { committed, begins }),
        _ if committed > ends => Verdict::Lost(Loss::Beyond { committed, ends }),
        _ => fine(committed),
    }
}

impl Loss {
    /// Whether it may be a coordinator's or leader's passing answer (KAFKA-20416): worth asking again for a while.
    pub fn may_pass(self) -> bool {
        match self {
            Loss::NoOffset | Loss::Deleted { .. } | Loss::Beyond { .. } => true,
            Loss::OtherTopic { .. } | Loss::Copied | Loss::OtherGroup => false,
        }
    }

    /// The committed offset, where there is one.
    pub fn committed(self) -> Option<i64> {
        match self {
            Loss::Deleted { committed, .. } | Loss::Beyond { committed, .. } | Loss::OtherTopic { committed } => {
                Some(committed)
            }
            Loss::NoOffset | Loss::Copied | Loss::OtherGroup => None,
        }
    }

    /// Where to go on, in the likeliest case; `worked` is when the router last wrote a decision.
    fn advice(self, worked: Option<Timestamp>) -> When {
        match self {
            Loss::Deleted { .. } => When::Earliest,
            Loss::Beyond { .. } => When::Latest,
            Loss::OtherTopic { .. } => When::Committed,
            Loss::NoOffset | Loss::Copied | Loss::OtherGroup => worked.map_or(When::Latest, When::At),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::NoOffset => f.write_str("it was read before, and its committed offset is gone: expired or deleted"),
            Loss::Deleted { committed, begins } => {
                write!(
                    f,
                    "the group stands at {committed}, and the log begins at {begins}: what lay between was deleted unread"
                )
            }
            Loss::Beyond { committed, ends } => {
                write!(f, "the group stands at {committed}, and the log ends at {ends}: its tail was lost or cut off")
            }
            Loss::OtherTopic { committed } => {
                write!(f, "the topic was created anew, and the group stands at {committed} all the same")
            }
            Loss::Copied => f.write_str("the records were copied from another cluster, the group's offsets were not"),
            Loss::OtherGroup => f.write_str(
                "this group never read here, and another one has routed before; if router.group was changed by \
                 mistake, change it back",
            ),
        }
    }
}

/// Where an operator wants to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At the first record that is still there: what was routed before is routed again.
    Earliest,
    /// After the last record: what was not routed is skipped.
    Latest,
    /// At the committed offset, where there is one within the log.
    Committed,
    /// At the first record written at or after this moment.
    At(Timestamp),
}

impl std::str::FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => Ok(When::Earliest),
            "latest" => Ok(When::Latest),
            "committed" => Ok(When::Committed),
            time => time.parse::<jiff::Timestamp>().map(|at| When::At(at.into())).map_err(|_| {
                format!("`{time}` is not earliest, latest, committed or a moment, as in `2026-11-21T18:00:00Z`")
            }),
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            When::Earliest => f.write_str("earliest"),
            When::Latest => f.write_str("latest"),
            When::Committed => f.write_str("committed"),
            When::At(moment) => write!(f, "{moment}"),
        }
    }
}

/// `--from`: where to go on in partitions whose place is lost, and nowhere else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restart {
    /// For all topics that are not named.
    pub all: Option<When>,
    /// By topic, with or without the prefix.
    pub topics: BTreeMap<String, When>,
    /// Who says so.
    pub actor: String,
}

impl Restart {
    /// What an operator said for a topic.
    pub fn of(&self, topic: &str, prefix: &str) -> Option<When> {
        let bare = topic.strip_prefix(prefix).unwrap_or(topic);
        self.topics.get(topic).or_else(|| self.topics.get(bare)).copied().or(self.all)
    }

    /// Whether anything was said.
    pub fn is_empty(&self) -> bool {
        self.all.is_none() && self.topics.is_empty()
    }
}

/// Where to go on when an operator says so; `None` where that is nowhere. `at` is the first record at or after the
/// moment that was said.
pub fn resolve(when: When, loss: Loss, bounds: Bounds, at: Option<i64>) -> Option<i64> {
    match when {
        When::Earliest => Some(bounds.begins),
        When::Latest => Some(bounds.ends),
        When::Committed => loss.committed().filter(|offset| (bounds.begins..=bounds.ends).contains(offset)),
        When::At(_) => Some(at.unwrap_or(bounds.ends)),
    }
}

/// Partitions whose place is lost: the router stops until an operator says where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The consumer group.
    pub group: String,
    /// Which, and how.
    pub places: Vec<(TopicPartition, Loss)>,
    /// When the router last wrote a decision, if that is known.
    pub worked: Option<Timestamp>,
}

impl std::error::Error for Lost {}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "group `{}` lost its place and stops, because starting over would send old notifications again",
            self.group
        )?;
        let mut commands = BTreeSet::new();
        let mut told: BTreeMap<(&str, String), Vec<String>> = BTreeMap::new();
        for (partition, loss) in &self.places {
            commands.insert(format!(" --from {}={}", partition.topic, loss.advice(self.worked)));
            told.entry((&partition.topic, loss.to_string())).or_default().push(partition.partition.to_string());
        }
        for ((topic, loss), partitions) in told {
            write!(f, "; {topic}[{}]: {loss}", partitions.join(","))?;
        }
        write!(f, ". Say where to go on: `notilog router{}`", commands.into_iter().collect::<String>())?;
        if let Some(worked) = self.worked {
            write!(f, " (the last decision was written at {worked})")?;
        }
        write!(
            f,
            ", or other moments: earliest routes all that is still there (again), latest skips all of it, a time goes \
             on with what was written from then on. It counts for lost places only"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const BOUNDS: Bounds = Bounds { begins: 10, ends: 20 };

    fn known(topic: &str, register: &str) -> Known {
        Known { topic_id: topic.to_owned(), register_id: register.to_owned(), since: String::new(), start: 0 }
    }

    /// The topic has the id `t`, the register `r`, the group has begun and decisions are there.
    fn facts(known: Option<&Known>, committed: Option<i64>) -> Facts<'_> {
        Facts {
            committed,
            bounds: BOUNDS,
            topic_id: "t",
            known,
            register_id: "r",
            begun: true,
            decided: true,
            marked: false,
        }
    }

    fn judged(known: Option<Known>, committed: Option<i64>) -> Verdict {
        judge(&facts(known.as_ref(), committed))
    }

    #[rstest]
    #[case::as_always(Some(15), Verdict::Goes(15))]
    #[case::at_the_very_begin(Some(10), Verdict::Goes(10))]
    #[case::at_the_very_end(Some(20), Verdict::Goes(20))]
    #[case::expired(None, Verdict::Lost(Loss::NoOffset))]
    #[case::deleted(Some(9), Verdict::Lost(Loss::Deleted { committed: 9, begins: 10 }))]
    #[case::cut_off(Some(21), Verdict::Lost(Loss::Beyond { committed: 21, ends: 20 }))]
    fn a_known_partition_goes_on_or_is_lost(#[case] committed: Option<i64>, #[case] verdict: Verdict) {
        assert_eq!(judged(Some(known("t", "r")), committed), verdict);
    }

    #[test]
    fn a_topic_that_was_created_anew_is_a_new_topic_unless_there_is_an_offset() {
        assert_eq!(judged(Some(known("old", "r")), None), Verdict::First(10));
        assert_eq!(judged(Some(known("old", "r")), Some(12)), Verdict::Lost(Loss::OtherTopic { committed: 12 }));
    }

    #[test]
    fn where_the_register_was_copied_from_another_cluster_nothing_counts_as_new() {
        assert_eq!(judged(Some(known("old", "elsewhere")), None), Verdict::Lost(Loss::Copied));
    }

    #[test]
    fn an_unknown_partition_is_new_and_one_with_an_offset_is_taken_over() {
        assert_eq!(judged(None, None), Verdict::First(10));
        assert_eq!(judged(None, Some(12)), Verdict::First(12));
        assert_eq!(judged(None, Some(2)), Verdict::Lost(Loss::Deleted { committed: 2, begins: 10 }));
    }

    #[rstest]
    #[case::first_start(false, false, Verdict::First(10))]
    #[case::renamed(false, true, Verdict::Lost(Loss::OtherGroup))]
    #[case::added_partition(true, true, Verdict::First(10))]
    fn a_group_that_never_read_here_begins_only_where_nobody_routed(
        #[case] begun: bool,
        #[case] decided: bool,
        #[case] verdict: Verdict,
    ) {
        assert_eq!(judge(&Facts { begun, decided, ..facts(None, None) }), verdict);
    }

    #[rstest]
    #[case::only_its_marker_was_deleted(9, Verdict::Goes(10))]
    #[case::a_record_and_its_marker_were(8, Verdict::Lost(Loss::Deleted { committed: 8, begins: 10 }))]
    fn a_tier_whose_whole_log_was_deleted_by_age_after_it_was_read_has_lost_nothing(
        #[case] committed: i64,
        #[case] verdict: Verdict,
    ) {
        let known = known("t", "r");
        assert_eq!(judge(&Facts { marked: true, ..facts(Some(&known), Some(committed)) }), verdict);
    }

    #[rstest]
    #[case(When::Earliest, Loss::NoOffset, None, Some(10))]
    #[case(When::Latest, Loss::NoOffset, None, Some(20))]
    #[case(When::At(Timestamp(5)), Loss::NoOffset, Some(13), Some(13))]
    #[case::nothing_is_as_young(When::At(Timestamp(5)), Loss::NoOffset, None, Some(20))]
    #[case(When::Committed, Loss::OtherTopic { committed: 12 }, None, Some(12))]
    #[case::not_there_any_more(When::Committed, Loss::Deleted { committed: 2, begins: 10 }, None, None)]
    #[case::there_is_none(When::Committed, Loss::NoOffset, None, None)]
    fn an_operators_word_becomes_an_offset(
        #[case] when: When,
        #[case] loss: Loss,
        #[case] at: Option<i64>,
        #[case] offset: Option<i64>,
    ) {
        assert_eq!(resolve(when, loss, BOUNDS, at), offset);
    }

    #[test]
    fn a_topics_own_word_goes_before_the_one_for_all() {
        let topics = [("notify.events.shop".to_owned(), When::Latest)].into();
        let restart = Restart { all: Some(When::Earliest), topics, actor: String::new() };
        assert_eq!(restart.of("acme.notify.events.shop", "acme."), Some(When::Latest));
        assert_eq!(restart.of("acme.notify.events.bank", "acme."), Some(When::Earliest));
        assert_eq!(Restart::default().of("t", ""), None);
    }

    #[rstest]
    #[case("earliest")]
    #[case("latest")]
    #[case("committed")]
    #[case("2026-11-21T18:00:00.000Z")]
    fn where_to_go_on_reads_as_it_is_written(#[case] text: &str) {
        assert_eq!(text.parse::<When>().unwrap().to_string(), text);
        assert!("yesterday".parse::<When>().is_err());
    }

    #[test]
    fn what_was_lost_is_said_with_what_to_type() {
        let shop = |partition| TopicPartition::new("notify.events.shop", partition);
        let lost = Lost {
            group: "notilog-router".to_owned(),
            places: vec![
                (shop(0), Loss::NoOffset),
                (shop(2), Loss::NoOffset),
                (TopicPartition::new("notify.events.bank", 1), Loss::Deleted { committed: 3, begins: 9 }),
            ],
            worked: Some(Timestamp(1_763_748_000_000)),
        };
        insta::assert_snapshot!(lost.to_string());
    }
}
