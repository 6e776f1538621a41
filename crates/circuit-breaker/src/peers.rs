use std::{
    fmt,
    sync::{Arc, Weak},
};

use seawall_core::{
    Timestamp,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

use crate::{
    change::Cause, error::BreakerConfigError, figures::Figures, lock::Lock, recovery, results::Results, state::State,
    word::Tag,
};

/// Breakers that are compared with each other, one per endpoint: one opens when its endpoint succeeds so much less often
/// than the others do that it is an outlier, long before half of its calls fail.
///
/// Given to the settings of a keyed layer, all breakers that it makes are peers. An endpoint's success rate is compared
/// with the mean of those that have `min_calls` in their windows, less `factor` standard deviations; with fewer than
/// `min_peers` of them nobody is an outlier. The mean is taken once a second at most, when a call fails. At a factor of
/// f at most 1 of 1 + f² endpoints can be one: 21% at 1.9, so a bad day of all opens none.
///
/// Where the others hardly differ, the last of them is that far off by chance, and soon. So an outlier also has to fail at
/// least twice as often as all of them together and so often as one that does not differ from them would once in ten million
/// looks: 14 of 200 calls, not 4, where the others fail one in a hundred.
///
/// ```
/// use seawall_circuit_breaker::{BreakerConfig, KeyedCircuitBreakerLayer, Peers};
///
/// let config = BreakerConfig::builder().peers(Peers::default()).build()?;
/// let layer = KeyedCircuitBreakerLayer::<str, _>::new(100, config, String::as_str)?;
/// # let _ = layer;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// The success rate rule of Envoy's outlier detection, in gRPC proposal A50; the bound is Cantelli's inequality.
#[derive(Clone)]
pub struct Peers {
    factor: f64,
    fewest: u32,
    min_calls: u32,
    group: Arc<Group>,
}

struct Group {
    members: Lock<Vec<Weak<Member>>>,
    /// From when on the members are looked at again.
    next_look: AtomicU64,
    /// The success rate below which one is an outlier; 0 when none is.
    threshold: AtomicU64,
    /// The mean of the success rates; 1 before there is one.
    mean: AtomicU64,
}

impl Default for Group {
    fn default() -> Self {
        Self {
            members: Lock::new(Vec::new()),
            next_look: AtomicU64::new(0),
            threshold: AtomicU64::new(0),
            mean: AtomicU64::new(1.0_f64.to_bits()),
        }
    }
}

/// What peers see of a breaker.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) window: Results,
    /// The tag of its state, a moment late.
    tag: AtomicU32,
}

const LOOK_EVERY: u64 = 1_000_000_000;
/// An outlier fails so many times as often as the mean.
const TIMES: f64 = 2.0;

impl Member {
    pub(crate) fn new(window: Results, tag: Tag) -> Self {
        Self { window, tag: AtomicU32::new(tag.bits()) }
    }

    pub(crate) fn moves_to(&self, tag: Tag) {
        self.tag.store(tag.bits(), Relaxed);
    }

    fn figures(&self, at: Timestamp) -> Figures {
        let tag = Tag::from_bits(self.tag.load(Relaxed));
        if tag.state() == State::Closed { self.window.figures(tag, at) } else { Figures::default() }
    }
}

impl Peers {
    /// Peers of which one is an outlier below `factor` standard deviations. 1.9 by default; 0 and more.
    ///
    /// # Errors
    /// [`BreakerConfigError::PeersFactor`] when it is negative or not a number.
    pub fn by_deviations(factor: f64) -> Result<Self, BreakerConfigError> {
        // Also false for NaN.
        if !(factor >= 0.0 && factor.is_finite()) {
            return Err(BreakerConfigError::PeersFactor { factor });
        }
        Ok(Self { factor, fewest: 5, min_calls: 100, group: Arc::default() })
    }

    /// With fewer than so many that have enough calls nobody is an outlier. Default 5.
    #[must_use]
    pub const fn with_min_peers(mut self, peers: u32) -> Self {
        self.fewest = peers;
        self
    }

    /// Who has fewer calls in his window is neither compared nor an outlier. Default 100.
    #[must_use]
    pub const fn with_min_calls(mut self, calls: u32) -> Self {
        self.min_calls = calls;
        self
    }

    /// The success rate below which one is an outlier now; `None` when too few have enough calls. Negative where rates lie so
    /// far apart that nobody is one.
    pub fn threshold(&self, now: Timestamp) -> Option<f64> {
        threshold(&self.rates(now), self.fewest, self.factor)
    }

    /// The success rates of those that are closed and have enough calls.
    fn rates(&self, at: Timestamp) -> Vec<f64> {
        let members: Vec<_> = self.group.members.get().iter().filter_map(Weak::upgrade).collect();
        members
            .iter()
            .map(|member| member.figures(at))
            .filter(|figures| figures.calls >= u64::from(self.min_calls))
            .filter_map(|figures| figures.failure_ratio().map(|failing| 1.0 - failing))
            .collect()
    }

    pub(crate) fn join(&self, member: &Arc<Member>) {
        let mut members = self.group.members.get();
        if members.len() == members.capacity() {
            members.retain(|member| member.strong_count() > 0);
        }
        members.push(Arc::downgrade(member));
    }

    pub(crate) fn leave(&self, member: &Arc<Member>) {
        self.group.members.get().retain(|other| other.as_ptr() != Arc::as_ptr(member));
    }

    /// Whether these figures are those of an outlier.
    #[cold]
    pub(crate) fn judge(&self, figures: &Figures, at: Timestamp) -> Option<Cause> {
        if figures.calls < u64::from(self.min_calls).max(1) {
            return None;
        }
        self.look(at);
        let threshold = f64::from_bits(self.group.threshold.load(Relaxed));
        let failing = figures.failure_ratio()?;
        let measured = 1.0 - failing;
        let usual = 1.0 - f64::from_bits(self.group.mean.load(Relaxed));
        let is_outlier = measured < threshold && failing >= TIMES * usual && recovery::is_no_chance(figures, usual);
        is_outlier.then_some(Cause::WorseThanPeers { measured, threshold })
    }

    /// Takes the mean anew, if it is time. Who comes while another takes it goes by the last one. Relaxed: the exchange
    /// picks who does the work, the threshold guards no other memory.
    fn look(&self, at: Timestamp) {
        let due = self.group.next_look.load(Relaxed);
        let next = at.as_nanos().saturating_add(LOOK_EVERY);
        if at.as_nanos() < due || self.group.next_look.compare_exchange(due, next, Relaxed, Relaxed).is_err() {
            return;
        }
        let rates = self.rates(at);
        let threshold = threshold(&rates, self.fewest, self.factor).unwrap_or(0.0);
        self.group.threshold.store(threshold.to_bits(), Relaxed);
        self.group.mean.store(mean(&rates).unwrap_or(1.0).to_bits(), Relaxed);
    }
}

/// The success rate below which one is an outlier.
fn threshold(rates: &[f64], min_peers: u32, factor: f64) -> Option<f64> {
    let count = u32::try_from(rates.len()).ok().filter(|count| *count >= min_peers.max(1)).map(f64::from)?;
    let mean = mean(rates)?;
    let variance = rates.iter().map(|rate| (rate - mean) * (rate - mean)).sum::<f64>() / count;
    Some(mean - factor * variance.sqrt())
}

fn mean(rates: &[f64]) -> Option<f64> {
    let count = u32::try_from(rates.len()).ok().filter(|count| *count > 0)?;
    Some(rates.iter().sum::<f64>() / f64::from(count))
}

impl Default for Peers {
    fn default() -> Self {
        Self { factor: 1.9, fewest: 5, min_calls: 100, group: Arc::default() }
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers")
            .field("factor", &self.factor)
            .field("min_peers", &self.fewest)
            .field("min_calls", &self.min_calls)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;
    use crate::builder::BreakerConfigBuilder;

    #[test]
    fn the_threshold_is_the_mean_less_so_many_deviations() {
        let mut rates = [1.0; 10];
        rates[9] = 0.0;

        let threshold = threshold(&rates, 5, 1.9).unwrap();

        assert!((threshold - 0.33).abs() < 1e-9, "{threshold}");
    }

    #[test]
    fn as_many_as_are_asked_for_are_enough() {
        assert_eq!(threshold(&[1.0; 5], 5, 1.9), Some(1.0));
    }

    #[test]
    fn who_is_as_good_as_the_threshold_or_has_too_few_calls_is_no_outlier() {
        let peers = Peers::default();
        peers.group.next_look.store(u64::MAX, Relaxed);
        let judge = |threshold: f64, calls| {
            peers.group.threshold.store(threshold.to_bits(), Relaxed);
            peers.judge(&Figures { calls, failures: calls / 2, slow: 0 }, Timestamp::ZERO).is_some()
        };

        assert_eq!((judge(0.5, 100), judge(0.51, 100), judge(0.51, 98)), (false, true, false));
    }

    #[test]
    fn the_mean_is_taken_once_a_second() {
        let peers = Peers::default();
        let next_look = |at| {
            peers.look(Timestamp::from_nanos(at));
            peers.group.next_look.load(Relaxed)
        };

        assert_eq!([5, 1_000_000_004, 1_000_000_005].map(next_look), [1_000_000_005, 1_000_000_005, 2_000_000_005]);
    }

    #[test]
    fn breakers_that_are_gone_are_forgotten() {
        let peers = Peers::default();
        for _ in 0..1_000 {
            let member = Arc::new(Member::new(Results::new(&BreakerConfigBuilder::default()), Tag::from_bits(0)));
            peers.join(&member);
        }

        assert!(peers.group.members.get().len() <= 8);
    }

    #[test]
    fn too_few_have_no_outlier() {
        assert_eq!(threshold(&[1.0, 1.0, 1.0, 0.0], 5, 1.9), None);
        assert_eq!(threshold(&[], 0, 1.9), None);
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::thread;

    use super::*;
    use crate::{builder::BreakerConfigBuilder, config::Window, mark::Mark, word::Word};

    fn member(peers: &Peers, marks: [Mark; 2]) -> Arc<Member> {
        let window = Results::new(&BreakerConfigBuilder::default().window(Window::Calls(2)));
        let member = Arc::new(Member::new(window, Word::NEW.tag()));
        peers.join(&member);
        marks.into_iter().for_each(|mark| record(&member, mark));
        member
    }

    fn record(member: &Member, mark: Mark) {
        let _ = member.window.record(Word::NEW.tag(), mark, Timestamp::ZERO, 1, || true);
    }

    #[test]
    fn a_peer_whose_state_changes_while_the_mean_is_taken_is_in_it_with_its_whole_window_or_not_at_all() {
        loom::model(|| {
            let peers = Peers::by_deviations(0.0).unwrap().with_min_peers(1).with_min_calls(2);
            let _stays = member(&peers, [Mark::Good, Mark::Failed]);
            let changes = member(&peers, [Mark::Good, Mark::Good]);
            // As a change of state does it; then a first result.
            let changes = thread::spawn(move || {
                changes.window.restart();
                changes.moves_to(Word::NEW.next(State::Closed).tag());
                record(&changes, Mark::Failed);
            });

            peers.look(Timestamp::ZERO);
            changes.join().unwrap();

            let threshold = f64::from_bits(peers.group.threshold.load(Relaxed));
            assert!([0.5, 0.75].contains(&threshold), "{threshold}");
        });
    }
}
