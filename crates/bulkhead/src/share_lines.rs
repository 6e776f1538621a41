use std::collections::{BTreeSet, HashMap};

use seawall_core::WaitList;

use crate::{
    accounts::Holder,
    queue::{Spot, Waiter},
};

/// Those who wait, a line for each holder of places; the turn is that of the line whose holder has least of its share.
///
/// A line is there while somebody waits in it, then it is used for another holder: there are never more lines than
/// waiters at one time. Every step takes a time that grows with the logarithm of their number.
#[derive(Debug, Default)]
pub(crate) struct ShareLines {
    lines: Vec<ShareLine>,
    by_holder: HashMap<Holder, usize>,
    /// Lines in which nobody waits.
    unused: Vec<usize>,
    /// Lines in which somebody waits: by what is held of the share, then by the arrival of the first.
    next: BTreeSet<(u128, u64, usize)>,
    /// The same lines by length, in proportion to the share, then by the arrival of the last.
    longest: BTreeSet<(u128, u64, usize)>,
    len: usize,
}

#[derive(Debug, Default)]
struct ShareLine {
    holder: Holder,
    parts: u32,
    used: u32,
    waiting: WaitList<Waiter>,
    /// Where it stands in `next` and `longest`.
    indexed: Option<Rank>,
}

/// Enough to tell any two quotients by shares in millionths apart.
const SHIFT: u32 = 40;

/// Where a line stands in `next`, and where in `longest`.
type Rank = ((u128, u64), (u128, u64));

/// `count` in proportion to a share; beyond all others where there is no share.
fn relative(count: usize, parts: u32) -> u128 {
    // A count has at most 64 bits: the shift cannot overflow.
    ((count as u128) << SHIFT).checked_div(parts.into()).unwrap_or(u128::MAX)
}

impl ShareLine {
    fn rank(&self) -> Option<Rank> {
        let arrival = |key| self.waiting.get(key).map(|waiter| waiter.arrival);
        let (first, last) = (arrival(self.waiting.front()?)?, arrival(self.waiting.back()?)?);
        let used = usize::try_from(self.used).unwrap_or(usize::MAX);
        Some(((relative(used, self.parts), first), (relative(self.waiting.len(), self.parts), last)))
    }
}

impl ShareLines {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push(&mut self, waiter: Waiter, (parts, used): (u32, u32)) -> Spot {
        let holder = waiter.call.holder;
        let index = self.line_of(holder);
        let line = &mut self.lines[index];
        (line.holder, line.parts, line.used) = (holder, parts, used);
        let key = line.waiting.push_back(waiter);
        self.len = self.len.saturating_add(1);
        self.index(index);
        Spot { line: index, key }
    }

    pub(crate) fn first(&self) -> Option<Spot> {
        let (_, _, line) = *self.next.first()?;
        Some(Spot { line, key: self.lines.get(line)?.waiting.front()? })
    }

    /// The last of the line that is longest in proportion to its share, unless that is `holder`'s, or would be with one
    /// more.
    pub(crate) fn makes_room_for(&self, holder: Holder, parts: u32) -> Option<Spot> {
        let (length, _, line) = *self.longest.last()?;
        let own = self.by_holder.get(&holder).and_then(|own| self.lines.get(*own)).map_or(0, |own| own.waiting.len());
        let longest = self.lines.get(line).filter(|longest| longest.holder != holder)?;
        (relative(own.saturating_add(1), parts) <= length).then_some(Spot { line, key: longest.waiting.back()? })
    }

    pub(crate) fn note(&mut self, holder: Holder, used: u32) {
        if let Some(index) = self.by_holder.get(&holder).copied() {
            self.lines[index].used = used;
            self.index(index);
        }
    }

    pub(crate) fn each(&self) -> impl Iterator<Item = &WaitList<Waiter>> {
        self.lines.iter().map(|line| &line.waiting)
    }

    pub(crate) fn get_mut(&mut self, spot: Spot) -> Option<&mut Waiter> {
        self.lines.get_mut(spot.line)?.waiting.get_mut(spot.key)
    }

    pub(crate) fn unlink(&mut self, spot: Spot) {
        let Some(line) = self.lines.get_mut(spot.line) else { return };
        if !line.waiting.unlink(spot.key) {
            return;
        }
        self.len = self.len.saturating_sub(1);
        if line.waiting.is_empty() {
            self.by_holder.remove(&line.holder);
            self.unused.push(spot.line);
        }
        self.index(spot.line);
    }

    pub(crate) fn remove(&mut self, spot: Spot) -> Option<Waiter> {
        self.unlink(spot);
        self.lines.get_mut(spot.line)?.waiting.remove(spot.key)
    }

    /// The line of `holder`, or one for it.
    fn line_of(&mut self, holder: Holder) -> usize {
        if let Some(index) = self.by_holder.get(&holder) {
            return *index;
        }
        let index = self.unused.pop().unwrap_or_else(|| {
            self.lines.push(ShareLine::default());
            self.lines.len().saturating_sub(1)
        });
        self.by_holder.insert(holder, index);
        index
    }

    /// Puts a line that has changed where it belongs.
    fn index(&mut self, index: usize) {
        let Some(line) = self.lines.get_mut(index) else { return };
        let rank = line.rank();
        let before = std::mem::replace(&mut line.indexed, rank);
        if before == rank {
            return;
        }
        if let Some(((used, first), (length, last))) = before {
            self.next.remove(&(used, first, index));
            self.longest.remove(&(length, last, index));
        }
        if let Some(((used, first), (length, last))) = rank {
            self.next.insert((used, first, index));
            self.longest.insert((length, last, index));
        }
    }
}
