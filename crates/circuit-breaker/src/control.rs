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

    /// Changes all thresholds and times while calls go on: every setting but the window's kind and size, which has to be the
    /// present one, and `seed`, `stripes`, `peers` and `on_change`, which are not looked at. The state, the window and what
    /// has grown stay; an open time that has begun stays as long as it was.
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

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{builder::BreakerConfigBuilder, config::CountAs, recovery::Recovery};

    /// One other value for each setting that may change while running.
    const CHANGES: [fn(BreakerConfigBuilder) -> BreakerConfigBuilder; 18] = [
        |config| config.min_calls(7),
        |config| config.failure_ratio(0.25),
        |config| config.slow_ratio(0.75),
        |config| config.slow_after(Duration::from_millis(700)),
        |config| config.consecutive_failures(9),
        |config| config.overload(CountAs::Slow),
        |config| config.cancelled(CountAs::Success),
        |config| config.cancelled_after(Duration::from_millis(70)),
        |config| config.open_for(Duration::from_secs(3)),
        |config| config.max_open_for(Duration::from_secs(33)),
        |config| config.jitter(0.125),
        |config| config.stable_for(Duration::from_secs(44)),
        |config| config.probes(20).probes_at_once(2).recovery(Recovery::BySuccesses(4)),
        |config| config.recovery(Recovery::ByRatio),
        |config| config.max_probe_age(Duration::from_secs(8)),
        |config| config.pushback(Duration::from_secs(99)),
        |config| config.ramp(Duration::from_secs(6)),
        |config| config.enforce(0.5),
    ];

    /// The settings that `config` shows another value of than the default has, as they are named in `Debug`.
    fn differing(config: &BreakerConfigBuilder) -> BTreeSet<String> {
        let lines = |config: &BreakerConfigBuilder| -> BTreeSet<String> {
            // One setting a line.
            format!("{config:?}").split(", ").map(str::to_owned).collect()
        };
        lines(config)
            .difference(&lines(&BreakerConfigBuilder::default()))
            .filter_map(|line| line.split(':').next().map(str::to_owned))
            .collect()
    }

    #[test]
    fn every_setting_but_five_changes_while_it_runs() {
        let fresh = |config: &BreakerConfig| {
            let breaker = Breaker::from(config.clone());
            format!("{:?} {:?}", breaker.settings, breaker.ledger.get().schedule)
        };
        let mut changed = BTreeSet::new();
        for change in CHANGES {
            let running = Breaker::from(BreakerConfig::builder().seed(1).build().unwrap());
            let config = change(BreakerConfig::builder().seed(1)).build().unwrap();

            assert_eq!(running.reconfigure(&config), Ok(()));

            let now = format!("{:?} {:?}", running.settings, running.ledger.get().schedule);
            assert_eq!(now, fresh(&config), "{config:?}");
            changed.extend(differing(&change(BreakerConfig::builder())));
        }

        // What is left out above would be missing here.
        let all = format!("{:#?}", BreakerConfigBuilder::default());
        let named = all.lines().filter_map(|line| line.strip_prefix("    ").filter(|line| !line.starts_with(' ')));
        let left: Vec<_> = named
            .filter_map(|line| line.split(':').next())
            .filter(|name| {
                name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_') && !changed.contains(*name)
            })
            .collect();
        assert_eq!(left, ["window", "peers", "stripes", "seed", "on_change"]);
    }
}
