use seawall_core::{
    Stripes, Timestamp,
    sync::{
        CachePadded,
        atomic::{
            AtomicU64,
            Ordering::{Relaxed, SeqCst},
            fence,
        },
    },
};

use crate::{figures::Figures, mark::Mark};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The results of the last seconds, in one bucket per whole second of the clock: a result of second `s` counts while
/// `now − s` is less than the window's size.
///
/// Each bucket says itself which second it is of, so nothing ever rotates the ring: who finds an older second in a
/// bucket replaces it, who finds a newer one came too late and is dropped. Seconds of a later generation are moved ahead
/// by more than the window, so what was counted before, or is counted late, is out of sight without being wiped.
#[derive(Debug)]
pub(crate) struct TimeWindow {
    seconds: u32,
    mask: u32,
    /// How far a generation moves the seconds ahead. A multiple of 8, so that 2²⁹ generations move them by a multiple of
    /// 2³² and both wrap together.
    stride: u32,
    /// Fast successes, by far the most, in a ring per core.
    good: Stripes<Box<[AtomicU64]>>,
    bad: Bad,
}

#[derive(Debug)]
struct Bad {
    slow: Box<[AtomicU64]>,
    failed: Box<[AtomicU64]>,
    failed_slow: Box<[AtomicU64]>,
    /// The last second with a bad result, and the last one in which a success looked at the sums.
    watch: CachePadded<AtomicU64>,
}

/// A count and the second that it is of.
#[derive(Copy, Clone)]
struct Bucket {
    tick: u32,
    count: u32,
}

impl Bucket {
    #[expect(clippy::cast_possible_truncation, reason = "two halves of a word")]
    const fn of(bits: u64) -> Self {
        Self { tick: (bits >> 32) as u32, count: bits as u32 }
    }

    const fn bits(self) -> u64 {
        ((self.tick as u64) << 32) | self.count as u64
    }

    /// One more in second `tick`; `None` when the bucket has gone on to a later one.
    #[inline]
    const fn plus_one(self, tick: u32) -> Option<Self> {
        if self.tick == tick {
            Some(Self { tick, count: self.count.saturating_add(1) })
        } else if self.count == 0 || is_older(self.tick, tick) {
            Some(Self { tick, count: 1 })
        } else {
            None
        }
    }
}

/// The two halves of [`Bad::watch`].
#[derive(Copy, Clone)]
struct Watch {
    bad: u32,
    checked: u32,
}

impl Watch {
    /// Nothing bad yet: older than any second.
    const NEW: Self = Self { bad: u32::MAX, checked: u32::MAX };

    const fn with_bad(self, tick: u32) -> Self {
        let is_new = self.bad == u32::MAX && self.checked == u32::MAX;
        Self { bad: if is_new || is_older(self.bad, tick) { tick } else { self.bad }, ..self }
    }

    #[expect(clippy::cast_possible_truncation, reason = "two halves of a word")]
    const fn of(bits: u64) -> Self {
        Self { bad: (bits >> 32) as u32, checked: bits as u32 }
    }

    const fn bits(self) -> u64 {
        ((self.bad as u64) << 32) | self.checked as u64
    }
}

/// Seconds wrap after 136 years; one is older than another that it trails by less than half of that.
const fn is_older(tick: u32, than: u32) -> bool {
    let behind = than.wrapping_sub(tick);
    behind != 0 && behind < 1 << 31
}

fn ring(length: u32) -> Box<[AtomicU64]> {
    (0..length).map(|_| AtomicU64::new(0)).collect()
}

#[inline]
fn add(ring: &[AtomicU64], slot: u32, tick: u32) {
    let Some(cell) = ring.get(slot as usize) else { return };
    let mut seen = cell.load(Relaxed);
    while let Some(next) = Bucket::of(seen).plus_one(tick) {
        // SeqCst: partner is the fence in `record`. Of a success here and a bad result there that come at the same time,
        // at least one sees the other, so the call that completes the minimum never goes unnoticed.
        match cell.compare_exchange_weak(seen, next.bits(), SeqCst, Relaxed) {
            Ok(_) => return,
            Err(newer) => seen = newer,
        }
    }
}

impl TimeWindow {
    pub(crate) fn new(seconds: u32, stripes: Option<usize>) -> Self {
        let slots = seconds.max(1).next_power_of_two();
        let good = match stripes {
            Some(count) => Stripes::with_count(count, || ring(slots)),
            None => Stripes::new(|| ring(slots)),
        };
        Self {
            seconds: seconds.max(1),
            mask: slots.saturating_sub(1),
            stride: seconds.max(1).next_multiple_of(8),
            good,
            bad: Bad {
                slow: ring(slots),
                failed: ring(slots),
                failed_slow: ring(slots),
                watch: CachePadded::new(AtomicU64::new(Watch::NEW.bits())),
            },
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "seconds wrap, see is_older")]
    const fn tick(&self, generation: u32, at: Timestamp) -> u32 {
        let second = (at.as_nanos() / NANOS_PER_SECOND) as u32;
        second.wrapping_add(generation.wrapping_mul(self.stride))
    }

    #[inline]
    const fn holds(&self, now: u32, tick: u32) -> bool {
        now.wrapping_sub(tick) < self.seconds
    }

    /// Counts one result. Returns the sums when it could have brought a ratio to its threshold.
    ///
    /// A success can only do so by completing the minimum, or when successes have left with an old second; so while
    /// something bad is in the window, successes look at the sums until the minimum is there and then once per second.
    #[inline]
    pub(crate) fn record(&self, generation: u32, mark: Mark, at: Timestamp, minimum: u64) -> Option<Figures> {
        let tick = self.tick(generation, at);
        if mark != Mark::Good {
            return Some(self.record_bad(mark, tick, minimum));
        }
        add(self.good.mine(), tick & self.mask, tick);
        // SeqCst: see `add`.
        let watch = Watch::of(self.bad.watch.load(SeqCst));
        if !self.holds(tick, watch.bad) || watch.checked == tick {
            return None;
        }
        Some(self.check(tick, minimum))
    }

    #[cold]
    fn record_bad(&self, mark: Mark, tick: u32, minimum: u64) -> Figures {
        let ring = match mark {
            Mark::Failed => &self.bad.failed,
            Mark::FailedSlow => &self.bad.failed_slow,
            Mark::Good | Mark::Slow => &self.bad.slow,
        };
        add(ring, tick & self.mask, tick);
        self.note(|watch| watch.with_bad(tick));
        self.check(tick, minimum)
    }

    fn check(&self, tick: u32, minimum: u64) -> Figures {
        // SeqCst: partners are this fence in other threads, and the compare-exchange in `add`.
        fence(SeqCst);
        let figures = self.sum(tick);
        // Below the minimum the next success may complete it, so it has to look again.
        if figures.calls >= minimum {
            self.note(|watch| Watch { checked: tick, ..watch });
        }
        figures
    }

    fn note(&self, change: impl Fn(Watch) -> Watch) {
        let mut seen = self.bad.watch.load(Relaxed);
        loop {
            let next = change(Watch::of(seen)).bits();
            if next == seen {
                return;
            }
            // Relaxed: the fence in `check` follows.
            match self.bad.watch.compare_exchange_weak(seen, next, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(newer) => seen = newer,
            }
        }
    }

    fn count(&self, ring: &[AtomicU64], now: u32) -> u64 {
        ring.iter()
            .map(|cell| Bucket::of(cell.load(Relaxed)))
            .filter(|bucket| self.holds(now, bucket.tick))
            .map(|bucket| u64::from(bucket.count))
            .fold(0, u64::saturating_add)
    }

    fn sum(&self, now: u32) -> Figures {
        let good = self.good.iter().map(|ring| self.count(ring, now)).fold(0, u64::saturating_add);
        let slow = self.count(&self.bad.slow, now);
        let failed = self.count(&self.bad.failed, now);
        let both = self.count(&self.bad.failed_slow, now);
        Figures {
            calls: good.saturating_add(slow).saturating_add(failed).saturating_add(both),
            failures: failed.saturating_add(both),
            slow: slow.saturating_add(both),
        }
    }

    /// What the window holds at `at`.
    pub(crate) fn figures(&self, generation: u32, at: Timestamp) -> Figures {
        self.sum(self.tick(generation, at))
    }
}
