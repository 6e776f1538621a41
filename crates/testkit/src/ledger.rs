use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use seawall_core::{
    Admission, ByResult, CallContext, Env, Gate, GateLayer, GateService, NoAttributes, NoWait, Outcome, Timestamp,
    TokioClock,
};

use crate::Recorder;

/// A gate that admits everything and knows how many of its tickets are out.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    open: Arc<AtomicUsize>,
}

impl Ledger {
    /// How many calls have begun and not ended.
    pub fn open(&self) -> usize {
        self.open.load(SeqCst)
    }
}

impl Gate for Ledger {
    type Ticket = ();
    type Wait = NoWait;

    fn admit(&self, _: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<()> {
        self.open.fetch_add(1, SeqCst);
        Admission::Admitted(())
    }

    fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {
        self.open.fetch_sub(1, SeqCst);
    }
}

/// The environment that contracts are checked in: tokio's clock, and an observer that counts.
pub type TestEnv = Env<TokioClock, ByResult, NoAttributes, Recorder>;

/// A layer that books every call that passes it.
pub type LedgerLayer = GateLayer<Ledger, TestEnv>;

/// A service behind a [`LedgerLayer`].
pub type LedgerService<S> = GateService<S, Ledger, TestEnv>;
