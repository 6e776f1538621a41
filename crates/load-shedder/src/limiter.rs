#![expect(clippy::disallowed_types, reason = "the lock is taken between windows and for the few calls of a probe")]

use std::sync::{PoisonError, TryLockError};

use seawall_core::{
    Class, Outcome, Timestamp,
    sync::{
        CachePadded, Mutex, MutexGuard,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use crate::{
    LimitAlgorithm, Window, WindowSize,
    control::{Control, Joined},
    limit_cut::CutWatchers,
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
    cut_watchers: CutWatchers,
    /// How many calls brought too little time along.
    too_close: AtomicU32,
}

/// When the current window counts and when it may close. Written between windows, read by every call that ends.
#[derive(Debug, Default)]
struct Marks {
    /// A count of ended calls, the first whose sample counts, and how many from then on end without that the window may
    /// close: what nearly every call asks, in one word.
    from_and_quiet: AtomicU64,
    /// How many calls end, from the first whose sample counts on, without that the window closes whatever the time.
    unfull: AtomicU64,
    /// The time, in nanoseconds, from which enough will do; or, while not all calls are timed, the window is late.
    over_at: AtomicU64,
    /// Which calls are timed: those whose [`Ended::spread`] has none of these bits. 0: all.
    thinning: AtomicU32,
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
    pub(crate) const fn new(start: Timestamp, epoch: u32, cost: u32) -> Self {
        Self { start, epoch_and_cost: (epoch as u64) << 32 | cost as u64 }
    }

    #[inline]
    const fn epoch(&self) -> u32 {
        narrow(self.epoch_and_cost >> 32)
    }

    /// Whether it teaches nothing: one bit, which nearly every call asks.
    #[inline]
    const fn is_untimed(&self) -> bool {
        self.epoch_and_cost >> 63 != 0
    }

    #[inline]
    const fn cost(&self) -> u32 {
        narrow(self.epoch_and_cost)
    }

    /// The same, but timed whatever was decided: what it began for is to be learnt.
    pub(crate) const fn looking(self) -> Self {
        if self.is_untimed() { Self::new(self.start, 0, self.cost()) } else { self }
    }
}

/// Whether a deadline leaves a call the time that it takes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    Enough,
    /// Not what is usual, but the call goes in all the same, to see whether that still holds.
    Look,
    TooLittle,
}

/// A limit that grows by more than one part in so many leaps.
const LEAP: u32 = 5;
/// Of the calls that bring less time along than a call takes one in so many is let in.
const LOOKS: u32 = 32;
/// The epoch of calls that are counted and teach nothing: exempt ones, and those that are not timed. Above all others.
pub(crate) const UNTIMED: u32 = 1 << 31;
/// Of so many calls one is timed at the least. The spread numbers' top bits decide, of which the low ones say little.
const FEWEST: u32 = 64;
const THINNING_SHIFT: u32 = u32::BITS - FEWEST.ilog2();
/// All calls are timed again when a window takes so many times what it may.
const LATE: u32 = 4;

impl<A: LimitAlgorithm> Limiter<A> {
    pub(crate) fn new(algorithm: A) -> Self {
        let control = Control::new(algorithm);
        let limiter = Self {
            word: Word::new(control.limit().0),
            marks: CachePadded::new(Marks::default()),
            tally: Tally::new(&control.algorithm.sampling()),
            control: Mutex::new(control),
            cut_watchers: CutWatchers::default(),
            too_close: AtomicU32::new(0),
        };
        // The first call that ends finds the time over, if not the samples enough.
        limiter.begin_window(&mut limiter.control(), 0, 0, Timestamp::ZERO);
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
        self.tally.follow(&control.algorithm.sampling());
        self.publish(&control);
        result
    }

    /// The passage of a call that has just entered, when the word said `seen`.
    #[inline]
    pub(crate) fn begin(&self, seen: Seen, cost: u32, start: Timestamp) -> Passage {
        let epoch = if seen.is_probing() {
            self.join(start)
        } else if self.is_timed(seen, cost) {
            0
        } else {
            UNTIMED
        };
        Passage::new(start, epoch, cost)
    }

    /// The same for a call that found no probe.
    #[inline]
    pub(crate) fn begin_plainly(&self, seen: Seen, cost: u32, now: impl FnOnce() -> Timestamp) -> Passage {
        if self.is_timed(seen, cost) {
            Passage::new(now(), 0, cost)
        } else {
            Passage::new(Timestamp::ZERO, UNTIMED, cost)
        }
    }

    #[inline]
    fn is_timed(&self, seen: Seen, cost: u32) -> bool {
        let thinning = self.marks.thinning.load(Relaxed);
        if thinning == 0 {
            return true;
        }
        if seen.in_flight().saturating_add(cost).saturating_mul(2) >= seen.limit() {
            self.time_all();
            return true;
        }
        seen.ended().spread() & thinning == 0
    }

    /// Not only some calls are timed any more: there is more under way than there was, and more to decide.
    #[cold]
    #[inline(never)]
    fn time_all(&self) {
        // Somebody else is at it, or at the end of the window: the next call sees to it, if it has to.
        let Some(control) = self.try_control() else { return };
        // A window that times all may have begun, and leave out calls.
        if self.marks.thinning.load(Relaxed) != 0 {
            self.time_all_of(&control);
            self.look_after(self.word.seen().ended(), &control.window_size);
        }
    }

    fn time_all_of(&self, control: &Control<A>) {
        self.marks.thinning.store(0, Relaxed);
        self.marks.over_at.store(control.opened_at.saturating_add(control.window_size.at_most).as_nanos(), Relaxed);
    }

    /// The passage of a call that is let in whatever the load.
    #[cold]
    pub(crate) fn begin_exempt(&self, cost: u32, start: Timestamp) -> Passage {
        let (_, counted) = self.word.enter_anyway(cost);
        Passage::new(start, UNTIMED, counted)
    }

    /// The passage of a call that would be refused, were refusals in force.
    #[cold]
    pub(crate) fn begin_anyway(&self, cost: u32, start: Timestamp) -> Passage {
        let (seen, counted) = self.word.enter_anyway(cost);
        self.begin(seen, counted, start)
    }

    /// The mean latency of the last window, in nanoseconds.
    pub(crate) fn typical(&self) -> u64 {
        self.marks.typical.load(Relaxed)
    }

    /// Whether `deadline` leaves as much time as a call takes. Now and then one that has any time left is let in whatever it
    /// is: were all refused, nobody would learn that calls have become quicker.
    #[inline]
    pub(crate) fn time_until(&self, deadline: Timestamp, now: Timestamp) -> Time {
        let left = deadline.nanos_since(now);
        if left >= self.typical().max(1) {
            Time::Enough
        } else if left > 0 && self.lets_look() {
            Time::Look
        } else {
            Time::TooLittle
        }
    }

    #[cold]
    fn lets_look(&self) -> bool {
        self.too_close.fetch_add(1, Relaxed) % LOOKS == LOOKS.saturating_sub(1)
    }

    /// The end of a call; what the word said before.
    #[expect(clippy::inline_always, reason = "one path with the layers around it")]
    #[inline(always)]
    #[expect(clippy::needless_pass_by_value, reason = "a passage is given back once, and stays in registers")]
    pub(crate) fn end(&self, passage: Passage, outcome: Outcome, now: impl FnOnce() -> Timestamp) -> Seen {
        if passage.is_untimed() {
            return self.word.leave(passage.cost());
        }
        let now = now();
        let seen = self.word.leave(passage.cost());
        let age = now.nanos_since(passage.start);
        if outcome == Outcome::Finished(Class::Success) && passage.epoch() == 0 {
            self.count(seen, Some(Sample { nanos: age, dropped: false }), now);
        } else {
            self.end_otherwise(seen, passage.epoch(), age, outcome, now);
        }
        seen
    }

    /// The end of a call that is no plain success, or belongs to a probe.
    #[inline(never)]
    fn end_otherwise(&self, seen: Seen, epoch: u32, age: u64, outcome: Outcome, now: Timestamp) {
        let sample = self.sample(age, outcome);
        if epoch == 0 {
            self.count(seen, sample, now);
        } else {
            self.back_from_probe(epoch, sample);
        }
    }

    /// One more call has ended; closes the window when that is due.
    #[expect(clippy::inline_always, reason = "one path with the layers around it: 20 instructions less")]
    #[inline(always)]
    fn count(&self, seen: Seen, sample: Option<Sample>, now: Timestamp) {
        let (from, quiet) = unpack(self.marks.from_and_quiet.load(Relaxed));
        let place = seen.ended().since(from);
        let over = place >= quiet;
        // The horizon lies behind all that may be quiet.
        if over && place >= Ended::HORIZON {
            // The window has not begun.
            return;
        }
        if let Some(sample) = sample {
            self.tally.record(sample, seen.in_flight());
        }
        if over {
            let full = u64::from(place) >= self.marks.unfull.load(Relaxed);
            // Asked here: a window that has its samples and not yet its time is the usual case.
            if full || now.as_nanos() >= self.marks.over_at.load(Relaxed) {
                self.close_window(seen.ended(), now);
            }
        }
    }

    /// The end of a call that entered and never began; what the word said before.
    #[expect(clippy::needless_pass_by_value, reason = "a passage is given back once, and stays in registers")]
    pub(crate) fn never_began(&self, passage: Passage) -> Seen {
        let seen = self.word.leave(passage.cost());
        if passage.epoch() != 0 && !passage.is_untimed() {
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

    /// `None`: somebody else is at it.
    fn try_control(&self) -> Option<MutexGuard<'_, Control<A>>> {
        match self.control.try_lock() {
            Ok(control) => Some(control),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn publish(&self, control: &Control<A>) {
        let (limit, probing) = control.limit();
        self.word.set(limit, probing);
    }

    /// Begins a window that leaves out the next `skip` calls to end, and times those that `thinning` leaves.
    fn begin_window(&self, control: &mut Control<A>, skip: u32, thinning: u32, now: Timestamp) {
        (control.opened_at, control.window_size) = (now, control.algorithm.window_size());
        self.time_all_of(control);
        if thinning != 0 {
            let late_at = now.saturating_add(control.algorithm.resting_window().saturating_mul(LATE));
            self.marks.over_at.store(late_at.as_nanos(), Relaxed);
            self.marks.thinning.store(thinning, Relaxed);
        }
        let from = self.word.seen().ended().plus(skip);
        control.counts_from = (thinning == 0).then_some(from);
        self.look_after(from, &control.window_size);
    }

    /// Of the calls from `from` on the `enough`th looks whether the time is over, the `full`th whether it must close. While not
    /// all are timed each that is looks whether it is late.
    fn look_after(&self, from: Ended, size: &WindowSize) {
        let enough = if self.marks.thinning.load(Relaxed) == 0 { size.enough } else { 0 };
        self.marks.unfull.store(quiet(size.full).into(), Relaxed);
        self.marks.from_and_quiet.store(pack(from, quiet(enough.min(size.full))), Relaxed);
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
            self.begin_window(&mut control, limit, 0, now);
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
            self.begin_window(&mut control, 0, 0, now);
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
            // Of a call that had less time than is usual nobody knows what would have become.
            Outcome::Cancelled | Outcome::DeadlineExceeded => {
                Some(Sample { nanos: age.max(typical), dropped: age >= typical })
            }
            Outcome::TimedOut => Some(Sample { nanos: age.max(typical), dropped: true }),
            _ => None,
        }
    }

    #[cold]
    fn back_from_probe(&self, epoch: u32, sample: Option<Sample>) {
        let mut control = self.control();
        let before = control.algorithm.steady_limit();
        if control.back(epoch, sample) {
            self.publish(&control);
            self.tell_of_cut(before, control);
        }
    }

    /// Tells those who want to know if the limit is much lower than `before`, once the lock is free.
    fn tell_of_cut(&self, before: f64, control: MutexGuard<'_, Control<A>>) {
        let after = control.algorithm.steady_limit();
        drop(control);
        self.cut_watchers.tell(before, after);
    }

    pub(crate) const fn cut_watchers(&self) -> &CutWatchers {
        &self.cut_watchers
    }

    /// Closes the window in which a call was the `ended`th to end, if its time is over or it is full, and it has its
    /// samples.
    #[cold]
    fn close_window(&self, ended: Ended, now: Timestamp) {
        // Somebody else is at it: nothing is left to do.
        let Some(mut control) = self.try_control() else { return };
        // Looked at again, since another may have closed it, and begun one in which this call does not count.
        let (from, _) = unpack(self.marks.from_and_quiet.load(Relaxed));
        if ended.since(from) >= Ended::HORIZON {
            return;
        }
        let size = control.algorithm.window_size();
        let samples = self.tally.samples();
        let is_over = now >= control.opened_at.saturating_add(size.at_most);
        if samples < if is_over { size.enough.min(size.full) } else { size.full } {
            if self.marks.thinning.load(Relaxed) != 0 && now.as_nanos() >= self.marks.over_at.load(Relaxed) {
                // There are too few calls for that.
                self.time_all_of(&control);
            }
            // Some of those that ended were no samples. Counted from here, so that no beginning is ever so far back that
            // it would be taken for one to come.
            let [full, enough] = [size.full, size.enough].map(|wanted| wanted.saturating_sub(samples));
            self.look_after(ended.plus(1), &WindowSize { full, enough, ..size });
            return;
        }
        let Some(mut window) = self.tally.take() else { return };
        let ended_per_second = per_second(ended.since(control.closed), now.nanos_since(control.closed_at));
        let useful = useful_part(&window, control.counts_from, ended);
        window.throughput = ended_per_second.zip(useful).map(|(rate, part)| rate * part);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a mean of latencies")]
        self.marks.typical.store(window.mean as u64, Relaxed);
        let ((before, _), steady_before) = (control.limit(), control.algorithm.steady_limit());
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
        (control.closed, control.closed_at) = (ended, if probing { Timestamp::MAX } else { now });
        self.marks.give_up_at.store(control.give_up_at().as_nanos(), Relaxed);
        let is_at_rest = skip == 0 && window.max_in_flight.saturating_mul(2) < limit;
        let thinning = if is_at_rest { self.thinning_after(&control, now) } else { 0 };
        self.begin_window(&mut control, skip, thinning, now);
        self.word.set(limit, probing);
        self.tell_of_cut(steady_before, control);
    }

    /// Which calls are timed after a window that was full at `now` while there was little to do.
    fn thinning_after(&self, control: &Control<A>, now: Timestamp) -> u32 {
        let thinning = self.marks.thinning.load(Relaxed);
        let took = now.since(control.opened_at);
        // A clock that stands still says nothing.
        if took.is_zero() {
            0
        } else if took < control.algorithm.resting_window() {
            // One bit more, from the top.
            (thinning >> 1 | 1 << 31) & (u32::MAX << THINNING_SHIFT)
        } else {
            thinning
        }
    }
}

/// Which part of the calls that ended since the window began did some work, or nothing where not all were timed. A layer
/// further in refuses more, and errors come quicker, the more is let in; and what is cut is of no use to anybody.
fn useful_part(window: &Window, from: Option<Ended>, ended: Ended) -> Option<f64> {
    let calls = ended.plus(1).since(from?);
    let useful = window.samples.saturating_sub(window.dropped);
    Some((f64::from(useful) / f64::from(calls.max(1))).min(1.0))
}

/// In place of `Duration::as_secs_f64`, which divides twice.
#[expect(clippy::cast_precision_loss, reason = "a time of 104 days is off by a nanosecond")]
fn per_second(calls: u32, nanos: u64) -> Option<f64> {
    (nanos > 0).then(|| f64::from(calls) * 1e9 / nanos as f64)
}

/// How many calls end before the one that is the `enough`th.
const fn quiet(enough: u32) -> u32 {
    // From here on it would be taken for the past.
    if enough < Ended::HORIZON { enough.saturating_sub(1) } else { Ended::HORIZON.saturating_sub(1) }
}

const fn pack(from: Ended, quiet: u32) -> u64 {
    (from.to_bits() as u64) << 32 | quiet as u64
}

#[inline]
const fn unpack(marks: u64) -> (Ended, u32) {
    (Ended::from_bits(narrow(marks >> 32)), narrow(marks))
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
const fn narrow(word: u64) -> u32 {
    word as u32
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Probe;

    const SUCCESS: Outcome = Outcome::Finished(Class::Success);
    const IGNORED: Outcome = Outcome::Finished(Class::Ignored);

    /// Counts its windows; after the first it asks for a probe of one call.
    struct Counting(u32);

    impl LimitAlgorithm for Counting {
        fn limit(&self) -> f64 {
            10.0
        }

        fn window_size(&self) -> WindowSize {
            WindowSize { full: 2, enough: 2, at_most: Duration::ZERO }
        }

        fn update(&mut self, _: &Window) {
            self.0 = self.0.saturating_add(1);
        }

        fn probe(&self) -> Option<Probe> {
            (self.0 == 1).then_some(Probe { limit: 2, calls: 1 })
        }
    }

    fn end(limiter: &Limiter<Counting>, outcome: Outcome) {
        let passage = limiter.begin_anyway(1, Timestamp::ZERO);
        limiter.end(passage, outcome, || Timestamp::ZERO);
    }

    #[test]
    fn of_two_calls_that_see_a_probe_of_one_the_second_is_a_call_as_any_other() {
        let limiter = Limiter::new(Counting(0));
        (0..2).for_each(|_| end(&limiter, SUCCESS));
        let seen = [(); 2].map(|()| limiter.word().enter_anyway(1).0);
        assert_eq!(seen.map(Seen::is_probing), [true; 2]);

        let [of_probe, usual] = seen.map(|seen| limiter.begin(seen, 1, Timestamp::ZERO));

        assert_eq!((of_probe.epoch(), usual.epoch()), (1, 0));
    }

    /// Keeps what windows of four say of the throughput, to the hundredth.
    struct Doing(Vec<Option<f64>>);

    impl LimitAlgorithm for Doing {
        fn limit(&self) -> f64 {
            100.0
        }

        fn window_size(&self) -> WindowSize {
            WindowSize { full: 4, enough: 4, at_most: Duration::ZERO }
        }

        fn update(&mut self, window: &Window) {
            self.0.push(window.throughput.map(|per_second| (100.0 * per_second).round() / 100.0));
        }
    }

    /// The throughput of the last of a few windows of calls one after the other that take 10 ms, each third one ended as `third`
    /// says, each with others that end as soon as they came.
    fn throughput(third: Outcome, at_once: &[Outcome]) -> Option<f64> {
        let limiter = Limiter::new(Doing(Vec::new()));
        let mut now = Timestamp::from_nanos(MILLISECOND);
        for outcome in [third, SUCCESS, SUCCESS].iter().cycle().take(99) {
            let start = now;
            now = now.saturating_add(Duration::from_millis(10));
            limiter.end(limiter.begin_anyway(1, start), *outcome, || now);
            for outcome in at_once {
                limiter.end(limiter.begin_anyway(1, now), *outcome, || now);
            }
        }
        limiter.inspect(|doing| doing.0.last().copied().flatten())
    }

    #[test]
    fn calls_that_did_no_work_are_no_throughput() {
        let failed = Outcome::Finished(Class::Failure);
        assert_eq!(throughput(SUCCESS, &[]), Some(100.0));

        assert_eq!(throughput(SUCCESS, &[IGNORED; 5]), Some(100.0), "refused further in");
        assert_eq!(throughput(SUCCESS, &[failed, failed]), Some(100.0), "quick errors");
        assert!(throughput(Outcome::TimedOut, &[]).is_some_and(|useful| useful <= 75.0), "a third is cut");
    }

    /// Has no use for windows of less than a millisecond, and a limit of 100 that leaps to 200 after so many of them; keeps how
    /// many samples each had.
    struct Resting {
        windows: Vec<u32>,
        throughput: Option<f64>,
        leaps_after: usize,
    }

    /// 64,000 of them are less than a millisecond.
    const QUICKLY: u64 = 10;
    const MILLISECOND: u64 = 1_000_000;

    impl LimitAlgorithm for Resting {
        fn limit(&self) -> f64 {
            if self.windows.len() < self.leaps_after { 100.0 } else { 200.0 }
        }

        fn window_size(&self) -> WindowSize {
            WindowSize { full: 1_000, enough: 1_000, at_most: Duration::from_secs(1) }
        }

        fn resting_window(&self) -> Duration {
            Duration::from_millis(1)
        }

        fn update(&mut self, window: &Window) {
            self.windows.push(window.samples);
            self.throughput = window.throughput;
        }
    }

    /// A limiter, and calls one after the other that take no time.
    struct Calls<A> {
        limiter: Limiter<A>,
        now: u64,
    }

    impl<A: LimitAlgorithm> Calls<A> {
        fn new(algorithm: A) -> Self {
            Self { limiter: Limiter::new(algorithm), now: 1_000 * MILLISECOND }
        }

        /// Makes so many, so far apart. How many were timed.
        fn make(&mut self, calls: u32, apart: u64) -> u32 {
            let timed = std::cell::Cell::new(0_u32);
            for _ in 0..calls {
                self.now = self.now.saturating_add(apart);
                let now = Timestamp::from_nanos(self.now);
                let seen = self.limiter.word().enter_anyway(1).0;
                let passage = self.limiter.begin_plainly(seen, 1, || now);
                self.limiter.end(passage, SUCCESS, || {
                    timed.set(timed.get().saturating_add(1));
                    now
                });
            }
            timed.get()
        }

        fn hold(&self, calls: u32) -> Vec<Passage> {
            (0..calls).map(|_| self.limiter.begin_exempt(1, Timestamp::ZERO)).collect()
        }
    }

    /// After as many quick calls as it takes to time the fewest.
    fn at_rest() -> Calls<Resting> {
        let mut calls = Calls::new(Resting { windows: Vec::new(), throughput: None, leaps_after: usize::MAX });
        calls.make(200_000, QUICKLY);
        calls
    }

    fn windows(calls: &Calls<Resting>) -> Vec<u32> {
        calls.limiter.inspect(|resting| resting.windows.clone())
    }

    #[test]
    fn of_quick_calls_of_which_few_are_under_way_one_in_64_is_timed_and_windows_are_as_full_as_ever() {
        let mut calls = at_rest();

        let timed = calls.make(64_000, QUICKLY);

        assert!((900..=1_100).contains(&timed), "{timed}");
        let windows = windows(&calls);
        assert!(windows.len() >= 8 && windows.iter().all(|samples| *samples == 1_000), "{windows:?}");
        assert_eq!(calls.limiter.inspect(|resting| resting.throughput), None, "nobody knows what the others did");
    }

    #[test]
    fn no_more_are_left_out_than_it_takes_to_fill_a_window_in_its_time() {
        let mut calls = Calls::new(Resting { windows: Vec::new(), throughput: None, leaps_after: usize::MAX });
        calls.make(20_000, 20 * QUICKLY);

        // A thousand take 200 µs, and eight times as many more than a millisecond.
        let timed = calls.make(8_000, 20 * QUICKLY);

        assert!((900..=1_100).contains(&timed), "{timed}");
    }

    #[test]
    fn from_half_of_the_limit_on_every_call_is_timed() {
        let mut calls = at_rest();
        let mut held = calls.hold(48);
        assert!(calls.make(640, QUICKLY) <= 25, "49 of 100 are under way");

        held.extend(calls.hold(1));

        assert_eq!(calls.make(640, QUICKLY), 640);
        assert_eq!(held.len(), 49);
    }

    #[test]
    fn a_leap_out_of_rest_leaves_out_what_was_admitted_before_it() {
        let mut calls = at_rest();
        calls.limiter.adjust(|resting| resting.leaps_after = resting.windows.len() + 1);
        let before = windows(&calls).len();
        while windows(&calls).len() == before {
            calls.make(1, QUICKLY);
        }

        let _held = calls.hold(150);
        calls.make(1_000, QUICKLY);
        assert_eq!(windows(&calls).len(), before + 1);

        calls.make(200, QUICKLY);
        assert_eq!(windows(&calls).len(), before + 2);
    }

    #[test]
    fn once_a_window_is_late_every_call_is_timed() {
        let mut calls = at_rest();

        calls.make(100, 10 * MILLISECOND);

        assert_eq!(calls.make(100, 10 * MILLISECOND), 100);
    }

    #[test]
    fn where_windows_may_be_as_quick_as_they_like_or_the_clock_stands_still_every_call_is_timed() {
        let resting = Resting { windows: Vec::new(), throughput: None, leaps_after: usize::MAX };
        assert_eq!(Calls::new(resting).make(20_000, 0), 20_000);
        assert_eq!(Calls::new(crate::Fixed::new(100).unwrap()).make(20_000, QUICKLY), 20_000);
    }

    #[test]
    fn of_calls_with_too_little_time_one_in_32_looks_and_of_those_whose_deadline_has_passed_none() {
        let limiter = Limiter::new(Counting(0));
        (0..2).for_each(|_| {
            let passage = limiter.begin_anyway(1, Timestamp::ZERO);
            limiter.end(passage, SUCCESS, || Timestamp::from_nanos(MILLISECOND));
        });
        let now = Timestamp::from_nanos(5);
        let looks = |left: u64| {
            let deadline = Timestamp::from_nanos(5_u64.saturating_add(left));
            (0..320).filter(|_| limiter.time_until(deadline, now) == Time::Look).count()
        };

        assert_eq!((looks(1), looks(0)), (10, 0));
        assert_eq!(limiter.time_until(Timestamp::from_nanos(4), now), Time::TooLittle);
        assert_eq!(limiter.time_until(Timestamp::from_nanos(5 + MILLISECOND), now), Time::Enough);
    }

    #[test]
    fn an_outage_of_any_length_leaves_a_window_that_still_counts() {
        let limiter = Limiter::new(Counting(0));
        (0..Ended::HORIZON).for_each(|_| end(&limiter, IGNORED));

        (0..2).for_each(|_| end(&limiter, SUCCESS));

        assert_eq!(limiter.inspect(|counting| counting.0), 1);
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use std::time::Duration;

    use loom::{sync::Arc, thread};

    use super::*;
    use crate::Probe;

    const SUCCESS: Outcome = Outcome::Finished(Class::Success);

    /// A limit that is 4 from its first window on.
    struct Leaping {
        first: f64,
        windows: u32,
        at_most: Duration,
        probe: Option<Probe>,
    }

    impl<A> Limiter<A> {
        /// As after windows that were filled too quickly.
        fn thin(&self) {
            self.marks.thinning.store(1 << 31, Relaxed);
        }
    }

    impl LimitAlgorithm for Leaping {
        fn limit(&self) -> f64 {
            if self.windows == 0 { self.first } else { 4.0 }
        }

        fn window_size(&self) -> WindowSize {
            WindowSize { full: 9, enough: 1, at_most: self.at_most }
        }

        fn update(&mut self, _: &Window) {
            self.windows = self.windows.saturating_add(1);
        }

        fn probe(&self) -> Option<Probe> {
            self.probe
        }

        fn probed(&mut self, _: Option<&Window>) {
            self.probe = None;
        }
    }

    fn leaping(first: f64, at_most: u64) -> Arc<Limiter<Leaping>> {
        let at_most = Duration::from_nanos(at_most);
        Arc::new(Limiter::new(Leaping { first, windows: 0, at_most, probe: None }))
    }

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    fn enter(limiter: &Limiter<Leaping>) -> Passage {
        limiter.begin_anyway(1, Timestamp::ZERO)
    }

    fn check(model: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(model);
    }

    #[test]
    fn two_calls_that_find_a_window_due_close_it_once_and_the_next_one_leaves_out_what_it_should() {
        check(|| {
            let limiter = leaping(2.0, 0);
            let (first, second) = (enter(&limiter), enter(&limiter));
            let other = Arc::clone(&limiter);
            let there = thread::spawn(move || other.end(first, SUCCESS, || at(0)));

            limiter.end(second, SUCCESS, || at(0));
            there.join().unwrap();

            assert_eq!(limiter.inspect(|leaping| leaping.windows), 1);
            // Four are left out; the one after them closes the next window, if none of the two has counted in it.
            for _ in 0..5 {
                limiter.end(enter(&limiter), SUCCESS, || at(0));
            }
            assert!(limiter.inspect(|leaping| leaping.windows) >= 2);
        });
    }

    #[test]
    fn a_window_does_not_close_by_the_time_of_the_one_before() {
        check(|| {
            let limiter = leaping(4.0, 10);
            let (first, second) = (enter(&limiter), enter(&limiter));
            let other = Arc::clone(&limiter);
            let there = thread::spawn(move || other.end(first, SUCCESS, || at(10)));

            limiter.end(second, SUCCESS, || at(10));
            there.join().unwrap();

            assert_eq!(limiter.inspect(|leaping| leaping.windows), 1);
        });
    }

    #[test]
    fn a_window_that_closes_as_half_of_the_limit_comes_into_use_leaves_out_what_it_should() {
        check(|| {
            let limiter = leaping(2.0, 0);
            limiter.thin();
            let ends = Passage::new(Timestamp::ZERO, 0, 1);
            let seen = limiter.word().enter_anyway(1).0;
            let other = Arc::clone(&limiter);
            let there = thread::spawn(move || other.end(ends, SUCCESS, || at(1)));

            assert!(limiter.is_timed(seen, 1));
            there.join().unwrap();

            assert_eq!(limiter.marks.thinning.load(Relaxed), 0);
            let (from, _) = unpack(limiter.marks.from_and_quiet.load(Relaxed));
            if limiter.inspect(|leaping| leaping.windows == 1) {
                assert_eq!(from.since(limiter.word().seen().ended()), 4);
            }
        });
    }

    #[test]
    fn a_call_that_completes_a_probe_and_one_that_gives_it_up_agree_on_what_has_become_of_it() {
        check(|| {
            let limiter = leaping(2.0, 0);
            limiter.adjust(|leaping| leaping.probe = Some(Probe { limit: 1, calls: 1 }));
            limiter.end(enter(&limiter), SUCCESS, || at(0));
            let seen = limiter.word().enter_anyway(1).0;
            assert!(seen.is_probing());
            let later = Timestamp::from_nanos(2_000_000_000);
            let other = Arc::clone(&limiter);
            let joins = thread::spawn(move || other.begin(seen, 1, later));

            limiter.found_no_room(limiter.word().seen(), || later);
            let passage = joins.join().unwrap();

            let is_of_probe = passage.epoch() != 0;
            assert_eq!(limiter.inspect(|leaping| leaping.probe.is_some()), is_of_probe);
            let seen = limiter.word().seen();
            assert_eq!((seen.limit(), seen.is_probing(), seen.in_flight()), (4, false, 1));
            limiter.end(passage, SUCCESS, || later);
            assert!(limiter.inspect(|leaping| leaping.probe.is_none()));
        });
    }
}
