#![expect(
    clippy::inline_always,
    reason = "a call is one path through all layers of a stack; functions of their own would copy each future once a layer"
)]

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    Admission, CarryRejection, Clock, Environment, Gate, Gated, Guard, Observer, Readiness, Rejection, Serves, Settle,
    Shared, Start,
    turn::{Place, Turn},
};

/// What the call of `S` answers with, as the environment `E` settles it.
type Settled<S, Req, G, E> = <<E as Environment>::Settle as Settle<<S as Service<Req>>::Response>>::Response<G, E>;

/// A call that waits: nothing, where the gate lets nobody wait.
type Queued<S, Req, G, E> = <<G as Gate>::Wait as Readiness<S, Req>>::Held<
    Turn<<G as Gate>::Wait, <<G as Gate>::Wait as Readiness<S, Req>>::Parked, G, E>,
>;

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
        state: State<S::Future, Queued<S, Req, G, E>, G, E>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F, Q, G, E>
    where
        G: Gate,
        E: Environment,
    {
        // The future stands before the guard: what the service holds is given back first.
        Calling { #[pin] future: F, guard: Guard<G, E> },
        Refused { rejection: Option<Rejection> },
        // Nothing, of which the layout knows, where the gate lets nobody wait.
        Queued { #[pin] turn: Q },
    }
}

impl<S, Req, G, E> GateFuture<S, Req, G, E>
where
    S: Service<Req, Error: CarryRejection>,
    G: Gate<Wait: Readiness<S, Req>>,
    E: Serves<Req, S::Response, S::Error>,
{
    /// Asks the gate, and calls `inner` if it may; not if it is refused already, as was foreseen.
    #[inline(always)]
    pub(crate) fn begin(
        shared: &Shared<Gated<G, E>>,
        inner: &mut S,
        request: Req,
        foreseen: Option<&Rejection>,
    ) -> Self {
        let Gated { gate, env } = &**shared;
        let admission = match foreseen {
            Some(foreseen) if G::FORESEES => Admission::Refused(refuse(gate, env, foreseen)),
            _ => gate.admit(|| env.context(&request), || env.clock().now()),
        };
        Self::decided(shared, inner, request, admission)
    }

    /// Goes on as the gate of `shared` has decided: for services that ask it more than [`Gate::admit`] does, such as
    /// for a key.
    #[inline(always)]
    pub fn decided(
        shared: &Shared<Gated<G, E>>,
        inner: &mut S,
        request: Req,
        admission: Admission<G::Ticket, G::Wait>,
    ) -> Self {
        let env = &shared.env;
        let state = match admission {
            Admission::Admitted(ticket) => {
                let mut guard = Guard::new(shared, ticket);
                let running = guard.running();
                let start = <G::Wait as Readiness<S, Req>>::start(inner, request);
                running.end();
                match start {
                    Start::Called(future) => State::Calling { future, guard },
                    Start::Parked(parked) => {
                        let turn =
                            <G::Wait as Readiness<S, Req>>::hold(parked, |parked| Turn::Driving { parked, guard });
                        State::Queued { turn }
                    }
                }
            }
            Admission::Refused(rejection) => {
                env.observer().on_reject(&rejection);
                State::Refused { rejection: Some(rejection) }
            }
            Admission::Queued(wait) => {
                let place = Place::new(shared.clone());
                let (wait, parked) = wait.park(inner, request);
                let turn = <G::Wait as Readiness<S, Req>>::hold(parked, |parked| Turn::Waiting {
                    wait,
                    parked: Some(parked),
                    place,
                });
                State::Queued { turn }
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

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match self.as_mut().project().state.project() {
                StateProjection::Calling { future, guard } => {
                    let running = guard.running();
                    let polled = future.poll(cx);
                    running.end();
                    let Poll::Ready(result) = polled else {
                        guard.pending();
                        return Poll::Pending;
                    };
                    return Poll::Ready(end(guard, result));
                }
                StateProjection::Refused { rejection } => {
                    // Polled again after it was ready: pending for ever, as nothing will wake it.
                    let Some(rejection) = rejection.take() else { return Poll::Pending };
                    return Poll::Ready(Err(rejection.into()));
                }
                StateProjection::Queued { turn } => {
                    let begun = ready!(<G::Wait as Readiness<S, Req>>::held(turn).poll_call::<S, Req>(cx));
                    let mut state = self.as_mut().project().state;
                    match begun {
                        Ok((future, guard)) => state.set(State::Calling { future, guard }),
                        Err(error) => {
                            state.set(State::Refused { rejection: None });
                            return Poll::Ready(Err(error));
                        }
                    }
                }
            }
        }
    }
}

/// What a call that was told to come is refused with now.
#[cold]
#[inline(never)]
fn refuse<G: Gate, E: Environment>(gate: &G, env: &E, foreseen: &Rejection) -> Rejection {
    gate.refused_as_foreseen();
    // The gate may have opened since, but the inner service is not known to be ready: the next try may be let through.
    gate.refusal(|| env.clock().now()).unwrap_or_else(|| foreseen.with_retry_after(Duration::ZERO))
}

/// Judges and settles a call that was answered.
#[inline(always)]
fn end<G, E, Req, Res, Err>(
    guard: &mut Guard<G, E>,
    result: Result<Res, Err>,
) -> Result<<E::Settle as Settle<Res>>::Response<G, E>, Err>
where
    G: Gate,
    E: Serves<Req, Res, Err>,
    Err: CarryRejection,
{
    match result {
        Ok(response) => {
            let outcome = guard.judge::<_, Err>(Ok(&response));
            Ok(E::Settle::settle(guard, outcome, response))
        }
        Err(error) => {
            fail::<G, E, Req, Res, Err>(guard.take(), &error);
            Err(error)
        }
    }
}

/// Out of line, so that the path of a success stays short.
#[inline(never)]
fn fail<G, E, Req, Res, Err>(mut guard: Guard<G, E>, error: &Err)
where
    G: Gate,
    E: Serves<Req, Res, Err>,
    Err: CarryRejection,
{
    let outcome = guard.judge::<Res, Err>(Err(error));
    guard.settle(outcome);
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
            State::Refused { .. } => "refused",
            State::Queued { .. } => "queued",
        };
        f.debug_struct("GateFuture").field("state", &state).finish_non_exhaustive()
    }
}
