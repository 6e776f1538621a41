use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    Admission, CarryRejection, Clock, Environment, Gate, Gated, Guard, Observer, Outcome, Readiness, Rejection, Serves,
    Settle, Shared, Start, Wait,
};

/// What the call of `S` answers with, as the environment `E` settles it.
type Settled<S, Req, G, E> = <<E as Environment>::Settle as Settle<<S as Service<Req>>::Response>>::Response<G, E>;

pin_project! {
    /// The future of a call through a gate.
    #[must_use = "futures do nothing unless polled"]
    pub struct GateFuture<S, Req, G, E>
    where
        S: Service<Req>,
        G: Gate,
        G::Wait: Readiness<S, Req>,
        E: Environment,
    {
        #[pin]
        state: State<S::Future, <G::Wait as Readiness<S, Req>>::Parked, G, E>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F, P, G, E>
    where
        G: Gate,
        E: Environment,
    {
        // The future stands before the guard: what the service holds is given back first.
        Calling { #[pin] future: F, guard: Guard<G, E> },
        Driving { parked: P, guard: Guard<G, E> },
        Waiting { #[pin] wait: G::Wait, parked: Option<P>, place: Place<G, E> },
        Refused { rejection: Option<Rejection> },
    }
}

/// Reports a call that leaves the queue by itself.
pub(crate) struct Place<G: Gate, E: Environment> {
    gated: Option<Shared<Gated<G, E>>>,
}

impl<G: Gate, E: Environment> Place<G, E> {
    pub(crate) const fn new(gated: Shared<Gated<G, E>>) -> Self {
        Self { gated: Some(gated) }
    }

    /// The turn has come: the ticket is guarded from here on.
    pub(crate) fn admitted(&mut self, ticket: G::Ticket) -> Guard<G, E> {
        self.gated.take().map_or_else(Guard::disarmed, |gated| Guard::new(&gated, ticket))
    }

    pub(crate) fn refused(&mut self, rejection: &Rejection) {
        if let Some(gated) = self.gated.take() {
            gated.env.observer().on_reject(rejection);
        }
    }
}

impl<G: Gate, E: Environment> Drop for Place<G, E> {
    fn drop(&mut self) {
        if let Some(gated) = &self.gated {
            if E::Observer::PER_CALL {
                gated.env.observer().on_call(Outcome::Cancelled);
            }
        }
    }
}

impl<S, Req, G, E> GateFuture<S, Req, G, E>
where
    S: Service<Req, Error: CarryRejection>,
    G: Gate<Wait: Readiness<S, Req>>,
    E: Serves<Req, S::Response, S::Error>,
{
    /// Asks the gate, and calls `inner` if it may.
    #[inline]
    pub(crate) fn begin(shared: &Shared<Gated<G, E>>, inner: &mut S, request: Req) -> Self {
        let Gated { gate, env } = &**shared;
        let state = match gate.admit(|| env.context(&request), || env.clock().now()) {
            Admission::Admitted(ticket) => {
                let mut guard = Guard::new(shared, ticket);
                match guard.around(|| <G::Wait as Readiness<S, Req>>::start(inner, request)) {
                    Start::Called(future) => State::Calling { future, guard },
                    Start::Parked(parked) => State::Driving { parked, guard },
                }
            }
            Admission::Refused(rejection) => {
                env.observer().on_reject(&rejection);
                State::Refused { rejection: Some(rejection) }
            }
            Admission::Queued(wait) => {
                let place = Place::new(shared.clone());
                let (wait, parked) = wait.park(inner, request);
                State::Waiting { wait, parked: Some(parked), place }
            }
        };
        Self { state }
    }
}

impl<S, Req, G, E> Future for GateFuture<S, Req, G, E>
where
    S: Service<Req, Error: CarryRejection>,
    G: Gate<Wait: Readiness<S, Req>>,
    E: Serves<Req, S::Response, S::Error>,
{
    type Output = Result<Settled<S, Req, G, E>, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProjection::Calling { future, guard } => {
                    let Poll::Ready(result) = guard.around(|| future.poll(cx)) else {
                        guard.pending();
                        return Poll::Pending;
                    };
                    return Poll::Ready(end(guard, result));
                }
                StateProjection::Driving { parked, guard } => {
                    match ready!(guard.around(|| <G::Wait as Readiness<S, Req>>::drive(parked, cx))) {
                        Ok(future) => {
                            let guard = guard.take();
                            state.set(State::Calling { future, guard });
                        }
                        Err(error) => return Poll::Ready(end(guard, Err(error))),
                    }
                }
                StateProjection::Waiting { wait, parked, place } => match ready!(wait.poll_ticket(cx)) {
                    Ok(ticket) => {
                        let guard = place.admitted(ticket);
                        let Some(parked) = parked.take() else { return Poll::Pending };
                        state.set(State::Driving { parked, guard });
                    }
                    Err(rejection) => {
                        place.refused(&rejection);
                        state.set(State::Refused { rejection: Some(rejection) });
                    }
                },
                StateProjection::Refused { rejection } => {
                    // Polled again after it was ready: pending for ever, as nothing will wake it.
                    let Some(rejection) = rejection.take() else { return Poll::Pending };
                    return Poll::Ready(Err(rejection.into()));
                }
            }
        }
    }
}

/// Judges and settles a call that was answered.
#[inline]
fn end<G, E, Req, Res, Err>(
    guard: &mut Guard<G, E>,
    result: Result<Res, Err>,
) -> Result<<E::Settle as Settle<Res>>::Response<G, E>, Err>
where
    G: Gate,
    E: Serves<Req, Res, Err>,
    Err: CarryRejection,
{
    let outcome = guard.judge(&result);
    match result {
        Ok(response) => Ok(E::Settle::settle(guard, outcome, response)),
        Err(error) => {
            guard.settle(outcome);
            Err(error)
        }
    }
}

impl<S, Req, G, E> fmt::Debug for GateFuture<S, Req, G, E>
where
    S: Service<Req>,
    G: Gate<Wait: Readiness<S, Req>>,
    E: Environment,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Calling { .. } => "calling",
            State::Driving { .. } => "driving",
            State::Waiting { .. } => "waiting",
            State::Refused { .. } => "refused",
        };
        f.debug_struct("GateFuture").field("state", &state).finish_non_exhaustive()
    }
}
