//! What comes back broken, in the middle of something, or not at all.

use std::time::Duration;

use crate::support::{Answer, Scripted, Started};
use seawall_pool::{ConnectError, PoolConfig, PoolError};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_broken_connection_is_closed_when_it_comes_back() {
    let Started { pool, script, .. } = Scripted::start(PoolConfig::new());
    pool.get().await.unwrap().broken = true;
    assert_eq!((pool.status().size, script.open()), (0, 0));

    pool.get().await.unwrap().discard();

    assert_eq!(pool.status().totals.closed.broken, 2);
    assert_eq!(pool.get().await.unwrap().id, 3);
}

#[tokio::test(start_paused = true)]
async fn a_connection_taken_out_for_good_frees_its_place() {
    let Started { pool, script, .. } = Scripted::start(PoolConfig::new().with_max(1));

    let taken = pool.get().await.unwrap().take();

    let next = pool.get().await.unwrap();
    assert_eq!((taken.id, next.id, script.open()), (1, 2, 2));
    assert_eq!(pool.status().totals.closed.taken, 1);
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_panics_costs_no_place() {
    let Started { pool, clock, script } = Scripted::start(PoolConfig::new().with_max(1));
    script.connects(Answer::Panic);
    let Err(PoolError::Connect(failure)) = pool.get().await else { panic!("the connect panicked") };
    assert!(matches!(*failure, ConnectError::Abandoned));
    script.connects(Answer::Open);
    clock.advance(SECOND);

    pool.get().await.unwrap().panics = true;
    assert_eq!(pool.status().totals.closed.broken, 1);
    drop(pool.get().await.unwrap());
    script.checks(Answer::Panic);
    clock.advance(2 * SECOND);
    let connection = pool.get().await.unwrap();

    assert_eq!(connection.id, 3);
    assert_eq!(pool.status().totals.closed.failed_check, 1);
    assert_eq!((pool.status().in_use, pool.status().size), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_checked_connection_that_panics_when_it_is_dropped_frees_its_place() {
    let Started { pool, clock, script } = Scripted::start(PoolConfig::new().with_max(1));
    pool.get().await.unwrap().falls_apart = true;
    script.checks(Answer::Fail(crate::support::Fault::Reset));
    clock.advance(2 * SECOND);

    let next = pool.get().await.unwrap();

    assert_eq!((next.id, pool.status().size), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_connection_dropped_by_a_panic_is_closed() {
    let Started { pool, .. } = Scripted::start(PoolConfig::new());
    let holds = pool.clone();

    let ended = tokio::spawn(async move {
        let _connection = holds.get().await.unwrap();
        panic!("in the middle of a transaction");
    });

    assert!(ended.await.unwrap_err().is_panic());
    assert_eq!((pool.status().size, pool.status().totals.closed.broken), (0, 1));
}
