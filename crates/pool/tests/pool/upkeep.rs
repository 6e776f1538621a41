//! What becomes of connections that lie idle, grow old or fail their check.

use std::time::Duration;

use crate::support::{Answer, Scripted, Started, ask, has_happened, ready, still_pending};
use seawall_pool::PoolConfig;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_after_30_seconds_and_not_before() {
    let Started { pool, clock, script } = Scripted::start(PoolConfig::new());
    drop(pool.get().await.unwrap());
    tokio::task::yield_now().await;

    clock.advance(29_999 * MS);
    tokio::task::yield_now().await;
    assert_eq!(pool.status().idle, 1);
    clock.advance(MS);

    has_happened(|| pool.status().size == 0).await;
    assert_eq!(pool.status().totals.closed.idle, 1);
    assert_eq!(script.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn use_starts_the_idle_time_anew() {
    let Started { pool, clock, .. } = Scripted::start(PoolConfig::new());
    drop(pool.get().await.unwrap());
    for _ in 0..5 {
        clock.advance(20 * SECOND);
        drop(pool.get().await.unwrap());
        tokio::task::yield_now().await;
    }

    assert_eq!(pool.status().totals.created, 1);
}

#[tokio::test(start_paused = true)]
async fn as_many_idle_connections_as_wanted_are_opened_and_kept() {
    let Started { pool, clock, script } = Scripted::start(PoolConfig::new().with_min_idle(2));
    drop(pool.get().await.unwrap());
    has_happened(|| pool.status().idle == 3).await;

    clock.advance(120 * SECOND);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }

    assert_eq!((pool.status().idle, script.open()), (2, 2));
    let held = [pool.get().await.unwrap(), pool.get().await.unwrap()];
    has_happened(|| pool.status().idle == 2).await;
    drop(held);
    assert_eq!(pool.status().idle, 4);
    clock.advance(30 * SECOND);
    has_happened(|| pool.status().idle == 2).await;
}

#[tokio::test(start_paused = true)]
async fn connections_opened_together_do_not_end_together() {
    let config = PoolConfig::new().with_max_lifetime(100 * SECOND).with_idle_timeout(99 * SECOND);
    let Started { pool, clock, .. } = Scripted::start(config);
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(pool.get().await.unwrap());
    }
    drop(held);
    tokio::task::yield_now().await;

    let mut left = vec![20];
    for _ in 0..10 {
        clock.advance(if left.len() == 1 { 90 * SECOND } else { SECOND });
        tokio::task::yield_now().await;
        left.push(pool.status().size);
    }

    assert_eq!(left.first(), Some(&20));
    let distinct: std::collections::BTreeSet<_> = left.iter().copied().filter(|size| *size > 0).collect();
    assert!(distinct.len() >= 5, "{left:?}");
    assert!(left[1] >= 18, "none ends before nine tenths of its life: {left:?}");
    clock.advance(SECOND);
    has_happened(|| pool.status().size == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_past_its_life_is_closed_when_it_comes_back() {
    let Started { pool, clock, script } = Scripted::start(PoolConfig::new());
    let held = pool.get().await.unwrap();
    clock.advance(1_800 * SECOND);

    drop(held);

    assert_eq!((pool.status().size, script.open()), (0, 0));
    assert_eq!(pool.status().totals.closed.lifetime, 1);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_past_its_life_is_handed_to_nobody() {
    let lasting = PoolConfig::new().with_idle_timeout(9 * SECOND).with_check_after(Duration::MAX);
    let Started { pool, clock, .. } = Scripted::start(lasting.with_max_lifetime(10 * SECOND));
    let held = pool.get().await.unwrap();
    clock.advance(8 * SECOND);
    drop(held);

    // Nobody else has run since: the first to see it is who asks.
    clock.advance(2 * SECOND);

    assert_eq!(pool.get().await.unwrap().id, 2);
    assert_eq!(pool.status().totals.closed.lifetime, 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_closed_after_its_last_use() {
    let Started { pool, .. } = Scripted::start(PoolConfig::new().with_max_uses(2));

    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(pool.get().await.unwrap().id);
    }

    assert_eq!(ids, [1, 1, 2]);
    assert_eq!(pool.status().totals.closed.uses, 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_checked_only_when_it_lay_idle_for_longer_than_a_second() {
    let Started { pool, clock, script } = Scripted::start(PoolConfig::new());
    drop(pool.get().await.unwrap());
    clock.advance(SECOND);
    drop(pool.get().await.unwrap());
    assert_eq!(script.checked(), 0);

    clock.advance(SECOND + MS);
    drop(pool.get().await.unwrap());

    assert_eq!(script.checked(), 1);
    drop(pool.get().await.unwrap());
    assert_eq!(script.checked(), 1);
    assert_eq!(pool.status().totals.created, 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_check_leads_to_the_next_idle_connection() {
    let Started { pool, clock, script } = Scripted::start(PoolConfig::new());
    drop([pool.get().await.unwrap(), pool.get().await.unwrap()]);
    clock.advance(2 * SECOND);
    script.kill(2);

    let connection = pool.get().await.unwrap();

    assert_eq!(connection.id, 1);
    assert_eq!(pool.status().totals.closed.failed_check, 1);
    assert_eq!(pool.status().totals.created, 2);
}

#[tokio::test(start_paused = true)]
async fn two_failed_checks_in_a_row_condemn_what_is_idle_and_a_connect_follows() {
    let Started { pool, clock, script } = Scripted::start(PoolConfig::new());
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(pool.get().await.unwrap());
    }
    drop(held);
    clock.advance(2 * SECOND);
    (1..=20).for_each(|id| script.kill(id));

    let connection = pool.get().await.unwrap();

    assert_eq!((connection.id, connection.is_reused()), (21, false));
    assert_eq!(script.checked(), 2);
    assert_eq!(pool.status().totals.closed.failed_check, 20);
}

#[tokio::test(start_paused = true)]
async fn failed_checks_with_a_good_one_between_them_condemn_nothing() {
    let Started { pool, clock, script } = Scripted::start(PoolConfig::new());
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(pool.get().await.unwrap());
    }
    drop(held);
    clock.advance(2 * SECOND);
    script.kill(4);
    let passed = pool.get().await.unwrap();
    assert_eq!(passed.id, 3);
    drop(passed);
    clock.advance(2 * SECOND);
    script.kill(3);

    let connection = pool.get().await.unwrap();

    assert_eq!((connection.id, pool.status().idle), (2, 1));
    assert_eq!(pool.status().totals.closed.failed_check, 2);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_is_cut_after_its_own_time() {
    let Started { pool, clock, script } = Scripted::start(PoolConfig::new());
    drop(pool.get().await.unwrap());
    clock.advance(2 * SECOND);
    script.checks(Answer::Held);
    let mut wait = ask(&pool);
    still_pending(&mut wait).await;
    has_happened(|| script.checked() == 1).await;

    clock.advance(SECOND);

    assert_eq!(ready(&mut wait).await.unwrap().id, 2);
    assert_eq!(pool.status().totals.closed.failed_check, 1);
}

#[tokio::test(start_paused = true)]
async fn a_check_for_a_caller_that_gave_up_is_finished_and_the_connection_kept() {
    let Started { pool, clock, script } = Scripted::start(PoolConfig::new());
    drop(pool.get().await.unwrap());
    clock.advance(2 * SECOND);
    script.checks(Answer::Held);
    let mut wait = ask(&pool);
    still_pending(&mut wait).await;
    has_happened(|| script.checked() == 1).await;

    drop(wait);
    script.release();

    has_happened(|| pool.status().idle == 1).await;
    assert_eq!((pool.status().checking, script.open()), (0, 1));
}
