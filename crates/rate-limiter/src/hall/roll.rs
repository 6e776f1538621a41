//! The books of a hall: who waits, in which order, and what they cost.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    task::Waker,
    time::Duration,
};

use foldhash::quality::RandomState;
use seawall_core::{Rejection, Timestamp, sync::Arc};

use crate::Ahead;

/// A map that has become emptier than this gives memory back.
const LEAST_ROOM: usize = 64;
/// The longest wait is looked at in so many parts.
const PARTS: usize = 64;
/// All but that of now, of which some has passed.
const WHOLE_PARTS: u64 = 63;

/// Where a waiter stands: its key, the group of keys that it shares a quota with, and when it came.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) key: u64,
    pub(super) group: u64,
    pub(super) arrived: u64,
}

pub(super) struct Waiter<K> {
    pub(super) cost: u32,
    pub(super) waker: Waker,
    pub(super) stage: Stage<K>,
}

#[derive(Copy, Clone)]
pub(super) enum Stage<K> {
    /// The quota of its key holds it back: until then, as far as was known when it came.
    Held(Timestamp),
    /// It waits for what it shares with other keys.
    Ready,
    /// It is out of line, and has still to learn what became of it.
    Done(Result<K, Rejection>),
}

/// The line of one key. Those that are ready stand before those that are held.
pub(super) struct OfKey<O> {
    pub(super) key: Arc<O>,
    pub(super) queued: usize,
    pub(super) cost: u64,
    pub(super) ready_cost: u64,
    /// When it was not yet the turn of the first.
    pub(super) waits_since: Timestamp,
}

/// Keys that share a quota; or one that shares none.
pub(super) struct Group {
    queued: usize,
    cost: u64,
    pub(super) ready_cost: u64,
    /// When it was not yet the turn of the first.
    pub(super) waits_since: Timestamp,
    held: Option<Calendar>,
}

/// What those cost who are held, by when they will be no longer. In whole parts of the longest wait: nobody is held for longer.
struct Calendar {
    parts: Box<[u64; PARTS]>,
    part: u64,
}

impl Calendar {
    /// None for one that is held for good.
    fn slot(&mut self, due: Timestamp) -> Option<&mut u64> {
        if due == Timestamp::MAX {
            return None;
        }
        let part = due.as_nanos().checked_div(self.part).unwrap_or(0);
        self.parts.get_mut(usize::try_from(part.checked_rem(PARTS as u64).unwrap_or(0)).unwrap_or(0))
    }

    /// The parts from `now` on: how long until each begins, and what those cost who are due in it.
    fn from(&self, now: Timestamp) -> impl Iterator<Item = (Duration, u64)> {
        let first = now.as_nanos().checked_div(self.part).unwrap_or(0);
        (first..first.saturating_add(PARTS as u64)).filter_map(move |part| {
            let cost = *self.parts.get(usize::try_from(part.checked_rem(PARTS as u64)?).ok()?)?;
            let begins = Timestamp::from_nanos(part.saturating_mul(self.part));
            (cost > 0).then(|| (begins.since(now), cost))
        })
    }
}

pub(super) struct Roll<K, O> {
    /// By arrival, as each place knows its own.
    waiters: HashMap<u64, Waiter<K>, RandomState>,
    /// By group and arrival; the key of each.
    ready: BTreeMap<(u64, u64), u64>,
    held: BTreeMap<(u64, u64), u64>,
    /// Those who are held by key and arrival.
    held_of_key: BTreeSet<(u64, u64)>,
    keys: HashMap<u64, OfKey<O>, RandomState>,
    groups: HashMap<u64, Group, RandomState>,
    arrivals: u64,
    pub(super) queued: usize,
    pub(super) cost: u64,
    part: u64,
}

impl<K: Copy, O> Roll<K, O> {
    pub(super) fn new(max_wait: Duration) -> Self {
        let longest = Timestamp::ZERO.saturating_add(max_wait).as_nanos();
        Self {
            waiters: HashMap::with_hasher(RandomState::default()),
            ready: BTreeMap::new(),
            held: BTreeMap::new(),
            held_of_key: BTreeSet::new(),
            keys: HashMap::with_hasher(RandomState::default()),
            groups: HashMap::with_hasher(RandomState::default()),
            arrivals: 0,
            queued: 0,
            cost: 0,
            part: longest.checked_div(WHOLE_PARTS).unwrap_or(0).max(1),
        }
    }

    pub(super) fn of_key(&self, key: u64) -> Option<&OfKey<O>> {
        self.keys.get(&key)
    }

    pub(super) fn group(&self, group: u64) -> Option<&Group> {
        self.groups.get(&group)
    }

    pub(super) fn keys(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn waiter(&self, spot: Spot) -> Option<&Waiter<K>> {
        self.waiters.get(&spot.arrived)
    }

    pub(super) fn waiter_mut(&mut self, spot: Spot) -> Option<&mut Waiter<K>> {
        self.waiters.get_mut(&spot.arrived)
    }

    /// What is before one that comes to this group.
    pub(super) fn ahead(&self, group: u64) -> Ahead {
        Ahead { sharing: self.groups.get(&group).map_or(0, |group| group.cost), in_all: self.cost }
    }

    /// What those cost who are held and will come before one that is ready, by when they do.
    pub(super) fn held_from(&self, group: u64, now: Timestamp) -> impl Iterator<Item = (Duration, u64)> {
        // Nobody is held, as a rule: a calendar that is empty is not gone through.
        let group = self.groups.get(&group).filter(|group| group.cost > group.ready_cost);
        let calendar = group.and_then(|group| group.held.as_ref());
        calendar.into_iter().flat_map(move |calendar| calendar.from(now))
    }

    /// The first of those who are ready.
    pub(super) fn first_ready(&self, group: u64) -> Option<Spot> {
        Self::first(&self.ready, group)
    }

    pub(super) fn first_held(&self, group: u64) -> Option<Spot> {
        Self::first(&self.held, group)
    }

    fn first(line: &BTreeMap<(u64, u64), u64>, group: u64) -> Option<Spot> {
        // No end is sought: to find it takes longer the more wait.
        let (&(of, arrived), &key) = line.range((group, 0)..).next()?;
        (of == group).then_some(Spot { key, group, arrived })
    }

    /// The first of a key that its quota holds back.
    pub(super) fn first_held_of(&self, key: u64, group: u64) -> Option<Spot> {
        let line = self.keys.get(&key)?;
        // So it is for most keys.
        if line.cost == line.ready_cost {
            return None;
        }
        let (of, arrived) = *self.held_of_key.range((key, 0)..).next()?;
        (of == key).then_some(Spot { key, group, arrived })
    }

    /// Whoever comes last. The key is kept while its line is.
    pub(super) fn enter(
        &mut self,
        (key, group): (u64, u64),
        owned: Arc<O>,
        (cost, held): (u32, Option<Timestamp>),
        shares: bool,
        now: Timestamp,
    ) -> Spot {
        let arrived = self.arrivals;
        self.arrivals = self.arrivals.saturating_add(1);
        let (spot, more) = (Spot { key, group, arrived }, u64::from(cost));
        let part = self.part;
        let of_group = self.groups.entry(group).or_insert_with(|| Group {
            queued: 0,
            cost: 0,
            ready_cost: 0,
            waits_since: now,
            held: shares.then(|| Calendar { parts: Box::new([0; PARTS]), part }),
        });
        let of_key = self.keys.entry(key).or_insert_with(|| OfKey {
            key: owned,
            queued: 0,
            cost: 0,
            ready_cost: 0,
            waits_since: now,
        });
        (of_group.queued, of_group.cost) = (of_group.queued.saturating_add(1), of_group.cost.saturating_add(more));
        (of_key.queued, of_key.cost) = (of_key.queued.saturating_add(1), of_key.cost.saturating_add(more));
        (self.queued, self.cost) = (self.queued.saturating_add(1), self.cost.saturating_add(more));
        let stage = held.map_or(Stage::Ready, Stage::Held);
        self.waiters.insert(arrived, Waiter { cost, waker: Waker::noop().clone(), stage });
        match held {
            Some(due) => self.add_held(spot, cost, due),
            None => self.add_ready(spot, cost),
        }
        spot
    }

    fn add_ready(&mut self, spot: Spot, cost: u32) {
        self.ready.insert((spot.group, spot.arrived), spot.key);
        if let Some(of_key) = self.keys.get_mut(&spot.key) {
            of_key.ready_cost = of_key.ready_cost.saturating_add(cost.into());
        }
        if let Some(group) = self.groups.get_mut(&spot.group) {
            group.ready_cost = group.ready_cost.saturating_add(cost.into());
        }
    }

    fn add_held(&mut self, spot: Spot, cost: u32, due: Timestamp) {
        self.held.insert((spot.group, spot.arrived), spot.key);
        self.held_of_key.insert((spot.key, spot.arrived));
        let calendar = self.groups.get_mut(&spot.group).and_then(|group| group.held.as_mut());
        if let Some(part) = calendar.and_then(|calendar| calendar.slot(due)) {
            *part = part.saturating_add(cost.into());
        }
    }

    fn remove_held(&mut self, spot: Spot, cost: u32, due: Timestamp) {
        self.held.remove(&(spot.group, spot.arrived));
        self.held_of_key.remove(&(spot.key, spot.arrived));
        let calendar = self.groups.get_mut(&spot.group).and_then(|group| group.held.as_mut());
        if let Some(part) = calendar.and_then(|calendar| calendar.slot(due)) {
            *part = part.saturating_sub(cost.into());
        }
    }

    /// The first that is held of its key is ready.
    pub(super) fn promote(&mut self, spot: Spot) {
        let Some(waiter) = self.waiters.get_mut(&spot.arrived) else { return };
        let (cost, Stage::Held(due)) = (waiter.cost, waiter.stage) else { return };
        waiter.stage = Stage::Ready;
        self.remove_held(spot, cost, due);
        self.add_ready(spot, cost);
    }

    /// All of the key of `first`, which is its first, are held again: until when, nobody can say yet. It looks at all who are
    /// ready: a key is held again only when a charge has come.
    pub(super) fn hold_again(&mut self, first: Spot, now: Timestamp) {
        let line = self.ready.range((first.group, first.arrived)..=(first.group, u64::MAX));
        let of_key = line.filter(|(_, key)| **key == first.key);
        let spots: Vec<_> = of_key.map(|(&(group, arrived), &key)| Spot { key, group, arrived }).collect();
        for spot in spots {
            let Some(waiter) = self.waiter_mut(spot) else { continue };
            waiter.stage = Stage::Held(now);
            let cost = waiter.cost;
            self.ready.remove(&(spot.group, spot.arrived));
            self.less_ready(spot, cost);
            self.add_held(spot, cost, now);
        }
    }

    fn less_ready(&mut self, spot: Spot, cost: u32) {
        if let Some(of_key) = self.keys.get_mut(&spot.key) {
            of_key.ready_cost = of_key.ready_cost.saturating_sub(cost.into());
        }
        if let Some(group) = self.groups.get_mut(&spot.group) {
            group.ready_cost = group.ready_cost.saturating_sub(cost.into());
        }
    }

    /// It was not the turn of the first of this group, or of this key, until `since`.
    pub(super) fn waited(&mut self, key: Option<u64>, group: Option<u64>, since: Timestamp) {
        if let Some(of_key) = key.and_then(|key| self.keys.get_mut(&key)) {
            of_key.waits_since = since;
        }
        if let Some(group) = group.and_then(|group| self.groups.get_mut(&group)) {
            group.waits_since = since;
        }
    }

    /// Its turn has come, or it is refused; its waker.
    pub(super) fn settle(&mut self, spot: Spot, turn: Result<K, Rejection>) -> Option<Waker> {
        self.unlink(spot);
        let waiter = self.waiter_mut(spot)?;
        waiter.stage = Stage::Done(turn);
        Some(std::mem::replace(&mut waiter.waker, Waker::noop().clone()))
    }

    /// It leaves, and takes with it what it was handed.
    pub(super) fn remove(&mut self, spot: Spot) -> Option<Waiter<K>> {
        self.unlink(spot);
        let waiter = self.waiters.remove(&spot.arrived);
        give_back_room(&mut self.waiters);
        waiter
    }

    fn unlink(&mut self, spot: Spot) {
        let Some(waiter) = self.waiters.get(&spot.arrived) else { return };
        let cost = waiter.cost;
        match waiter.stage {
            Stage::Done(_) => return,
            Stage::Held(due) => self.remove_held(spot, cost, due),
            Stage::Ready => {
                self.ready.remove(&(spot.group, spot.arrived));
                self.less_ready(spot, cost);
            }
        }
        let less = u64::from(cost);
        (self.queued, self.cost) = (self.queued.saturating_sub(1), self.cost.saturating_sub(less));
        if let Some(of_key) = self.keys.get_mut(&spot.key) {
            (of_key.queued, of_key.cost) = (of_key.queued.saturating_sub(1), of_key.cost.saturating_sub(less));
            if of_key.queued == 0 {
                // Its key goes with the last who waited, not here.
                self.keys.remove(&spot.key);
                give_back_room(&mut self.keys);
            }
        }
        if let Some(group) = self.groups.get_mut(&spot.group) {
            (group.queued, group.cost) = (group.queued.saturating_sub(1), group.cost.saturating_sub(less));
            if group.queued == 0 {
                self.groups.remove(&spot.group);
                give_back_room(&mut self.groups);
            }
        }
    }
}

fn give_back_room<V>(map: &mut HashMap<u64, V, RandomState>) {
    if map.capacity() > map.len().saturating_mul(8).max(LEAST_ROOM) {
        map.shrink_to(map.len().saturating_mul(2));
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_peak_leaves_no_room_behind_and_those_who_leave_in_any_order_leave_all_sums_at_nothing() {
        let (mut roll, now) = (Roll::<(), u64>::new(Duration::from_secs(1)), Timestamp::ZERO);
        let spots: Vec<_> = (0..10_000_u64)
            .map(|key| {
                let held = (key % 2 == 0).then(|| now.saturating_add(Duration::from_millis(key % 900)));
                roll.enter((key, key % 7), Arc::new(key), (2, held), true, now)
            })
            .collect();
        assert_eq!((roll.queued, roll.cost, roll.keys()), (10_000, 20_000, 10_000));

        let (some, last) = spots.split_at(9_999);
        for spot in some.iter().rev().step_by(2).chain(some.iter().rev().skip(1).step_by(2)) {
            assert!(roll.remove(*spot).is_some());
        }

        let room = roll.keys.capacity().max(roll.waiters.capacity());
        assert!(room <= 2 * LEAST_ROOM, "{room} places for one");
        let left = last.first().and_then(|spot| roll.group(spot.group)).expect("it waits");
        assert_eq!((left.queued, left.cost, left.ready_cost, roll.queued, roll.cost), (1, 2, 2, 1, 2));
        let held: u64 = left.held.iter().flat_map(|calendar| calendar.parts.iter()).sum();
        assert_eq!(
            (held, roll.held.len(), roll.held_of_key.len(), roll.ready.len(), roll.waiters.len()),
            (0, 0, 0, 1, 1)
        );
    }
}
