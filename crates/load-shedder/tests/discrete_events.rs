//! The shedder before simulated servers, in virtual time: open-loop Poisson arrivals, seeded, the same every run.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "times of a simulation of seconds in nanoseconds"
)]
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
};

use seawall_core::{Admission, CallContext, Class, Entropy, Gate, Outcome, SeededEntropy, Timestamp, unit_interval};
use seawall_load_shedder::{Fixed, LimitAlgorithm, LoadShedder, LoadShedderConfig, Passage};

const SECOND: f64 = 1e9;
/// Callers give up after this; what is answered later was for nothing.
const PATIENCE: f64 = SECOND;

/// How a server works on the calls that it was given.
#[derive(Clone, Copy, Debug)]
enum Discipline {
    /// So many workers, each on one call at a time; the rest queue.
    Workers(usize),
    /// So many cores shared evenly by all calls.
    Shared(f64),
}

#[derive(Clone, Copy, Debug)]
enum Law {
    Exponential,
    Deterministic,
    /// One in ten takes nineteen times as long as the others.
    Bimodal,
}

#[derive(Clone, Copy, Debug)]
struct Server {
    discipline: Discipline,
    law: Law,
    /// Mean work of a call, in nanoseconds.
    work: f64,
}

impl Server {
    /// Calls per nanosecond.
    fn capacity(self) -> f64 {
        match self.discipline {
            Discipline::Workers(workers) => workers as f64 / self.work,
            Discipline::Shared(cores) => cores / self.work,
        }
    }
}

struct Job {
    passage: Passage,
    arrived: f64,
    work: f64,
}

/// The calls inside a server.
struct Inside {
    server: Server,
    now: f64,
    /// Workers: those being worked on by their end, and those that queue.
    ends: BinaryHeap<Reverse<(u64, u64)>>,
    queue: VecDeque<u64>,
    /// Shared: the work that each call has been given since the beginning.
    given: f64,
    jobs: BTreeMap<u64, Job>,
    next: u64,
}

impl Inside {
    fn new(server: Server) -> Self {
        let (ends, queue, jobs) = (BinaryHeap::new(), VecDeque::new(), BTreeMap::new());
        Self { server, now: 0.0, ends, queue, given: 0.0, jobs, next: 0 }
    }

    /// Work per nanosecond that each call is given when the cores are shared.
    fn pace(&self) -> f64 {
        match self.server.discipline {
            Discipline::Workers(_) => 0.0,
            Discipline::Shared(cores) => (cores / self.jobs.len().max(1) as f64).min(1.0),
        }
    }

    fn next_end(&self) -> f64 {
        let Some(Reverse((mark, _))) = self.ends.peek() else { return f64::INFINITY };
        match self.server.discipline {
            Discipline::Workers(_) => *mark as f64,
            Discipline::Shared(_) => self.now + (*mark as f64 - self.given).max(0.0) / self.pace(),
        }
    }

    fn pass_to(&mut self, now: f64) {
        self.given += (now - self.now) * self.pace();
        self.now = now;
    }

    fn begin(&mut self, id: u64) {
        let from = match self.server.discipline {
            Discipline::Workers(_) => self.now,
            Discipline::Shared(_) => self.given,
        };
        self.ends.push(Reverse(((from + self.jobs[&id].work) as u64, id)));
    }

    fn take(&mut self, job: Job) {
        let id = self.next;
        self.next += 1;
        self.jobs.insert(id, job);
        match self.server.discipline {
            Discipline::Workers(workers) if self.ends.len() >= workers => self.queue.push_back(id),
            _ => self.begin(id),
        }
    }

    fn end_one(&mut self) -> Job {
        let Reverse((_, id)) = self.ends.pop().expect("one is being worked on");
        let job = self.jobs.remove(&id).expect("it is inside");
        if let Some(waiting) = self.queue.pop_front() {
            self.begin(waiting);
        }
        job
    }
}

#[derive(Default, Clone, Copy, Debug)]
struct Second {
    arrived: u32,
    answered: u32,
}

/// Drives `shedder` with `load` (a multiple of the capacity, by time in seconds) and counts what is answered in time by
/// the second in which it arrived.
fn simulate<A: LimitAlgorithm>(
    shedder: &LoadShedder<A>,
    server: Server,
    seed: u64,
    seconds: usize,
    load: impl Fn(f64) -> f64,
) -> Vec<Second> {
    let entropy = SeededEntropy::new(seed);
    let exponential = |mean: f64| -mean * (1.0 - unit_interval(entropy.next_u64())).ln();
    let mut inside = Inside::new(server);
    let mut counts = vec![Second::default(); seconds];
    let end = seconds as f64 * SECOND;
    let mut next_arrival = 0.0;
    loop {
        let at = inside.next_end().min(next_arrival);
        if at >= end {
            return counts;
        }
        let stamp = Timestamp::from_nanos(at as u64 + 1_000_000_000);
        if inside.next_end() <= next_arrival {
            inside.pass_to(at);
            let job = inside.end_one();
            shedder.finish(job.passage, Outcome::Finished(Class::Success), || stamp);
            if at - job.arrived <= PATIENCE {
                counts[(job.arrived / SECOND) as usize].answered += 1;
            }
        } else {
            inside.pass_to(at);
            counts[(at / SECOND) as usize].arrived += 1;
            let work = match server.law {
                Law::Exponential => exponential(server.work),
                Law::Deterministic => server.work,
                Law::Bimodal if entropy.next_u64() % 10 == 0 => server.work * 19.0 / 2.8,
                Law::Bimodal => server.work / 2.8,
            };
            if let Admission::Admitted(passage) = shedder.admit(CallContext::default, || stamp) {
                inside.take(Job { passage, arrived: at, work });
            }
            next_arrival = at + exponential(1.0 / (server.capacity() * load(at / SECOND)));
        }
    }
}

fn answered(counts: &[Second]) -> f64 {
    counts.iter().map(|second| f64::from(second.answered)).sum()
}

/// The part of those who came that was answered.
fn part(counts: &[Second]) -> f64 {
    answered(counts) / counts.iter().map(|second| f64::from(second.arrived)).sum::<f64>()
}

const SERVERS: [Server; 7] = [
    Server { discipline: Discipline::Workers(16), law: Law::Exponential, work: 20e6 },
    Server { discipline: Discipline::Workers(16), law: Law::Deterministic, work: 20e6 },
    Server { discipline: Discipline::Workers(16), law: Law::Bimodal, work: 20e6 },
    Server { discipline: Discipline::Workers(1), law: Law::Exponential, work: 2e6 },
    Server { discipline: Discipline::Workers(64), law: Law::Exponential, work: 50e6 },
    Server { discipline: Discipline::Shared(4.0), law: Law::Exponential, work: 10e6 },
    Server { discipline: Discipline::Shared(1.0), law: Law::Bimodal, work: 2e6 },
];

#[test]
fn under_overload_nine_tenths_of_the_best_fixed_limit_are_answered() {
    const WARM_UP: usize = 6;
    const SECONDS: usize = 12;
    for server in SERVERS {
        for load in [1.2, 2.0, 5.0] {
            let (mut ours, mut best) = (0.0, 0.0_f64);
            for seed in 0..2 {
                let knee = LoadShedder::new(LoadShedderConfig::default());
                ours += answered(&simulate(&knee, server, seed, SECONDS, |_| load)[WARM_UP..]);
                best += [1, 2, 4, 8, 16, 24, 32, 64, 128, 256, 400]
                    .into_iter()
                    .map(|limit| {
                        let fixed = LoadShedder::with_algorithm(Fixed::new(limit).expect("allowed"));
                        answered(&simulate(&fixed, server, seed, SECONDS, |_| load)[WARM_UP..])
                    })
                    .fold(0.0, f64::max);
            }
            println!("{server:?} at {load}: {:.3}", ours / best);
            assert!(ours / best >= 0.9, "{server:?} at {load}: {:.3}", ours / best);
        }
    }
}

#[test]
fn a_second_after_an_overload_calls_are_answered_as_before() {
    for server in SERVERS {
        for base in [0.7, 0.9] {
            let load = |second: f64| if (5.0..15.0).contains(&second) { 3.0 } else { base };
            let knee = LoadShedder::new(LoadShedderConfig::default());

            let undisturbed = LoadShedder::new(LoadShedderConfig::default());

            let after = &simulate(&knee, server, 301, 21, load)[16..];
            let usual = &simulate(&undisturbed, server, 301, 21, |_| base)[16..];

            let parts = (part(after), part(usual));
            println!("{server:?} at {base}: {parts:.3?}");
            assert!(parts.0 >= 0.94 * parts.1, "{server:?} at {base}: {parts:.3?}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let knee = LoadShedder::new(LoadShedderConfig::default());
        let counts = simulate(&knee, SERVERS[0], 7, 3, |_| 2.0);
        (answered(&counts), knee.inspect(Clone::clone))
    };

    assert_eq!(run(), run());
}
