use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use crate::{
    Admission, CallContext, Classify, Clock, Environment, Error, Gate, Gated, Guard, Observer, Rejection, Shared, Wait,
    turn::Place,
};

pin_project! {
    /// The future of [`GateLayer::run`](crate::GateLayer::run): the gate, then the future that it protects.
    #[must_use = "futures do nothing unless polled"]
    pub struct Run<F, G: Gate, E: Environment> {
        // The future stands before the guard: what it holds is given back first.
        #[pin]
        future: Option<F>,
        #[pin]
        stage: Stage<G, E>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<G: Gate, E: Environment> {
        Asking { shared: Shared<Gated<G, E>>, context: CallContext },
        Waiting { #[pin] wait: G::Wait, place: Place<G, E> },
        Running { guard: Guard<G, E> },
    }
}

impl<F, G: Gate, E: Environment> Run<F, G, E> {
    pub(crate) const fn new(shared: Shared<Gated<G, E>>, context: CallContext, future: F) -> Self {
        Self { stage: Stage::Asking { shared, context }, future: Some(future) }
    }
}

impl<F, G, E, T, X> Future for Run<F, G, E>
where
    F: Future<Output = Result<T, X>>,
    G: Gate,
    E: Environment + Classify<T, X>,
{
    type Output = Result<T, Error<X>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.stage.as_mut().project() {
                StageProjection::Asking { shared, context } => {
                    // Polled again after it was refused: nothing is left to admit.
                    if this.future.is_none() {
                        return Poll::Pending;
                    }
                    let shared = shared.clone();
                    let Gated { gate, env } = &*shared;
                    match gate.admit(|| *context, || env.clock().now()) {
                        Admission::Admitted(ticket) => {
                            let guard = Guard::new(&shared, ticket);
                            this.stage.set(Stage::Running { guard });
                        }
                        Admission::Refused(rejection) => {
                            env.observer().on_reject(&rejection);
                            this.future.set(None);
                            return refused(rejection);
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
                        return refused(rejection);
                    }
                },
                StageProjection::Running { guard } => {
                    // Polled again after it was ready: pending for ever, as nothing will wake it.
                    let Some(future) = this.future.as_mut().as_pin_mut() else { return Poll::Pending };
                    let Poll::Ready(result) = guard.around(|| future.poll(cx)) else {
                        guard.pending();
                        return Poll::Pending;
                    };
                    let outcome = guard.judge_remote(result.as_ref());
                    guard.around(|| this.future.set(None));
                    guard.settle(outcome);
                    return Poll::Ready(result.map_err(Error::Inner));
                }
            }
        }
    }
}

const fn refused<T, X>(rejection: Rejection) -> Poll<Result<T, Error<X>>> {
    Poll::Ready(Err(Error::Rejected(rejection)))
}

impl<F, G: Gate, E: Environment> fmt::Debug for Run<F, G, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            Stage::Asking { .. } => "asking",
            Stage::Waiting { .. } => "waiting",
            Stage::Running { .. } => "running",
        };
        f.debug_struct("Run").field("stage", &stage).finish_non_exhaustive()
    }
}
