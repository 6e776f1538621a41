use seawall_core::{Environment, Observer, Outcome, Shared};

use crate::figures::Tally;

/// What is shared by all layers made from one, whatever else they are given.
#[derive(Debug)]
pub(crate) struct State<A> {
    pub(crate) plan: A,
    pub(crate) tally: Tally,
}

/// What all services and clones of one layer share.
#[derive(Debug)]
pub(crate) struct Core<A: 'static, E, W, M> {
    pub(crate) state: Shared<State<A>>,
    pub(crate) env: E,
    pub(crate) when: W,
    pub(crate) mark: M,
}

/// One call: what it needs of its layer, and its one report to the observer. It is made before the service is called, so
/// a panic in there is reported too.
#[derive(Debug)]
pub(crate) struct Call<A: 'static, E: Environment, W: 'static, M: 'static> {
    core: Shared<Core<A, E, W, M>>,
    open: bool,
    running: bool,
}

impl<A, E: Environment, W, M> Call<A, E, W, M> {
    #[inline]
    pub(crate) fn new(core: &Shared<Core<A, E, W, M>>) -> Self {
        Self { core: core.clone(), open: true, running: false }
    }

    #[inline]
    pub(crate) fn core(&self) -> &Core<A, E, W, M> {
        &self.core
    }

    /// Runs a piece of the call: a panic inside is reported as one.
    #[inline]
    pub(crate) fn around<T>(&mut self, piece: impl FnOnce(&Core<A, E, W, M>) -> T) -> T {
        self.running = E::Observer::PER_CALL;
        let result = piece(&self.core);
        self.running = false;
        result
    }

    /// The same call in another place; this one has nothing left to report.
    pub(crate) fn take(&mut self) -> Self {
        Self { core: self.core.clone(), open: std::mem::take(&mut self.open), running: self.running }
    }

    /// Reports how the service ended the call.
    #[inline]
    pub(crate) fn end(&mut self, outcome: impl FnOnce() -> Outcome) {
        if E::Observer::PER_CALL && std::mem::take(&mut self.open) {
            self.core.env.observer().on_call(outcome());
        }
    }
}

impl<A, E: Environment, W, M> Drop for Call<A, E, W, M> {
    #[inline]
    fn drop(&mut self) {
        let running = self.running;
        self.end(|| Outcome::of_drop(running));
    }
}
