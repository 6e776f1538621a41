//! Times rows in interleaved rounds: within a round every side of a row runs once, so drift of the machine hits all.
#![expect(clippy::disallowed_methods, reason = "this is what measures real time")]

use std::{
    sync::Barrier,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use crate::{
    operation::Operation,
    rows::{BARE, Row, Side},
};

/// A slice in which other work got in the way is measured again, so many times in all.
const TRIES: u32 = 3;
/// What a thread that nobody got in the way of has of its slice, and two threads of theirs together.
const UNDISTURBED: f64 = 0.9;
const AT_ONCE: f64 = 0.7;

/// How much is measured.
#[derive(Copy, Clone, Debug)]
#[non_exhaustive]
pub struct Effort {
    /// Rounds per row. At least 15 for figures that are quoted.
    pub rounds: usize,
    /// How long one side of a row runs per round.
    pub slice: Duration,
}

impl Effort {
    /// What is quoted.
    pub const FULL: Self = Self { rounds: 15, slice: Duration::from_millis(8) };
}

/// The figures of one row.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Measured {
    /// Nanoseconds per call over the bare call, the best round.
    pub ns_min: f64,
    /// The same, the median round.
    pub ns_median: f64,
    /// Throughput of two threads that share the layer over that of one.
    pub two_threads_over_one: f64,
    /// Peer over ours per peer, one thread: the median of the paired ratios.
    pub peers: Vec<(&'static str, f64)>,
    /// The same on two threads.
    pub peers_two_threads: Vec<(&'static str, f64)>,
    /// Throughput of two threads over that of one, ours over the peer's: the median of the paired ratios.
    pub peers_scaling: Vec<(&'static str, f64)>,
    /// Allocations per call.
    pub allocs: f64,
}

/// One side of a row, ready to run.
struct Running {
    one: Box<dyn Operation>,
    other: Box<dyn Operation>,
    iterations: u64,
}

impl Running {
    fn new(side: &Side, effort: Effort) -> Self {
        let mut one = (side.make)();
        let other = one.share();
        let iterations = calibrate(&mut *one, effort.slice);
        Self { one, other, iterations }
    }

    fn alone(&mut self) -> f64 {
        let (operation, iterations) = (&mut *self.one, self.iterations);
        let slice = undisturbed(|| {
            let slice = Slice::of(|| operation.run(iterations));
            (slice.is_undisturbed(), slice)
        });
        per_call(slice.end.duration_since(slice.begin), iterations)
    }

    /// Time per call when two threads share the work: half the time of each for perfect scaling.
    fn together(&mut self, runtime: &tokio::runtime::Handle) -> f64 {
        let (barrier, iterations) = (Barrier::new(2), self.iterations);
        let run = |operation: &mut dyn Operation| {
            let _context = runtime.enter();
            barrier.wait();
            Slice::of(|| operation.run(iterations))
        };
        let (one, other) = (&mut *self.one, &mut *self.other);
        let took = undisturbed(|| {
            let (first, second) = std::thread::scope(|scope| {
                let second = scope.spawn(|| run(other));
                let first = run(one);
                (first, second.join().unwrap_or(first))
            });
            let took = first.end.max(second.end).duration_since(first.begin.min(second.begin));
            let both = first.end.min(second.end).saturating_duration_since(first.begin.max(second.begin));
            let at_once = both >= took.mul_f64(AT_ONCE);
            (at_once && first.is_undisturbed() && second.is_undisturbed(), took)
        });
        per_call(took, iterations.saturating_mul(2))
    }
}

/// A piece of work by one thread.
#[derive(Copy, Clone, Debug)]
struct Slice {
    begin: Instant,
    end: Instant,
    /// What of that time the thread was at it.
    at_work: Duration,
}

impl Slice {
    fn of(work: impl FnOnce()) -> Self {
        let (at_work, begin) = (thread_time(), Instant::now());
        work();
        let end = Instant::now();
        Self { begin, end, at_work: thread_time().saturating_sub(at_work) }
    }

    fn is_undisturbed(&self) -> bool {
        self.at_work >= self.end.duration_since(self.begin).mul_f64(UNDISTURBED)
    }
}

/// The processor time that this thread has used.
fn thread_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// What `measure` gives when it says that nothing was in the way, or at last.
fn undisturbed<T>(mut measure: impl FnMut() -> (bool, T)) -> T {
    for _ in 1..TRIES {
        if let (true, measured) = measure() {
            return measured;
        }
    }
    measure().1
}

#[expect(clippy::cast_precision_loss, reason = "counts of calls are far below 2⁵³")]
fn per_call(took: Duration, iterations: u64) -> f64 {
    took.as_secs_f64() * 1e9 / iterations.max(1) as f64
}

/// How many calls fill `slice`.
fn calibrate(operation: &mut dyn Operation, slice: Duration) -> u64 {
    let mut iterations = 64_u64;
    loop {
        let begin = Instant::now();
        operation.run(iterations);
        let took = begin.elapsed();
        if took >= slice.div_f64(4.0) {
            let scale = slice.as_secs_f64() / took.as_secs_f64().max(1e-9);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive count of calls")]
            #[expect(clippy::cast_precision_loss, reason = "counts of calls are far below 2⁵³")]
            return ((iterations as f64 * scale) as u64).max(1);
        }
        iterations = iterations.saturating_mul(2);
    }
}

/// Measures one row beside its peers, the bare call, and what is there without its layer.
pub fn row(row: &Row, effort: Effort, runtime: &tokio::runtime::Handle) -> Measured {
    let _context = runtime.enter();
    let allocs = allocations(&row.ours);
    let mut floor = Running::new(&BARE, effort);
    let mut beneath = (row.beneath.name != BARE.name).then(|| Running::new(&row.beneath, effort));
    let mut ours = Running::new(&row.ours, effort);
    let mut peers: Vec<_> = row.peers.iter().map(|peer| Running::new(peer, effort)).collect();
    let (mut own, mut scaling) = (Vec::new(), Vec::new());
    let (mut singles, mut doubles) = (vec![Vec::new(); peers.len()], vec![Vec::new(); peers.len()]);
    let mut scalings = vec![Vec::new(); peers.len()];
    for _ in 0..effort.rounds {
        let (base, base_both) = if row.over_bare_call { (floor.alone(), floor.together(runtime)) } else { (0.0, 0.0) };
        let (own_base, own_base_both) =
            beneath.as_mut().map_or((base, base_both), |beneath| (beneath.alone(), beneath.together(runtime)));
        let (alone, both) = (ours.alone(), ours.together(runtime));
        let (net, net_both) = (over(alone, own_base), over(both, own_base_both));
        own.push(net);
        let scaled = alone / both.max(f64::MIN_POSITIVE);
        scaling.push(scaled);
        let sides = peers.iter_mut().zip(&mut singles).zip(&mut doubles).zip(&mut scalings);
        for (((peer, single), double), scaling) in sides {
            let (alone, both) = (peer.alone(), peer.together(runtime));
            single.push(over(alone, base) / net);
            double.push(over(both, base_both) / net_both);
            scaling.push(scaled * both / alone.max(f64::MIN_POSITIVE));
        }
    }
    let named =
        |ratios: &[Vec<f64>]| row.peers.iter().zip(ratios).map(|(peer, ratios)| (peer.name, median(ratios))).collect();
    Measured {
        ns_min: own.iter().copied().fold(f64::INFINITY, f64::min),
        ns_median: median(&own),
        two_threads_over_one: median(&scaling),
        peers: named(&singles),
        peers_two_threads: named(&doubles),
        peers_scaling: named(&scalings),
        allocs,
    }
}

/// What a call costs over the bare one. Never below a tenth of a nanosecond: a ratio over noise says nothing.
fn over(cost: f64, base: f64) -> f64 {
    (cost - base).max(0.1)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Allocations per call, after calls that may set things up. The least of a few counts: a thread that moves to another
/// core sets up that core's wheel of sleepers, once, and what a call itself allocates is in every count.
#[expect(clippy::cast_precision_loss, reason = "small counts")]
pub fn allocations(side: &Side) -> f64 {
    const CALLS: u64 = 1_000;
    const COUNTS: usize = 3;
    let mut operation = (side.make)();
    operation.run(CALLS);
    let mut count = || {
        let region = stats_alloc::Region::new(&stats_alloc::INSTRUMENTED_SYSTEM);
        operation.run(CALLS);
        region.change().allocations
    };
    let least = (0..COUNTS).map(|_| count()).min().unwrap_or(usize::MAX);
    least as f64 / CALLS as f64
}
