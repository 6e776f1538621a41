//! A gate hears of every poll that has no answer yet, under Tower and under `run`.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use seawall_core::{Admission, CallContext, Gate, GateLayer, NoWait, Outcome, Timestamp};
use tokio::task::yield_now;
use tower::{ServiceExt, service_fn};

/// Counts what it hears.
#[derive(Debug, Default)]
struct Listening {
    pending: AtomicUsize,
}

impl Gate for Listening {
    type Ticket = usize;
    type Wait = NoWait;

    fn admit(&self, _: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<usize> {
        Admission::Admitted(0)
    }

    fn pending(&self, ticket: &mut usize, now: impl FnOnce() -> Timestamp) {
        *ticket = ticket.saturating_add(usize::from(now() > Timestamp::ZERO));
    }

    fn finish(&self, ticket: usize, _: Outcome, _: impl FnOnce() -> Timestamp) {
        self.pending.fetch_add(ticket, Relaxed);
    }
}

async fn after(yields: usize) -> Result<(), Infallible> {
    for _ in 0..yields {
        yield_now().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_gate_hears_of_every_poll_that_has_no_answer_yet() {
    let layer = GateLayer::<Listening>::new(Listening::default());

    layer.protect(service_fn(after)).oneshot(0).await.unwrap();
    layer.run(after(0)).await.unwrap();
    assert_eq!(layer.gate().pending.load(Relaxed), 0);

    layer.protect(service_fn(after)).oneshot(2).await.unwrap();
    assert_eq!(layer.gate().pending.load(Relaxed), 2);
    layer.run(after(3)).await.unwrap();
    assert_eq!(layer.gate().pending.load(Relaxed), 5);
}

#[tokio::test]
async fn a_gate_that_is_shared_hears_of_them_too() {
    let layer = GateLayer::<Arc<Listening>>::new(Arc::default());

    layer.run(after(3)).await.unwrap();

    assert_eq!(layer.gate().pending.load(Relaxed), 3);
}
