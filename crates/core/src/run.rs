use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use crate::{
    Admission, CallContext, CarryRejection, Classify, Clock, Environment, Gate, Gated, Guard, Observer, Shared,
    Timestamp, Wait, turn::Place,
};

/// How a gate is asked about a call without Tower. [`AskGate`] needs nothing but the gate; a gate that wants to know more
/// of a call, such as its key, has another.
pub trait Ask<G: Gate> {
    /// Decides on one call.
    fn ask(
        &self,
        gate: &G,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Admission<G::Ticket, G::Wait>;
}

/// Asks [`Gate::admit`].
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct AskGate;

impl<G: Gate> Ask<G> for AskGate {
    #[inline]
    fn ask(
        &self,
        gate: &G,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Admission<G::Ticket, G::Wait> {
        gate.admit(context, now)
    }
}

pin_project! {
    /// The future of [`GateLayer::run`](crate::GateLayer::run): the gate, then the future that it protects.
    #[must_use = "futures do nothing unless polled"]
    pub struct Run<F, G: Gate, E: Environment, A = AskGate> {
        // The future stands before the guard: what it holds is given back first.
        #[pin]
        future: Option<F>,
        #[pin]
        stage: Stage<G, E, A>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<G: Gate, E: Environment, A> {
        Asking { shared: Shared<Gated<G, E>>, context: CallContext, ask: A },
        Waiting { #[pin] wait: G::Wait, place: Place<G, E> },
        Running { guard: Guard<G, E> },
    }
}

impl<F, G: Gate, E: Environment, A> Run<F, G, E, A> {
    /// Protects `future` by the gate of `shared`, which `ask` asks when this is first polled.
    pub const fn new(shared: Shared<Gated<G, E>>, ask: A, context: CallContext, future: F) -> Self {
        Self { stage: Stage::Asking { shared, context, ask }, future: Some(future) }
    }
}

impl<F, G, E, A, T, X> Future for Run<F, G, E, A>
where
    F: Future<Output = Result<T, X>>,
    G: Gate,
    E: Environment + Classify<T, X::Remote>,
    A: Ask<G>,
    X: CarryRejection,
{
    type Output = Result<T, X>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.stage.as_mut().project() {
                StageProjection::Asking { shared, context, ask } => {
                    // Polled again after it was refused: nothing is left to admit.
                    if this.future.is_none() {
                        return Poll::Pending;
                    }
                    let shared = shared.clone();
                    let Gated { gate, env } = &*shared;
                    match ask.ask(gate, || context.inheriting(), || env.clock().now()) {
                        Admission::Admitted(ticket) => {
                            let guard = Guard::new(&shared, ticket);
                            this.stage.set(Stage::Running { guard });
                        }
                        Admission::Refused(rejection) => {
                            env.observer().on_reject(&rejection);
                            this.future.set(None);
                            return Poll::Ready(Err(rejection.into()));
                        }
                        Admission::Queued(wait) => {
                            let place = Place::new(shared.clone());
                            this.stage.set(Stage::Waiting { wait, place });
                        }
                    }
                }
                StageProjection::Waiting { wait, place } => match ready!(wait.poll_ticket(cx)) {
                    Ok(ticket) => {
                        let guard = place.admitted(ticket);
                        this.stage.set(Stage::Running { guard });
                    }
                    Err(rejection) => {
                        place.refused(&rejection);
                        this.future.set(None);
                        return Poll::Ready(Err(rejection.into()));
                    }
                },
                StageProjection::Running { guard } => {
                    // Polled again after it was ready: pending for ever, as nothing will wake it.
                    let Some(future) = this.future.as_mut().as_pin_mut() else { return Poll::Pending };
                    let Poll::Ready(result) = guard.around(|| future.poll(cx)) else {
                        guard.pending();
                        return Poll::Pending;
                    };
                    let outcome = guard.judge(result.as_ref());
                    guard.around(|| this.future.set(None));
                    guard.settle(outcome);
                    return Poll::Ready(result);
                }
            }
        }
    }
}

impl<F, G: Gate, E: Environment, A> fmt::Debug for Run<F, G, E, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            Stage::Asking { .. } => "asking",
            Stage::Waiting { .. } => "waiting",
            Stage::Running { .. } => "running",
        };
        f.debug_struct("Run").field("stage", &stage).finish_non_exhaustive()
    }
}
