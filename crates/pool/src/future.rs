use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use seawall_core::{Environment, Timer};
use tower_service::Service;

use crate::{Connection, Get, Manager, PoolError};

pin_project! {
    /// The future of a call that gets a connection first.
    #[must_use = "futures do nothing unless polled"]
    pub struct PoolFuture<S, Req, M, E>
    where
        S: Service<(Req, Connection<M, E>)>,
        M: Manager,
        E: Environment,
        E::Clock: Timer,
        E: 'static,
    {
        inner: S,
        request: Option<Req>,
        #[pin]
        state: State<S::Future, M, E>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F, M, E>
    where
        M: Manager,
        E: Environment,
        E::Clock: Timer,
        E: 'static,
    {
        Getting { get: Get<M, E> },
        Driving { connection: Option<Connection<M, E>> },
        Calling { #[pin] future: F },
    }
}

impl<S, Req, M, E> PoolFuture<S, Req, M, E>
where
    S: Service<(Req, Connection<M, E>)>,
    M: Manager,
    E: Environment<Clock: Timer>,
{
    pub(crate) const fn new(get: Get<M, E>, inner: S, request: Req) -> Self {
        Self { inner, request: Some(request), state: State::Getting { get } }
    }
}

impl<S, Req, M, E> Future for PoolFuture<S, Req, M, E>
where
    S: Service<(Req, Connection<M, E>), Error: From<PoolError<M::Error>>>,
    M: Manager,
    E: Environment<Clock: Timer>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProjection::Getting { get } => {
                    let connection = Some(ready!(Pin::new(get).poll(cx))?);
                    this.state.set(State::Driving { connection });
                }
                StateProjection::Driving { connection } => {
                    ready!(this.inner.poll_ready(cx))?;
                    // Taken by the poll that went on: one after the end waits for ever, as with any future.
                    let Some(call) = this.request.take().zip(connection.take()) else { return Poll::Pending };
                    let future = this.inner.call(call);
                    this.state.set(State::Calling { future });
                }
                StateProjection::Calling { future } => return future.poll(cx),
            }
        }
    }
}

impl<S, Req, M, E> fmt::Debug for PoolFuture<S, Req, M, E>
where
    S: Service<(Req, Connection<M, E>)>,
    M: Manager,
    E: Environment<Clock: Timer>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Getting { .. } => "getting",
            State::Driving { .. } => "driving",
            State::Calling { .. } => "calling",
        };
        f.debug_struct("PoolFuture").field("state", &state).finish_non_exhaustive()
    }
}
