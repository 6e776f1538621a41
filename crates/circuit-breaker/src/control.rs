use std::{sync::Arc, time::Duration};

use seawall_core::{Timestamp, sync::atomic::Ordering::Relaxed};

use crate::{
    breaker::Breaker,
    change::{Cause, Change},
    config::BreakerConfig,
    error::BreakerConfigError,
    state::State,
    transitions::Step,
};

impl Breaker {
    /// Is told of each change of state, in order, by the thread that made it and after it was made. A hook that panics
    /// harms nobody else; one that blocks holds up the call that changed the state.
    pub fn on_change(&self, hook: impl Fn(&Change) + Send + Sync + 'static) {
        self.ledger.get().hooks.add(Arc::new(hook));
    }

    /// Lets nothing through until another control is used.
    pub fn force_open(&self, now: Timestamp) {
        self.force(State::ForcedOpen, now);
    }

    /// Lets everything through and counts nothing, until another control is used.
    pub fn force_closed(&self, now: Timestamp) {
        self.force(State::ForcedClosed, now);
    }

    /// Lets everything through and counts, but opens for nothing, until another control is used.
    pub fn disable(&self, now: Timestamp) {
        self.force(State::Disabled, now);
    }

    /// Closed with an empty window, and the next open time is the first again.
    pub fn reset(&self, now: Timestamp) {
        self.force(State::Closed, now);
    }

    /// Opens now, whatever the window says: for a single answer that leaves no doubt ("this account is suspended"). For
    /// `wait`, or as long as the next open time is. What is open already stays so at least as long; what somebody forced
    /// or disabled stays as it is. A classifier does the same with [`Verdict::with_trip`](seawall_core::Verdict::with_trip).
    ///
    /// ```
    /// use seawall_circuit_breaker::{Breaker, BreakerConfig, State, Timestamp};
    /// use std::time::Duration;
    ///
    /// let breaker = Breaker::from(BreakerConfig::default());
    /// let now = Timestamp::from_nanos(1_000);
    /// breaker.trip(Some(Duration::from_secs(30)), now);
    /// assert_eq!(breaker.state(), State::Open);
    /// assert!(breaker.try_admit(now).unwrap_err().retry_after() > Some(Duration::from_secs(30)));
    /// ```
    pub fn trip(&self, wait: Option<Duration>, now: Timestamp) {
        self.open_by_hand(wait, now);
    }

    fn force(&self, to: State, at: Timestamp) {
        let mut ledger = self.ledger.get();
        ledger.schedule.reset();
        self.hot.wary_until.store(0, Relaxed);
        let word = self.word();
        let step = Step { to, cause: Cause::Manual, figures: self.figures_of(word, at), at, wait: None };
        self.change(&mut ledger, word, &step);
        drop(ledger);
        self.tell();
    }

    /// Changes all settings but the window's kind and size, while calls go on. The state, the window and what has grown
    /// stay; an open time that has begun stays as long as it was. The seed, the stripes, the peers and the hook of
    /// `config` are not looked at.
    ///
    /// # Errors
    /// [`BreakerConfigError::WindowChanged`] when the window differs.
    pub fn reconfigure(&self, config: &BreakerConfig) -> Result<(), BreakerConfigError> {
        if config.window() != self.config_window {
            return Err(BreakerConfigError::WindowChanged { given: config.window(), present: self.config_window });
        }
        let mut ledger = self.ledger.get();
        self.settings.set(&config.valid);
        ledger.schedule.set(&config.valid);
        Ok(())
    }

    /// The latency above which a call is slow, from the next call on: three times the 99th percentile, as measured from
    /// time to time. `None`: nothing is slow. A zero counts as one nanosecond.
    pub fn set_slow_after(&self, latency: Option<Duration>) {
        let _changes_one_by_one = self.ledger.get();
        self.settings.set_slow_after(latency.map(|latency| latency.max(Duration::from_nanos(1))));
    }

    /// The latency above which a call is slow.
    pub fn slow_after(&self) -> Option<Duration> {
        self.settings.slow_after()
    }
}
