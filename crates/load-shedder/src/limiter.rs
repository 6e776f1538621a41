#![expect(clippy::disallowed_types, reason = "the lock is taken between windows and for the few calls of a probe")]

use std::sync::{PoisonError, TryLockError};

use seawall_core::{
    Class, Outcome, Timestamp,
    sync::{
        CachePadded, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::{
    LimitAlgorithm, WindowSize,
    control::{Control, Joined},
    tally::{Sample, Tally},
    word::{Ended, Seen, Word},
};

/// A limit that follows the server: the word that counts, the samples, and the algorithm between windows. What a call
/// that finds no room does is up to the gate around it.
#[derive(Debug)]
pub(crate) struct Limiter<A> {
    word: Word,
    marks: CachePadded<Marks>,
    tally: Tally,
    control: Mutex<Control<A>>,
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
    /// The probe that it belongs to, 0 for none, above how much of the limit it takes. Two words in all, so that it is
    /// handed on in registers.
    epoch_and_cost: u64,
}

impl Passage {
    #[inline]
    const fn new(start: Timestamp, epoch: u32, cost: u32) -> Self {
        Self { start, epoch_and_cost: (epoch as u64) << 32 | cost as u64 }
    }

    #[inline]
    const fn epoch(&self) -> u32 {
        narrow(self.epoch_and_cost >> 32)
    }

    #[inline]
    const fn cost(&self) -> u32 {
        narrow(self.epoch_and_cost)
    }
}

/// A limit that grows by more than one part in so many leaps.
const LEAP: u32 = 5;
/// The epoch of calls that are counted and teach nothing.
const EXEMPT: u32 = u32::MAX;

impl<A: LimitAlgorithm> Limiter<A> {
    pub(crate) fn new(algorithm: A) -> Self {
        let control = Control::new(algorithm);
        let limiter = Self {
            word: Word::new(control.limit().0),
            marks: CachePadded::new(Marks::default()),
            tally: Tally::default(),
            control: Mutex::new(control),
        };
        let size = limiter.control().algorithm.window_size();
        // The first call that ends finds the time over, if not the samples enough.
        limiter.begin_window(0, &size, Timestamp::ZERO);
        limiter
    }

    pub(crate) const fn word(&self) -> &Word {
        &self.word
    }

    pub(crate) fn inspect<R>(&self, look: impl FnOnce(&A) -> R) -> R {
        look(&self.control().algorithm)
    }

    pub(crate) fn adjust<R>(&self, change: impl FnOnce(&mut A) -> R) -> R {
        let mut control = self.control();
        let result = change(&mut control.algorithm);
        self.publish(&control);
        result
    }

    /// The passage of a call that has just entered, when the word said `seen`.
    #[inline]
    pub(crate) fn begin(&self, seen: Seen, cost: u32, start: Timestamp) -> Passage {
        let epoch = if seen.is_probing() { self.join(start) } else { 0 };
        Passage::new(start, epoch, cost)
    }

    /// The passage of a call that is let in whatever the load.
    #[cold]
    pub(crate) fn begin_exempt(&self, cost: u32, start: Timestamp) -> Passage {
        self.word.enter_anyway(cost);
        Passage::new(start, EXEMPT, cost)
    }

    /// The passage of a call that would be refused, were refusals in force.
    #[cold]
    pub(crate) fn begin_anyway(&self, cost: u32, start: Timestamp) -> Passage {
        let seen = self.word.enter_anyway(cost);
        self.begin(seen, cost, start)
    }

    /// The mean latency of the last window, in nanoseconds.
    pub(crate) fn typical(&self) -> u64 {
        self.marks.typical.load(Relaxed)
    }

    /// The end of a call; what the word said before.
    #[expect(clippy::inline_always, reason = "one path with the layers around it: 14 instructions less")]
    #[inline(always)]
    pub(crate) fn end(&self, passage: &Passage, outcome: Outcome, now: Timestamp) -> Seen {
        let seen = self.word.leave(passage.cost());
        let sample = self.sample(now.nanos_since(passage.start), outcome);
        if passage.epoch() != 0 {
            self.back_from_probe(passage.epoch(), sample);
            return seen;
        }
        let ended = seen.ended();
        let (from, enough) = unpack(self.marks.from_and_enough.load(Relaxed));
        if let Some(sample) = sample {
            if ended.has_reached(from) {
                self.tally.record(sample, seen.in_flight());
            }
        }
        if ended.plus(1).has_reached(enough) {
            let full = ended.plus(1).has_reached(Ended::from_bits(narrow(self.marks.full.load(Relaxed))));
            // Asked here: a window that has its samples and not yet its time is the usual case.
            if full || now.as_nanos() >= self.marks.over_at.load(Relaxed) {
                self.close_window(ended.plus(1), full, now);
            }
        }
        seen
    }

    /// The end of a call that entered and never began; what the word said before.
    pub(crate) fn never_began(&self, passage: &Passage) -> Seen {
        let seen = self.word.leave(passage.cost());
        if passage.epoch() != 0 {
            self.back_from_probe(passage.epoch(), None);
        }
        seen
    }

    /// The server is asked for all that it can do, though some calls find no room for their criticality.
    pub(crate) fn note_pressed(&self, seen: Seen) {
        self.tally.note_in_flight(seen.limit());
    }

    /// Somebody found no room: a probe that nobody joins for too long is given up, as those inside may never leave.
    #[inline]
    pub(crate) fn found_no_room(&self, seen: Seen, now: impl FnOnce() -> Timestamp) {
        if seen.is_probing() {
            let now = now();
            if now.as_nanos() >= self.marks.give_up_at.load(Relaxed) {
                self.give_up_gathering(now);
            }
        }
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

    /// Nobody joined the probe for too long.
    fn give_up_gathering(&self, now: Timestamp) {
        let mut control = self.control();
        control.give_up_gathering(now);
        // A user's algorithm that panicked when it was told of a probe may have left the word behind, too.
        if !control.is_gathering() && self.word.seen().is_probing() {
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
        if epoch == EXEMPT {
            return;
        }
        let mut control = self.control();
        if control.back(epoch, sample) {
            self.publish(&control);
        }
    }

    /// Closes the window, whose time is over or which is `full`, if it has its samples.
    #[cold]
    fn close_window(&self, ended: Ended, full: bool, now: Timestamp) {
        let mut control = match self.control.try_lock() {
            Ok(control) => control,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Somebody else is at it: nothing is left to do.
            Err(TryLockError::WouldBlock) => return,
        };
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
        let (before, _) = control.limit();
        control.update(&window, now);
        let (limit, probing) = control.limit();
        let skip = if probing {
            // While a probe gathers nothing is counted: the window begins anew when it is complete.
            Ended::FAR
        } else if limit > before.saturating_add(before / LEAP) {
            // What ends next was admitted below the limit from which it leapt.
            limit
        } else {
            0
        };
        self.marks.give_up_at.store(control.give_up_at().as_nanos(), Relaxed);
        self.begin_window(skip, &control.algorithm.window_size(), now);
        self.word.set(limit, probing);
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
