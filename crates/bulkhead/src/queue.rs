use std::task::Waker;

use seawall_core::{Criticality, Rejection, Timestamp, WaitKey, WaitList};

use crate::{Order, Place, accounts::Holder, deadline_line::DeadlineLine, share_lines::ShareLines};

/// As many as there are criticalities.
const CLASSES: usize = 4;

/// What a queue knows of a call.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Call {
    pub(crate) weight: u32,
    pub(crate) criticality: Criticality,
    pub(crate) deadline: Timestamp,
    pub(crate) holder: Holder,
}

/// A call that waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) call: Call,
    pub(crate) since: Timestamp,
    /// How many came before it, ever.
    pub(crate) arrival: u64,
    pub(crate) waker: Waker,
    /// What became of it, once it is out of line.
    pub(crate) turn: Option<Result<Place, Rejection>>,
}

/// One waiter's place in the queue.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) line: usize,
    pub(crate) key: WaitKey,
}

/// Those who wait, and whose turn it is.
#[derive(Debug)]
pub(crate) struct Queue {
    lines: Lines,
    max_queued: usize,
    arrivals: u64,
}

#[derive(Debug)]
enum Lines {
    Oldest(WaitList<Waiter>),
    Newest(WaitList<Waiter>),
    Deadlines(DeadlineLine),
    Classes([WaitList<Waiter>; CLASSES]),
    Shares(ShareLines),
}

impl Queue {
    pub(crate) fn new(order: &Order, max_queued: usize) -> Self {
        let lines = match order {
            Order::OldestFirst => Lines::Oldest(WaitList::new()),
            Order::NewestFirst => Lines::Newest(WaitList::new()),
            Order::EarliestDeadlineFirst => Lines::Deadlines(DeadlineLine::default()),
            Order::MostCriticalFirst(_) => Lines::Classes(Default::default()),
            Order::ByShare(_) => Lines::Shares(ShareLines::default()),
        };
        Self { lines, max_queued, arrivals: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        match &self.lines {
            Lines::Oldest(line) | Lines::Newest(line) => line.len(),
            Lines::Deadlines(line) => line.len(),
            Lines::Classes(classes) => classes.iter().map(WaitList::len).sum(),
            Lines::Shares(lines) => lines.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first().is_none()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.max_queued
    }

    /// Gets in line. `standing`: the share of its holder and what that holds, where there are shares.
    pub(crate) fn push(&mut self, call: Call, since: Timestamp, standing: (u32, u32)) -> Spot {
        let arrival = self.arrivals;
        self.arrivals = arrival.saturating_add(1);
        let waiter = Waiter { call, since, arrival, waker: Waker::noop().clone(), turn: None };
        let only = |key| Spot { line: 0, key };
        match &mut self.lines {
            Lines::Oldest(line) | Lines::Newest(line) => only(line.push_back(waiter)),
            Lines::Deadlines(line) => only(line.push(waiter)),
            Lines::Classes(classes) => {
                let line = call.criticality as usize;
                Spot { line, key: classes[line].push_back(waiter) }
            }
            Lines::Shares(lines) => lines.push(waiter, standing),
        }
    }

    /// Whose turn it is.
    pub(crate) fn first(&self) -> Option<Spot> {
        let only = |key| Spot { line: 0, key };
        match &self.lines {
            Lines::Oldest(line) => line.front().map(only),
            Lines::Newest(line) => line.back().map(only),
            Lines::Deadlines(line) => line.first().map(only),
            Lines::Classes(classes) => {
                let mut classes = classes.iter().enumerate().rev();
                classes.find_map(|(line, class)| Some(Spot { line, key: class.front()? }))
            }
            Lines::Shares(lines) => lines.first(),
        }
    }

    /// Who makes room for `call` in a full queue: the one that would be served last, unless that is `call` itself.
    pub(crate) fn makes_room_for(&self, call: &Call, parts: u32) -> Option<Spot> {
        let only = |key| Spot { line: 0, key };
        match &self.lines {
            Lines::Oldest(_) => None,
            Lines::Newest(line) => line.front().map(only),
            Lines::Deadlines(line) => line.later_than(call.deadline).map(only),
            Lines::Classes(classes) => {
                let mut below = classes.iter().enumerate().take(call.criticality as usize);
                below.find_map(|(line, class)| Some(Spot { line, key: class.back()? }))
            }
            Lines::Shares(lines) => lines.makes_room_for(call.holder, parts),
        }
    }

    /// `holder` holds `used` places.
    pub(crate) fn note(&mut self, holder: Holder, used: u32) {
        if let Lines::Shares(lines) = &mut self.lines {
            lines.note(holder, used);
        }
    }

    pub(crate) fn get_mut(&mut self, spot: Spot) -> Option<&mut Waiter> {
        match &mut self.lines {
            Lines::Oldest(line) | Lines::Newest(line) => line.get_mut(spot.key),
            Lines::Deadlines(line) => line.get_mut(spot.key),
            Lines::Classes(classes) => classes.get_mut(spot.line)?.get_mut(spot.key),
            Lines::Shares(lines) => lines.get_mut(spot),
        }
    }

    /// Takes a waiter out of line and tells it; its waker is for the caller to wake, outside of the lock.
    pub(crate) fn tell(&mut self, spot: Spot, turn: Result<Place, Rejection>) -> Option<Waker> {
        match &mut self.lines {
            Lines::Oldest(line) | Lines::Newest(line) => {
                line.unlink(spot.key);
            }
            Lines::Deadlines(line) => line.unlink(spot.key),
            Lines::Classes(classes) => {
                classes.get_mut(spot.line)?.unlink(spot.key);
            }
            Lines::Shares(lines) => lines.unlink(spot),
        }
        let waiter = self.get_mut(spot)?;
        waiter.turn = Some(turn);
        Some(std::mem::replace(&mut waiter.waker, Waker::noop().clone()))
    }

    /// Removes a waiter, in line or not.
    pub(crate) fn remove(&mut self, spot: Spot) -> Option<Waiter> {
        match &mut self.lines {
            Lines::Oldest(line) | Lines::Newest(line) => line.remove(spot.key),
            Lines::Deadlines(line) => line.remove(spot.key),
            Lines::Classes(classes) => classes.get_mut(spot.line)?.remove(spot.key),
            Lines::Shares(lines) => lines.remove(spot),
        }
    }

    /// Since when the one that has waited longest waits.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        let front = |line: &WaitList<Waiter>| line.front().and_then(|key| line.get(key)).map(|waiter| waiter.since);
        match &self.lines {
            Lines::Oldest(line) | Lines::Newest(line) => front(line),
            Lines::Deadlines(line) => front(line.by_arrival()),
            Lines::Classes(classes) => classes.iter().filter_map(front).min(),
            Lines::Shares(lines) => lines.each().filter_map(front).min(),
        }
    }
}
