//! What stands before a server: one of seawall's shedders, or nothing.
use std::{fmt, time::Duration};

use seawall_core::{Admission, CallContext, Class, Gate, Outcome, Timestamp};
use seawall_load_shedder::{
    Aimd, AimdConfig, Fixed, Gradient2, Gradient2Config, Knee, LimitAlgorithm, LimitRange, LoadShedder, Passage,
    QueueDiscipline, QueueingLoadShedder, QueueingShedderConfig, ShedderWait, Vegas, VegasConfig,
};

use crate::{
    clock::WorldClock,
    plain_knee::PlainKnee,
    rounds::{Rounds, Turn},
};

/// How a server is protected.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Protection {
    /// Not at all.
    None,
    /// Work on calls whose client has given up is not begun.
    DropExpired,
    /// Work is not begun on calls that have less time left than 95% of the calls take, and ends at the deadline.
    DropLate,
    /// A limit that stays.
    Fixed(u32),
    /// One more until a call takes longer than this, in nanoseconds; then a tenth less.
    Aimd(u64),
    /// The limit of that name.
    Vegas,
    /// The limit of that name.
    Gradient2,
    /// What the default limit grew out of, with the default queue before it.
    PlainKnee,
    /// The default limit, failing fast.
    Knee,
    /// The default limit and the default queue before it.
    KneeQueue,
    /// The default limit and RFC 8289's queue before it: 5 ms, 100 ms.
    KneeCoDel,
    /// A fixed limit and RFC 8289's queue before it.
    CoDel(u32),
    /// A fixed limit and a queue before it that is served tenant by tenant, in rounds.
    Wdrr(u32),
}

impl Protection {
    /// As it stands in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::DropExpired => "drop expired",
            Self::DropLate => "drop late",
            Self::Fixed(_) => "fixed",
            Self::Aimd(_) => "AIMD",
            Self::Vegas => "Vegas",
            Self::Gradient2 => "Gradient2",
            Self::PlainKnee => "plain Knee",
            Self::Knee => "Knee",
            Self::KneeQueue => "Knee + queue",
            Self::KneeCoDel => "Knee + CoDel",
            Self::CoDel(_) => "CoDel",
            Self::Wdrr(_) => "WDRR",
        }
    }
}

type Algorithm = Box<dyn LimitAlgorithm>;

/// A call that waits in a shedder's queue.
pub(crate) type Waiting = ShedderWait<Algorithm, WorldClock>;

/// A protection at work.
pub(crate) enum Door {
    Open,
    Shedder(Box<LoadShedder<Algorithm>>),
    Queueing(Box<QueueingLoadShedder<Algorithm, WorldClock>>),
    Rounds(Rounds),
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (limit, in_flight) = self.state();
        f.debug_struct("Door").field("limit", &limit).field("in_flight", &in_flight).finish_non_exhaustive()
    }
}

/// What a door says to a call.
pub(crate) enum Entry {
    Admitted(Option<Passage>),
    Queued(Waiting),
    /// Until its turn comes; perhaps in the place of another attempt, which is refused.
    InLine(Option<u32>),
    Refused,
}

/// The widest range that can be asked for: the peers' defaults stop at 200.
fn wide(initial: u32) -> LimitRange {
    LimitRange::new(1, initial, 10_000).expect("in order")
}

fn fixed(limit: u32) -> Fixed {
    Fixed::new(limit.clamp(1, 65_535)).expect("clamped")
}

/// The constants of RFC 8289.
fn codel() -> QueueingShedderConfig {
    let (target, interval) = (Duration::from_millis(5), Duration::from_millis(100));
    QueueingShedderConfig::default()
        .with_discipline(QueueDiscipline::CoDel)
        .with_delay(target, interval)
        .expect("in order")
}

impl Door {
    pub(crate) fn new(protection: Protection, clock: &WorldClock) -> Self {
        let algorithm: Algorithm = match protection {
            Protection::None | Protection::DropExpired | Protection::DropLate => return Self::Open,
            Protection::Wdrr(limit) => return Self::Rounds(Rounds::new(limit)),
            Protection::Fixed(limit) | Protection::CoDel(limit) => Box::new(fixed(limit)),
            Protection::Aimd(timeout) => {
                let config = AimdConfig::default().with_range(wide(20)).with_timeout(Duration::from_nanos(timeout));
                Box::new(Aimd::new(config.expect("above zero")))
            }
            Protection::Vegas => Box::new(Vegas::new(VegasConfig::default().with_range(wide(20)))),
            Protection::Gradient2 => Box::new(Gradient2::new(Gradient2Config::default().with_range(wide(20)))),
            Protection::PlainKnee => Box::new(PlainKnee::new(wide(16))),
            Protection::Knee | Protection::KneeQueue | Protection::KneeCoDel => Box::new(Knee::default()),
        };
        let config = match protection {
            Protection::KneeQueue | Protection::PlainKnee => QueueingShedderConfig::default(),
            Protection::KneeCoDel | Protection::CoDel(_) => codel(),
            _ => return Self::Shedder(Box::new(LoadShedder::with_algorithm(algorithm))),
        };
        Self::Queueing(Box::new(QueueingLoadShedder::with_algorithm(algorithm, config, clock.clone())))
    }

    pub(crate) fn admit(&mut self, attempt: u32, context: CallContext, now: Timestamp) -> Entry {
        match self {
            Self::Open => Entry::Admitted(None),
            Self::Rounds(rounds) => match rounds.arrive(context.tenant, attempt) {
                Turn::Now => Entry::Admitted(None),
                Turn::Waits(displaced) => Entry::InLine(displaced),
                Turn::Never => Entry::Refused,
            },
            Self::Shedder(shedder) => match shedder.admit(|| context, || now) {
                Admission::Admitted(passage) => Entry::Admitted(Some(passage)),
                Admission::Refused(_) => Entry::Refused,
                Admission::Queued(never) => match never {},
            },
            Self::Queueing(shedder) => match shedder.admit(|| context, || now) {
                Admission::Admitted(passage) => Entry::Admitted(Some(passage)),
                Admission::Refused(_) => Entry::Refused,
                Admission::Queued(wait) => Entry::Queued(wait),
            },
        }
    }

    /// An attempt that was let in is done: the attempt that goes in for it, if this door knows.
    pub(crate) fn finish(&mut self, passage: Option<Passage>, now: Timestamp) -> Option<u32> {
        let outcome = Outcome::Finished(Class::Success);
        match (self, passage) {
            (Self::Rounds(rounds), _) => return rounds.leave(),
            (Self::Shedder(shedder), Some(passage)) => shedder.finish(passage, outcome, || now),
            (Self::Queueing(shedder), Some(passage)) => shedder.finish(passage, outcome, || now),
            (_, None) | (Self::Open, _) => {}
        }
        None
    }

    /// The limit in force and the calls under way.
    pub(crate) fn state(&self) -> (u32, u32) {
        match self {
            Self::Open => (0, 0),
            Self::Rounds(rounds) => rounds.state(),
            Self::Shedder(shedder) => (shedder.limit(), shedder.in_flight()),
            Self::Queueing(shedder) => (shedder.limit(), shedder.in_flight()),
        }
    }
}
