use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    CarryRejection, Clock, Environment, Gate, Gated, Guard, Observer, Outcome, Readiness, Rejection, Serves, Shared,
    Timestamp, Wait,
};

/// A call that is under way, and what guards it; or the error that it ended with.
pub(crate) type Begun<S, Req, G, E> = Result<(<S as Service<Req>>::Future, Guard<G, E>), <S as Service<Req>>::Error>;

pin_project! {
    /// A call that waits for its turn at the gate, then for its service.
    #[project = TurnProjection]
    pub(crate) enum Turn<W, P, G, E>
    where
        G: Gate,
        E: Environment,
    {
        Waiting { #[pin] wait: W, parked: Option<P>, place: Place<G, E> },
        Driving { parked: P, guard: Guard<G, E> },
    }
}

impl<P, G: Gate, E: Environment> Turn<G::Wait, P, G, E> {
    /// Waits, drives the service ready and calls it. Not polled again after that.
    #[inline(never)]
    pub(crate) fn poll_call<S, Req>(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Begun<S, Req, G, E>>
    where
        S: Service<Req, Error: CarryRejection>,
        G::Wait: Readiness<S, Req, Parked = P>,
        E: Serves<Req, S::Response, S::Error>,
    {
        loop {
            match self.as_mut().project() {
                TurnProjection::Waiting { wait, parked, place } => match ready!(wait.poll_ticket(cx)) {
                    Ok(ticket) => {
                        let guard = place.admitted(ticket);
                        let Some(parked) = parked.take() else { return Poll::Pending };
                        self.set(Self::Driving { parked, guard });
                    }
                    Err(rejection) => {
                        place.refused(&rejection);
                        return Poll::Ready(Err(rejection.into()));
                    }
                },
                TurnProjection::Driving { parked, guard } => {
                    match ready!(guard.around(|| <G::Wait as Readiness<S, Req>>::drive(parked, cx))) {
                        Ok(future) => return Poll::Ready(Ok((future, guard.take()))),
                        Err(error) => {
                            let outcome = guard.judge::<S::Response, _>(Err(&error));
                            guard.settle(outcome);
                            return Poll::Ready(Err(error));
                        }
                    }
                }
            }
        }
    }
}

/// Reports a call that leaves the queue by itself.
pub(crate) struct Place<G: Gate, E: Environment> {
    gated: Option<Shared<Gated<G, E>>>,
    /// When it began to wait, where somebody wants to know.
    since: Timestamp,
}

impl<G: Gate, E: Environment> Place<G, E> {
    pub(crate) fn new(gated: Shared<Gated<G, E>>) -> Self {
        let since = if E::Observer::PER_CALL { gated.env.clock().now() } else { Timestamp::ZERO };
        Self { gated: Some(gated), since }
    }

    /// The turn has come: the ticket is guarded from here on.
    pub(crate) fn admitted(&mut self, ticket: G::Ticket) -> Guard<G, E> {
        let Some(gated) = self.gated.take() else { return Guard::disarmed() };
        let guard = Guard::new(&gated, ticket);
        if E::Observer::PER_CALL {
            gated.env.observer().on_wait(gated.env.clock().now().since(self.since));
        }
        guard
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
                gated.env.observer().on_call(Outcome::of_drop(false));
            }
        }
    }
}
