//! What happens because time has passed: waits that end, connections that expire, connects that are due again.

use std::{task::Waker, time::Duration};

use seawall_core::Timestamp;

use super::{Effects, Expired, Fate, Slots, is_due, remember};
use crate::status::Closing;

/// The task that calls [`Slots::tick`] when it is time. One for all callers: none of them pays for a timer.
#[derive(Debug)]
pub(super) struct Keeper {
    alive: bool,
    wakes_at: Timestamp,
    rung: bool,
    waker: Option<Waker>,
}

impl Default for Keeper {
    fn default() -> Self {
        Self { alive: false, wakes_at: Timestamp::MAX, rung: false, waker: None }
    }
}

impl Keeper {
    /// Makes the keeper look at once.
    pub(super) fn ring(&mut self) -> Option<Waker> {
        self.rung = true;
        self.waker.take()
    }
}

impl<C, F: Clone> Slots<C, F> {
    /// Whether there is no keeper; the caller starts one.
    pub(crate) fn hires_keeper(&mut self) -> bool {
        !std::mem::replace(&mut self.keeper.alive, true)
    }

    /// The keeper has gone, perhaps with its runtime. Those who wait see to another one.
    pub(crate) fn keeper_left(&mut self) -> Effects<C> {
        self.keeper = Keeper::default();
        let mut effects = Effects::none();
        effects.wake.extend(self.queue.iter().filter_map(|waiter| waiter.waker.clone()));
        effects
    }

    /// No keeper can be had: who waits hears of it, since nothing would end the wait.
    pub(crate) fn no_keeper(&mut self, failure: &F, now: Timestamp) -> Effects<C> {
        self.keeper = Keeper::default();
        let mut effects = Effects::none();
        self.dismiss_all(|| Fate::Failed(failure.clone()), now, &mut effects);
        effects
    }

    /// Whether the keeper has to look before its time. Otherwise `waker` will tell it, and the one before it comes back.
    pub(crate) fn keeper_is_called(&mut self, waker: &Waker) -> Result<(), Option<Waker>> {
        let keeper = &mut self.keeper;
        if keeper.rung { Ok(()) } else { Err(remember(&mut keeper.waker, waker)) }
    }

    /// Does what is due, and says when to come again; `None` when the pool is closed.
    pub(crate) fn tick(&mut self, now: Timestamp) -> (Effects<C>, Option<Timestamp>) {
        let mut effects = Effects::none();
        if self.closed {
            return (effects, None);
        }
        self.time_out(now, &mut effects);
        self.expire(now, &mut effects);
        self.keeper.rung = false;
        self.keeper.wakes_at = Timestamp::MAX;
        self.supply(now, &mut effects);
        let next = self.next_event().min(self.keeper.wakes_at);
        self.keeper.rung = false;
        self.keeper.wakes_at = next;
        (effects, Some(next))
    }

    /// Something will be due at `at`.
    pub(super) fn arrange(&mut self, at: Timestamp, effects: &mut Effects<C>) {
        effects.wake.extend(self.rings_at(at));
    }

    /// Whom to wake because something will be due at `at`: the keeper, when it would come too late.
    #[inline]
    pub(super) fn rings_at(&mut self, at: Timestamp) -> Option<Waker> {
        if at >= self.keeper.wakes_at {
            return None;
        }
        self.keeper.wakes_at = at;
        self.keeper.ring()
    }

    fn time_out(&mut self, now: Timestamp, effects: &mut Effects<C>) {
        if self.queue.iter().all(|waiter| !is_due(waiter.deadline, now)) {
            return;
        }
        let Expired { status, last_failure, .. } = self.expired(Duration::ZERO, now);
        let mut next = self.queue.front();
        while let Some(key) = next {
            next = self.queue.behind(key);
            let Some(waiter) = self.queue.get_mut(key).filter(|waiter| is_due(waiter.deadline, now)) else { continue };
            let time = now.since(waiter.since);
            let expired = Expired { waited: time, status, last_failure: last_failure.clone() };
            waiter.fate = Some(Fate::TimedOut(Box::new(expired)));
            effects.wake.extend(waiter.waker.take());
            self.queue.unlink(key);
            self.totals.timed_out = self.totals.timed_out.saturating_add(1);
            self.totals.time_in_vain = self.totals.time_in_vain.saturating_add(time);
        }
    }

    fn expire(&mut self, now: Timestamp, effects: &mut Effects<C>) {
        let timeout = self.config.idle_timeout;
        while self.idle.len() > self.config.min_idle
            && self.idle.front().is_some_and(|idle| is_due(idle.since.saturating_add(timeout), now))
        {
            self.totals.count_closed(Closing::Idle);
            effects.close.extend(self.idle.pop_front().map(|idle| idle.connection));
        }
        for _ in 0..self.idle.len() {
            let Some(idle) = self.idle.pop_front() else { break };
            if is_due(idle.life.expires_at, now) {
                self.totals.count_closed(Closing::Lifetime);
                effects.close.push(idle.connection);
            } else {
                self.idle.push_back(idle);
            }
        }
    }

    fn next_event(&self) -> Timestamp {
        let waits = self.queue.iter().map(|waiter| waiter.deadline);
        let lives = self.idle.iter().map(|idle| idle.life.expires_at);
        let oldest = self.idle.front().filter(|_| self.idle.len() > self.config.min_idle);
        let idle = oldest.map(|idle| idle.since.saturating_add(self.config.idle_timeout));
        waits.chain(lives).chain(idle).min().unwrap_or(Timestamp::MAX)
    }
}
