use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;
use rstest::rstest;

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);
const NOW: Timestamp = Timestamp(1_000_000);

/// All is read that could come before.
fn lines() -> Lines {
    let mut lines = unread();
    for partition in 0..2 {
        [Class::Main, Class::Urgent].into_iter().for_each(|class| lines.saw(partition, class, 1_000));
    }
    lines
}

fn unread() -> Lines {
    Lines::new(HOUR)
}

fn spot(seq: u64) -> Spot<'static> {
    Spot { partition: 0, key: b"ada", class: Class::Main, seq }
}

fn owed(lines: &Lines) -> Vec<Option<LaneRecord>> {
    lines.owed().map(|(_, _, record)| record).collect()
}

#[test]
fn whoever_is_before_the_first_that_waits_may_go_and_nobody_behind_it() {
    let mut lines = lines();
    lines.park(&spot(5), NOW);
    assert_eq!(lines.gate(&spot(4), NOW), Gate::Open);
    assert_eq!(lines.gate(&spot(5), NOW), Gate::Open, "the lowest outstanding itself");
    assert_eq!(lines.gate(&spot(6), NOW), Gate::Behind { due: NOW });
    lines.conclude(&spot(5));
    assert_eq!(lines.gate(&spot(6), NOW), Gate::Open);
}

#[rstest]
#[case::another_recipient(Spot { key: b"bob", ..spot(6) })]
#[case::another_class(Spot { class: Class::Urgent, ..spot(6) })]
#[case::another_partition(Spot { partition: 1, ..spot(6) })]
fn a_line_holds_nobody_else_up(#[case] other: Spot<'static>) {
    let mut lines = lines();
    lines.park(&spot(5), NOW);
    assert_eq!(lines.gate(&other, NOW), Gate::Open);
}

#[test]
fn who_behind_the_first_ends_leaves_no_gap() {
    let mut lines = lines();
    [5, 6, 7].into_iter().for_each(|seq| lines.park(&spot(seq), NOW));
    lines.conclude(&spot(6));
    lines.conclude(&spot(5));
    assert_eq!(lines.gate(&spot(7), NOW), Gate::Open);
}

#[test]
fn who_woke_before_the_topic_was_read_up_to_it_waits_for_those_that_may_still_come() {
    let mut lines = unread();
    lines.begins(0, Class::Main, 5);
    let woken = spot(at_offset(7));
    lines.adopt(&woken, NOW);
    lines.saw(0, Class::Main, 6);
    assert_eq!(lines.gate(&woken, NOW), Gate::Behind { due: NOW });
    lines.saw(0, Class::Main, 7);
    assert_eq!(lines.gate(&woken, NOW), Gate::Open);
    let before = spot(at_offset(6));
    lines.take_in(&before);
    assert_eq!(lines.gate(&woken, NOW), Gate::Behind { due: NOW }, "one before it was taken");
    lines.conclude(&before);
    assert_eq!(lines.gate(&woken, NOW), Gate::Open);
}

#[test]
fn what_only_arrives_waits_for_nothing_that_was_never_written() {
    let mut lines = unread();
    lines.begins(0, Class::Urgent, 0);
    let seq = lines.place(0, b"ada", Class::Urgent, None);
    assert_eq!(lines.gate(&Spot { class: Class::Urgent, ..spot(seq) }, NOW), Gate::Open);
}

#[test]
fn what_is_owed_is_what_changed_and_nothing_once_it_is_written() {
    let mut lines = lines();
    lines.park(&spot(5), NOW);
    lines.park(&spot(9), NOW.plus(HOUR));
    let line = WaitingLine { outstanding: vec![5, 9], due_ms: NOW.0, more: false };
    assert_eq!(owed(&lines), [Some(LaneRecord { main: Some(line), urgent: None })]);
    lines.written();
    lines.park(&spot(9), NOW);
    assert!(owed(&lines).is_empty(), "one behind the first hops: that is not written down");
    lines.park(&spot(5), NOW.plus(HOUR));
    assert_eq!(owed(&lines).len(), 1, "when the first is due is");
    lines.conclude(&spot(5));
    lines.conclude(&spot(9));
    assert_eq!(owed(&lines), [None], "nobody waits: a tombstone");
}

#[test]
fn who_never_parks_owes_nothing() {
    let mut lines = lines();
    let seq = lines.place(0, b"ada", Class::Main, Some(3));
    lines.take_in(&spot(seq));
    assert_eq!(lines.gate(&spot(seq), NOW), Gate::Open);
    lines.conclude(&spot(seq));
    assert!(owed(&lines).is_empty() && lines.partitions[&0].lanes.is_empty());
}

#[test]
fn a_place_is_the_same_whenever_the_record_is_read() {
    let mut before = lines();
    let first = before.place(0, b"ada", Class::Main, Some(7));
    let second = before.place(0, b"ada", Class::Main, Some(8));
    assert!(first < second);
    assert_eq!(lines().place(0, b"ada", Class::Main, Some(7)), first);
}

#[test]
fn what_the_router_put_into_a_tier_takes_its_place_when_it_arrives() {
    let mut lines = unread();
    lines.begins(0, Class::Main, 10);
    lines.restore(
        0,
        b"bob",
        Some(LaneRecord {
            main: Some(WaitingLine { outstanding: vec![at_offset(12)], due_ms: 0, more: false }),
            urgent: None,
        }),
    );
    let arrived = lines.place(0, b"ada", Class::Main, None);
    let next = lines.place(0, b"ada", Class::Main, None);
    assert!(at_offset(9) < arrived && arrived < next && next < at_offset(10), "before what is read after it");
    assert!(lines.place(0, b"bob", Class::Main, None) > at_offset(12), "behind those who wait already");
}

#[test]
fn a_first_record_that_never_comes_is_given_up_and_not_before_it_is_overdue_for_long() {
    let mut lines = lines();
    lines.park(&spot(5), NOW);
    lines.park(&spot(6), NOW);
    let late = NOW.plus(HOUR).plus(PATIENCE);
    assert_eq!(lines.gate(&spot(6), late), Gate::Behind { due: NOW });
    assert_eq!(lines.gate(&spot(6), Timestamp(late.0 + 1)), Gate::Open);
    assert_eq!((lines.take_lost(), lines.take_lost()), (1, 0));
    assert_eq!(owed(&lines).len(), 1, "and that is written down");
}

#[test]
fn a_line_longer_than_what_is_written_down_is_found_again() {
    let mut before = lines();
    for seq in 0..LISTED as u64 + 10 {
        before.park(&spot(seq), NOW);
    }
    let record = owed(&before).remove(0).unwrap();
    let line = record.main.clone().unwrap();
    assert_eq!((line.outstanding.len(), line.more), (LISTED, true));
    let mut after = lines();
    after.restore(0, b"ada", Some(record));
    let unlisted = LISTED as u64 + 3;
    assert!(matches!(after.gate(&spot(unlisted), NOW), Gate::Behind { .. }));
    after.adopt(&spot(unlisted), NOW);
    (0..LISTED as u64).for_each(|seq| after.conclude(&spot(seq)));
    assert!(matches!(after.gate(&spot(unlisted + 1), NOW), Gate::Behind { .. }), "the one that woke is waited for");
}

#[test]
fn a_partition_that_went_is_forgotten_with_what_it_owed() {
    let mut lines = lines();
    lines.park(&spot(5), NOW);
    lines.forget(0);
    assert!(owed(&lines).is_empty() && lines.parked() == 0);
}

/// What happens next; the numbers choose among what can.
#[derive(Debug, Clone)]
enum Step {
    Take,
    /// Its recipient has too many waiting.
    MakeWay,
    Wake(usize),
    Serve(usize, Outcome),
    Commit,
    /// The partition's next owner knows what is committed.
    Crash,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    Sent,
    Retry,
    Failed,
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![3 => Just(Outcome::Sent), 4 => Just(Outcome::Retry), 1 => Just(Outcome::Failed)];
    prop_oneof![
        5 => Just(Step::Take),
        1 => Just(Step::MakeWay),
        4 => (0usize..64).prop_map(Step::Wake),
        8 => (0usize..64, outcome).prop_map(|(whose, outcome)| Step::Serve(whose, outcome)),
        3 => Just(Step::Commit),
        1 => Just(Step::Crash),
    ]
}

/// A record in memory: its number, its place, and whether it came from the tier.
#[derive(Debug, Clone, Copy)]
struct Item {
    number: i64,
    seq: u64,
    waited: bool,
}

/// What Kafka has: numbers that are done in the main topic, and what stands in the tier.
#[derive(Debug, Default, Clone)]
struct Log {
    done: BTreeSet<i64>,
    tier: BTreeMap<i64, u64>,
    lanes: BTreeMap<Vec<u8>, LaneRecord>,
}

/// One partition, its recipients, and the worker that has it.
struct Model {
    owners: Vec<usize>,
    log: Log,
    lines: Lines,
    queues: Vec<VecDeque<Item>>,
    taken: BTreeSet<i64>,
    next: i64,
    /// Completed and not committed: what came of them.
    completed: Vec<(Item, bool)>,
    /// Who was sent, or ended without.
    ended: BTreeSet<i64>,
}

fn key(owner: usize) -> Vec<u8> {
    format!("user-{owner}").into_bytes()
}

impl Model {
    fn new(owners: Vec<usize>) -> Self {
        Model {
            owners,
            log: Log::default(),
            lines: unread(),
            queues: vec![VecDeque::new(); 3],
            taken: BTreeSet::new(),
            next: 0,
            completed: Vec::new(),
            ended: BTreeSet::new(),
        }
    }

    fn owner(&self, number: i64) -> usize {
        self.owners[usize::try_from(number).unwrap()]
    }

    fn take(&mut self) -> Option<Item> {
        while self.log.done.contains(&self.next) {
            self.lines.saw(0, Class::Main, self.next);
            self.next += 1;
        }
        let number = self.next;
        let owner = *self.owners.get(usize::try_from(number).unwrap())?;
        self.next += 1;
        self.lines.saw(0, Class::Main, number);
        let seq = self.lines.place(0, &key(owner), Class::Main, Some(number));
        self.lines.take_in(&Spot { partition: 0, key: &key(owner), class: Class::Main, seq });
        Some(Item { number, seq, waited: false })
    }

    fn wake(&mut self, which: usize) {
        let asleep: Vec<(i64, u64)> = self
            .log
            .tier
            .iter()
            .filter(|(number, _)| !self.taken.contains(number))
            .map(|(n, seq)| (*n, *seq))
            .collect();
        if asleep.is_empty() {
            return;
        }
        let (number, seq) = asleep[which % asleep.len()];
        let owner = self.owner(number);
        self.taken.insert(number);
        self.lines.adopt(&Spot { partition: 0, key: &key(owner), class: Class::Main, seq }, NOW);
        self.queues[owner].push_back(Item { number, seq, waited: true });
    }

    fn serve(&mut self, which: usize, outcome: Outcome) {
        let busy: Vec<usize> = (0..self.queues.len()).filter(|owner| !self.queues[*owner].is_empty()).collect();
        if busy.is_empty() {
            return;
        }
        let owner = busy[which % busy.len()];
        let item = self.queues[owner].pop_front().unwrap();
        let key = key(owner);
        let spot = Spot { partition: 0, key: &key, class: Class::Main, seq: item.seq };
        // Whatever ends without a call ends where it stands.
        if outcome == Outcome::Failed {
            self.ended.insert(item.number);
            self.lines.conclude(&spot);
            return self.completed.push((item, false));
        }
        if self.lines.gate(&spot, NOW) != Gate::Open || outcome == Outcome::Retry {
            self.lines.park(&spot, NOW);
            return self.completed.push((item, true));
        }
        let passed = (0..item.number).find(|other| self.owner(*other) == owner && !self.ended.contains(other));
        assert_eq!(passed, None, "{} went before it", item.number);
        self.ended.insert(item.number);
        self.lines.conclude(&spot);
        self.completed.push((item, false));
    }

    fn commit(&mut self) {
        for (item, parks) in self.completed.drain(..) {
            if item.waited {
                self.log.tier.remove(&item.number);
                self.taken.remove(&item.number);
            } else {
                self.log.done.insert(item.number);
            }
            if parks {
                self.log.tier.insert(item.number, item.seq);
            }
        }
        for (_, key, record) in self.lines.owed() {
            match record {
                Some(record) => self.log.lanes.insert(key.to_vec(), record),
                None => self.log.lanes.remove(key),
            };
        }
        self.lines.written();
    }

    fn crash(&mut self) {
        self.lines = unread();
        for (key, record) in &self.log.lanes {
            self.lines.restore(0, key, Some(record.clone()));
        }
        self.queues.iter_mut().for_each(VecDeque::clear);
        self.taken.clear();
        self.completed.clear();
        self.next = 0;
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Take => {
                if let Some(item) = self.take() {
                    let owner = self.owner(item.number);
                    self.queues[owner].push_back(item);
                }
            }
            Step::MakeWay => {
                if let Some(item) = self.take() {
                    let key = key(self.owner(item.number));
                    self.lines.park(&Spot { partition: 0, key: &key, class: Class::Main, seq: item.seq }, NOW);
                    self.completed.push((item, true));
                }
            }
            Step::Wake(which) => self.wake(*which),
            Step::Serve(which, outcome) => self.serve(*which, *outcome),
            Step::Commit => self.commit(),
            Step::Crash => self.crash(),
        }
    }
}

proptest! {
    /// Whatever is answered, in whatever order tiers let records out, whoever makes way, whenever the worker dies: no
    /// record of a recipient is sent while one before it was neither sent nor ended, and in the end all are.
    #[test]
    fn nobody_passes_and_nobody_stays(
        owners in prop::collection::vec(0usize..3, 1..24),
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let count = owners.len();
        let mut model = Model::new(owners);
        for step in &steps {
            model.step(step);
        }
        for round in 0..count * 3 {
            model.step(&Step::Take);
            (0..count).for_each(|_| model.step(&Step::Wake(0)));
            (0..count * 2).for_each(|_| model.step(&Step::Serve(round, Outcome::Sent)));
            model.step(&Step::Commit);
        }
        prop_assert_eq!(model.ended.len(), count);
        prop_assert_eq!((model.lines.parked(), model.log.tier.len(), model.log.lanes.len()), (0, 0, 0));
    }
}
