use std::collections::{BTreeSet, HashMap};

use seawall_core::{Timestamp, WaitKey, WaitList};

use crate::ControlledDelay;

/// So many tenants are told apart at once; when more wait, some share a line.
const MAX_LINES: usize = 1_024;
/// How many lines are looked at for one that can be used again.
const LOOKED_AT: usize = 16;
/// A tenant that has asked for less than its share may be served so many units ahead of the others.
const CREDIT: u64 = 16;

/// Those who wait, by tenant: room goes to the tenant that has been given least, so that each has the same share and
/// what one does not need goes to the others.
///
/// A tenant's tag is what it has been given so far, in units of cost; it never falls further behind than [`CREDIT`], or
/// one that comes back after a while would shut the others out. Each tenant has a delay of its own: one that floods the
/// queue is under overload, the others are not.
///
/// # Source
/// Goyal, Vin and Cheng, "Start-time fair queueing", SIGCOMM 1996.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    /// The first is that of tenant 0.
    lines: Vec<Line<T>>,
    by_tenant: HashMap<u64, usize>,
    /// The lines in which somebody waits, by tag.
    active: BTreeSet<(u64, usize)>,
    /// The tag of whoever was served last.
    served: u64,
    len: usize,
    /// Where the next look for an unused line begins.
    cursor: usize,
    /// What the line of a tenant that is told apart begins with.
    delay: Option<ControlledDelay>,
}

#[derive(Debug)]
struct Line<T> {
    tenant: u64,
    tag: u64,
    waiting: WaitList<T>,
    delay: Option<ControlledDelay>,
}

impl<T> Line<T> {
    const fn of(tenant: u64, delay: Option<ControlledDelay>) -> Self {
        Self { tenant, tag: 0, waiting: WaitList::new(), delay }
    }
}

/// One waiter's place.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct FairKey {
    line: usize,
    key: WaitKey,
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
            lines: vec![Line::of(0, unknown)],
            by_tenant: HashMap::new(),
            active: BTreeSet::new(),
            served: 0,
            len: 0,
            cursor: 1,
            delay,
        }
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
    pub(crate) fn delay_of(&mut self, tenant: u64) -> Option<ControlledDelay> {
        let index = self.line_of(tenant);
        self.lines.get(index)?.delay
    }

    /// The delay of the line that `place` is in.
    pub(crate) fn delay_at(&self, place: FairKey) -> Option<ControlledDelay> {
        self.lines.get(place.line)?.delay
    }

    pub(crate) fn push(&mut self, tenant: u64, value: T) -> FairKey {
        let index = self.line_of(tenant);
        let oldest_tag = self.served.saturating_sub(CREDIT);
        let line = &mut self.lines[index];
        if line.waiting.is_empty() {
            line.tag = line.tag.max(oldest_tag);
            self.active.insert((line.tag, index));
        }
        self.len = self.len.saturating_add(1);
        FairKey { line: index, key: line.waiting.push_back(value) }
    }

    pub(crate) fn get_mut(&mut self, place: FairKey) -> Option<&mut T> {
        self.lines.get_mut(place.line)?.waiting.get_mut(place.key)
    }

    pub(crate) fn get(&self, place: FairKey) -> Option<&T> {
        self.lines.get(place.line)?.waiting.get(place.key)
    }

    /// Whose turn it is: of the tenant that was given least the oldest, or the newest if its line is under overload.
    pub(crate) fn next(&self, now: Timestamp) -> Option<Turn> {
        let (_, index) = *self.active.first()?;
        let line = self.lines.get(index)?;
        let place = |key| FairKey { line: index, key };
        let oldest = place(line.waiting.front()?);
        let newest_first = line.delay.is_some_and(|delay| delay.is_overloaded(now));
        Some(Turn { oldest, served: if newest_first { place(line.waiting.back()?) } else { oldest } })
    }

    /// The oldest of the tenant that waits most.
    pub(crate) fn oldest_of_the_longest(&self) -> Option<FairKey> {
        let (_, line) =
            *self.active.iter().max_by_key(|(_, line)| self.lines.get(*line).map(|line| line.waiting.len()))?;
        Some(FairKey { line, key: self.lines.get(line)?.waiting.front()? })
    }

    /// The tenant of `place` is given `cost`.
    pub(crate) fn charge(&mut self, place: FairKey, cost: u32) {
        let Some(line) = self.lines.get_mut(place.line) else { return };
        self.served = self.served.max(line.tag);
        let waits = self.active.remove(&(line.tag, place.line));
        line.tag = line.tag.saturating_add(cost.into());
        if waits {
            self.active.insert((line.tag, place.line));
        }
    }

    /// Takes a waiter out of line but keeps it under its key; whether it was in line.
    pub(crate) fn unlink(&mut self, place: FairKey) -> bool {
        let Some(line) = self.lines.get_mut(place.line) else { return false };
        let unlinked = line.waiting.unlink(place.key);
        if unlinked {
            self.len = self.len.saturating_sub(1);
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

    fn line_of(&mut self, tenant: u64) -> usize {
        if tenant == 0 {
            return 0;
        }
        if let Some(line) = self.by_tenant.get(&tenant) {
            return *line;
        }
        let index = if self.lines.len() < MAX_LINES {
            self.lines.push(Line::of(tenant, self.delay));
            self.lines.len().saturating_sub(1)
        } else if let Some(unused) = self.unused_line() {
            unused
        } else {
            return usize::try_from(tenant).unwrap_or_default() % MAX_LINES;
        };
        if let Some(line) = self.lines.get_mut(index) {
            self.by_tenant.remove(&line.tenant);
            line.tenant = tenant;
            line.delay = self.delay;
        }
        self.by_tenant.insert(tenant, index);
        index
    }

    /// A line in which nobody waits and whose tag says nothing any more.
    fn unused_line(&mut self) -> Option<usize> {
        let old = self.served.saturating_sub(CREDIT);
        for _ in 0..LOOKED_AT {
            self.cursor = if self.cursor.saturating_add(1) < MAX_LINES { self.cursor.saturating_add(1) } else { 1 };
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
        let place = queue.next(Timestamp::ZERO).expect("somebody waits").served;
        queue.charge(place, 1);
        queue.remove(place).expect("it waits")
    }

    #[test]
    fn tenants_are_served_in_turn_however_many_calls_one_of_them_has() {
        let mut queue = FairQueue::new(None, None);
        for _ in 0..100 {
            queue.push(1, 1);
        }
        for _ in 0..3 {
            queue.push(2, 2);
        }

        let served: Vec<u64> = (0..8).map(|_| serve(&mut queue)).collect();

        assert_eq!(served, [1, 2, 1, 2, 1, 2, 1, 1]);
    }

    #[test]
    fn who_has_been_given_nothing_for_long_is_ahead_by_a_credit_and_no_more() {
        let mut queue = FairQueue::new(None, None);
        for _ in 0..1_000 {
            queue.push(1, 1);
        }
        for _ in 0..500 {
            serve(&mut queue);
        }
        for _ in 0..100 {
            queue.push(2, 2);
        }

        let first: Vec<u64> = (0..30).map(|_| serve(&mut queue)).collect();

        let ahead = first.iter().take_while(|tenant| **tenant == 2).count();
        assert!((15..=17).contains(&ahead), "{first:?}");
    }

    #[test]
    fn more_tenants_than_lines_share_them_and_lines_are_used_again() {
        let mut queue = FairQueue::new(None, None);
        let places: Vec<_> = (1..5_000).map(|tenant| queue.push(tenant, tenant)).collect();

        assert!(queue.lines.len() <= MAX_LINES && queue.by_tenant.len() <= MAX_LINES);
        assert_eq!(queue.len(), 4_999);
        for place in places {
            assert!(queue.remove(place).is_some());
        }

        assert!(queue.is_empty() && queue.active.is_empty());
        queue.push(9_999, 1);
        assert!(queue.by_tenant.contains_key(&9_999) || queue.lines.len() == MAX_LINES);
    }
}
