use std::{fmt, sync::Arc, time::Duration};

use crate::{
    change::Change,
    config::{BreakerConfig, CountAs, Window},
    error::BreakerConfigError,
    peers::Peers,
    recovery::Recovery,
    settings::SHORTEST_PROBE_AGE,
};

const DEFAULT_PROBES_AT_ONCE: u32 = 3;
const DEFAULT_MAX_OPEN_FOR: Duration = Duration::from_secs(60);
const DEFAULT_CANCELLED_AFTER: Duration = Duration::from_secs(1);

pub(crate) type Hook = Arc<dyn Fn(&Change) + Send + Sync>;

/// Settings of a breaker that are not checked yet. Each starts with its default.
///
/// Simulations over many kinds of servers chose the defaults: half of at least 20 calls in 10 s failed or slow, 5 s open
/// growing to 60 s, at most 14 probes and 3 at once.
#[derive(Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[must_use = "a builder does nothing until `build`"]
pub struct BreakerConfigBuilder {
    pub(crate) window: Window,
    pub(crate) min_calls: u32,
    pub(crate) failure_ratio: Option<f64>,
    pub(crate) slow_ratio: f64,
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub(crate) slow_after: Option<Duration>,
    pub(crate) consecutive_failures: Option<u32>,
    pub(crate) overload: CountAs,
    pub(crate) cancelled: CountAs,
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub(crate) cancelled_after: Option<Duration>,
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub(crate) open_for: Duration,
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub(crate) max_open_for: Option<Duration>,
    pub(crate) jitter: f64,
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub(crate) stable_for: Duration,
    pub(crate) probes: u32,
    pub(crate) probes_at_once: Option<u32>,
    pub(crate) recovery: Recovery,
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub(crate) max_probe_age: Option<Duration>,
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub(crate) pushback: Option<Duration>,
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub(crate) ramp: Duration,
    pub(crate) enforce: f64,
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) peers: Option<Peers>,
    pub(crate) stripes: Option<usize>,
    pub(crate) seed: Option<u64>,
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) hook: Option<Hook>,
}

impl Default for BreakerConfigBuilder {
    fn default() -> Self {
        Self {
            window: Window::Time(Duration::from_secs(10)),
            min_calls: 20,
            failure_ratio: Some(0.5),
            slow_ratio: 0.5,
            slow_after: None,
            consecutive_failures: None,
            overload: CountAs::Nothing,
            cancelled: CountAs::Failure,
            cancelled_after: None,
            open_for: Duration::from_secs(5),
            max_open_for: None,
            jitter: 0.5,
            stable_for: Duration::from_secs(60),
            probes: 14,
            probes_at_once: None,
            recovery: Recovery::Tested,
            max_probe_age: None,
            pushback: None,
            ramp: Duration::ZERO,
            enforce: 1.0,
            peers: None,
            stripes: None,
            seed: None,
            hook: None,
        }
    }
}

impl BreakerConfigBuilder {
    /// Over which results the ratios are taken. Default: 10 s.
    pub const fn window(mut self, window: Window) -> Self {
        self.window = window;
        self
    }

    /// Below so many results no ratio counts. Default 20, at least 1. A count window asks for no more than it holds, a
    /// round of probes for no more than there are probes.
    pub const fn min_calls(mut self, calls: u32) -> Self {
        self.min_calls = calls;
        self
    }

    /// Opens when this share of the results failed: at the ratio, not only above. Default 0.5; above 0, up to 1.
    pub const fn failure_ratio(mut self, ratio: f64) -> Self {
        self.failure_ratio = Some(ratio);
        self
    }

    /// No share of failures opens. In half-open, any failure then opens again.
    pub const fn no_failure_ratio(mut self) -> Self {
        self.failure_ratio = None;
        self
    }

    /// Opens when this share of the results was slow. Default 0.5; above 0, up to 1. Without
    /// [`slow_after`](Self::slow_after) nothing is slow.
    pub const fn slow_ratio(mut self, ratio: f64) -> Self {
        self.slow_ratio = ratio;
        self
    }

    /// A call that takes longer is slow, whether it fails or not. Default: none, since only the user knows how long an
    /// answer may take; three times the 99th percentile is a good rule, and
    /// [`Breaker::set_slow_after`](crate::Breaker::set_slow_after) follows it while running. At least 1 ns.
    pub const fn slow_after(mut self, latency: Duration) -> Self {
        self.slow_after = Some(latency);
        self
    }

    /// Opens when so many calls in a row failed, whatever the window says. Default: off; at least 1.
    pub const fn consecutive_failures(mut self, failures: u32) -> Self {
        self.consecutive_failures = Some(failures);
        self
    }

    /// What an answer "too busy" counts as. Default [`CountAs::Nothing`]: in simulation a breaker that opens on it
    /// turns a recovery at once into one of up to 14 seconds; a throttle answers it.
    pub const fn overload(mut self, count_as: CountAs) -> Self {
        self.overload = count_as;
        self
    }

    /// What a call counts as whose caller gave up on it, or whose deadline passed, after
    /// [`cancelled_after`](Self::cancelled_after). Default [`CountAs::Failure`]: a dependency that hangs may show no other
    /// sign. Calls given up on earlier, such as the slower one of two that were hedged, never count.
    pub const fn cancelled(mut self, count_as: CountAs) -> Self {
        self.cancelled = count_as;
        self
    }

    /// From which age on a call counts that is given up on, or cut at the deadline that its caller brought along. The age is
    /// the time since it was first polled and had no answer, or since it was admitted where `slow_after` is set. Default:
    /// `slow_after`, and 1 s without one. What a timeout of this project cuts counts at any age, be it inside or outside;
    /// choose less than timeouts of others, such as `tokio::time::timeout`. 0: at any age.
    pub const fn cancelled_after(mut self, age: Duration) -> Self {
        self.cancelled_after = Some(age);
        self
    }

    /// How long the first opening lasts. Default 5 s. 0: the next call is a probe. [`Duration::MAX`]: until
    /// [`Breaker::reset`](crate::Breaker::reset).
    pub const fn open_for(mut self, wait: Duration) -> Self {
        self.open_for = wait;
        self
    }

    /// The open time doubles each time that the probes fail, up to this. Default 60 s, or `open_for` if that is longer.
    pub const fn max_open_for(mut self, wait: Duration) -> Self {
        self.max_open_for = Some(wait);
        self
    }

    /// The share of each open time that is left to chance, so that many clients do not probe at once: the time is between
    /// (1 − jitter) and 1 times the full one. Default 0.5; 0 to 1.
    pub const fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// After so long without opening, the open time starts again at `open_for`. Default 60 s.
    pub const fn stable_for(mut self, time: Duration) -> Self {
        self.stable_for = time;
        self
    }

    /// How many calls are let through in half-open, in all, before they are judged. Default 14: the fewest
    /// that, when they all fail, are more than chance would do once in 10,000 times at the default threshold, so fewer
    /// cannot tell a dependency that is down from one with many background errors. As a rule two or three decide. A probe that
    /// is given up on uses its place up, unless [`cancelled`](Self::cancelled) is nothing; one that was refused further in or
    /// whose answer counts as nothing gives it back. 1 to 255.
    pub const fn probes(mut self, probes: u32) -> Self {
        self.probes = probes;
        self
    }

    /// How many probes may be under way at the same time: so many callers wait when it still hangs, and one more each second
    /// that none of them ends, as what hung before the other side was well shows nothing. Default 3, or
    /// [`probes`](Self::probes) if that is less; 1 to the number of probes.
    pub const fn probes_at_once(mut self, probes: u32) -> Self {
        self.probes_at_once = Some(probes);
        self
    }

    /// How it is decided that the other side is well again. Default [`Recovery::Tested`].
    pub const fn recovery(mut self, recovery: Recovery) -> Self {
        self.recovery = recovery;
        self
    }

    /// Judges probes by count: [`Recovery::BySuccesses`].
    pub const fn required_successes(self, successes: u32) -> Self {
        self.recovery(Recovery::BySuccesses(successes))
    }

    /// When a call finds all places taken and the last probe was sent this long ago, those that have not ended count as
    /// failed, so probes that hang hold nobody up. Default: [`slow_after`](Self::slow_after), as it is at the time, since
    /// what takes longer is bad anyway, and [`open_for`](Self::open_for) without one; at least 1 s. Choose more than a
    /// sound answer takes. [`Duration::MAX`]: probes are waited for.
    pub const fn max_probe_age(mut self, age: Duration) -> Self {
        self.max_probe_age = Some(age);
        self
    }

    /// Opens for as long as the other side asks to be left alone (`Retry-After`, gRPC pushback), at most for `longest`.
    /// Default: off, since one answer then decides for all calls.
    pub const fn pushback(mut self, longest: Duration) -> Self {
        self.pushback = Some(longest);
        self
    }

    /// After closing, a tenth of the calls is admitted at first, and all after so long, so that closing does not send
    /// everybody at once. The others are refused. Default 0: off.
    pub const fn ramp(mut self, time: Duration) -> Self {
        self.ramp = time;
        self
    }

    /// The share of the calls that would be refused that is. The others go through uncounted, so a breaker that is not
    /// trusted yet can be tried: with 0 it decides, tells and counts, and refuses nobody. Default 1; 0 to 1.
    pub const fn enforce(mut self, share: f64) -> Self {
        self.enforce = share;
        self
    }

    /// Opens also when this one's success rate is an outlier among those of its peers: of all breakers that are given the
    /// same [`Peers`], as those of a keyed layer are. Default: off.
    pub fn peers(mut self, peers: Peers) -> Self {
        self.peers = Some(peers);
        self
    }

    /// How many copies of its success counts a time window keeps, so that cores do not share a cache line. Default: one
    /// per core up to 64; 1 saves memory where there are thousands of breakers.
    pub const fn stripes(mut self, stripes: usize) -> Self {
        self.stripes = Some(stripes);
        self
    }

    /// Where the chance in open times starts. Default: different for every breaker; set it in tests.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Is told of each change of state, as by [`Breaker::on_change`](crate::Breaker::on_change).
    pub fn on_change(mut self, hook: impl Fn(&Change) + Send + Sync + 'static) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// The first setting that is outside its range, see [`BreakerConfigError`].
    pub fn build(self) -> Result<BreakerConfig, BreakerConfigError> {
        self.check_window()?;
        self.check_rules()?;
        self.check_half_open()?;
        let open_for = self.open_for;
        match self.max_open_for {
            Some(max_open_for) if max_open_for < open_for => {
                return Err(BreakerConfigError::MaxOpenFor { max_open_for, open_for });
            }
            _ => {}
        }
        for (field, value) in [("jitter", self.jitter), ("enforce", self.enforce)] {
            // Also false for NaN.
            if !(0.0..=1.0).contains(&value) {
                return Err(BreakerConfigError::Share { field, value });
            }
        }
        Ok(BreakerConfig { valid: self })
    }

    pub(crate) fn longest_open(&self) -> Duration {
        self.max_open_for.unwrap_or_else(|| self.open_for.max(DEFAULT_MAX_OPEN_FOR))
    }

    pub(crate) fn most_at_once(&self) -> u32 {
        self.probes_at_once.unwrap_or(DEFAULT_PROBES_AT_ONCE).min(self.probes)
    }

    fn longest_probe(&self) -> Duration {
        let default = || self.slow_after.unwrap_or(self.open_for).max(Duration::from_nanos(SHORTEST_PROBE_AGE));
        self.max_probe_age.unwrap_or_else(default)
    }

    pub(crate) fn counted_cancel_age(&self) -> Duration {
        self.cancelled_after.or(self.slow_after).unwrap_or(DEFAULT_CANCELLED_AFTER)
    }
}

impl fmt::Debug for BreakerConfigBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerConfig")
            .field("window", &self.window)
            .field("min_calls", &self.min_calls)
            .field("failure_ratio", &self.failure_ratio)
            .field("slow_ratio", &self.slow_ratio)
            .field("slow_after", &self.slow_after)
            .field("consecutive_failures", &self.consecutive_failures)
            .field("overload", &self.overload)
            .field("cancelled", &self.cancelled)
            .field("cancelled_after", &self.counted_cancel_age())
            .field("open_for", &self.open_for)
            .field("max_open_for", &self.longest_open())
            .field("jitter", &self.jitter)
            .field("stable_for", &self.stable_for)
            .field("probes", &self.probes)
            .field("probes_at_once", &self.most_at_once())
            .field("recovery", &self.recovery)
            .field("max_probe_age", &self.longest_probe())
            .field("pushback", &self.pushback)
            .field("ramp", &self.ramp)
            .field("enforce", &self.enforce)
            .field("peers", &self.peers)
            .field("stripes", &self.stripes)
            .field("seed", &self.seed)
            .field("on_change", &self.hook.is_some())
            .finish()
    }
}
