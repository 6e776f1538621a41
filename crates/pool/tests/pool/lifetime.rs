//! Sizes that change, pools that close, runtimes that come and go.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use crate::support::{Answer, Scripted, Started, ask, has_happened, ready, still_pending};
use seawall_core::{Clock, Env, SeededEntropy, TokioClock, VirtualClock};
use seawall_pool::{ConnectError, ConnectFailure, Pool, PoolConfig, PoolError};

const SECOND: Duration = Duration::from_secs(1);

/// Counts how often a caller is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn connects_at_the_same_time_are_limited() {
    let Started { pool, script, .. } = Scripted::start(PoolConfig::new());
    script.connects(Answer::Held);
    let mut waits: Vec<_> = (0..20).map(|_| ask(&pool)).collect();
    for wait in &mut waits {
        still_pending(wait).await;
    }
    has_happened(|| script.started() == 4).await;
    assert_eq!(pool.status().connecting, 4);

    script.release();

    for wait in &mut waits {
        ready(wait).await.unwrap();
    }
    assert!(script.most_at_once() <= 4);
}

#[tokio::test(start_paused = true)]
async fn a_smaller_pool_closes_what_is_idle_now_and_the_rest_as_it_comes_back() {
    let Started { pool, script, .. } = Scripted::start(PoolConfig::new());
    let held: Vec<_> = [pool.get().await, pool.get().await, pool.get().await].into_iter().flatten().collect();
    drop(pool.get().await.unwrap());

    pool.resize(2).unwrap();
    assert_eq!((pool.status().idle, script.open()), (0, 3));
    drop(held);

    assert_eq!((pool.status().idle, script.open()), (2, 2));
    assert_eq!(pool.status().totals.closed.evicted, 2);
    assert_eq!(pool.resize(0).unwrap_err().to_string(), "max is 0; allowed are 1 to 1000000");
    assert_eq!(pool.config().max, 2);
}

#[tokio::test(start_paused = true)]
async fn a_larger_pool_serves_those_who_wait() {
    let Started { pool, .. } = Scripted::start(PoolConfig::new().with_max(1));
    let held = pool.get().await.unwrap();
    let mut wait = ask(&pool);
    still_pending(&mut wait).await;

    pool.resize(2).unwrap();

    assert_eq!(ready(&mut wait).await.unwrap().id, 2);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn idle_connections_can_be_dropped_all_at_once() {
    let Started { pool, script, .. } = Scripted::start(PoolConfig::new());
    let held = pool.get().await.unwrap();
    drop(pool.get().await.unwrap());

    pool.evict_idle();

    assert_eq!((pool.status().idle, pool.status().in_use, script.open()), (0, 1, 1));
    drop(held);
    assert_eq!(pool.status().idle, 1);
}

#[tokio::test(start_paused = true)]
async fn closing_tells_those_who_wait_and_closes_each_connection_once_it_is_back() {
    let Started { pool, script, .. } = Scripted::start(PoolConfig::new().with_max(2));
    let held = pool.get().await.unwrap();
    let second = pool.get().await.unwrap();
    let mut wait = ask(&pool);
    still_pending(&mut wait).await;
    drop(second);
    let third = ready(&mut wait).await.unwrap();
    let mut wait = ask(&pool);
    still_pending(&mut wait).await;

    pool.close();

    assert!(matches!(ready(&mut wait).await, Err(PoolError::Closed)));
    assert!(matches!(pool.get().await, Err(PoolError::Closed)));
    let mut drained = Box::pin(pool.drain());
    still_pending(&mut drained).await;
    drop(held);
    still_pending(&mut drained).await;
    drop(third);
    ready(&mut drained).await;
    assert_eq!((pool.status().size, script.open()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_a_connect_under_way() {
    let Started { pool, script, .. } = Scripted::start(PoolConfig::new());
    script.connects(Answer::Held);
    let mut wait = ask(&pool);
    still_pending(&mut wait).await;
    has_happened(|| script.started() == 1).await;

    let mut drained = Box::pin(pool.drain());
    still_pending(&mut drained).await;
    script.release();

    ready(&mut drained).await;
    assert_eq!(script.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_closes_the_pool_and_stops_its_task() {
    let Started { pool, script, .. } = Scripted::start(PoolConfig::new());
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let other = pool.clone();
    drop(pool.get().await.unwrap());
    let held = other.get().await.unwrap();
    drop(other.get().await.unwrap());
    drop(pool);
    assert_eq!(script.open(), 2);

    drop(other);

    assert_eq!(script.open(), 1);
    has_happened(|| tasks() == before).await;
    drop(held);
    assert_eq!(script.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_leaked_pool_outlives_its_counted_handles() {
    let Started { pool, .. } = Scripted::start(PoolConfig::new());
    let leaked = pool.clone().leak();

    drop(pool);

    assert_eq!(leaked.get().await.unwrap().id, 1);
    leaked.close();
}

#[test]
fn a_pool_outlives_the_runtime_that_used_it_first() {
    let runtime = || tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let Started { pool, clock, .. } = Scripted::start(PoolConfig::new().with_max(1));
    let first = runtime();
    let held = first.block_on(async { pool.get().await.unwrap() });

    drop(first);

    runtime().block_on(async {
        let mut wait = ask(&pool);
        still_pending(&mut wait).await;
        has_happened(|| clock.sleeping() == 1).await;
        clock.advance(5 * SECOND);
        assert!(matches!(ready(&mut wait).await, Err(PoolError::Timeout(_))));
    });
    drop(held);
    assert_eq!(pool.status().idle, 1);
}

#[test]
fn a_caller_that_waits_outlives_the_runtime_that_kept_the_time() {
    let runtime = || tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let Started { pool, clock, .. } = Scripted::start(PoolConfig::new().with_max(1));
    let first = runtime();
    let (held, mut waits) = first.block_on(async {
        let held = pool.get().await.expect("it opens");
        let mut waits = ask(&pool);
        still_pending(&mut waits).await;
        (held, waits)
    });
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());

    drop(first);

    assert_eq!(woken.0.load(SeqCst), 1, "its time would never end");
    let ended = runtime().block_on(async {
        still_pending(&mut waits).await;
        tokio::task::yield_now().await;
        clock.advance(pool.config().acquire_timeout);
        ready(&mut waits).await
    });
    assert!(matches!(ended, Err(PoolError::Timeout(_))), "{ended:?}");
    drop(held);
}

#[test]
fn without_a_runtime_a_caller_is_told_so() {
    for answer in [ConnectFailure::Report, ConnectFailure::KeepTrying] {
        let Started { pool, .. } = Scripted::start(PoolConfig::new().with_connect_failure(answer));
        let mut wait = ask(&pool);
        let mut cx = Context::from_waker(Waker::noop());

        let error = loop {
            if let Poll::Ready(result) = wait.as_mut().poll(&mut cx) {
                break result.unwrap_err();
            }
        };

        let PoolError::Connect(failure) = error else { panic!("{error}") };
        assert!(matches!(*failure, ConnectError::NoRuntime));
        assert_eq!(pool.status().waiters, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn it_follows_tokios_paused_time() {
    let script = Scripted::new();
    let env = Env::new().with_clock(TokioClock).with_entropy(SeededEntropy::new(1));
    let pool = Pool::with_env(script.clone(), PoolConfig::new().with_max(1), env).unwrap();
    let start = TokioClock.now();
    let held = pool.get().await.unwrap();

    let Err(PoolError::Timeout(timeout)) = pool.get().await else { panic!("the only one is held") };

    assert_eq!(timeout.waited().as_secs(), 5);
    assert!(TokioClock.now().since(start) >= 5 * SECOND);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn the_longest_times_hang_nothing() {
    let config = PoolConfig::new()
        .with_max(1)
        .with_acquire_timeout(Duration::MAX)
        .with_idle_timeout(Duration::MAX)
        .with_connect_timeout(Duration::MAX)
        .with_check_timeout(Duration::MAX)
        .with_check_after(Duration::MAX)
        .with_max_lifetime(Duration::MAX);
    let Started { pool, clock, script } = Scripted::start(config);
    drop(pool.get().await.unwrap());

    clock.advance(Duration::MAX);

    assert_eq!(pool.get().await.unwrap().id, 1);
    assert_eq!(script.checked(), 0);
    let clock = VirtualClock::starting_at(clock.now());
    assert_eq!(clock.now().as_nanos(), u64::MAX);
}
