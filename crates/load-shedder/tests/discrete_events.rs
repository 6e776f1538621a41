//! The shedder before simulated servers, in virtual time: open-loop Poisson arrivals, seeded, the same every run.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
#![expect(clippy::disallowed_types, reason = "a list of wake-ups, in one thread")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "times of a simulation of seconds in nanoseconds"
)]
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
};

use seawall_core::{
    Admission, CallContext, Class, Clock, Entropy, Gate, Outcome, SeededEntropy, Timestamp, VirtualClock, Wait,
    unit_interval,
};
use seawall_load_shedder::{
    Fixed, LoadShedder, LoadShedderConfig, Passage, QueueingLoadShedder, QueueingShedderConfig,
};

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

/// Notes which waiters are to be polled again.
struct Woken {
    id: u64,
    list: Arc<Mutex<Vec<u64>>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.list.lock().expect("no panic while it is held").push(self.id);
    }
}

/// Calls that wait before the server.
struct Waiting<W> {
    calls: BTreeMap<u64, (Pin<Box<W>>, f64, f64)>,
    woken: Arc<Mutex<Vec<u64>>>,
    next: u64,
}

impl<W: Wait<Passage>> Waiting<W> {
    fn new() -> Self {
        Self { calls: BTreeMap::new(), woken: Arc::default(), next: 0 }
    }

    fn add(&mut self, wait: W, arrived: f64, work: f64) {
        self.calls.insert(self.next, (Box::pin(wait), arrived, work));
        self.woken.lock().expect("no panic while it is held").push(self.next);
        self.next += 1;
    }

    /// Polls those who were woken; those whose turn it is go inside.
    fn settle(&mut self, inside: &mut Inside) {
        loop {
            let Some(id) = self.woken.lock().expect("no panic while it is held").pop() else { return };
            let Some((wait, arrived, work)) = self.calls.get_mut(&id) else { continue };
            let waker = Waker::from(Arc::new(Woken { id, list: Arc::clone(&self.woken) }));
            match wait.as_mut().poll_ticket(&mut Context::from_waker(&waker)) {
                Poll::Pending => {}
                Poll::Ready(turn) => {
                    if let Ok(passage) = turn {
                        inside.take(Job { passage, arrived: *arrived, work: *work });
                    }
                    self.calls.remove(&id);
                }
            }
        }
    }
}

fn nanos(stamp: Timestamp) -> f64 {
    stamp.nanos_since(START) as f64
}

/// Simulated time zero: away from the clock's own, where a queue has only just been empty.
const START: Timestamp = Timestamp::from_nanos(1_000_000_000);

/// Drives `gate` with `load` (a multiple of the capacity, by time in seconds) and counts what is answered in time by the
/// second in which it arrived. Waits sleep on `clock`.
fn simulate<G: Gate<Ticket = Passage>>(
    gate: &G,
    clock: &VirtualClock,
    (server, seed, seconds): (Server, u64, usize),
    load: impl Fn(f64) -> f64,
) -> Vec<Second> {
    let entropy = SeededEntropy::new(seed);
    let exponential = |mean: f64| -mean * (1.0 - unit_interval(entropy.next_u64())).ln();
    let mut inside = Inside::new(server);
    let mut waiting = Waiting::new();
    let mut counts = vec![Second::default(); seconds];
    let end = seconds as f64 * SECOND;
    let mut next_arrival = 0.0;
    loop {
        let timer = clock.next_deadline().map_or(f64::INFINITY, nanos);
        let at = inside.next_end().min(next_arrival).min(timer);
        if at >= end {
            return counts;
        }
        let ends = inside.next_end() <= next_arrival.min(timer);
        inside.pass_to(at);
        clock.advance_to(Timestamp::from_nanos(START.as_nanos() + at as u64));
        if ends {
            let job = inside.end_one();
            gate.finish(job.passage, Outcome::Finished(Class::Success), || clock.now());
            if at - job.arrived <= PATIENCE {
                counts[(job.arrived / SECOND) as usize].answered += 1;
            }
        } else if next_arrival <= timer {
            counts[(at / SECOND) as usize].arrived += 1;
            let work = match server.law {
                Law::Exponential => exponential(server.work),
                Law::Deterministic => server.work,
                Law::Bimodal if entropy.next_u64() % 10 == 0 => server.work * 19.0 / 2.8,
                Law::Bimodal => server.work / 2.8,
            };
            match gate.admit(CallContext::default, || clock.now()) {
                Admission::Admitted(passage) => inside.take(Job { passage, arrived: at, work }),
                Admission::Queued(wait) => waiting.add(wait, at, work),
                Admission::Refused(_) => {}
            }
            next_arrival = at + exponential(1.0 / (server.capacity() * load(at / SECOND)));
        }
        waiting.settle(&mut inside);
    }
}

/// The same with a [`Knee`](seawall_load_shedder::Knee) limit, and with a queue before it.
fn with_knee(queueing: bool, run: (Server, u64, usize), load: impl Fn(f64) -> f64) -> Vec<Second> {
    let clock = VirtualClock::starting_at(START);
    if queueing {
        let gate = QueueingLoadShedder::new(QueueingShedderConfig::default(), clock.clone());
        simulate(&gate, &clock, run, load)
    } else {
        simulate(&LoadShedder::new(LoadShedderConfig::default()), &clock, run, load)
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
    const WARM_UP: usize = 5;
    const SECONDS: usize = 10;
    for server in SERVERS {
        for load in [1.2, 2.0, 5.0] {
            let (mut plain, mut queueing, mut best) = (0.0, 0.0, 0.0_f64);
            for seed in 0..2 {
                let run = (server, seed, SECONDS);
                plain += answered(&with_knee(false, run, |_| load)[WARM_UP..]);
                queueing += answered(&with_knee(true, run, |_| load)[WARM_UP..]);
                best += [2, 4, 8, 16, 24, 48, 96]
                    .into_iter()
                    .map(|limit| {
                        let fixed = LoadShedder::with_algorithm(Fixed::new(limit).expect("allowed"));
                        let counts = simulate(&fixed, &VirtualClock::starting_at(START), run, |_| load);
                        answered(&counts[WARM_UP..])
                    })
                    .fold(0.0, f64::max);
            }
            let parts = [plain / best, queueing / best];
            println!("{server:?} at {load}: {parts:.3?}");
            assert!(parts.iter().all(|part| *part >= 0.9), "{server:?} at {load}: {parts:.3?}");
        }
    }
}

#[test]
fn a_second_after_an_overload_calls_are_answered_as_before() {
    for server in SERVERS {
        for base in [0.7, 0.9] {
            let load = |second: f64| if (5.0..15.0).contains(&second) { 3.0 } else { base };
            for queueing in [false, true] {
                let run = (server, 301, 21);

                let after = part(&with_knee(queueing, run, load)[16..]);
                let usual = part(&with_knee(queueing, run, |_| base)[16..]);

                println!("{server:?} at {base}, queueing {queueing}: {after:.3} of {usual:.3}");
                assert!(after >= 0.94 * usual, "{server:?} at {base}, queueing {queueing}: {after:.3} of {usual:.3}");
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for queueing in [false, true] {
        let run = || answered(&with_knee(queueing, (SERVERS[0], 7, 3), |_| 2.0)).to_bits();

        assert_eq!(run(), run());
    }
}
