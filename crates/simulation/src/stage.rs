//! One station of a server: a queue and those who are worked on.
use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, VecDeque},
};

use crate::Law;

/// How a stage works on the calls that it was given.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Discipline {
    /// So many workers, each on one call at a time; the rest queue, first come first served.
    Workers(u32),
    /// So many cores shared evenly by all calls.
    Sharing(f64),
    /// Cores shared by all; each call beyond their number slows all by this part of its share of the cores: a lock that
    /// is passed around more than it is held.
    Convoy {
        /// How many cores.
        cores: f64,
        /// How much all calls together lose when there are twice as many as cores.
        loss: f64,
    },
    /// Cores shared by all, with memory for so many; beyond them the pace falls with the third power.
    Thrashing {
        /// How many cores.
        cores: f64,
        /// For how many calls there is memory.
        room: f64,
    },
    /// One worker that takes up to so many waiting calls at once; each batch costs so much more, in nanoseconds.
    Batches {
        /// The largest batch.
        size: u32,
        /// What a batch costs beyond its calls, in nanoseconds.
        setup: f64,
    },
}

/// A stage and the work that calls bring to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageSpec {
    /// How it works.
    pub discipline: Discipline,
    /// The mean work of a call, in nanoseconds.
    pub work: f64,
    /// How the work is spread.
    pub law: Law,
}

impl StageSpec {
    /// The most that it can do, in calls per nanosecond.
    pub fn capacity(&self) -> f64 {
        match self.discipline {
            Discipline::Workers(workers) => f64::from(workers) / self.work,
            Discipline::Sharing(cores) | Discipline::Convoy { cores, .. } | Discipline::Thrashing { cores, .. } => {
                cores / self.work
            }
            Discipline::Batches { size, setup } => f64::from(size) / (setup + f64::from(size) * self.work),
        }
    }

    /// How many calls it works on at once when it is busy.
    pub fn width(&self) -> f64 {
        match self.discipline {
            Discipline::Workers(workers) => workers.into(),
            Discipline::Sharing(cores) | Discipline::Convoy { cores, .. } | Discipline::Thrashing { cores, .. } => {
                cores
            }
            Discipline::Batches { size, .. } => f64::from(size) * 2.0,
        }
    }

    /// The mean latency of a call that is alone, in nanoseconds.
    pub fn bare(&self) -> f64 {
        match self.discipline {
            Discipline::Batches { setup, .. } => setup + self.work,
            _ => self.work,
        }
    }
}

/// When, in work given since the beginning, a job is done.
#[derive(Clone, Copy, Debug)]
struct Mark {
    given: f64,
    order: u64,
    job: u32,
}

impl PartialEq for Mark {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Mark {}
impl PartialOrd for Mark {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Mark {
    fn cmp(&self, other: &Self) -> Ordering {
        self.given.total_cmp(&other.given).then(self.order.cmp(&other.order))
    }
}

/// A stage at work.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) spec: StageSpec,
    workers: u32,
    queue: VecDeque<(u32, f64)>,
    inside: BinaryHeap<Reverse<Mark>>,
    /// The work, in nanoseconds, that everybody inside has been given since the beginning.
    given: f64,
    since: u64,
    /// What the server's troubles leave of the pace.
    pub(crate) pace: f64,
    order: u64,
    /// When the next job is done, as planned, and the number of that plan.
    planned: Option<u64>,
    pub(crate) plan: u32,
}

impl Stage {
    pub(crate) fn new(spec: StageSpec) -> Self {
        let workers = match spec.discipline {
            Discipline::Workers(workers) => workers,
            Discipline::Batches { .. } => 1,
            _ => u32::MAX,
        };
        Self {
            spec,
            workers,
            queue: VecDeque::new(),
            inside: BinaryHeap::new(),
            given: 0.0,
            since: 0,
            pace: 1.0,
            order: 0,
            planned: None,
            plan: 0,
        }
    }

    /// Changes the number of workers; those who have work finish it.
    pub(crate) fn scale(&mut self, factor: f64) {
        if let Discipline::Workers(workers) = self.spec.discipline {
            self.workers = ((f64::from(workers) * factor).round() as u32).max(1);
        } else {
            self.pace = factor;
        }
    }

    /// Work per nanosecond that each call inside is given.
    fn speed(&self) -> f64 {
        let inside = self.inside.len() as f64;
        let together = match self.spec.discipline {
            Discipline::Workers(_) | Discipline::Batches { .. } => return self.pace,
            Discipline::Sharing(cores) => inside.min(cores),
            Discipline::Convoy { cores, loss } => {
                inside.min(cores) / (1.0 + loss / (1.0 - loss) * ((inside - cores) / cores).max(0.0))
            }
            Discipline::Thrashing { cores, room } => inside.min(cores) * (room / inside.max(room)).powi(3),
        };
        self.pace * together / inside.max(1.0)
    }

    /// Time passes up to `now`.
    pub(crate) fn pass_to(&mut self, now: u64) {
        self.given += (now - self.since) as f64 * self.speed();
        self.since = now;
    }

    /// A job comes; `first` puts it before those who wait.
    pub(crate) fn arrive(&mut self, now: u64, job: u32, work: f64, first: bool) {
        self.pass_to(now);
        if first {
            self.queue.push_front((job, work));
        } else {
            self.queue.push_back((job, work));
        }
    }

    /// Begins work on those who wait, as far as there are workers, leaving out those that `wanted` denies.
    pub(crate) fn fill(&mut self, mut wanted: impl FnMut(u32) -> bool) {
        if let Discipline::Batches { size, setup } = self.spec.discipline {
            if self.inside.is_empty() && !self.queue.is_empty() {
                let taken = self.queue.len().min(size as usize);
                let work: f64 = self.queue.iter().take(taken).map(|(_, work)| work).sum();
                let given = self.given + setup + work;
                for (job, _) in self.queue.drain(..taken) {
                    self.order += 1;
                    self.inside.push(Reverse(Mark { given, order: self.order, job }));
                }
            }
            return;
        }
        while self.inside.len() < self.workers as usize {
            let Some((job, work)) = self.queue.pop_front() else { return };
            if wanted(job) {
                self.order += 1;
                self.inside.push(Reverse(Mark { given: self.given + work, order: self.order, job }));
            }
        }
    }

    /// A job goes that waits or is worked on; whether it was here.
    pub(crate) fn cancel(&mut self, now: u64, job: u32) -> bool {
        self.pass_to(now);
        let before = self.queue.len() + self.inside.len();
        self.queue.retain(|(other, _)| *other != job);
        self.inside.retain(|Reverse(mark)| mark.job != job);
        self.queue.len() + self.inside.len() < before
    }

    /// A job that is done at `now`.
    pub(crate) fn done(&mut self, now: u64) -> Option<u32> {
        self.pass_to(now);
        // Times are whole nanoseconds: what is done within the next one is done.
        let due = self.inside.peek().is_some_and(|Reverse(mark)| mark.given <= self.given + 1.0);
        if due { self.inside.pop().map(|Reverse(mark)| mark.job) } else { None }
    }

    /// When the next job is done, if that has changed since it was last asked.
    pub(crate) fn replan(&mut self, now: u64) -> Option<u64> {
        let speed = self.speed();
        let next = self.inside.peek().filter(|_| speed > 0.0).map(|Reverse(mark)| {
            let wait = (mark.given - self.given).max(0.0) / speed;
            now + (wait.ceil() as u64).max(1)
        });
        if next == self.planned {
            return None;
        }
        self.planned = next;
        self.plan = self.plan.wrapping_add(1);
        next
    }

    /// The plan has come due.
    pub(crate) fn plan_is_due(&mut self) {
        self.planned = None;
    }
}
