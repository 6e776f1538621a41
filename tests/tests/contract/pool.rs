//! The pool, as a layer whose calls have a connection until they end.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use seawall::{
    core::{ByResult, Env, Error, GateLayer, Rejection, TokioClock},
    pool::{Connection, Manager, Pool, PoolConfig, PoolError, PoolLayer},
};
use seawall_testkit::{
    Ledger, ProbeError, Script, TestEnv,
    contract::{self, Crowd},
    hold,
};
use tower::{
    Layer, Service, ServiceExt,
    layer::util::Stack,
    util::{MapErr, MapErrLayer},
};

const CONNECTIONS: usize = 4;

/// Connects at once, to nothing.
#[derive(Debug)]
pub(crate) struct Nowhere;

impl Manager for Nowhere {
    type Connection = ();
    type Error = Infallible;

    async fn connect(&self) -> Result<(), Infallible> {
        Ok(())
    }

    async fn check(&self, (): &mut ()) -> Result<(), Infallible> {
        Ok(())
    }
}

pub(crate) type TokioEnv = Env<TokioClock, ByResult>;
pub(crate) type TestPool = Pool<Nowhere, TokioEnv>;

/// The error of what is behind the pool.
#[derive(Debug)]
pub(crate) enum Behind<E> {
    Service(Error<E>),
    Refused(Rejection),
}

impl<E> From<PoolError<Infallible>> for Behind<E> {
    fn from(error: PoolError<Infallible>) -> Self {
        Self::Refused(error.rejection().unwrap())
    }
}

fn plain<E>(error: Behind<E>) -> Error<E> {
    match error {
        Behind::Service(error) => error,
        Behind::Refused(rejection) => Error::Rejected(rejection),
    }
}

/// Keeps the connection of a call until the call ends.
#[derive(Clone)]
pub(crate) struct Keeping<S>(S);

impl<S, Req, E> Service<(Req, Connection<Nowhere, TokioEnv>)> for Keeping<S>
where
    S: Service<Req, Error = Error<E>, Future: Send + 'static>,
{
    type Response = S::Response;
    type Error = Behind<E>;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, Behind<E>>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Behind<E>>> {
        self.0.poll_ready(cx).map_err(Behind::Service)
    }

    fn call(&mut self, (request, connection): (Req, Connection<Nowhere, TokioEnv>)) -> Self::Future {
        let call = self.0.call(request);
        Box::pin(async move {
            let answer = call.await;
            drop(connection);
            answer.map_err(Behind::Service)
        })
    }
}

#[derive(Clone)]
pub(crate) struct KeepingLayer;

impl<S> Layer<S> for KeepingLayer {
    type Service = Keeping<S>;

    fn layer(&self, inner: S) -> Keeping<S> {
        Keeping(inner)
    }
}

/// A pool before a service whose calls know nothing of connections.
pub(crate) type PoolStack<E = ProbeError> =
    Stack<KeepingLayer, Stack<PoolLayer<Nowhere, TokioEnv>, MapErrLayer<fn(Behind<E>) -> Error<E>>>>;

pub(crate) fn pool(connections: usize) -> TestPool {
    let env = Env::new().with_clock(TokioClock);
    Pool::with_env(Nowhere, PoolConfig::new().with_max(connections), env).unwrap()
}

pub(crate) fn over<E>(pool: &TestPool) -> PoolStack<E> {
    Stack::new(KeepingLayer, Stack::new(PoolLayer::new(pool.clone()), MapErrLayer::new(plain as fn(_) -> _)))
}

fn lending(_: TestEnv) -> PoolStack {
    over(&pool(CONNECTIONS))
}

/// A pool books no calls: a ledger outside does.
fn booked(env: TestEnv) -> Stack<PoolStack, GateLayer<Ledger, TestEnv>> {
    Stack::new(lending(env.clone()), GateLayer::with_env(Ledger::default(), env))
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_in_exactly_one_outcome() {
    contract::every_call_ends_in_exactly_one_outcome(booked).await;
    contract::every_call_through_it_ends_once(lending).await;
    contract::every_call_that_waited_ends_in_exactly_one_outcome(booked, CONNECTIONS).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_at_any_point_leaves_nothing_held() {
    let pool = pool(CONNECTIONS);

    contract::dropping_at_any_point_leaves_nothing_held(
        |_| over(&pool),
        |_| {
            let status = pool.status();
            status.in_use + status.waiters + usize::from(status.size > CONNECTIONS)
        },
    )
    .await;
    assert!(pool.status().totals.handed_out > 10_000, "{:?}", pool.status());
}

#[tokio::test(start_paused = true)]
async fn readiness_reserves_nothing_that_a_drop_does_not_return() {
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(lending).await;
}

#[tokio::test(start_paused = true)]
async fn handles_that_are_ready_and_idle_keep_nobody_out() {
    contract::handles_that_are_ready_and_idle_keep_nobody_out(lending).await;
}

#[tokio::test(start_paused = true)]
async fn works_under_a_buffer() {
    contract::works_under_a_buffer(lending, Crowd::Waits).await;
}

#[tokio::test(start_paused = true)]
async fn state_is_shared_by_clones_and_by_layer_calls() {
    // Connecting takes a turn of other tasks; what finds no connection waits until its time is up.
    contract::state_is_shared_by_clones_and_by_layer_calls(lending, async |service: MapErr<_, _>| {
        let mut held = hold(&service, Script::Hang, CONNECTIONS);
        tokio::task::yield_now().await;
        held.poll();
        held
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_waiter_is_woken_and_none_spins() {
    contract::every_waiter_is_woken_and_none_spins(lending, Crowd::Waits).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_in_vain_is_refused_and_leaves_nothing() {
    let pool = pool(1);
    let held = pool.get().await.unwrap();
    let service = over(&pool).layer(seawall::core::WrapError::new(seawall_testkit::Probe::new()));

    let refused = service.clone().oneshot(Script::Answer).await;
    assert!(matches!(refused, Err(Error::Rejected(_))), "{refused:?}");
    drop(held);

    assert_eq!(service.oneshot(Script::Answer).await, Ok("answered"));
    assert_eq!((pool.status().in_use, pool.status().waiters), (0, 0));
}
