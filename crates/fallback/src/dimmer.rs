use std::sync::Arc;

use seawall_core::{
    Admission, CallContext, Criticality, Env, Gate, GateLayer, GateService, NoWait, Outcome, Pattern, Reason,
    Rejection, Timestamp,
    sync::atomic::{AtomicU8, Ordering::Relaxed},
};

/// Leaves out the parts of an answer that matter least while there is too much to do, so that all callers get the rest:
/// a brown-out in place of a black-out. One level for all features; clones share it.
///
/// [`Pressure`] of the load shedder, or whatever else knows how much there is to do, moves the level. A feature that is off
/// is refused at once with [`Reason::Overloaded`], and a [`FallbackLayer`](crate::FallbackLayer) around it answers in its
/// place, marked like any other degraded answer. Where there is no service to put a layer around, ask
/// [`shows`](Self::shows).
///
/// ```
/// use seawall_core::{Criticality, Error};
/// use seawall_fallback::{Dimmer, FallbackLayer, FeatureLayer, Value};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let dimmer = Dimmer::default();
/// let similar = service_fn(|_: u32| async { Ok::<_, std::io::Error>(vec!["Porto", "Faro"]) });
/// let off = FeatureLayer::new(dimmer.feature(Criticality::Degraded)).protect(similar);
/// let service = FallbackLayer::new(Value::new(vec![])).layer(off);
///
/// assert_eq!(service.clone().oneshot(7).await.unwrap(), ["Porto", "Faro"]);
/// dimmer.dim_below(Criticality::Default);
/// assert!(service.oneshot(7).await.unwrap().is_empty());
/// # }
/// ```
///
/// # Source
/// Klein, Maggio, Årzén and Hernández-Rodriguez, "Brownout: building more robust cloud applications" (ICSE 2014).
///
/// [`Pressure`]: https://docs.rs/seawall-load-shedder
#[derive(Clone, Debug, Default)]
pub struct Dimmer {
    floor: Arc<Level>,
}

/// Relaxed: the level guards no other memory.
#[derive(Debug)]
struct Level(AtomicU8);

impl Default for Level {
    fn default() -> Self {
        Self(AtomicU8::new(Criticality::Sheddable as u8))
    }
}

impl Dimmer {
    /// Switches off all features that matter less than `floor`, and the others on. Default: [`Criticality::Sheddable`],
    /// which leaves all on.
    pub fn dim_below(&self, floor: Criticality) {
        self.floor.0.store(floor as u8, Relaxed);
    }

    /// Whether a part of an answer that matters so much is to be made.
    #[inline]
    pub fn shows(&self, matters: Criticality) -> bool {
        matters as u8 >= self.floor.0.load(Relaxed)
    }

    /// The switch of a feature that matters so much. [`Criticality::Critical`] is never off.
    #[must_use]
    pub fn feature(&self, matters: Criticality) -> Feature {
        Feature { dimmer: self.clone(), matters }
    }
}

/// The switch of one feature. Made by [`Dimmer::feature`].
#[derive(Clone, Debug)]
pub struct Feature {
    dimmer: Dimmer,
    matters: Criticality,
}

/// Puts a [`Feature`]'s switch before the service that makes it.
pub type FeatureLayer<E = Env> = GateLayer<Feature, E>;

/// A service behind a [`FeatureLayer`].
pub type FeatureService<S, E = Env> = GateService<S, Feature, E>;

impl Gate for Feature {
    type Ticket = ();
    type Wait = NoWait;
    const RECORDS: bool = false;

    #[inline]
    fn admit(&self, _: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<()> {
        if self.dimmer.shows(self.matters) {
            Admission::Admitted(())
        } else {
            Admission::Refused(Rejection::new(Pattern::Fallback, Reason::Overloaded))
        }
    }

    fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {}
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_level_leaves_out_what_matters_less_and_nothing_else() {
        use Criticality::{Critical, Default as Normal, Degraded, Sheddable};
        let all = [Sheddable, Degraded, Normal, Critical];
        let dimmer = Dimmer::default();
        let shown = || all.map(|matters| dimmer.shows(matters));

        assert_eq!(shown(), [true; 4]);
        for (off, floor) in all.into_iter().enumerate() {
            dimmer.clone().dim_below(floor);

            assert_eq!(shown(), [0, 1, 2, 3].map(|matters| matters >= off), "{floor:?}");
            assert_eq!(all.map(|matters| admits(&dimmer.feature(matters))), shown());
        }
    }

    fn admits(feature: &Feature) -> bool {
        matches!(feature.admit(CallContext::default, || Timestamp::ZERO), Admission::Admitted(()))
    }
}
