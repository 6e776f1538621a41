use std::{task::Waker, time::Duration};

use seawall_core::{Criticality, Timestamp};

use crate::{
    CoDel, ControlledDelay, NewestFirst, Passage,
    codel::Verdict,
    controlled_delay::LONGEST_CALL,
    fair_queue::{self, FairKey, FairQueue, Newcomer, Order, Weights},
};

/// As many as there are criticalities.
const CLASSES: usize = 4;

/// The critical are under overload when their queue has not been empty for so many intervals: they are served before all
/// others, so nobody but they themselves can hold them up for longer than the server stands still.
const CRITICAL_INTERVALS: u32 = 25;
/// A tenant that is told apart may wait so many for its turn among the others', a stall of the server included.
const TENANT_INTERVALS: u32 = 25;
/// It is under overload when its line has not been empty for so many of those: what a stall of one has left behind is served
/// within the next.
const TENANT_OVERLOAD_AFTER: u32 = 2;
/// The critical may wait for a place as long as it takes to come free: so many times the latency of a call, where that is
/// more than the interval.
const PATIENCE: u32 = 2;
/// Behind RFC 8289's queue, which judges whose turn it is and nobody before that, nobody waits longer than so many
/// intervals: before a server that hangs no turn comes.
const CODEL_INTERVALS: u32 = 10;

/// How long those who wait may wait, and who of them comes first.
#[derive(Debug, Clone)]
pub(crate) enum Discipline {
    ControlledDelay {
        delay: ControlledDelay,
        order: Order,
        /// So many times what a call takes may a tenant that is told apart wait, where that is more.
        tenant_patience: u32,
    },
    CoDel(CoDel),
}

/// Those who wait before a limiter: by criticality, then by tenant.
#[derive(Debug)]
pub(crate) struct Waiters {
    classes: [FairQueue<Waiter>; CLASSES],
    codel: Option<CoDel>,
    max_queued: usize,
}

#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) since: Timestamp,
    pub(crate) cost: u32,
    pub(crate) tenant: u64,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) waker: Waker,
    /// What became of it, once it is out of line.
    pub(crate) turn: Option<Turn>,
}

#[derive(Debug)]
pub(crate) enum Turn {
    Served(Passage),
    Refused,
}

/// What is to happen to the waiter whose turn it is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Serve,
    /// It has waited too long.
    Refuse,
    /// Its deadline leaves less time than a call takes.
    TooLate,
}

/// One waiter's place: its criticality and its key there.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    class: usize,
    key: FairKey,
}

impl Waiters {
    pub(crate) fn new(discipline: Discipline, max_queued: usize) -> Self {
        let (delay, order, tenant_patience, codel) = match discipline {
            Discipline::ControlledDelay { delay, order, tenant_patience } => {
                (Some(delay), order, tenant_patience, None)
            }
            Discipline::CoDel(codel) => (None, Order::OfArrival(NewestFirst::Never), 0, Some(codel)),
        };
        let longer = |times| delay.map(|delay| delay.with_longer_interval(times));
        let tenant = longer(TENANT_INTERVALS)
            .map(|delay| delay.with_overload_after(TENANT_OVERLOAD_AFTER).with_calls(tenant_patience));
        let classes = std::array::from_fn(|class| {
            let is_critical = class == Criticality::Critical as usize;
            let unknown = if is_critical { longer(CRITICAL_INTERVALS) } else { delay };
            FairQueue::new(unknown, tenant).with_order(order)
        });
        Self { classes, codel, max_queued }
    }

    /// Other weights from now on; those that there were.
    pub(crate) fn set_weights(&mut self, weights: &Weights) -> [Weights; CLASSES] {
        self.classes.each_mut().map(|class| class.set_weights(std::sync::Arc::clone(weights)))
    }

    pub(crate) fn len(&self) -> usize {
        self.classes.iter().map(FairQueue::len).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.classes.iter().all(FairQueue::is_empty)
    }

    /// Since when the oldest waits: looked for among all tenants that do.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.classes.iter().flat_map(FairQueue::oldest_of_each).map(|waiter| waiter.since).min()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.max_queued
    }

    /// Whether nobody of `class` or above waits.
    pub(crate) fn nobody_as_critical(&self, class: usize) -> bool {
        self.classes.iter().skip(class).all(FairQueue::is_empty)
    }

    /// Told before somebody joins: its line may be empty at `now`.
    pub(crate) fn note_empty(&mut self, class: usize, tenant: u64, now: Timestamp) {
        if let Some(class) = self.classes.get_mut(class) {
            class.note_empty(tenant, now);
        }
    }

    /// How long a call may wait that joins at `now`, when calls take `typical`.
    pub(crate) fn may_wait(&self, class: usize, tenant: u64, typical: Duration, now: Timestamp) -> Duration {
        if let Some(codel) = &self.codel {
            return codel.interval().saturating_mul(CODEL_INTERVALS);
        }
        let delay = self.classes.get(class).and_then(|class| class.delay_of(tenant));
        longest_wait(delay, class, typical, now)
    }

    pub(crate) fn push(&mut self, class: usize, tenant: u64, waiter: Waiter) -> Place {
        let class = class.min(CLASSES.saturating_sub(1));
        let deadline = waiter.deadline.unwrap_or(Timestamp::MAX);
        Place { class, key: self.classes[class].push(tenant, deadline, waiter) }
    }

    pub(crate) fn get_mut(&mut self, place: Place) -> Option<&mut Waiter> {
        self.classes.get_mut(place.class)?.get_mut(place.key)
    }

    pub(crate) fn remove(&mut self, place: Place) -> Option<Waiter> {
        self.classes.get_mut(place.class)?.remove(place.key)
    }

    pub(crate) fn cost_of(&self, place: Place) -> u32 {
        let waiter = self.classes.get(place.class).and_then(|class| class.get(place.key));
        waiter.map_or(1, |waiter| waiter.cost)
    }

    /// Takes a waiter out of line and tells it; its waker is for the caller to wake.
    pub(crate) fn tell(&mut self, place: Place, turn: Turn) -> Option<Waker> {
        let class = self.classes.get_mut(place.class)?;
        class.unlink(place.key);
        let waiter = class.get_mut(place.key)?;
        waiter.turn = Some(turn);
        Some(std::mem::replace(&mut waiter.waker, Waker::noop().clone()))
    }

    /// The same for one that is let in, which its tenant is charged with.
    pub(crate) fn serve(&mut self, place: Place, passage: Passage) -> Option<Waker> {
        if let Some(class) = self.classes.get_mut(place.class) {
            if let Some((tenant, cost)) = class.get(place.key).map(|waiter| (waiter.tenant, waiter.cost)) {
                class.charge(place.key, tenant, cost);
            }
        }
        self.tell(place, Turn::Served(passage))
    }

    /// Whose turn it is: of the most critical the tenant that was given least, and of it who comes first in its order, which is refused if its deadline leaves less than `typical`. Or, first, that tenant's oldest, if it has waited
    /// too long.
    pub(crate) fn next(&mut self, typical: Duration, now: Timestamp) -> Option<(Place, Next)> {
        let waiting =
            self.classes.iter().enumerate().rev().find_map(|(index, class)| Some((index, class.next(typical, now)?)));
        let Some((class, fair_queue::Turn { oldest, served })) = waiting else {
            if let Some(codel) = &mut self.codel {
                codel.nobody_waits(now);
            }
            return None;
        };
        let queue = self.classes.get(class)?;
        let (since, delay) = (queue.get(oldest)?.since, queue.delay_at(oldest));
        let left_behind = self.len().saturating_sub(1);
        let late = match &mut self.codel {
            Some(codel) => codel.judge(now, since, left_behind) == Verdict::Drop,
            None => now.since(since) > longest_wait(delay, class, typical, now),
        };
        if late {
            return Some((Place { class, key: oldest }, Next::Refuse));
        }
        let deadline = self.classes.get(class).and_then(|queue| queue.get(served)?.deadline);
        let too_close = deadline.is_some_and(|deadline| deadline.since(now) < typical);
        Some((Place { class, key: served }, if too_close { Next::TooLate } else { Next::Serve }))
    }

    /// Of the least critical, of the tenant that waits most, the oldest or whose deadline is farthest, if `class` is as critical;
    /// `None` where the newcomer would be served after all of them.
    pub(crate) fn displaced_by(&self, class: usize, newcomer: Newcomer) -> Option<Place> {
        let least = self.classes.iter().enumerate().take(class.saturating_add(1)).find(|(_, queue)| !queue.is_empty());
        let (index, queue) = least?;
        let key = queue.makes_room_for((index == class).then_some(newcomer))?;
        Some(Place { class: index, key })
    }
}

/// How long somebody of `class` may wait, when calls take `typical`.
fn longest_wait(delay: Option<ControlledDelay>, class: usize, typical: Duration, now: Timestamp) -> Duration {
    let Some(delay) = delay else { return Duration::MAX };
    let is_critical = class == Criticality::Critical as usize;
    let least = if is_critical { typical.min(LONGEST_CALL).saturating_mul(PATIENCE) } else { Duration::ZERO };
    delay.when_calls_take(typical).limit(now).max(least)
}
