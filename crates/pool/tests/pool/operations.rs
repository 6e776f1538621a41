//! Operations that the pool runs itself, and repeats once where a connection was stale.

use std::time::Duration;

use crate::support::{Answer, Fault, Scripted, Started, still_pending};
use seawall_pool::{PoolConfig, PoolError, RunError};

const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_after_an_operation_that_ends() {
    let Started { pool, .. } = Scripted::start(PoolConfig::new());

    let first = pool.run(async |connection| Ok(connection.id)).await.unwrap();
    let failed = pool.run(async |_| Err::<(), _>(Fault::Refused)).await;
    let again = pool.run_idempotent(async |connection| Ok(connection.id)).await.unwrap();

    assert!(matches!(failed, Err(RunError::Operation(Fault::Refused))));
    assert_eq!((first, again), (1, 1));
    assert_eq!((pool.status().idle, pool.status().totals.created), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_operation_cut_in_the_middle_closes_its_connection() {
    let Started { pool, .. } = Scripted::start(PoolConfig::new());
    for idempotent in [false, true] {
        let pool = pool.clone();
        let mut cut = Box::pin(async move {
            if idempotent {
                pool.run_idempotent(async |_| std::future::pending().await).await
            } else {
                pool.run(async |_| std::future::pending::<Result<(), Fault>>().await).await
            }
        });
        has_happened_while(&mut cut).await;
        drop(cut);
    }

    assert_eq!((pool.status().size, pool.status().totals.closed.broken), (0, 2));
}

async fn has_happened_while<F: Future + Unpin>(future: &mut F) {
    for _ in 0..10 {
        still_pending(future).await;
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_operation_on_a_stale_connection_is_tried_once_more_on_a_new_one() {
    let Started { pool, .. } = Scripted::start(PoolConfig::new());
    drop([pool.get().await.unwrap(), pool.get().await.unwrap()]);
    let mut seen = Vec::new();

    let result = pool
        .run_idempotent(async |connection| {
            seen.push(connection.id);
            if connection.id == 3 { Ok("answer") } else { Err(Fault::Reset) }
        })
        .await;

    assert_eq!(result.unwrap(), "answer");
    assert_eq!(seen, [2, 3]);
    let status = pool.status();
    assert_eq!((status.totals.closed.stale, status.totals.created, status.idle), (1, 3, 2));
    assert_eq!(status.totals.repeated, 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_stale_connection_the_other_idle_ones_are_checked_although_they_were_used_just_now() {
    let Started { pool, clock, script } = Scripted::start(PoolConfig::new());
    drop([pool.get().await.unwrap(), pool.get().await.unwrap()]);
    script.kill(1);
    let operation = async |it: &mut crate::support::Conn| {
        clock.advance(MS);
        if it.id == 3 { Ok(()) } else { Err(Fault::Reset) }
    };
    pool.run_idempotent(operation).await.unwrap();
    let held = pool.get().await.unwrap();

    let next = pool.get().await.unwrap();

    assert_eq!((held.id, next.id, script.checked()), (3, 4, 1));
}

#[tokio::test(start_paused = true)]
async fn an_operation_is_never_tried_a_third_time() {
    let Started { pool, .. } = Scripted::start(PoolConfig::new());
    drop(pool.get().await.unwrap());
    let mut tries = 0;

    let result = pool
        .run_idempotent(async |_| {
            tries += 1;
            Err::<(), _>(Fault::Reset)
        })
        .await;

    assert!(matches!(result, Err(RunError::Operation(Fault::Reset))));
    assert_eq!((tries, pool.status().size), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn an_operation_is_tried_once_on_a_new_connection_or_when_the_error_is_not_staleness() {
    let Started { pool, .. } = Scripted::start(PoolConfig::new());
    let mut tries = 0;
    let mut fails_with = async |fault: Fault| {
        pool.run_idempotent(async |_| {
            tries += 1;
            Err::<(), _>(fault.clone())
        })
        .await
    };

    assert!(matches!(fails_with(Fault::Reset).await, Err(RunError::Operation(Fault::Reset))));
    drop(pool.get().await.unwrap());
    assert!(matches!(fails_with(Fault::Refused).await, Err(RunError::Operation(Fault::Refused))));

    assert_eq!(tries, 2);
    assert_eq!(pool.status().idle, 1);
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_may_not_be_repeated_is_not() {
    let Started { pool, .. } = Scripted::start(PoolConfig::new());
    drop(pool.get().await.unwrap());
    let mut tries = 0;

    let result = pool
        .run(async |_| {
            tries += 1;
            Err::<(), _>(Fault::Reset)
        })
        .await;

    assert!(matches!(result, Err(RunError::Operation(Fault::Reset))));
    assert_eq!((tries, pool.status().totals.closed.stale), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_stale_connection_that_cannot_be_replaced_frees_its_place() {
    let Started { pool, script, .. } = Scripted::start(PoolConfig::new().with_max(1));
    drop(pool.get().await.unwrap());
    script.connects(Answer::Fail(Fault::Refused));

    let result = pool.run_idempotent(async |_| Err::<(), _>(Fault::Reset)).await;

    assert!(matches!(result, Err(RunError::Pool(PoolError::Connect(_)))));
    assert_eq!((pool.status().size, pool.status().in_use), (0, 0));
    assert_eq!(pool.status().totals.connect_failures, 1);
}

#[tokio::test(start_paused = true)]
async fn a_stale_connection_whose_replacement_is_cut_frees_its_place() {
    let Started { pool, script, .. } = Scripted::start(PoolConfig::new().with_max(1));
    drop(pool.get().await.unwrap());
    script.connects(Answer::Held);
    let mut cut = Box::pin(pool.run_idempotent(async |_| Err::<(), _>(Fault::Reset)));
    still_pending(&mut cut).await;
    assert_eq!(script.started(), 2, "the replacement is being opened");

    drop(cut);
    script.connects(Answer::Open);

    assert_eq!((pool.status().size, pool.status().totals.closed.stale), (0, 1));
    assert_eq!(pool.get().await.unwrap().id, 2);
}

#[tokio::test(start_paused = true)]
async fn a_stale_connection_that_panics_when_it_is_dropped_frees_its_place() {
    let Started { pool, .. } = Scripted::start(PoolConfig::new().with_max(1));
    pool.get().await.unwrap().falls_apart = true;
    let repeated = pool.clone();

    let ended = tokio::spawn(async move { repeated.run_idempotent(async |_| Err::<(), _>(Fault::Reset)).await });

    assert!(ended.await.unwrap_err().is_panic());
    assert_eq!((pool.status().in_use, pool.get().await.unwrap().id), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn operations_can_be_spawned() {
    let Started { pool, .. } = Scripted::start(PoolConfig::new());

    let id = tokio::spawn(async move {
        pool.run_idempotent(async |connection| {
            tokio::task::yield_now().await;
            Ok(connection.id)
        })
        .await
    });

    assert_eq!(id.await.unwrap().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_breaks_every_operation_is_asked_once_more_at_most_for_each_connection_that_was_open() {
    let Started { pool, script, .. } = Scripted::start(PoolConfig::new().with_max(4));
    drop([pool.get().await.unwrap(), pool.get().await.unwrap(), pool.get().await.unwrap()]);
    script.checks(Answer::Fail(Fault::Reset));
    let mut asked = 0;

    for _ in 0..50 {
        let failed = pool.run_idempotent(async |_| {
            asked += 1;
            Err::<(), _>(Fault::Reset)
        });
        assert!(failed.await.is_err());
    }

    assert!((51..=53).contains(&asked), "{asked} for 50 operations");
    assert_eq!(pool.status().totals.repeated, asked - 50);
}
