use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use seawall_core::{Timestamp, WaitKey};

use crate::{ControlledDelay, NewestFirst, tenant_line::TenantLine};

/// So many lines there are at once.
const MAX_LINES: usize = 1_024;
/// Tenants that have not been served yet share so many of them: whoever comes under another number with each call has as
/// much as so many others together, and no more.
const NEWCOMERS: usize = 8;
/// How many lines are looked at for one that can be used again.
const LOOKED_AT: usize = 16;
/// A unit of cost, as tags count it: any weight divides it well enough.
const UNIT: u64 = 1 << 20;
/// A tenant that has asked for less than its share may be served so many units ahead of the others.
const CREDIT: u64 = 16 * UNIT;

/// What the shares of tenants are worth; 1 each that has none.
pub(crate) type Weights = Arc<HashMap<u64, u32>>;

/// Those who wait, by tenant: room goes to the tenant that has been given least, so that each has the same share and
/// what one does not need goes to the others. Of two who both want more, one of twice the weight has twice as much.
///
/// A tenant has a line of its own from the first time on that it is served; until then it waits in one of those for
/// newcomers.
///
/// A tenant's tag is what it has been given so far, in units of cost over its weight; it never falls further behind than [`CREDIT`], or
/// one that comes back after a while would shut the others out. Each tenant has a delay of its own: one that floods the
/// queue is under overload, the others are not.
///
/// # Source
/// Goyal, Vin and Cheng, "Start-time fair queueing", SIGCOMM 1996.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    /// The first is that of tenant 0, the next are those for newcomers.
    lines: Vec<Line<T>>,
    by_tenant: HashMap<u64, usize>,
    /// The lines in which somebody waits, by tag.
    active: BTreeSet<(u64, usize)>,
    /// The same lines by length.
    longest: BTreeSet<(usize, usize)>,
    /// The tag of whoever was served last.
    served: u64,
    len: usize,
    /// Where the next look for an unused line begins.
    cursor: usize,
    /// What the line of a tenant that is told apart begins with.
    delay: Option<ControlledDelay>,
    order: Order,
    weights: Weights,
}

/// Who of a tenant's calls comes first.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The oldest or the newest.
    OfArrival(NewestFirst),
    /// Whose deadline is nearest.
    OfDeadlines,
}

#[derive(Debug)]
struct Line<T> {
    tenant: u64,
    tag: u64,
    waiting: TenantLine<T>,
    delay: Option<ControlledDelay>,
}

impl<T> Line<T> {
    const fn of(tenant: u64, delay: Option<ControlledDelay>) -> Self {
        Self { tenant, tag: 0, waiting: TenantLine::new(), delay }
    }
}

/// One waiter's place.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct FairKey {
    line: usize,
    key: WaitKey,
}

/// Who would wait in a full queue.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Newcomer {
    pub(crate) tenant: u64,
    pub(crate) deadline: Timestamp,
}

/// Whose turn it is: a tenant's, of which one waiter is served, unless the oldest has waited too long.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) oldest: FairKey,
    pub(crate) served: FairKey,
}

impl<T> FairQueue<T> {
    /// With a delay for those whose tenant nobody knows, and one for each tenant that is told apart.
    pub(crate) fn new(unknown: Option<ControlledDelay>, delay: Option<ControlledDelay>) -> Self {
        Self {
            lines: std::iter::once(unknown)
                .chain(std::iter::repeat_n(delay, NEWCOMERS))
                .map(|delay| Line::of(0, delay))
                .collect(),
            by_tenant: HashMap::new(),
            active: BTreeSet::new(),
            longest: BTreeSet::new(),
            served: 0,
            len: 0,
            cursor: NEWCOMERS,
            delay,
            order: Order::OfArrival(NewestFirst::UnderOverload),
            weights: Weights::default(),
        }
    }

    /// Other weights from now on; those that there were.
    pub(crate) fn set_weights(&mut self, weights: Weights) -> Weights {
        std::mem::replace(&mut self.weights, weights)
    }

    pub(crate) const fn with_order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Somebody of `tenant` is about to wait, or to look for room once more: its line may be empty at `now`.
    pub(crate) fn note_empty(&mut self, tenant: u64, now: Timestamp) {
        let index = self.line_of(tenant);
        if let Some(line) = self.lines.get_mut(index).filter(|line| line.waiting.is_empty()) {
            if let Some(delay) = &mut line.delay {
                delay.was_empty(now);
            }
        }
    }

    /// The delay of the line of `tenant`, if waits are bounded by one.
    pub(crate) fn delay_of(&self, tenant: u64) -> Option<ControlledDelay> {
        let index = self.line_of(tenant);
        self.lines.get(index)?.delay
    }

    /// The delay of the line that `place` is in.
    pub(crate) fn delay_at(&self, place: FairKey) -> Option<ControlledDelay> {
        self.lines.get(place.line)?.delay
    }

    pub(crate) fn push(&mut self, tenant: u64, deadline: Timestamp, value: T) -> FairKey {
        let index = self.line_of(tenant);
        let oldest_tag = self.served.saturating_sub(CREDIT);
        let line = &mut self.lines[index];
        if line.waiting.is_empty() {
            line.tag = line.tag.max(oldest_tag);
            self.active.insert((line.tag, index));
        }
        self.len = self.len.saturating_add(1);
        let key = line.waiting.push(value, (self.order == Order::OfDeadlines).then_some(deadline));
        let len = line.waiting.len();
        self.longest.remove(&(len.saturating_sub(1), index));
        self.longest.insert((len, index));
        FairKey { line: index, key }
    }

    pub(crate) fn get_mut(&mut self, place: FairKey) -> Option<&mut T> {
        self.lines.get_mut(place.line)?.waiting.get_mut(place.key)
    }

    pub(crate) fn get(&self, place: FairKey) -> Option<&T> {
        self.lines.get(place.line)?.waiting.get(place.key)
    }

    /// Whose turn it is, when calls take `typical`: of the tenant that was given least the oldest or, as the order has it, the
    /// newest or whose deadline is nearest.
    pub(crate) fn next(&self, typical: Duration, now: Timestamp) -> Option<Turn> {
        let (_, index) = *self.active.first()?;
        let line = self.lines.get(index)?;
        let place = |key| FairKey { line: index, key };
        let oldest = place(line.waiting.oldest()?);
        let is_overloaded = || line.delay.is_some_and(|delay| delay.when_calls_take(typical).is_overloaded(now));
        let served = match self.order {
            Order::OfArrival(NewestFirst::Always) => place(line.waiting.newest()?),
            Order::OfArrival(NewestFirst::UnderOverload) if is_overloaded() => place(line.waiting.newest()?),
            Order::OfArrival(_) => oldest,
            Order::OfDeadlines => place(line.waiting.nearest()?),
        };
        Some(Turn { oldest, served })
    }

    /// The oldest of each tenant that waits.
    pub(crate) fn oldest_of_each(&self) -> impl Iterator<Item = &T> {
        self.active.iter().filter_map(|(_, index)| {
            let line = &self.lines.get(*index)?.waiting;
            line.get(line.oldest()?)
        })
    }

    /// Who makes room in a full queue: of the tenant that waits most the oldest, or whose deadline is farthest; `None` where the
    /// newcomer itself would be that.
    pub(crate) fn makes_room_for(&self, newcomer: Option<Newcomer>) -> Option<FairKey> {
        let (_, index) = *self.longest.last()?;
        let line = self.lines.get(index)?;
        let key = match self.order {
            Order::OfArrival(_) => line.waiting.oldest()?,
            Order::OfDeadlines => {
                let (deadline, key) = line.waiting.farthest()?;
                let comes_last =
                    |newcomer: Newcomer| self.line_of(newcomer.tenant) == index && newcomer.deadline >= deadline;
                if newcomer.is_some_and(comes_last) {
                    return None;
                }
                key
            }
        };
        Some(FairKey { line: index, key })
    }

    /// The line of `place`, where one of `tenant` waits, is given `cost`.
    pub(crate) fn charge(&mut self, place: FairKey, tenant: u64, cost: u32) {
        let Some(line) = self.lines.get_mut(place.line) else { return };
        self.served = self.served.max(line.tag);
        let waits = self.active.remove(&(line.tag, place.line));
        let weight = self.weights.get(&tenant).copied().unwrap_or(1);
        let given = u64::from(cost).saturating_mul(UNIT).checked_div(weight.into()).unwrap_or(0);
        line.tag = line.tag.saturating_add(given);
        let tag = line.tag;
        if waits {
            self.active.insert((tag, place.line));
        }
        if (1..=NEWCOMERS).contains(&place.line) && !self.by_tenant.contains_key(&tenant) {
            self.welcome(tenant, tag);
        }
    }

    /// Takes a waiter out of line but keeps it under its key; whether it was in line.
    pub(crate) fn unlink(&mut self, place: FairKey) -> bool {
        let Some(line) = self.lines.get_mut(place.line) else { return false };
        let unlinked = line.waiting.unlink(place.key);
        if unlinked {
            self.len = self.len.saturating_sub(1);
            let len = line.waiting.len();
            self.longest.remove(&(len.saturating_add(1), place.line));
            if len > 0 {
                self.longest.insert((len, place.line));
            }
            if line.waiting.is_empty() {
                self.active.remove(&(line.tag, place.line));
            }
        }
        unlinked
    }

    /// Removes a waiter, in line or not.
    pub(crate) fn remove(&mut self, place: FairKey) -> Option<T> {
        self.unlink(place);
        self.lines.get_mut(place.line)?.waiting.remove(place.key)
    }

    fn line_of(&self, tenant: u64) -> usize {
        if tenant == 0 {
            return 0;
        }
        let newcomer = || 1_usize.saturating_add(usize::try_from(tenant).unwrap_or_default() % NEWCOMERS);
        self.by_tenant.get(&tenant).copied().unwrap_or_else(newcomer)
    }

    /// Gives `tenant`, which has been given `tag`, a line of its own, if there is one to give.
    fn welcome(&mut self, tenant: u64, tag: u64) {
        let index = if self.lines.len() < MAX_LINES {
            self.lines.push(Line::of(tenant, self.delay));
            self.lines.len().saturating_sub(1)
        } else if let Some(unused) = self.unused_line() {
            unused
        } else {
            return;
        };
        if let Some(line) = self.lines.get_mut(index) {
            self.by_tenant.remove(&line.tenant);
            line.tenant = tenant;
            line.tag = tag;
            line.delay = self.delay;
        }
        self.by_tenant.insert(tenant, index);
    }

    /// A line in which nobody waits and whose tag says nothing any more.
    fn unused_line(&mut self) -> Option<usize> {
        let old = self.served.saturating_sub(CREDIT);
        for _ in 0..LOOKED_AT {
            let next = self.cursor.saturating_add(1);
            self.cursor = if next < MAX_LINES { next } else { NEWCOMERS.saturating_add(1) };
            if self.lines.get(self.cursor).is_some_and(|line| line.waiting.is_empty() && line.tag <= old) {
                return Some(self.cursor);
            }
        }
        None
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;

    fn serve(queue: &mut FairQueue<u64>) -> u64 {
        let place = queue.next(Duration::ZERO, Timestamp::ZERO).expect("somebody waits").served;
        let tenant = *queue.get(place).expect("it waits");
        queue.charge(place, tenant, 1);
        queue.remove(place).expect("it waits")
    }

    #[test]
    fn tenants_are_served_in_turn_however_many_calls_one_of_them_has() {
        let mut queue = FairQueue::new(None, None);
        for _ in 0..100 {
            queue.push(1, Timestamp::MAX, 1);
        }
        for _ in 0..3 {
            queue.push(2, Timestamp::MAX, 2);
        }

        let served: Vec<u64> = (0..8).map(|_| serve(&mut queue)).collect();

        assert_eq!(served, [1, 2, 1, 2, 1, 2, 1, 1]);
    }

    #[test]
    fn a_tenant_of_three_times_the_weight_is_served_three_times_as_often_and_one_without_as_one_of_weight_one() {
        let mut queue = FairQueue::new(None, None);
        queue.set_weights(Arc::new(HashMap::from([(1, 3), (2, 1)])));
        for _ in 0..100 {
            for tenant in 1..=3 {
                queue.push(tenant, Timestamp::MAX, tenant);
            }
        }

        let mut served = [0_u32; 3];
        for _ in 0..100 {
            served[usize::try_from(serve(&mut queue)).unwrap() - 1] += 1;
        }

        assert!(served[0].abs_diff(60) <= 2 && served[1].abs_diff(20) <= 2, "{served:?}");
    }

    #[test]
    fn who_has_been_given_nothing_for_long_is_ahead_by_a_credit_and_no_more() {
        let mut queue = FairQueue::new(None, None);
        for _ in 0..1_000 {
            queue.push(1, Timestamp::MAX, 1);
        }
        for _ in 0..500 {
            serve(&mut queue);
        }
        for _ in 0..100 {
            queue.push(2, Timestamp::MAX, 2);
        }

        let first: Vec<u64> = (0..30).map(|_| serve(&mut queue)).collect();

        let ahead = first.iter().take_while(|tenant| **tenant == 2).count();
        assert!((15..=17).contains(&ahead), "{first:?}");
    }

    #[test]
    fn more_tenants_than_lines_share_them_and_lines_are_used_again() {
        let mut queue = FairQueue::new(None, None);
        for tenant in 1..5_000 {
            queue.push(tenant, Timestamp::MAX, tenant);
            assert_eq!(serve(&mut queue), tenant);
        }

        assert_eq!((queue.lines.len(), queue.by_tenant.len()), (MAX_LINES, MAX_LINES - NEWCOMERS - 1));
        assert!(queue.is_empty() && queue.active.is_empty() && queue.longest.is_empty());
        assert!(queue.by_tenant.contains_key(&4_999) && !queue.by_tenant.contains_key(&1));
    }

    #[test]
    fn who_comes_under_another_number_with_each_call_leaves_the_others_their_turns() {
        let mut queue = FairQueue::new(None, None);
        let (mut number, mut turns) = (100, 0);
        let mut waits = BTreeSet::new();

        for _ in 0..2_000 {
            for tenant in 1..5_u64 {
                if waits.insert(tenant) {
                    queue.push(tenant, Timestamp::MAX, tenant);
                }
            }
            for _ in 0..20 {
                number += 1;
                queue.push(number, Timestamp::MAX, number);
            }
            let served = serve(&mut queue);
            turns += u64::from(waits.remove(&served));
        }

        // Those for newcomers are eight lines, theirs are four.
        assert!((550..=700).contains(&turns), "{turns}");
    }

    proptest::proptest! {
        /// Held against a list of all that wait.
        #[test]
        fn by_deadline_the_nearest_goes_first_and_the_farthest_makes_room_whoever_left_in_between(
            steps in proptest::collection::vec((0..4_u8, 0..20_u64, 0..1_000_usize), 0..200),
        ) {
            let mut queue = FairQueue::new(None, None).with_order(Order::OfDeadlines);
            let mut waiting: Vec<(u64, usize, FairKey)> = Vec::new();
            for (arrival, (step, deadline, which)) in steps.into_iter().enumerate() {
                match step {
                    0 if !waiting.is_empty() => {
                        let (_, arrival, place) = waiting.remove(which.checked_rem(waiting.len()).unwrap_or(0));
                        proptest::prop_assert_eq!(queue.remove(place), Some(arrival));
                    }
                    1 => {
                        let first = queue.next(Duration::ZERO, Timestamp::ZERO).map(|turn| turn.served);
                        let nearest = waiting.iter().min_by_key(|(deadline, arrival, _)| (deadline, arrival)).copied();
                        proptest::prop_assert_eq!(first, nearest.map(|(.., place)| place));
                        if let Some((.., place)) = nearest {
                            queue.charge(place, 0, 1);
                            queue.remove(place);
                            waiting.retain(|(.., waits)| *waits != place);
                        }
                    }
                    _ => {
                        let place = queue.push(0, Timestamp::from_nanos(deadline), arrival);
                        waiting.push((deadline, arrival, place));
                    }
                }
                let farthest = waiting.iter().max_by_key(|(deadline, arrival, _)| (deadline, arrival)).copied();
                proptest::prop_assert_eq!(queue.makes_room_for(None), farthest.map(|(.., place)| place));
                let newcomer = Newcomer { tenant: 0, deadline: Timestamp::from_nanos(10) };
                let gives_way = farthest.filter(|(deadline, ..)| *deadline > 10).map(|(.., place)| place);
                proptest::prop_assert_eq!(queue.makes_room_for(Some(newcomer)), gives_way);
            }
        }
    }

    #[test]
    fn the_longest_line_is_known_whatever_came_and_went() {
        let mut queue = FairQueue::new(None, None);
        let mut places = Vec::new();
        let mut random = 88_172_645_463_325_252_u64;

        for _ in 0..2_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            match random % 3 {
                0 if !places.is_empty() => {
                    let index = usize::try_from(random >> 32).unwrap() % places.len();
                    queue.remove(places.swap_remove(index));
                }
                1 if !places.is_empty() => {
                    let served = queue.next(Duration::ZERO, Timestamp::ZERO).unwrap().served;
                    let tenant = *queue.get(served).unwrap();
                    queue.charge(served, tenant, 1);
                    queue.remove(served);
                    places.retain(|place| *place != served);
                }
                _ => places.push(queue.push((random >> 8) % 20, Timestamp::MAX, (random >> 8) % 20)),
            }
            let longest = queue.lines.iter().map(|line| line.waiting.len()).max();
            let found = queue.makes_room_for(None);
            assert_eq!(found.is_some(), !places.is_empty());
            if let Some(found) = found {
                assert_eq!(Some(queue.lines[found.line].waiting.len()), longest);
                assert_eq!(queue.lines[found.line].waiting.oldest(), Some(found.key));
            }
        }
    }
}
