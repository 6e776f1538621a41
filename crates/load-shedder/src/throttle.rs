use std::{fmt, time::Duration};

use seawall_core::{
    Admission, CallContext, Class, Entropy, Gate, NoWait, Outcome, Pattern, Reason, Rejection, ThreadEntropy,
    Timestamp,
    sync::{
        CachePadded,
        atomic::{
            AtomicU32, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
    unit_interval,
};

use crate::LoadShedderError;

/// The span is forgotten in so many steps.
const SLOTS: u64 = 10;
const REQUEST: u64 = 1 << 32;

/// When a [`Throttle`] holds calls back.
///
/// ```
/// use seawall_load_shedder::ThrottleConfig;
///
/// let config = ThrottleConfig::default().with_k(1.5)?;
/// assert_eq!(config.k(), 1.5);
/// # Ok::<(), seawall_load_shedder::LoadShedderError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Raw", into = "Raw"))]
pub struct ThrottleConfig {
    k: f64,
    span: Duration,
    padding: u32,
}

impl ThrottleConfig {
    /// Calls are held back once there are more than `k` for each that was accepted. Allowed: 1 to 10. Default 2: the
    /// other side refuses at most as many as it accepts; 1.5 spares it more and learns of its recovery later.
    ///
    /// # Errors
    /// [`LoadShedderError::Factor`] outside that range.
    pub fn with_k(mut self, k: f64) -> Result<Self, LoadShedderError> {
        if !(1.0..=10.0).contains(&k) {
            return Err(LoadShedderError::Factor { k });
        }
        self.k = k;
        Ok(self)
    }

    /// How long a call is remembered. Allowed: 100 ms to an hour. Default 10 s.
    ///
    /// # Errors
    /// [`LoadShedderError::Span`] outside that range.
    pub fn with_span(mut self, span: Duration) -> Result<Self, LoadShedderError> {
        if !(Duration::from_millis(100)..=Duration::from_secs(3_600)).contains(&span) {
            return Err(LoadShedderError::Span { span });
        }
        self.span = span;
        Ok(self)
    }

    /// So many refusals hold nothing back: a few are no overload. Default 8.
    #[must_use]
    pub const fn with_padding(mut self, padding: u32) -> Self {
        self.padding = padding;
        self
    }

    /// Calls for each that was accepted.
    pub const fn k(&self) -> f64 {
        self.k
    }

    /// How long a call is remembered.
    pub const fn span(&self) -> Duration {
        self.span
    }

    /// Refusals that hold nothing back.
    pub const fn padding(&self) -> u32 {
        self.padding
    }

    /// The part of the calls to hold back when so many were made and so many of them accepted:
    /// `max(0, (requests − k·accepts − padding) / (requests + 1))`.
    ///
    /// ```
    /// use seawall_load_shedder::ThrottleConfig;
    ///
    /// let config = ThrottleConfig::default().with_padding(0);
    /// assert_eq!(config.reject_probability(100, 50), 0.0);
    /// assert_eq!(config.reject_probability(1, 0), 0.5);
    /// ```
    ///
    /// # Source
    /// Site Reliability Engineering, chapter 21, "Handling Overload": client-side throttling.
    pub fn reject_probability(&self, requests: u32, accepts: u32) -> f64 {
        let requests = f64::from(requests);
        ((requests - self.k * f64::from(accepts) - f64::from(self.padding)) / (requests + 1.0)).max(0.0)
    }
}

impl Default for ThrottleConfig {
    fn default() -> Self {
        Self { k: 2.0, span: Duration::from_secs(10), padding: 8 }
    }
}

#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    k: f64,
    #[serde(with = "humantime_serde")]
    span: Duration,
    padding: u32,
}

#[cfg(feature = "serde")]
impl Default for Raw {
    fn default() -> Self {
        ThrottleConfig::default().into()
    }
}

#[cfg(feature = "serde")]
impl From<ThrottleConfig> for Raw {
    fn from(config: ThrottleConfig) -> Self {
        let ThrottleConfig { k, span, padding } = config;
        Self { k, span, padding }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Raw> for ThrottleConfig {
    type Error = LoadShedderError;

    fn try_from(raw: Raw) -> Result<Self, LoadShedderError> {
        Self::default().with_padding(raw.padding).with_k(raw.k)?.with_span(raw.span)
    }
}

/// Holds calls back, on the client's side, from a service that refuses many: a refusal costs the other side work too.
///
/// Each call is let through with the probability that keeps the calls sent at `k` times those accepted. A call counts
/// when it has ended, and only by what the other side said: accepted is what was answered, be it with an error, refused
/// what came back as too much ([`Class::Overload`]). What timed out, was dropped or panicked got no word and counts as
/// neither, nor does what a layer further in refused or interrupted: a service that hangs is a circuit breaker's matter.
/// The throttle holds no call and queues none; an [exempt](CallContext::exempt) one always goes out.
///
/// Where a refusal says when to come back, and nothing was accepted within the span, nothing is sent until then: while
/// some calls are accepted, the wish of those that were not is met by sending fewer.
///
/// ```
/// use seawall_load_shedder::{ThrottleConfig, ThrottleLayer};
///
/// let layer = ThrottleLayer::new(ThrottleConfig::default());
/// assert_eq!(layer.gate().reject_probability(), 0.0);
/// ```
pub struct Throttle<R = ThreadEntropy> {
    config: ThrottleConfig,
    /// Nanoseconds per slot.
    step: u64,
    /// The step of time that is being counted, and until when nothing is sent, in nanoseconds; 0 when it is.
    pace: CachePadded<Pace>,
    /// Requests in the high half, accepts in the low one; the sum of the slots.
    total: CachePadded<AtomicU64>,
    slots: Box<[AtomicU64]>,
    entropy: R,
}

#[derive(Debug)]
struct Pace {
    current: AtomicU64,
    silent_until: AtomicU64,
    /// Calls that a layer further in refused or interrupted and that have not ended yet. Which ones they are makes no
    /// difference.
    unanswered: AtomicU32,
}

impl<R: Entropy> Throttle<R> {
    /// A throttle that has seen nothing, with random words from `entropy`.
    pub fn with_entropy(config: ThrottleConfig, entropy: R) -> Self {
        Self {
            config,
            step: u64::try_from(config.span.as_nanos()).unwrap_or(u64::MAX).div_ceil(SLOTS).max(1),
            pace: CachePadded::new(Pace {
                current: AtomicU64::new(0),
                silent_until: AtomicU64::new(0),
                unanswered: AtomicU32::new(0),
            }),
            total: CachePadded::new(AtomicU64::new(0)),
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            entropy,
        }
    }

    /// The part of the calls that is held back.
    pub fn reject_probability(&self) -> f64 {
        let (requests, accepts) = halves(self.total.load(Relaxed));
        self.config.reject_probability(requests, accepts)
    }

    fn count(&self, what: u64, step: u64) {
        // AcqRel: partner is `pushback`. The total first: forgetting a slot takes from the total no more than was added to
        // it.
        self.total.fetch_add(what, AcqRel);
        if let Some(slot) = self.slots.get(index(step)) {
            // Release: partner is `forget`.
            slot.fetch_add(what, Release);
        }
    }

    /// Whether a call that ends got no word of the other side.
    #[cold]
    fn was_unanswered(&self) -> bool {
        self.pace.unanswered.fetch_update(Relaxed, Relaxed, |unanswered| unanswered.checked_sub(1)).is_ok()
    }

    /// Forgets what is older than the span; the step of time that is being counted from here on.
    #[inline]
    fn forget_up_to(&self, now: u64) -> u64 {
        let step = now.checked_div(self.step).unwrap_or(0);
        let seen = self.pace.current.load(Relaxed);
        if step > seen {
            self.forget(seen, step);
        }
        step.max(seen)
    }

    #[cold]
    fn forget(&self, seen: u64, step: u64) {
        if self.pace.current.compare_exchange(seen, step, Relaxed, Relaxed).is_err() {
            return;
        }
        let passed = step.saturating_sub(seen).min(SLOTS);
        for back in 0..passed {
            if let Some(slot) = self.slots.get(index(step.saturating_sub(back))) {
                // Acquire: what the slot has, the total has.
                self.total.fetch_sub(slot.swap(0, Acquire), Relaxed);
            }
        }
    }
}

impl<R: Entropy + Default> From<ThrottleConfig> for Throttle<R> {
    fn from(config: ThrottleConfig) -> Self {
        Self::with_entropy(config, R::default())
    }
}

impl<R: Entropy> Gate for Throttle<R> {
    type Ticket = ();
    type Wait = NoWait;

    fn admit(&self, context: impl FnOnce() -> CallContext, now: impl FnOnce() -> Timestamp) -> Admission<()> {
        let now = now().as_nanos();
        let step = self.forget_up_to(now);
        let probability = self.reject_probability();
        let silent_until = self.pace.silent_until.load(Relaxed);
        let silent = now < silent_until;
        let held_back = silent || (probability > 0.0 && unit_interval(self.entropy.next_u64()) < probability);
        if !held_back || context().exempt {
            return Admission::Admitted(());
        }
        // What is held back counts as a request: otherwise the throttle would forget why.
        self.count(REQUEST, step);
        let rejection = Rejection::new(Pattern::Throttle, Reason::Throttled);
        let wait = Duration::from_nanos(silent_until.saturating_sub(now));
        Admission::Refused(if silent { rejection.with_retry_after(wait) } else { rejection })
    }

    fn refused_inside(&self, (): &()) {
        self.pace.unanswered.fetch_add(1, Relaxed);
    }

    fn finish(&self, (): (), outcome: Outcome, _: impl FnOnce() -> Timestamp) {
        let accepted = match outcome {
            Outcome::Finished(Class::Overload) => false,
            Outcome::Finished(Class::Ignored) if self.was_unanswered() => return,
            Outcome::Finished(_) => true,
            _ => return,
        };
        let step = self.pace.current.load(Relaxed);
        if !accepted {
            self.count(REQUEST, step);
            return;
        }
        self.count(REQUEST | 1, step);
        if self.pace.silent_until.load(Relaxed) != 0 {
            self.pace.silent_until.store(0, Relaxed);
        }
    }

    fn pushback(&self, (): &(), wait: Duration, now: impl FnOnce() -> Timestamp) {
        let (_, accepts) = halves(self.total.load(Relaxed));
        if accepts == 0 {
            let until = now().saturating_add(wait.min(self.config.span));
            self.pace.silent_until.fetch_max(until.as_nanos(), Relaxed);
            // AcqRel: partner is `count`. Of a call that is accepted meanwhile, this sees that it was, or its end sees the
            // silence.
            let (_, accepts) = halves(self.total.fetch_add(0, AcqRel));
            if accepts != 0 {
                self.pace.silent_until.store(0, Relaxed);
            }
        }
    }

    /// Whether nothing was seen within the span and nobody asked for silence.
    fn is_idle(&self, now: impl FnOnce() -> Timestamp) -> bool {
        let now = now().as_nanos();
        self.forget_up_to(now);
        self.total.load(Relaxed) == 0 && self.pace.silent_until.load(Relaxed) <= now
    }
}

impl<R> fmt::Debug for Throttle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (requests, accepts) = halves(self.total.load(Relaxed));
        f.debug_struct("Throttle")
            .field("config", &self.config)
            .field("requests", &requests)
            .field("accepts", &accepts)
            .finish_non_exhaustive()
    }
}

fn index(step: u64) -> usize {
    usize::try_from(step % SLOTS).unwrap_or_default()
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves of a word")]
const fn halves(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    const SPAN: Duration = Duration::from_secs(1);
    const TENTH: u64 = 100_000_000;

    fn throttle() -> Arc<Throttle> {
        let config = ThrottleConfig::default().with_span(SPAN).unwrap();
        Arc::new(Throttle::from(config))
    }

    fn asks(throttle: &Throttle, tenth: u64) -> bool {
        let now = || Timestamp::from_nanos(tenth.saturating_mul(TENTH));
        matches!(throttle.admit(CallContext::new, now), Admission::Admitted(()))
    }

    fn accepted(throttle: &Throttle) {
        throttle.finish((), Outcome::Finished(Class::Success), || Timestamp::ZERO);
    }

    fn check(model: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(model);
    }

    #[test]
    fn what_is_forgotten_while_calls_are_counted_leaves_the_total_at_the_sum_of_the_slots() {
        check(|| {
            let throttle = throttle();
            assert!(asks(&throttle, 1));
            let other = Arc::clone(&throttle);
            let there = thread::spawn(move || {
                assert!(asks(&other, 11));
                accepted(&other);
            });

            accepted(&throttle);
            assert!(asks(&throttle, 12));

            there.join().unwrap();
            let sum = throttle.slots.iter().map(|slot| slot.load(Relaxed)).fold(0, u64::saturating_add);
            assert_eq!(throttle.total.load(Relaxed), sum);
            // What is forgotten by mistake is what was counted in the very moment in which its tenth began.
            assert!(halves(sum).0 <= 2 && halves(sum).1 == halves(sum).0);
        });
    }

    #[test]
    fn a_wait_that_is_asked_for_while_a_call_is_accepted_silences_nobody() {
        check(|| {
            let throttle = throttle();
            assert!(asks(&throttle, 1) && asks(&throttle, 1));
            let other = Arc::clone(&throttle);
            let there = thread::spawn(move || accepted(&other));

            throttle.pushback(&(), SPAN, || Timestamp::from_nanos(TENTH));
            there.join().unwrap();

            assert!(asks(&throttle, 1));
        });
    }
}
