//! Where connections come from: what is idle, what passes a check, what is opened.

use std::time::Duration;

use seawall_core::{Timestamp, unit_interval};

use super::{Effects, Fate, Idle, Life, Slots, Start, is_due};
use crate::{ConnectFailure, status::Closing};

/// After that many checks in a row have failed, the server is taken to have dropped whatever is idle. Two, because one
/// connection may die by itself, and a dead host would cost each caller one check timeout per idle connection.
const FAILED_CHECKS_THAT_CONDEMN: u32 = 2;

/// The share of its life by which a connection may end early.
const LIFETIME_JITTER: f64 = 0.1;

/// The share of a wait between connects that is left to chance.
const BACKOFF_JITTER: f64 = 0.5;

impl<C, F: Clone> Slots<C, F> {
    /// Serves those who wait from what is idle, and starts as many checks and connects as are still wanted.
    pub(super) fn supply(&mut self, now: Timestamp, effects: &mut Effects<C>) {
        if self.closed {
            return;
        }
        while !self.queue.is_empty() {
            let Some(idle) = self.idle.pop_back() else { break };
            if is_due(idle.life.expires_at, now) {
                self.totals.count_closed(Closing::Lifetime);
                effects.close.push(idle.connection);
            } else if self.is_fresh(&idle, now) {
                effects.wake.extend(self.offer(idle.connection, idle.life, now));
            } else if self.coming() < self.queue.len() {
                self.checking = self.checking.saturating_add(1);
                effects.start.push(Start::Check(idle));
            } else {
                self.idle.push_back(idle);
                break;
            }
        }
        while self.coming() < self.wanted() && self.has_room() {
            if now < self.connect_at {
                self.arrange(self.connect_at, effects);
                break;
            }
            self.connecting = self.connecting.saturating_add(1);
            effects.start.push(Start::Connect);
        }
    }

    /// Opens what is missing to the idle connections that are to be kept, after one was taken.
    #[inline]
    pub(crate) fn refill(&mut self, now: Timestamp) -> Option<Effects<C>> {
        if self.idle.len() >= self.config.min_idle || !self.has_room() {
            return None;
        }
        let mut effects = Effects::none();
        self.supply(now, &mut effects);
        Some(effects)
    }

    /// A connection was opened.
    pub(crate) fn connected(&mut self, connection: C, now: Timestamp, word: u64) -> Effects<C> {
        self.connecting = self.connecting.saturating_sub(1);
        let life = self.opened(now, word);
        self.arrive(connection, life, now)
    }

    /// A connect failed.
    pub(crate) fn connect_failed(&mut self, failure: F, now: Timestamp, word: u64) -> Effects<C> {
        self.connecting = self.connecting.saturating_sub(1);
        self.note_failure(failure.clone(), now, word);
        let mut effects = Effects::none();
        if self.is_down() {
            self.dismiss_all(|| Fate::Failed(failure.clone()), now, &mut effects);
        }
        self.supply(now, &mut effects);
        self.announce_emptied(&mut effects);
        effects
    }

    /// A check brought a sign of life.
    pub(crate) fn check_passed(&mut self, idle: Idle<C>, now: Timestamp) -> Effects<C> {
        self.checking = self.checking.saturating_sub(1);
        self.failed_checks = 0;
        self.arrive(idle.connection, idle.life, now)
    }

    /// A check brought none; the connection is closed by who checked it.
    pub(crate) fn check_failed(&mut self, now: Timestamp) -> Effects<C> {
        let mut effects = Effects::none();
        self.checking = self.checking.saturating_sub(1);
        self.failed_checks = self.failed_checks.saturating_add(1);
        if self.failed_checks >= FAILED_CHECKS_THAT_CONDEMN {
            let condemned = self.idle.partition_point(|idle| !self.is_trusted(idle, now));
            for idle in self.idle.drain(..condemned) {
                self.totals.count_closed(Closing::FailedCheck);
                effects.close.push(idle.connection);
            }
        }
        self.vacated(Closing::FailedCheck, now, &mut effects);
        effects
    }

    /// Notes that a connect failed, and when the next may be tried.
    pub(crate) fn note_failure(&mut self, failure: F, now: Timestamp, word: u64) {
        self.totals.connect_failures = self.totals.connect_failures.saturating_add(1);
        self.last_failure = Some(failure);
        self.connect_at = now.saturating_add(self.backoff(word));
        self.failures = self.failures.saturating_add(1);
    }

    /// Notes that a connect succeeded; the life that its connection has.
    pub(super) fn opened(&mut self, now: Timestamp, word: u64) -> Life {
        self.totals.created = self.totals.created.saturating_add(1);
        self.failures = 0;
        self.failed_checks = 0;
        self.last_failure = None;
        self.connect_at = Timestamp::ZERO;
        let lifetime = self.config.max_lifetime;
        let expires_at = if lifetime == Duration::MAX {
            Timestamp::MAX
        } else {
            now.saturating_add(lifetime.saturating_sub(share(lifetime, LIFETIME_JITTER, word)))
        };
        Life { expires_at, uses: 0 }
    }

    /// Whether no connection is open or under way whose return somebody could wait for, and callers want to know.
    pub(super) fn is_down(&self) -> bool {
        self.config.on_connect_failure == ConnectFailure::Report && self.total() == 0
    }

    /// A connection that nobody has is there.
    fn arrive(&mut self, connection: C, life: Life, now: Timestamp) -> Effects<C> {
        let mut effects = Effects::none();
        if let Some(why) = self.must_close(&life, now) {
            effects.close.push(connection);
            self.vacated(why, now, &mut effects);
        } else {
            effects.wake.extend(self.offer(connection, life, now));
            self.supply(now, &mut effects);
        }
        effects
    }

    /// Connections that will be there soon.
    const fn coming(&self) -> usize {
        self.connecting.saturating_add(self.checking)
    }

    /// Connections that somebody waits for, or that are to be kept idle.
    fn wanted(&self) -> usize {
        self.queue.len().saturating_add(self.config.min_idle.saturating_sub(self.idle.len()))
    }

    fn has_room(&self) -> bool {
        self.total() < self.config.max && self.connecting < self.config.connect_concurrency
    }

    fn backoff(&self, word: u64) -> Duration {
        let doubled = 2_u32.saturating_pow(self.failures.min(31));
        let wait = self.config.connect_backoff.saturating_mul(doubled).min(self.config.max_connect_backoff);
        wait.saturating_sub(share(wait, BACKOFF_JITTER, word))
    }

    /// When a connection that has lain idle since `since` is closed, at the latest one round of the clockwork later.
    #[inline]
    pub(super) fn idle_until(&self, since: Timestamp, life: &Life) -> Timestamp {
        since.saturating_add(self.config.idle_timeout).min(life.expires_at)
    }
}

/// At random, up to `most` of `whole`.
fn share(whole: Duration, most: f64, word: u64) -> Duration {
    Duration::try_from_secs_f64(whole.as_secs_f64() * most * unit_interval(word)).unwrap_or(Duration::ZERO)
}
