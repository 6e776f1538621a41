use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

/// A smaller cut is the usual search for the limit.
const DEEP: f64 = 0.8;

/// A limit that was cut by more than a fifth in one step: what the server can do has collapsed, or most calls time out. The limit
/// is the [steady one](crate::LimitAlgorithm::steady_limit), so that its sway tells nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct LimitCut {
    /// The limit before.
    pub from: f64,
    /// The limit now.
    pub to: f64,
}

impl LimitCut {
    /// Emits a `tracing` event at warn level.
    #[cfg(feature = "tracing")]
    pub fn trace(&self, name: &str) {
        tracing::warn!(name, from = self.from, to = self.to, "limit cut");
    }
}

type Told = Arc<dyn Fn(&LimitCut) + Send + Sync>;

/// Who is told of deep cuts.
#[derive(Default)]
pub(crate) struct CutWatchers(RwLock<Vec<Told>>);

impl CutWatchers {
    pub(crate) fn add(&self, told: impl Fn(&LimitCut) + Send + Sync + 'static) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(told));
    }

    /// Between windows, while no lock is held.
    pub(crate) fn tell(&self, from: f64, to: f64) {
        if to < DEEP * from {
            let told = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
            for told in told {
                told(&LimitCut { from, to });
            }
        }
    }
}

impl fmt::Debug for CutWatchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CutWatchers").finish_non_exhaustive()
    }
}
