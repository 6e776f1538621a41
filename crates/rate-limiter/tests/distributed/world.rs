//! The cores of eight processes, a store that may be slow or gone, and a network between them.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use seawall_core::Timestamp;
use seawall_rate_limiter::{Answer, DistributedGcra, DistributedQuota, Need, Quota};

use super::{MILLIS, PROCESSES, SECONDS};

/// The bucket as the script keeps it.
#[derive(Debug)]
pub(super) struct Bucket {
    interval: u128,
    burst: u128,
    owed: u128,
    at: u64,
}

impl Bucket {
    pub(super) fn new(quota: Quota) -> Self {
        Self { interval: quota.interval().as_nanos(), burst: quota.burst().into(), owed: 0, at: 0 }
    }

    pub(super) fn exchange(&mut self, need: Need, now: u64) -> Answer {
        self.owed = self.owed.saturating_sub(u128::from(now.saturating_sub(self.at)));
        self.at = now;
        let charged = self.owed + u128::from(need.charge) * self.interval;
        self.owed = charged.saturating_sub(u128::from(need.give_back) * self.interval);
        let room = (self.burst * self.interval).saturating_sub(self.owed) / self.interval;
        let granted = room.min(need.take.into());
        self.owed += granted * self.interval;
        let nanos = u64::try_from(self.owed).expect("a debt of small numbers");
        Answer {
            granted: u32::try_from(granted).expect("at most what was asked for"),
            full_in: Duration::from_nanos(nanos),
        }
    }
}

/// What the store does at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Health {
    /// Answers after this many nanoseconds, there and back.
    Answers(u64),
    /// Refuses connections.
    Refuses,
    /// Takes questions and says nothing.
    Hangs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Call(usize),
    Look(usize),
    Arrives(usize, u64),
    Answered(usize, u64, u32, u64),
    Failed(usize, u64),
}

pub(super) struct World {
    pub(super) now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    sent: u64,
    random: u64,
    pub(super) processes: Vec<DistributedGcra>,
    /// The question under way of each process, and its number.
    needs: Vec<Option<(u64, Need)>>,
    /// When each process looks next.
    looks: Vec<Option<u64>>,
    pub(super) bucket: Bucket,
    health: fn(u64) -> Health,
    timeout: u64,
    /// Calls per second of each process.
    pub(super) demand: [u64; PROCESSES],
    pub(super) tally: Tally,
}

/// Calls and questions, each with its time.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) admitted: Vec<(u64, usize)>,
    refused: Vec<(u64, usize)>,
    pub(super) asked: usize,
}

impl Tally {
    pub(super) fn admitted_in(&self, from: u64, to: u64) -> usize {
        self.admitted.iter().filter(|(at, _)| (from..to).contains(at)).count()
    }

    pub(super) fn refused_in(&self, from: u64, to: u64) -> usize {
        self.refused.iter().filter(|(at, _)| (from..to).contains(at)).count()
    }

    pub(super) fn admitted_of(&self, process: usize) -> usize {
        self.admitted.iter().filter(|(_, of)| *of == process).count()
    }
}

impl World {
    pub(super) fn new(seed: u64, quota: DistributedQuota, demand: [u64; PROCESSES], health: fn(u64) -> Health) -> Self {
        let mut world = Self {
            now: 0,
            events: BinaryHeap::new(),
            sent: 0,
            random: seed * 2 + 1,
            processes: (0..PROCESSES).map(|_| DistributedGcra::new(quota)).collect(),
            needs: vec![None; PROCESSES],
            looks: vec![None; PROCESSES],
            bucket: Bucket::new(quota.quota()),
            health,
            timeout: u64::try_from(quota.timeout().as_nanos()).expect("a short time"),
            demand,
            tally: Tally::default(),
        };
        for process in 0..PROCESSES {
            world.next_call(process);
        }
        world
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn send(&mut self, after: u64, event: Event) {
        self.sent += 1;
        self.events.push(Reverse((self.now + after, self.sent, event)));
    }

    /// Between nothing and twice the mean.
    fn next_call(&mut self, process: usize) {
        if let Some(mean) = SECONDS.checked_div(self.demand[process]) {
            let after = self.random() % (2 * mean);
            self.send(after, Event::Call(process));
        }
    }

    /// Each process has a clock of its own: seconds apart.
    fn clock(&self, process: usize) -> Timestamp {
        Timestamp::from_nanos(self.now + 7 * SECONDS * (u64::try_from(process).expect("small") + 1))
    }

    pub(super) fn run_until(&mut self, end: u64) {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            if at > end {
                self.events.push(Reverse((at, 0, event)));
                self.now = end;
                return;
            }
            self.now = at;
            self.handle(event);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Call(process) => {
                let taken = self.processes[process].take(1, self.clock(process));
                let tally = if taken.is_ok() { &mut self.tally.admitted } else { &mut self.tally.refused };
                tally.push((self.now, process));
                if self.processes[process].runs_low() {
                    self.ask(process);
                }
                self.next_call(process);
            }
            Event::Look(process) => {
                if self.looks[process] == Some(self.now) {
                    self.ask(process);
                }
            }
            Event::Arrives(process, question) => {
                if let (Some(need), Health::Answers(took)) = (self.need(process, question), (self.health)(self.now)) {
                    let answer = self.bucket.exchange(need, self.now);
                    let full_in = u64::try_from(answer.full_in.as_nanos()).expect("short");
                    self.send(took / 2, Event::Answered(process, question, answer.granted, full_in));
                }
            }
            Event::Answered(process, question, granted, full_in) => {
                if let Some(need) = self.need(process, question) {
                    let answer = Answer { granted, full_in: Duration::from_nanos(full_in) };
                    self.processes[process].answered(need, answer, self.clock(process));
                    self.needs[process] = None;
                    self.look_again(process);
                }
            }
            Event::Failed(process, question) => {
                if let Some(need) = self.need(process, question) {
                    self.processes[process].failed(need, self.clock(process));
                    self.needs[process] = None;
                    self.look_again(process);
                }
            }
        }
    }

    /// What is wanted by a question that is still under way.
    fn need(&self, process: usize, question: u64) -> Option<Need> {
        self.needs[process].filter(|(number, _)| *number == question).map(|(_, need)| need)
    }

    fn ask(&mut self, process: usize) {
        if let Some(need) = self.processes[process].ask(self.clock(process)) {
            self.tally.asked += 1;
            let question = self.sent;
            self.needs[process] = Some((question, need));
            match (self.health)(self.now) {
                Health::Answers(took) => {
                    let jitter = self.random() % (took / 4 + 1);
                    self.send(took / 2 + jitter, Event::Arrives(process, question));
                    self.send(self.timeout, Event::Failed(process, question));
                }
                Health::Refuses => self.send(MILLIS, Event::Failed(process, question)),
                Health::Hangs => self.send(self.timeout, Event::Failed(process, question)),
            }
        }
        self.look_again(process);
    }

    fn look_again(&mut self, process: usize) {
        let ahead = self.processes[process].look_at().map(|at| at.nanos_since(self.clock(process)).max(1));
        self.looks[process] = ahead.map(|ahead| self.now + ahead);
        if let Some(ahead) = ahead {
            self.send(ahead, Event::Look(process));
        }
    }
}
