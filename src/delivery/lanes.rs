//! Who may be served next: concurrency by recipient, not by partition.
//!
//! Each recipient key has a lane; at most one item of a lane is in flight, whichever topic it came from. Urgent
//! items go first; within a class a lane keeps the order of arrival. A lane that is slow or dead occupies one of
//! the places in flight and holds no other lane up.
//!
//! Invariant: pure; each operation but [`Lanes::remove_if`] costs amortised constant time.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::model::Class;

/// So many urgent items in a row, and one of the others is served, so that a flood of urgent ones starves nobody.
const URGENT_IN_A_ROW: u32 = 64;

/// One key may have this part of a queue that is more than half full.
const CROWD: usize = 8;

/// How much there may be at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Items in flight.
    pub in_flight: usize,
    /// Items queued, in each class.
    pub queued: usize,
}

/// The right to finish one item that is in flight; there is exactly one for each.
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket {
    lane: usize,
    class: Class,
}

/// All lanes of one channel.
#[derive(Debug)]
pub struct Lanes<T> {
    limits: Limits,
    by_key: HashMap<Box<[u8]>, usize>,
    slots: Vec<Lane<T>>,
    free: Vec<usize>,
    /// Lanes that could be served, by class; may name one that since became busy or empty.
    ready: PerClass<VecDeque<usize>>,
    /// Lanes that could be served but for what is asked of their items, until [`Lanes::offer_all_again`].
    passed_over: PerClass<VecDeque<usize>>,
    queued: PerClass<usize>,
    in_flight: usize,
    urgent_in_a_row: u32,
}

#[derive(Debug)]
struct Lane<T> {
    key: Box<[u8]>,
    waiting: PerClass<VecDeque<T>>,
    busy: bool,
    /// Whether `ready` or `passed_over` names this lane.
    listed: PerClass<bool>,
}

#[derive(Debug, Default)]
struct PerClass<T> {
    urgent: T,
    main: T,
}

impl<T> PerClass<T> {
    fn of(&self, class: Class) -> &T {
        match class {
            Class::Urgent => &self.urgent,
            Class::Main => &self.main,
        }
    }

    fn of_mut(&mut self, class: Class) -> &mut T {
        match class {
            Class::Urgent => &mut self.urgent,
            Class::Main => &mut self.main,
        }
    }
}

impl<T> Lane<T> {
    fn new(key: &[u8]) -> Self {
        Lane {
            key: key.into(),
            waiting: PerClass { urgent: VecDeque::new(), main: VecDeque::new() },
            busy: false,
            listed: PerClass::default(),
        }
    }

    fn is_unused(&self) -> bool {
        let empty = self.waiting.urgent.is_empty() && self.waiting.main.is_empty();
        empty && !self.busy && !self.listed.urgent && !self.listed.main
    }
}

impl<T> Lanes<T> {
    /// No lanes yet.
    pub fn new(limits: Limits) -> Self {
        Lanes {
            limits,
            by_key: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            ready: PerClass::default(),
            passed_over: PerClass::default(),
            queued: PerClass::default(),
            in_flight: 0,
            urgent_in_a_row: 0,
        }
    }

    /// Whether one more item of this class may be queued.
    pub fn may_push(&self, class: Class) -> bool {
        *self.queued.of(class) < self.limits.queued
    }

    /// Whether a key has more than its share of a queue that fills up: one recipient with thousands of records and a
    /// slow endpoint would leave no room for anybody else.
    pub fn is_crowded_by(&self, key: &[u8], class: Class) -> bool {
        let depth = || self.by_key.get(key).map_or(0, |lane| self.slots[*lane].waiting.of(class).len());
        self.is_filling_up(class) && depth() >= (self.limits.queued / CROWD).max(1)
    }

    /// Whether a class's queue is more than half full: who cannot be served should not take its room.
    pub fn is_filling_up(&self, class: Class) -> bool {
        *self.queued.of(class) >= self.limits.queued / 2
    }

    /// Queues an item behind those of its key and class.
    pub fn push(&mut self, key: &[u8], class: Class, item: T) {
        let lane = self.lane_of(key);
        self.slots[lane].waiting.of_mut(class).push_back(item);
        *self.queued.of_mut(class) += 1;
        self.list(lane, class);
    }

    /// The next item to serve that may be served, if there is one and a place in flight. A lane whose first item may
    /// not is passed over, and holds no other up, until [`Lanes::offer_all_again`].
    pub fn next(&mut self, mut may_serve: impl FnMut(&mut T) -> bool) -> Option<(Ticket, T)> {
        if self.in_flight >= self.limits.in_flight {
            return None;
        }
        let order = if self.urgent_in_a_row < URGENT_IN_A_ROW {
            [Class::Urgent, Class::Main]
        } else {
            [Class::Main, Class::Urgent]
        };
        let (ticket, item) = order.into_iter().find_map(|class| self.pop(class, &mut may_serve))?;
        self.urgent_in_a_row = match ticket.class {
            Class::Urgent => self.urgent_in_a_row.saturating_add(1),
            Class::Main => 0,
        };
        Some((ticket, item))
    }

    /// What was passed over may be served now, before what came after it.
    pub fn offer_all_again(&mut self) {
        for class in [Class::Urgent, Class::Main] {
            while let Some(lane) = self.passed_over.of_mut(class).pop_back() {
                self.ready.of_mut(class).push_front(lane);
            }
        }
    }

    /// An item is finished: the next of its lane may go.
    pub fn finish(&mut self, ticket: Ticket) {
        self.in_flight -= 1;
        self.slots[ticket.lane].busy = false;
        for class in [Class::Urgent, Class::Main] {
            self.list(ticket.lane, class);
        }
        self.release(ticket.lane);
    }

    /// An item was not served after all: it goes back to the head of its lane.
    pub fn put_back(&mut self, ticket: Ticket, item: T) {
        self.slots[ticket.lane].waiting.of_mut(ticket.class).push_front(item);
        *self.queued.of_mut(ticket.class) += 1;
        self.finish(ticket);
    }

    /// Drops what is queued and matches; says how many. What is in flight stays.
    pub fn remove_if(&mut self, mut matches: impl FnMut(&T) -> bool) -> usize {
        let mut removed = 0;
        for lane in 0..self.slots.len() {
            for class in [Class::Urgent, Class::Main] {
                let waiting = self.slots[lane].waiting.of_mut(class);
                let before = waiting.len();
                waiting.retain(|item| !matches(item));
                let gone = before - waiting.len();
                *self.queued.of_mut(class) -= gone;
                removed += gone;
            }
        }
        removed
    }

    /// Items in flight.
    #[cfg(test)]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Items queued, of both classes.
    pub fn queued(&self) -> usize {
        self.queued.urgent + self.queued.main
    }

    /// Lanes that are passed over, and whose first item matches.
    pub fn passed_over(&self, matches: impl Fn(&T) -> bool) -> usize {
        let first = |lane: &usize, class| self.slots[*lane].waiting.of(class).front().is_some_and(&matches);
        let count = |class| self.passed_over.of(class).iter().filter(|lane| first(lane, class)).count();
        count(Class::Urgent) + count(Class::Main)
    }

    fn lane_of(&mut self, key: &[u8]) -> usize {
        if let Some(lane) = self.by_key.get(key) {
            return *lane;
        }
        let lane = match self.free.pop() {
            Some(lane) => {
                self.slots[lane] = Lane::new(key);
                lane
            }
            None => {
                self.slots.push(Lane::new(key));
                self.slots.len() - 1
            }
        };
        self.by_key.insert(key.into(), lane);
        lane
    }

    /// Names a lane as ready, if it has something to serve and is not named yet.
    fn list(&mut self, lane: usize, class: Class) {
        let slot = &mut self.slots[lane];
        if slot.busy || *slot.listed.of(class) || slot.waiting.of(class).is_empty() {
            return;
        }
        *slot.listed.of_mut(class) = true;
        self.ready.of_mut(class).push_back(lane);
    }

    fn pop(&mut self, class: Class, may_serve: &mut impl FnMut(&mut T) -> bool) -> Option<(Ticket, T)> {
        while let Some(lane) = self.ready.of_mut(class).pop_front() {
            let slot = &mut self.slots[lane];
            if !slot.busy && slot.waiting.of_mut(class).front_mut().is_some_and(|item| !may_serve(item)) {
                self.passed_over.of_mut(class).push_back(lane);
                continue;
            }
            *slot.listed.of_mut(class) = false;
            if slot.busy {
                continue;
            }
            if let Some(item) = slot.waiting.of_mut(class).pop_front() {
                slot.busy = true;
                *self.queued.of_mut(class) -= 1;
                self.in_flight += 1;
                return Some((Ticket { lane, class }, item));
            }
            self.release(lane);
        }
        None
    }

    /// Forgets a lane that nothing refers to, so that memory follows those who are waiting.
    fn release(&mut self, lane: usize) {
        if self.slots[lane].is_unused() && self.by_key.remove(&self.slots[lane].key).is_some() {
            self.free.push(lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    fn lanes(in_flight: usize) -> Lanes<u32> {
        Lanes::new(Limits { in_flight, queued: 1_000 })
    }

    fn drain(lanes: &mut Lanes<u32>) -> Vec<u32> {
        let mut served = Vec::new();
        while let Some((ticket, item)) = lanes.next(|_| true) {
            served.push(item);
            lanes.finish(ticket);
        }
        served
    }

    #[test]
    fn one_recipient_is_served_one_at_a_time() {
        let mut lanes = lanes(10);
        lanes.push(b"ada", Class::Main, 1);
        lanes.push(b"ada", Class::Urgent, 2);
        let (ticket, first) = lanes.next(|_| true).unwrap();
        assert_eq!(first, 2, "urgent first");
        assert!(lanes.next(|_| true).is_none(), "the other waits");
        lanes.finish(ticket);
        assert_eq!(lanes.next(|_| true).unwrap().1, 1);
    }

    #[test]
    fn a_dead_endpoint_holds_no_other_recipient_up() {
        let mut lanes = lanes(2);
        for item in 0..500 {
            lanes.push(b"dead", Class::Urgent, item);
        }
        let _never_finished = lanes.next(|_| true).unwrap();
        for item in 1_000..1_100 {
            lanes.push(format!("user-{item}").as_bytes(), Class::Main, item);
        }
        assert_eq!(drain(&mut lanes), (1_000..1_100).collect::<Vec<_>>());
    }

    #[test]
    fn what_may_not_be_served_holds_no_other_up_and_goes_first_when_it_may() {
        let mut lanes = lanes(10);
        for item in 0..6 {
            lanes.push(format!("user-{}", item % 3).as_bytes(), Class::Main, item);
        }
        let odd = |item: &mut u32| *item % 2 == 1;
        let (ticket, item) = lanes.next(odd).unwrap();
        assert_eq!(item, 1);
        lanes.finish(ticket);
        assert!(lanes.next(odd).is_none(), "each lane's first is even now");
        assert_eq!(lanes.queued(), 5);
        lanes.offer_all_again();
        assert_eq!(drain(&mut lanes), [0, 2, 4, 3, 5]);
    }

    #[test]
    fn what_is_put_back_goes_first_again() {
        let mut lanes = lanes(1);
        lanes.push(b"ada", Class::Main, 1);
        lanes.push(b"ada", Class::Main, 2);
        let (ticket, item) = lanes.next(|_| true).unwrap();
        lanes.put_back(ticket, item);
        assert_eq!((lanes.in_flight(), lanes.queued()), (0, 2));
        assert_eq!(drain(&mut lanes), [1, 2]);
    }

    #[test]
    fn a_flood_of_urgent_ones_lets_some_of_the_others_pass() {
        let mut lanes = lanes(1);
        for item in 0..1_000 {
            lanes.push(format!("urgent-{item}").as_bytes(), Class::Urgent, item);
        }
        lanes.push(b"patient", Class::Main, 9_999);
        let place = drain(&mut lanes).iter().position(|item| *item == 9_999).unwrap();
        assert_eq!(place, URGENT_IN_A_ROW as usize);
    }

    #[test]
    fn one_recipient_gets_no_more_than_a_share_of_a_queue_that_fills_up() {
        let mut lanes = Lanes::new(Limits { in_flight: 1, queued: 16 });
        for item in 0..8 {
            assert!(!lanes.is_crowded_by(b"flood", Class::Main), "there is room: {item}");
            lanes.push(b"flood", Class::Main, item);
        }
        assert!(lanes.is_crowded_by(b"flood", Class::Main));
        assert!(!lanes.is_crowded_by(b"ada", Class::Main));
        assert!(!lanes.is_crowded_by(b"flood", Class::Urgent));
    }

    #[test]
    fn a_class_that_is_full_does_not_close_the_other() {
        let mut lanes = Lanes::new(Limits { in_flight: 1, queued: 1 });
        lanes.push(b"ada", Class::Main, 1);
        assert!(!lanes.may_push(Class::Main));
        assert!(lanes.may_push(Class::Urgent));
    }

    #[test]
    fn what_is_removed_is_not_served_and_memory_is_given_back() {
        let mut lanes = lanes(4);
        for item in 0..100 {
            lanes.push(format!("user-{item}").as_bytes(), Class::Main, item);
        }
        assert_eq!(lanes.remove_if(|item| item % 2 == 0), 50);
        assert_eq!(drain(&mut lanes).len(), 50);
        assert_eq!((lanes.by_key.len(), lanes.queued(), lanes.in_flight()), (0, 0, 0));
        lanes.push(b"another", Class::Main, 1);
        assert!(lanes.slots.len() <= 100, "slots are used again");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push {
            key: u8,
            urgent: bool,
        },
        Next,
        /// Of keys below this one only.
        NextBelow(u8),
        OfferAgain,
        Finish(usize),
        PutBack(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0u8..6, any::<bool>()).prop_map(|(key, urgent)| Step::Push { key, urgent }),
            4 => Just(Step::Next),
            2 => (0u8..6).prop_map(Step::NextBelow),
            2 => Just(Step::OfferAgain),
            3 => any::<usize>().prop_map(Step::Finish),
            1 => any::<usize>().prop_map(Step::PutBack),
        ]
    }

    /// Items tell who they are: key, class, number within both.
    type Item = (u8, Class, u32);

    proptest! {
        #[test]
        fn one_per_key_in_order_within_the_budget_and_nobody_forgotten(
            steps in prop::collection::vec(step(), 1..400),
            budget in 1usize..5,
        ) {
            let mut lanes: Lanes<Item> = Lanes::new(Limits { in_flight: budget, queued: 1_000 });
            let mut flying: Vec<(Ticket, Item)> = Vec::new();
            let mut numbers: HashMap<(u8, Class), u32> = HashMap::new();
            let mut expected: HashMap<(u8, Class), u32> = HashMap::new();
            let (mut pushed, mut finished) = (0usize, 0usize);
            for step in steps {
                match step {
                    Step::Push { key, urgent } => {
                        let class = if urgent { Class::Urgent } else { Class::Main };
                        let number = numbers.entry((key, class)).or_default();
                        lanes.push(&[key], class, (key, class, *number));
                        *number += 1;
                        pushed += 1;
                    }
                    Step::OfferAgain => lanes.offer_all_again(),
                    Step::NextBelow(limit) => {
                        if let Some((ticket, item)) = lanes.next(|item| item.0 < limit) {
                            prop_assert!(item.0 < limit);
                            prop_assert_eq!(item.2, expected.get(&(item.0, item.1)).copied().unwrap_or(0), "in order");
                            flying.push((ticket, item));
                        }
                        lanes.offer_all_again();
                    }
                    Step::Next => match lanes.next(|_| true) {
                        Some((ticket, item)) => {
                            prop_assert_eq!(item.2, expected.get(&(item.0, item.1)).copied().unwrap_or(0), "in order");
                            flying.push((ticket, item));
                        }
                        None => {
                            let busy: HashSet<u8> = flying.iter().map(|(_, item)| item.0).collect();
                            let waiting = numbers.iter().any(|((key, class), total)| {
                                let begun = expected.get(&(*key, *class)).copied().unwrap_or(0)
                                    + u32::from(flying.iter().any(|(_, item)| (item.0, item.1) == (*key, *class)));
                                begun < *total && !busy.contains(key)
                            });
                            prop_assert!(flying.len() == budget || !waiting, "someone could have been served");
                        }
                    },
                    Step::Finish(n) if !flying.is_empty() => {
                        let (ticket, item) = flying.swap_remove(n % flying.len());
                        *expected.entry((item.0, item.1)).or_default() += 1;
                        lanes.finish(ticket);
                        finished += 1;
                    }
                    Step::PutBack(n) if !flying.is_empty() => {
                        let (ticket, item) = flying.swap_remove(n % flying.len());
                        lanes.put_back(ticket, item);
                    }
                    Step::Finish(_) | Step::PutBack(_) => {}
                }
                let keys: HashSet<u8> = flying.iter().map(|(_, item)| item.0).collect();
                prop_assert_eq!(keys.len(), flying.len(), "one per key");
                prop_assert!(lanes.in_flight() <= budget);
                prop_assert_eq!(lanes.in_flight(), flying.len());
                prop_assert_eq!(lanes.queued() + flying.len() + finished, pushed);
            }
            for (ticket, _) in flying {
                lanes.finish(ticket);
                finished += 1;
            }
            while let Some((ticket, _)) = lanes.next(|_| true) {
                lanes.finish(ticket);
                finished += 1;
            }
            prop_assert_eq!(finished, pushed);
            prop_assert_eq!(lanes.by_key.len(), 0);
        }
    }
}
