//! The decisions of the pool: who gets which connection, what is opened, checked and closed. Nothing in here waits,
//! reads a clock, or calls a manager; what is to be done outside the lock comes back as [`Effects`].

mod clockwork;
mod effects;
mod lease;
#[cfg(test)]
mod oracle_tests;
mod supply;

use std::{collections::VecDeque, panic::Location, task::Waker, time::Duration};

use seawall_core::{Timestamp, WaitKey, WaitList};

use self::clockwork::Keeper;
use self::lease::{Checkouts, Life};
pub(crate) use self::{
    effects::{Effects, Expired, Fate, Refusal, Returned, Start},
    lease::{Idle, Lease, Place},
};
use crate::{
    PoolConfig, PoolStatus,
    status::{Closing, PoolTotals},
};

/// The state of a pool of connections `C`, whose connects fail with `F`.
#[derive(Debug)]
pub(crate) struct Slots<C, F> {
    config: PoolConfig,
    /// Oldest use first: callers are served from the back, so that few connections stay hot and the rest can go.
    idle: VecDeque<Idle<C>>,
    queue: WaitList<Waiter<C, F>>,
    checkouts: Checkouts,
    connecting: usize,
    checking: usize,
    /// Checks that failed since one passed or a connection was opened.
    failed_checks: u32,
    /// Connects that failed since one succeeded.
    failures: u32,
    last_failure: Option<F>,
    /// No connect before this time.
    connect_at: Timestamp,
    /// Connections that were last used before this time are checked before they are handed out.
    suspect_before: Timestamp,
    closed: bool,
    totals: PoolTotals,
    keeper: Keeper,
    emptied: Vec<Waker>,
}

/// A caller in the queue, or one whose turn has come and who has not fetched what it brought.
#[derive(Debug)]
struct Waiter<C, F> {
    fate: Option<Fate<C, F>>,
    waker: Option<Waker>,
    since: Timestamp,
    deadline: Timestamp,
    at: &'static Location<'static>,
}

impl<C, F: Clone> Slots<C, F> {
    /// An empty pool; `config` was validated.
    pub(crate) fn new(config: PoolConfig) -> Self {
        Self {
            config,
            idle: VecDeque::new(),
            queue: WaitList::new(),
            checkouts: Checkouts::default(),
            connecting: 0,
            checking: 0,
            failed_checks: 0,
            failures: 0,
            last_failure: None,
            connect_at: Timestamp::ZERO,
            suspect_before: Timestamp::ZERO,
            closed: false,
            totals: PoolTotals::default(),
            keeper: Keeper::default(),
            emptied: Vec::new(),
        }
    }

    pub(crate) const fn config(&self) -> &PoolConfig {
        &self.config
    }

    /// A connection at once, when one is idle that needs no check. It overtakes nobody: while somebody waits, nothing
    /// that needs no check stays idle.
    #[inline]
    pub(crate) fn take(&mut self, now: Timestamp, at: &'static Location<'static>) -> Option<Lease<C>> {
        if !self.is_fresh(self.idle.back()?, now) {
            return None;
        }
        let idle = self.idle.pop_back()?;
        self.totals.handed_out = self.totals.handed_out.saturating_add(1);
        Some(self.check_out(idle.connection, idle.life, now, at))
    }

    /// Queues a caller, until `deadline` or for as long as the settings say.
    pub(crate) fn join(
        &mut self,
        now: Timestamp,
        deadline: Timestamp,
        waker: Waker,
        at: &'static Location<'static>,
    ) -> Result<(WaitKey, Effects<C>), Refusal<F>> {
        if self.closed {
            return Err(Refusal::Closed);
        }
        let waiters = self.queue.len();
        let servable = self.config.max.saturating_sub(self.checkouts.count());
        if waiters >= self.config.max_waiters.saturating_add(servable) {
            self.totals.refused = self.totals.refused.saturating_add(1);
            return Err(Refusal::Full { waiters, max_waiters: self.config.max_waiters });
        }
        if let Some(failure) = self.last_failure.clone().filter(|_| self.is_down() && now < self.connect_at) {
            return Err(Refusal::Down(failure));
        }
        let deadline = deadline.min(now.saturating_add(self.config.acquire_timeout));
        if is_due(deadline, now) {
            self.totals.timed_out = self.totals.timed_out.saturating_add(1);
            return Err(Refusal::TooLate(Box::new(self.expired(Duration::ZERO, now))));
        }
        let ticket = self.queue.push_back(Waiter { fate: None, waker: Some(waker), since: now, deadline, at });
        let mut effects = Effects::none();
        self.arrange(deadline, &mut effects);
        self.supply(now, &mut effects);
        Ok((ticket, effects))
    }

    /// What the wait brought, once it is over. Otherwise `waker` will be woken, and the one before it comes back.
    pub(crate) fn fetch(&mut self, ticket: WaitKey, waker: &Waker) -> Result<Fate<C, F>, Option<Waker>> {
        let Some(waiter) = self.queue.get_mut(ticket) else { return Err(None) };
        let Some(fate) = waiter.fate.take() else { return Err(remember(&mut waiter.waker, waker)) };
        self.queue.remove(ticket);
        if let Fate::Served(_, waited) = &fate {
            let totals = &mut self.totals;
            totals.handed_out = totals.handed_out.saturating_add(1);
            totals.waited = totals.waited.saturating_add(1);
            totals.wait_time = totals.wait_time.saturating_add(*waited);
        }
        Ok(fate)
    }

    /// Takes a caller out who gave up. What it was handed meanwhile goes to the next.
    pub(crate) fn leave(&mut self, ticket: WaitKey, now: Timestamp) -> Effects<C> {
        let Some(waiter) = self.queue.remove(ticket) else { return Effects::none() };
        match waiter.fate {
            Some(Fate::Served(mut lease, time)) => {
                self.totals.cancelled = self.totals.cancelled.saturating_add(1);
                self.totals.time_in_vain = self.totals.time_in_vain.saturating_add(time);
                lease.life.uses = lease.life.uses.saturating_sub(1);
                match self.give_back(lease, None, now) {
                    Returned::Kept(waker) => Effects { wake: waker.into_iter().collect(), ..Effects::none() },
                    Returned::Closed(effects) => effects,
                }
            }
            Some(_) => Effects::none(),
            None => {
                self.totals.cancelled = self.totals.cancelled.saturating_add(1);
                self.totals.time_in_vain = self.totals.time_in_vain.saturating_add(now.since(waiter.since));
                Effects { forget: waiter.waker, ..Effects::none() }
            }
        }
    }

    /// Takes a connection back, unless `closing` says why it cannot be used again.
    #[inline]
    pub(crate) fn give_back(&mut self, lease: Lease<C>, closing: Option<Closing>, now: Timestamp) -> Returned<C> {
        let Lease { connection, life, place } = lease;
        self.checkouts.strike(place);
        if let Some(why) = closing.or_else(|| self.must_close(&life, now)) {
            let mut effects = Effects::none();
            effects.close.push(connection);
            self.vacated(why, now, &mut effects);
            return Returned::Closed(effects);
        }
        Returned::Kept(self.offer(connection, life, now))
    }

    /// Frees the place of a connection that is gone.
    pub(crate) fn give_up(&mut self, place: Place, why: Closing, now: Timestamp) -> Effects<C> {
        let mut effects = Effects::none();
        self.checkouts.strike(place);
        self.vacated(why, now, &mut effects);
        effects
    }

    /// A connection takes the place of one that was stale, in the hands of the same caller.
    pub(crate) fn replace(&mut self, connection: C, place: Place, now: Timestamp, word: u64) -> Lease<C> {
        self.totals.count_closed(Closing::Stale);
        self.totals.repeated = self.totals.repeated.saturating_add(1);
        let mut life = self.opened(now, word);
        life.uses = 1;
        Lease { connection, life, place }
    }

    /// From here on, what is idle is checked before it is handed out.
    pub(crate) fn suspect(&mut self, now: Timestamp) {
        self.suspect_before = now.saturating_add(Duration::from_nanos(1));
    }

    /// Closes what is idle.
    pub(crate) fn evict_idle(&mut self, now: Timestamp) -> Effects<C> {
        let mut effects = Effects::none();
        self.close_idle(Closing::Evicted, &mut effects);
        self.supply(now, &mut effects);
        effects
    }

    /// Sets how many connections there may be. What is idle beyond is closed now, what is in use when it comes back.
    pub(crate) fn resize(&mut self, max: usize, now: Timestamp) -> Effects<C> {
        self.config.max = max;
        let mut effects = Effects::none();
        while self.size() > max {
            let Some(idle) = self.idle.pop_front() else { break };
            self.totals.count_closed(Closing::Evicted);
            effects.close.push(idle.connection);
        }
        self.supply(now, &mut effects);
        effects
    }

    /// Closes the pool: callers that wait hear of it now, what is in use is closed when it comes back.
    pub(crate) fn close(&mut self, now: Timestamp) -> Effects<C> {
        let mut effects = Effects::none();
        self.closed = true;
        self.close_idle(Closing::PoolClosed, &mut effects);
        self.dismiss_all(|| Fate::Closed, now, &mut effects);
        effects.wake.extend(self.keeper.ring());
        self.announce_emptied(&mut effects);
        effects
    }

    /// Whether nothing is left of a closed pool; `waker` hears of it otherwise.
    pub(crate) fn is_emptied(&mut self, waker: &Waker) -> bool {
        let emptied = self.total() == 0;
        if !emptied && !self.emptied.iter().any(|other| other.will_wake(waker)) {
            self.emptied.push(waker.clone());
        }
        emptied
    }

    pub(crate) fn status(&self, now: Timestamp) -> PoolStatus {
        PoolStatus {
            max: self.config.max,
            size: self.size(),
            idle: self.idle.len(),
            in_use: self.checkouts.count(),
            connecting: self.connecting,
            checking: self.checking,
            waiters: self.queue.len(),
            closed: self.closed,
            oldest_checkout: self.checkouts.oldest(now),
            totals: self.totals,
        }
    }

    /// Connections that are open.
    fn size(&self) -> usize {
        self.idle.len().saturating_add(self.checking).saturating_add(self.checkouts.count())
    }

    /// Connections that are open or being opened.
    fn total(&self) -> usize {
        self.size().saturating_add(self.connecting)
    }

    #[inline]
    fn check_out(&mut self, connection: C, mut life: Life, now: Timestamp, at: &'static Location<'static>) -> Lease<C> {
        life.uses = life.uses.saturating_add(1);
        Lease { connection, life, place: self.checkouts.note(now, at) }
    }

    /// Hands a connection to the first who waits, or keeps it; says whom to wake.
    #[inline]
    fn offer(&mut self, connection: C, life: Life, now: Timestamp) -> Option<Waker> {
        if let Some(waiter) = self.queue.unlink_front() {
            let at = waiter.at;
            let life = Life { uses: life.uses.saturating_add(1), ..life };
            let lease = Lease { connection, life, place: self.checkouts.note(now, at) };
            let waited = now.since(waiter.since);
            waiter.fate = Some(Fate::Served(lease, waited));
            return waiter.waker.take();
        }
        self.idle.push_back(Idle { connection, life, since: now });
        self.rings_at(self.idle_until(now, &life))
    }

    /// Whether an idle connection can be handed out as it is.
    #[inline]
    fn is_fresh(&self, idle: &Idle<C>, now: Timestamp) -> bool {
        self.is_trusted(idle, now) && !is_due(idle.life.expires_at, now)
    }

    /// Whether an idle connection was in use so lately that it needs no check.
    #[inline]
    fn is_trusted(&self, idle: &Idle<C>, now: Timestamp) -> bool {
        now.since(idle.since) <= self.config.check_after && idle.since >= self.suspect_before
    }

    /// Why a connection that comes back cannot stay.
    #[inline]
    fn must_close(&self, life: &Life, now: Timestamp) -> Option<Closing> {
        if self.closed {
            Some(Closing::PoolClosed)
        } else if is_due(life.expires_at, now) {
            Some(Closing::Lifetime)
        } else if life.uses >= self.config.max_uses {
            Some(Closing::Uses)
        } else if self.total() >= self.config.max {
            // Its own place is free already: a pool that was made smaller is still full without it.
            Some(Closing::Evicted)
        } else {
            None
        }
    }

    /// A connection is gone: somebody else may open one.
    fn vacated(&mut self, why: Closing, now: Timestamp, effects: &mut Effects<C>) {
        self.totals.count_closed(why);
        self.supply(now, effects);
        self.announce_emptied(effects);
    }

    fn close_idle(&mut self, why: Closing, effects: &mut Effects<C>) {
        for idle in self.idle.drain(..) {
            self.totals.count_closed(why);
            effects.close.push(idle.connection);
        }
    }

    fn dismiss_all(&mut self, fate: impl Fn() -> Fate<C, F>, now: Timestamp, effects: &mut Effects<C>) {
        while let Some(waiter) = self.queue.unlink_front() {
            waiter.fate = Some(fate());
            self.totals.time_in_vain = self.totals.time_in_vain.saturating_add(now.since(waiter.since));
            effects.wake.extend(waiter.waker.take());
        }
    }

    fn announce_emptied(&mut self, effects: &mut Effects<C>) {
        if self.closed && self.total() == 0 {
            effects.wake.append(&mut self.emptied);
        }
    }

    fn expired(&self, waited: Duration, now: Timestamp) -> Expired<F> {
        Expired { waited, status: self.status(now), last_failure: self.last_failure.clone() }
    }
}

/// Keeps `waker` in place of another, which comes back: its last owner may run anything when it is dropped.
fn remember(known: &mut Option<Waker>, waker: &Waker) -> Option<Waker> {
    if known.as_ref().is_some_and(|known| known.will_wake(waker)) { None } else { known.replace(waker.clone()) }
}

/// Whether `at` has come. [`Timestamp::MAX`] never does.
#[inline]
fn is_due(at: Timestamp, now: Timestamp) -> bool {
    at <= now && at < Timestamp::MAX
}
