//! The kinds of server.
use crate::{Discipline, Law, StageSpec, Trouble};

const MICROSECOND: f64 = 1e3;
const MILLISECOND: f64 = 1e6;
const SECOND: f64 = 1e9;
/// About so many calls, at full capacity, make a run.
const CALLS: f64 = 30_000.0;

/// One kind of server.
#[derive(Clone, Debug, PartialEq)]
pub struct Kind {
    /// Its name, as it stands in tables.
    pub name: &'static str,
    /// What a call passes through, in order.
    pub stages: Vec<StageSpec>,
    /// What goes wrong.
    pub trouble: Trouble,
}

impl Kind {
    fn new(name: &'static str, stages: Vec<StageSpec>) -> Self {
        Self { name, stages, trouble: Trouble::None }
    }

    const fn with(mut self, trouble: Trouble) -> Self {
        self.trouble = trouble;
        self
    }

    /// The most that it can do when it is well, in calls per nanosecond.
    pub fn capacity(&self) -> f64 {
        self.stages.iter().map(StageSpec::capacity).fold(f64::INFINITY, f64::min)
    }

    /// The mean latency of a call that is alone, in nanoseconds.
    pub fn bare(&self) -> f64 {
        self.stages.iter().map(StageSpec::bare).sum()
    }

    /// About how many calls it works on at once when it is busy.
    pub fn width(&self) -> f64 {
        let widest = self.stages.iter().map(StageSpec::width).fold(1.0, f64::max);
        (self.capacity() * self.bare()).clamp(1.0, widest.max(1.0) * 4.0)
    }

    /// How long a run takes, in nanoseconds: so that about 30,000 calls can be done, and 200 one after another.
    pub fn length(&self) -> u64 {
        (CALLS / self.capacity()).max(200.0 * self.bare()).clamp(0.5 * SECOND, 3_600.0 * SECOND) as u64
    }

    /// How long clients wait, in nanoseconds: a second, or ten times what a call takes; a tenth of the run at most.
    pub fn patience(&self) -> u64 {
        ((10.0 * self.bare()).max(SECOND) as u64).min(self.length() / 10)
    }
}

const fn workers(count: u32, work: f64, law: Law) -> StageSpec {
    StageSpec { discipline: Discipline::Workers(count), work, law }
}

const fn stage(discipline: Discipline, work: f64) -> StageSpec {
    StageSpec { discipline, work, law: Law::Exponential }
}

/// Fixed workers, with several laws of work and of several sizes.
fn fixed_workers() -> Vec<Kind> {
    let sixteen = |law| vec![workers(16, 20.0 * MILLISECOND, law)];
    vec![
        Kind::new("workers-exponential", sixteen(Law::Exponential)),
        Kind::new("workers-deterministic", sixteen(Law::Deterministic)),
        Kind::new("workers-lognormal", sixteen(Law::Lognormal(1.5))),
        Kind::new("workers-pareto", sixteen(Law::Pareto(2.1))),
        Kind::new("workers-bimodal", sixteen(Law::Bimodal { share: 0.1, ratio: 19.0 })),
        Kind::new("one-worker", vec![workers(1, 5.0 * MILLISECOND, Law::Exponential)]),
        Kind::new("thousand-workers", vec![workers(1_000, 50.0 * MILLISECOND, Law::Exponential)]),
        Kind::new("fast-workers", vec![workers(64, 200.0 * MICROSECOND, Law::Exponential)]),
        Kind::new("slow-workers", vec![workers(4, 2.0 * SECOND, Law::Exponential)]),
    ]
}

/// Servers whose calls share something.
fn sharing() -> Vec<Kind> {
    let shared = |discipline| vec![stage(discipline, 10.0 * MILLISECOND)];
    vec![
        Kind::new("processor-sharing", shared(Discipline::Sharing(8.0))),
        Kind::new(
            "one-core",
            vec![StageSpec {
                discipline: Discipline::Sharing(1.0),
                work: 2.0 * MILLISECOND,
                law: Law::Bimodal { share: 0.1, ratio: 19.0 },
            }],
        ),
        Kind::new("lock-convoy", shared(Discipline::Convoy { cores: 8.0, loss: 0.2 })),
        Kind::new("thrashing", shared(Discipline::Thrashing { cores: 8.0, room: 64.0 })),
        Kind::new(
            "downstream-bound",
            vec![
                stage(Discipline::Sharing(8.0), 2.0 * MILLISECOND),
                workers(24, 40.0 * MILLISECOND, Law::Lognormal(0.8)),
            ],
        ),
        Kind::new(
            "pipeline",
            vec![
                workers(8, 5.0 * MILLISECOND, Law::Exponential),
                workers(4, 4.0 * MILLISECOND, Law::Exponential),
                workers(16, 12.0 * MILLISECOND, Law::Exponential),
            ],
        ),
        Kind::new(
            "batches",
            vec![StageSpec {
                discipline: Discipline::Batches { size: 16, setup: 10.0 * MILLISECOND },
                work: 0.5 * MILLISECOND,
                law: Law::Deterministic,
            }],
        ),
        Kind::new("tenants", vec![workers(16, 20.0 * MILLISECOND, Law::Tenants)]),
    ]
}

/// Servers that change in the course of the run.
fn troubled() -> Vec<Kind> {
    let sixteen = || vec![workers(16, 20.0 * MILLISECOND, Law::Exponential)];
    let pauses = Trouble::Pauses { every: 0.5 * SECOND, lasts: 40.0 * MILLISECOND };
    vec![
        Kind::new("garbage-collection", sixteen()).with(pauses),
        Kind::new("capacity-halves", sixteen()).with(Trouble::Scaled(0.5)),
        Kind::new("capacity-doubles", sixteen()).with(Trouble::Scaled(2.0)),
        Kind::new("slow-start", sixteen()).with(Trouble::Warming),
        Kind::new("noisy-neighbour", vec![stage(Discipline::Sharing(8.0), 10.0 * MILLISECOND)])
            .with(Trouble::Neighbour),
        Kind::new("cold-cache", sixteen()).with(Trouble::Cold { calls: 2_000.0 }),
        Kind::new("periodic-stalls", sixteen()).with(Trouble::Stalls { lasts: 200.0 * MILLISECOND }),
    ]
}

/// All 24 kinds.
pub fn kinds() -> Vec<Kind> {
    [fixed_workers(), sharing(), troubled()].concat()
}

/// The kind of that name.
pub fn kind(name: &str) -> Option<Kind> {
    kinds().into_iter().find(|kind| kind.name == name)
}
