//! When a window begins, counts and closes, and which calls are timed in it.
use seawall_core::{
    Timestamp,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

use super::{Limiter, passage::narrow};
use crate::{
    LimitAlgorithm, Window, WindowSize,
    control::Control,
    tally::Sample,
    word::{Ended, Seen},
};

/// A limit that grows by more than one part in so many leaps.
const LEAP: u32 = 5;
/// Of so many calls one is timed at the least. The spread numbers' top bits decide, of which the low ones say little.
const FEWEST: u32 = 64;
const THINNING_SHIFT: u32 = u32::BITS - FEWEST.ilog2();
/// All calls are timed again when a window takes so many times what it may.
const LATE: u32 = 4;

/// When the current window counts and when it may close. Written between windows, read by every call that ends.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// A count of ended calls, the first whose sample counts, and how many from then on end without that the window may
    /// close: what nearly every call asks, in one word.
    pub(super) from_and_quiet: AtomicU64,
    /// How many calls end, from the first whose sample counts on, without that the window closes whatever the time.
    unfull: AtomicU64,
    /// The time, in nanoseconds, from which enough will do; or, while not all calls are timed, the window is late.
    over_at: AtomicU64,
    /// Which calls are timed: those whose [`Ended::spread`] has none of these bits. 0: all.
    pub(super) thinning: AtomicU32,
    /// The mean of the last window, in nanoseconds.
    pub(super) typical: AtomicU64,
    /// The time, in nanoseconds, from which a probe that still gathers is given up.
    pub(super) give_up_at: AtomicU64,
}

impl<A: LimitAlgorithm> Limiter<A> {
    #[inline]
    pub(super) fn is_timed(&self, seen: Seen, cost: u32) -> bool {
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

    /// One more call has ended; closes the window when that is due.
    #[expect(clippy::inline_always, reason = "one path with the layers around it: 20 instructions less")]
    #[inline(always)]
    pub(super) fn count(&self, seen: Seen, sample: Option<Sample>, now: Timestamp) {
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

    /// Begins a window that leaves out the next `skip` calls to end, and times those that `thinning` leaves.
    pub(super) fn begin_window(&self, control: &mut Control<A>, skip: u32, thinning: u32, now: Timestamp) {
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
pub(super) const fn unpack(marks: u64) -> (Ended, u32) {
    (Ended::from_bits(narrow(marks >> 32)), narrow(marks))
}
