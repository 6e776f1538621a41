#![expect(clippy::disallowed_types, reason = "the lock is taken between windows and for the few calls of a probe")]

use std::{sync::PoisonError, time::Duration};

use seawall_core::{
    Admission, CallContext, Class, Criticality, Gate, NoWait, Outcome, Pattern, Reason, Rejection, Timestamp,
    sync::{
        CachePadded, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::{
    Knee, LimitAlgorithm, LoadShedderConfig, WindowSize,
    control::{Control, Joined},
    tally::{Sample, Tally},
    word::{Ended, Seen, Word},
};

const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Admits calls while those under way are below a limit that follows the server, and refuses the rest at once.
///
/// The count and the limit are one word, moved by compare-exchange, so the limit is exact. Latencies are summed in
/// stripes and looked at once per window; a call takes no lock, unless it is one of the few that a probe follows.
///
/// | criticality | is refused when so many are under way |
/// |---|---|
/// | sheddable | ⅘ of the limit |
/// | degraded | ⁹⁄₁₀ of the limit |
/// | default | the limit |
/// | critical | 1⅒ of the limit, at least one more than the limit |
///
/// A call that succeeded is a latency sample; one that failed is, if it took longer than the mean, since errors are often
/// quick; one that timed out or was dropped is a sample of at least the mean and its age; one that a layer further in
/// refused, or to which the other side said that it has too much to do, is none.
#[derive(Debug)]
pub struct LoadShedder<A = Knee> {
    word: Word,
    marks: CachePadded<Marks>,
    tally: Tally,
    control: Mutex<Control<A>>,
    retry_after: Duration,
}

/// When the current window counts and when it may close. Written between windows, read by every call that ends.
#[derive(Debug, Default)]
struct Marks {
    /// Two counts of ended calls: the first whose sample counts, and the first at which the window may close.
    from_and_enough: AtomicU64,
    /// The count at which it closes whatever the time.
    full: AtomicU64,
    /// The time, in nanoseconds, from which enough will do.
    over_at: AtomicU64,
    /// The mean of the last window, in nanoseconds.
    typical: AtomicU64,
    /// The time, in nanoseconds, from which a probe that still gathers is given up.
    give_up_at: AtomicU64,
}

/// What an admitted call carries until its end.
#[derive(Debug)]
#[must_use = "a call that does not come back is counted for ever"]
pub struct Passage {
    start: Timestamp,
    /// The probe that it belongs to; 0 for none.
    epoch: u32,
}

impl LoadShedder {
    /// A shedder with a [`Knee`] limit.
    pub fn new(config: LoadShedderConfig) -> Self {
        Self { retry_after: config.retry_after(), ..Self::with_algorithm(Knee::new(config.range())) }
    }
}

impl<A: LimitAlgorithm> LoadShedder<A> {
    /// A shedder whose limit follows another algorithm.
    pub fn with_algorithm(algorithm: A) -> Self {
        let control = Control::new(algorithm);
        let shedder = Self {
            word: Word::new(control.limit().0),
            marks: CachePadded::new(Marks::default()),
            tally: Tally::default(),
            control: Mutex::new(control),
            retry_after: DEFAULT_RETRY_AFTER,
        };
        let size = shedder.control().algorithm.window_size();
        // The first call that ends finds the time over, if not the samples enough.
        shedder.begin_window(0, &size, Timestamp::ZERO);
        shedder
    }

    /// The limit in force; lowered for a moment while a probe runs.
    pub fn limit(&self) -> u32 {
        self.word.seen().limit()
    }

    /// How many calls are under way.
    pub fn in_flight(&self) -> u32 {
        self.word.seen().in_flight()
    }

    /// Looks at the algorithm.
    pub fn inspect<R>(&self, look: impl FnOnce(&A) -> R) -> R {
        look(&self.control().algorithm)
    }

    /// Changes the algorithm's settings while calls are under way; the new limit is in force at once.
    pub fn adjust<R>(&self, change: impl FnOnce(&mut A) -> R) -> R {
        let mut control = self.control();
        let result = change(&mut control.algorithm);
        self.publish(&control);
        result
    }

    fn control(&self) -> MutexGuard<'_, Control<A>> {
        // A user's algorithm that panics leaves a limit that was in force before: go on with that.
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, control: &Control<A>) {
        let (limit, probing) = control.limit();
        self.word.set(limit, probing);
    }

    /// Begins a window that leaves out the next `skip` calls to end.
    fn begin_window(&self, skip: u32, size: &WindowSize, now: Timestamp) {
        let from = self.word.seen().ended().plus(skip);
        let (enough, full) = (from.plus(size.enough.max(1)), from.plus(size.full.max(1)));
        self.marks.full.store(full.to_bits().into(), Relaxed);
        self.marks.over_at.store(now.saturating_add(size.at_most).as_nanos(), Relaxed);
        self.marks.from_and_enough.store(pack(from, enough), Relaxed);
    }

    /// A call was admitted while a probe gathers.
    #[cold]
    fn join(&self, now: Timestamp) -> u32 {
        let mut control = self.control();
        let joined = control.join(now);
        self.marks.give_up_at.store(control.give_up_at().as_nanos(), Relaxed);
        if joined == Joined::Last {
            // What ends next was admitted before, or under the probe's limit: a limit's worth is left out.
            let (limit, probing) = control.limit();
            self.word.set(limit, probing);
            self.tally.take();
            self.begin_window(limit, &control.algorithm.window_size(), now);
        }
        if joined == Joined::Late { 0 } else { control.epoch() }
    }

    #[cold]
    fn refuse(&self, seen: Seen, now: impl FnOnce() -> Timestamp) -> Rejection {
        if seen.in_flight() < seen.limit() {
            // Refused for its criticality: the server is asked for all that it can do.
            self.tally.note_in_flight(seen.limit());
        }
        if seen.is_probing() {
            let now = now();
            if now.as_nanos() >= self.marks.give_up_at.load(Relaxed) {
                self.give_up_gathering(now);
            }
        }
        Rejection::new(Pattern::LoadShedder, Reason::Overloaded).with_retry_after(self.retry_after)
    }

    /// Nobody joined the probe for too long.
    fn give_up_gathering(&self, now: Timestamp) {
        let mut control = self.control();
        if control.give_up_gathering(now) {
            self.publish(&control);
            self.begin_window(0, &control.algorithm.window_size(), now);
        }
    }

    /// The latency that a call counts with, if any.
    #[inline]
    fn sample(&self, age: u64, outcome: Outcome) -> Option<Sample> {
        if outcome == Outcome::Finished(Class::Success) {
            return Some(Sample { nanos: age, dropped: false });
        }
        let typical = self.marks.typical.load(Relaxed);
        match outcome {
            Outcome::Finished(Class::Failure) | Outcome::Panicked => {
                (age >= typical).then_some(Sample { nanos: age, dropped: false })
            }
            Outcome::Cancelled => Some(Sample { nanos: age.max(typical), dropped: age >= typical }),
            Outcome::TimedOut => Some(Sample { nanos: age.max(typical), dropped: true }),
            _ => None,
        }
    }

    #[cold]
    fn back_from_probe(&self, epoch: u32, sample: Option<Sample>) {
        let mut control = self.control();
        if control.back(epoch, sample) {
            self.publish(&control);
        }
    }

    /// Closes the window if it is long enough.
    #[cold]
    fn close_window(&self, ended: Ended, now: Timestamp) {
        let full = ended.has_reached(Ended::from_bits(narrow(self.marks.full.load(Relaxed))));
        if !full && now.as_nanos() < self.marks.over_at.load(Relaxed) {
            return;
        }
        // Somebody else is at it: nothing is left to do.
        let Ok(mut control) = self.control.try_lock() else { return };
        let size = control.algorithm.window_size();
        let samples = self.tally.samples();
        let wanted = if full { size.full } else { size.enough };
        if samples < wanted {
            // Some of those that ended were no samples.
            let more = wanted.saturating_sub(samples);
            let (from, _) = unpack(self.marks.from_and_enough.load(Relaxed));
            self.marks.from_and_enough.store(pack(from, ended.plus(more)), Relaxed);
            self.marks.full.store(ended.plus(size.full.saturating_sub(samples).max(1)).to_bits().into(), Relaxed);
            return;
        }
        let Some(window) = self.tally.take() else { return };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a mean of latencies")]
        self.marks.typical.store(window.mean as u64, Relaxed);
        control.update(&window, now);
        let (limit, probing) = control.limit();
        // While a probe gathers nothing is counted: the window begins anew when it is complete.
        let skip = if probing { Ended::FAR } else { 0 };
        self.marks.give_up_at.store(control.give_up_at().as_nanos(), Relaxed);
        self.begin_window(skip, &control.algorithm.window_size(), now);
        self.word.set(limit, probing);
    }
}

impl From<LoadShedderConfig> for LoadShedder {
    fn from(config: LoadShedderConfig) -> Self {
        Self::new(config)
    }
}

impl<A: LimitAlgorithm> Gate for LoadShedder<A> {
    type Ticket = Passage;
    type Wait = NoWait;

    #[inline]
    fn admit(&self, context: impl FnOnce() -> CallContext, now: impl FnOnce() -> Timestamp) -> Admission<Passage> {
        let criticality = context().criticality;
        match self.word.enter(|limit| share(criticality, limit)) {
            Ok(seen) => {
                let start = now();
                let epoch = if seen.is_probing() { self.join(start) } else { 0 };
                Admission::Admitted(Passage { start, epoch })
            }
            Err(seen) => Admission::Refused(self.refuse(seen, now)),
        }
    }

    #[inline]
    fn finish(&self, passage: Passage, outcome: Outcome, now: impl FnOnce() -> Timestamp) {
        let seen = self.word.leave();
        let now = now();
        let sample = self.sample(now.nanos_since(passage.start), outcome);
        if passage.epoch != 0 {
            self.back_from_probe(passage.epoch, sample);
            return;
        }
        let ended = seen.ended();
        let (from, enough) = unpack(self.marks.from_and_enough.load(Relaxed));
        if let Some(sample) = sample {
            if ended.has_reached(from) {
                self.tally.record(sample, seen.in_flight());
            }
        }
        if ended.plus(1).has_reached(enough) {
            self.close_window(ended.plus(1), now);
        }
    }

    /// Whether nothing is under way and nothing was learnt yet.
    fn is_idle(&self, _: impl FnOnce() -> Timestamp) -> bool {
        self.in_flight() == 0
    }
}

/// How much of the limit calls of a criticality may fill.
#[inline]
const fn share(criticality: Criticality, limit: u32) -> u32 {
    let tenth = limit / 10;
    match criticality {
        Criticality::Default => limit,
        Criticality::Critical => limit.saturating_add(if tenth == 0 { 1 } else { tenth }),
        Criticality::Degraded => limit.saturating_sub(tenth),
        Criticality::Sheddable => limit.saturating_sub(limit / 5),
    }
}

const fn pack(from: Ended, enough: Ended) -> u64 {
    (enough.to_bits() as u64) << 32 | from.to_bits() as u64
}

#[inline]
const fn unpack(marks: u64) -> (Ended, Ended) {
    (Ended::from_bits(narrow(marks)), Ended::from_bits(narrow(marks >> 32)))
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
const fn narrow(word: u64) -> u32 {
    word as u32
}
