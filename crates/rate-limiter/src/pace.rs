use std::time::Duration;

use seawall_core::{
    Pattern, Reason, Rejection, Timestamp,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::{Quota, line::LATENESS};

/// A quota as the decision needs it, in nanoseconds.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// The time in which one call is regained.
    pub(crate) interval: u64,
    /// The time in which the whole burst is regained: how far the theoretical arrival may lie ahead.
    pub(crate) capacity: u64,
}

impl Pace {
    pub(crate) fn of(quota: &Quota) -> Self {
        let interval = Timestamp::ZERO.saturating_add(quota.interval()).as_nanos();
        Self { interval, capacity: interval.saturating_mul(quota.burst().into()) }
    }

    /// The whole rule: the theoretical arrival after a call of `cost`, or `None` when it must not go on.
    ///
    /// It goes on when the arrival, moved on by what the call costs, lies no further ahead of now than the burst
    /// reaches. At the end of time nothing does: an arrival that cannot move would admit everything.
    #[inline]
    pub(crate) const fn admit(self, arrival: u64, cost: u32, now: u64) -> Option<u64> {
        // What the next call waits for is but a maximum and a sum away from what it read; the checks are not in its way.
        let begins = if arrival > now { arrival } else { now };
        match begins.checked_add(self.cost_of(cost)) {
            Some(next) if next.saturating_sub(now) <= self.capacity => Some(next),
            _ => None,
        }
    }

    /// Why a call that [`Pace::admit`] did not admit is refused, and how long until it would be.
    #[cold]
    pub(crate) const fn refusal(self, arrival: u64, cost: u32, now: u64) -> Rejection {
        if self.cost_of(cost) > self.capacity {
            return Rejection::new(Pattern::RateLimiter, Reason::TooHeavy);
        }
        let refused = Rejection::new(Pattern::RateLimiter, Reason::RateLimited);
        match self.debt_after(arrival, cost, now).checked_sub(self.capacity) {
            Some(wait) => refused.with_retry_after(Duration::from_nanos(wait)),
            None => refused,
        }
    }

    /// The arrival after a call of `cost` that has happened, whatever the burst.
    pub(crate) const fn charge(self, arrival: u64, cost: u32, now: u64) -> u64 {
        now.saturating_add(self.debt_after(arrival, cost, now))
    }

    /// As if only the upper half of the burst were there, in whole calls.
    pub(crate) const fn half(self) -> Self {
        Self { capacity: self.cost_of(self.burst() / 2), ..self }
    }

    /// The time in which `cost` is regained.
    #[inline]
    pub(crate) const fn cost_of(self, cost: u32) -> u64 {
        self.interval.saturating_mul(cost as u64)
    }

    /// How many whole calls may come at once.
    #[expect(clippy::cast_possible_truncation, reason = "at most the burst, which has 32 bits")]
    pub(crate) const fn remaining(self, arrival: u64, now: u64) -> u32 {
        match self.capacity.saturating_sub(arrival.saturating_sub(now)).checked_div(self.interval) {
            Some(calls) => calls as u32,
            None => 0,
        }
    }

    /// How long until one call may come.
    pub(crate) const fn next_in(self, arrival: u64, now: u64) -> u64 {
        self.debt_after(arrival, 1, now).saturating_sub(self.capacity)
    }

    /// How long until a call of `cost` may come behind others of `ahead` in all; `None` when it never may.
    pub(crate) const fn turn_in(self, arrival: u64, ahead: u64, cost: u32, now: u64) -> Option<u64> {
        let need = self.cost_of(cost);
        if need > self.capacity {
            return None;
        }
        let debt = arrival.saturating_sub(now).saturating_add(self.interval.saturating_mul(ahead)).saturating_add(need);
        Some(debt.saturating_sub(self.capacity))
    }

    /// How far a turn that is given late goes back to when it was due: as far as the burst does not make up for it, since what
    /// is regained beyond one call of `cost` is kept.
    pub(crate) const fn lateness(self, cost: u32) -> Duration {
        LATENESS.saturating_sub(Duration::from_nanos(self.capacity.saturating_sub(self.cost_of(cost))))
    }

    /// How many calls may come at once after a pause.
    pub(crate) const fn burst(self) -> u32 {
        self.remaining(0, 0)
    }

    /// An arrival that owes as many calls of this pace as `arrival` owes of `old`.
    #[expect(clippy::cast_possible_truncation, reason = "bounded by the line before")]
    pub(crate) const fn convert(self, old: Self, arrival: u64, now: u64) -> u64 {
        let owed = arrival.saturating_sub(now) as u128;
        // Two numbers of 64 bits: the product fits 128.
        let owed = match owed.saturating_mul(self.interval as u128).checked_div(old.interval as u128) {
            Some(owed) => owed,
            None => 0,
        };
        if owed > u64::MAX as u128 { u64::MAX } else { now.saturating_add(owed as u64) }
    }

    #[inline]
    const fn debt_after(self, arrival: u64, cost: u32, now: u64) -> u64 {
        // An arrival in the past is a full bucket. One further ahead than ever set comes of a clock that stepped back.
        arrival.saturating_sub(now).saturating_add(self.cost_of(cost))
    }
}

/// A pace that can change while it is used. Who looks in that very moment may see the interval of one and the capacity
/// of the other.
#[derive(Debug)]
pub(crate) struct LivePace {
    interval: AtomicU64,
    capacity: AtomicU64,
}

impl LivePace {
    pub(crate) fn new(pace: Pace) -> Self {
        Self { interval: AtomicU64::new(pace.interval), capacity: AtomicU64::new(pace.capacity) }
    }

    #[inline]
    pub(crate) fn get(&self) -> Pace {
        // Relaxed: two numbers, which guard no other memory.
        Pace { interval: self.interval.load(Relaxed), capacity: self.capacity.load(Relaxed) }
    }

    /// Sets the pace; what it was before.
    pub(crate) fn set(&self, pace: Pace) -> Pace {
        Pace {
            interval: self.interval.swap(pace.interval, Relaxed),
            capacity: self.capacity.swap(pace.capacity, Relaxed),
        }
    }
}
