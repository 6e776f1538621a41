//! The pool as a layer and as a service, in virtual time.

use std::time::Duration;

use crate::support::{Answer, Fault, Scripted, Started, TestEnv, ready, still_pending};
use seawall_core::{CallContext, Clock, Env, Error, Reason, SeededEntropy, Timestamp, VirtualClock};
use seawall_pool::{Connection, Pool, PoolConfig, PoolError, PoolLayer};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};

/// An error of a service that keeps one of its own for failed connects.
#[derive(Debug, PartialEq, Eq)]
enum Lookup {
    NoServer(String),
}

impl From<PoolError<Fault>> for Lookup {
    fn from(error: PoolError<Fault>) -> Self {
        Self::NoServer(error.to_string())
    }
}

type Call = (u32, Connection<Scripted, TestEnv>);

async fn lookup((request, connection): Call) -> Result<(u32, u32), Error<Lookup>> {
    tokio::task::yield_now().await;
    Ok((request, connection.id))
}

#[tokio::test(start_paused = true)]
async fn each_call_of_a_service_has_a_connection_until_its_end() {
    let Started { pool, .. } = Scripted::start(PoolConfig::new().with_max(1));
    let layer = PoolLayer::new(pool.clone());
    let (mut first, mut second) = (layer.layer(service_fn(lookup)), layer.clone().layer(service_fn(lookup)));

    let both = tokio::join!(first.ready().await.unwrap().call(7), second.ready().await.unwrap().call(8));

    assert_eq!((both.0.unwrap(), both.1.unwrap()), ((7, 1), (8, 1)));
    assert_eq!((pool.status().idle, pool.status().totals.handed_out), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_the_pool_is_a_rejection_and_a_failed_connect_the_services_own_error() {
    let Started { pool, script, .. } = Scripted::start(PoolConfig::new());
    let service = PoolLayer::new(pool.clone()).layer(service_fn(lookup));
    script.connects(Answer::Fail(Fault::Refused));

    let failed = service.clone().oneshot(1).await.unwrap_err();
    pool.close();
    let refused = service.oneshot(1).await.unwrap_err();

    assert_eq!(failed, Error::Inner(Lookup::NoServer("connecting to 127.0.0.1:5432 failed".to_owned())));
    assert_eq!(refused.rejection().map(seawall_core::Rejection::reason), Some(Reason::Closed));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_request_ends_its_wait() {
    let (script, clock) = (Scripted::new(), VirtualClock::new());
    let env = Env::new()
        .with_clock(clock.clone())
        .with_entropy(SeededEntropy::new(1))
        .with_attributes(|deadline: &Timestamp| CallContext::new().with_deadline(*deadline));
    let pool = Pool::with_env(script, PoolConfig::new().with_max(1), env).unwrap();
    let _held = pool.get().await.unwrap();
    let echo = service_fn(|_| async { Ok::<_, PoolError<Fault>>(()) });
    let mut call =
        Box::pin(PoolLayer::new(pool).layer(echo).oneshot(clock.now().saturating_add(Duration::from_millis(300))));
    still_pending(&mut call).await;

    clock.advance(Duration::from_millis(300));

    let Err(PoolError::Timeout(timeout)) = ready(&mut call).await else { panic!("its deadline has passed") };
    assert_eq!(timeout.waited(), Duration::from_millis(300));
    assert_eq!(timeout.status().oldest_checkout.map(|oldest| oldest.at.file()), Some(file!()));
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_a_connection_hold_no_place_of_the_service_behind() {
    let Started { pool, .. } = Scripted::start(PoolConfig::new().with_max(1));
    let behind = ServiceBuilder::new()
        .layer(ConcurrencyLimitLayer::new(1))
        .service(service_fn(|(request, _): Call| async move { Ok::<_, PoolError<Fault>>(request) }));
    let service = PoolLayer::new(pool.clone()).layer(behind);
    let mut kept: Vec<_> = std::iter::repeat_with(|| service.clone()).take(50).collect();
    let mut calls = Vec::new();
    for (request, handle) in (0..).zip(&mut kept) {
        calls.push(tokio::spawn(handle.ready().await.unwrap().call(request)));
    }

    for (request, call) in (0_u32..).zip(calls) {
        assert_eq!(call.await.unwrap().unwrap(), request);
    }
    assert_eq!((pool.status().in_use, pool.status().waiters), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_connection_waits_for_the_service_behind_to_be_ready() {
    let Started { pool, .. } = Scripted::start(PoolConfig::new());
    let mut only = ConcurrencyLimitLayer::new(1).layer(service_fn(lookup));
    let service = PoolLayer::new(pool.clone()).layer(only.clone());
    only.ready().await.unwrap();
    let mut call = Box::pin(service.oneshot(7));

    for _ in 0..10 {
        still_pending(&mut call).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(pool.status().in_use, 1);
    drop(only);

    assert_eq!(ready(&mut call).await.unwrap(), (7, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_at_any_point_leaves_nothing_held() {
    let Started { pool, .. } = Scripted::start(PoolConfig::new().with_max(1));
    let slow = service_fn(|(_, _connection): Call| async {
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        Ok::<_, PoolError<Fault>>(())
    });
    let service = PoolLayer::new(pool.clone()).layer(slow);

    for polls in 0..8 {
        let mut call = Box::pin(service.clone().oneshot(0));
        for _ in 0..polls {
            let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx))).await;
            if polled.is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(call);

        assert_eq!((pool.status().in_use, pool.status().waiters), (0, 0), "after {polls} polls");
    }
    assert_eq!(pool.status().totals.created, 1);
}

#[tokio::test(start_paused = true)]
async fn a_pool_is_a_service_that_gives_connections() {
    let Started { mut pool, .. } = Scripted::start(PoolConfig::new());

    let connection = pool.ready().await.unwrap().call(()).await.unwrap();

    assert_eq!(connection.id, 1);
    let Started { pool, .. } = Scripted::start(PoolConfig::new());
    assert_eq!(pool.oneshot(()).await.unwrap().id, 1, "the call keeps the pool open");
}
