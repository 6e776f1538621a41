//! Who gets which connection, and what becomes of those that fail.

use std::time::Duration;

use crate::support::{Answer, Fault, Scripted, Started, ask, has_happened, ready, still_pending};
use seawall_core::{Clock, Env, Pattern, Reason, SeededEntropy, TokioClock, VirtualClock};
use seawall_pool::{ConnectError, ConnectFailure, Pool, PoolConfig, PoolError, RunError, TimeoutCause};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

#[tokio::test]
async fn a_returned_connection_is_used_again_and_the_last_used_one_first() {
    let Started { pool, .. } = Scripted::start(PoolConfig::new());
    let (first, second) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    let (first_id, second_id) = (first.id, second.id);
    drop(first);
    drop(second);

    let again = pool.get().await.unwrap();
    let then = pool.get().await.unwrap();

    assert_eq!((again.id, then.id), (second_id, first_id));
    assert!(again.is_reused());
    assert_eq!(pool.status().totals.created, 2);
    assert_eq!(pool.status().totals.handed_out, 4);
}

#[tokio::test]
async fn callers_are_served_in_the_order_in_which_they_came() {
    let Started { pool, .. } = Scripted::start(PoolConfig::new().with_max(1));
    let held = pool.get().await.unwrap();
    let mut waits: Vec<_> = (0..3).map(|_| ask(&pool)).collect();
    for wait in &mut waits {
        still_pending(wait).await;
    }

    drop(held);

    let mut late = ask(&pool);
    still_pending(&mut late).await;
    for (turn, mut wait) in waits.into_iter().enumerate() {
        let connection = ready(&mut wait).await.unwrap();
        assert_eq!((connection.id, connection.is_reused()), (1, true), "turn {turn}");
        still_pending(&mut late).await;
        drop(connection);
    }
    assert_eq!(ready(&mut late).await.unwrap().id, 1);
}

#[tokio::test]
async fn a_caller_that_gives_up_after_its_turn_has_come_passes_the_connection_on() {
    let Started { pool, .. } = Scripted::start(PoolConfig::new().with_max(1));
    let held = pool.get().await.unwrap();
    let (mut first, mut second) = (ask(&pool), ask(&pool));
    still_pending(&mut first).await;
    still_pending(&mut second).await;
    drop(held);

    drop(first);

    assert_eq!(ready(&mut second).await.unwrap().id, 1);
    assert_eq!(pool.status().totals.cancelled, 1);
}

#[tokio::test]
async fn a_caller_that_gives_up_before_its_turn_leaves_the_others_in_order() {
    let Started { pool, .. } = Scripted::start(PoolConfig::new().with_max(1));
    let held = pool.get().await.unwrap();
    let (mut first, mut second) = (ask(&pool), ask(&pool));
    still_pending(&mut first).await;
    still_pending(&mut second).await;

    drop(first);
    drop(held);

    assert_eq!(ready(&mut second).await.unwrap().id, 1);
    assert_eq!(pool.status().waiters, 0);
}

#[tokio::test]
async fn a_connect_begun_for_a_caller_that_gave_up_is_finished_and_kept() {
    let Started { pool, script, .. } = Scripted::start(PoolConfig::new());
    script.connects(Answer::Held);
    let mut gives_up = ask(&pool);
    still_pending(&mut gives_up).await;
    has_happened(|| script.started() == 1).await;

    drop(gives_up);
    script.release();

    has_happened(|| pool.status().idle == 1).await;
    assert_eq!(pool.get().await.unwrap().id, 1);
    assert_eq!(script.started(), 1);
    assert_eq!(script.cut(), 0);
}

#[tokio::test]
async fn a_caller_gets_whatever_is_free_first_a_return_or_its_connect() {
    let Started { pool, script, .. } = Scripted::start(PoolConfig::new());
    let held = pool.get().await.unwrap();
    script.connects(Answer::Held);
    let mut wait = ask(&pool);
    still_pending(&mut wait).await;

    drop(held);

    assert_eq!(ready(&mut wait).await.unwrap().id, 1);
    script.release();
    has_happened(|| pool.status().idle == 2).await;
}

#[tokio::test]
async fn a_timeout_says_that_a_connection_is_held_for_long_and_where_it_was_taken() {
    let Started { pool, clock, .. } = Scripted::start(PoolConfig::new().with_max(1));
    let held = pool.get().await.unwrap();
    let line = line!() - 1;
    clock.advance(SECOND);
    let mut wait = ask(&pool);
    still_pending(&mut wait).await;

    clock.advance(5 * SECOND);

    let error = ready(&mut wait).await.unwrap_err();
    assert_eq!(error.rejection().map(|it| (it.pattern(), it.reason())), Some((Pattern::Pool, Reason::PoolTimeout)));
    let text = error.to_string();
    let PoolError::Timeout(timeout) = error else { panic!("{text}") };
    assert_eq!(timeout.cause(), TimeoutCause::HeldTooLong);
    assert_eq!(timeout.waited(), 5 * SECOND);
    assert_eq!(timeout.status().waiters, 1);
    assert_eq!(
        timeout.status().oldest_checkout.map(|oldest| (oldest.held, oldest.at.line())),
        Some((6 * SECOND, line))
    );
    assert_eq!(
        text,
        format!(
            "no connection within 5s: a connection leaks or is held for long; 1 of 1 in use, 0 idle, 0 connecting, 1 \
             open, 1 waiting; the oldest is out for 6s, taken at {}:{line}:21",
            file!()
        )
    );
    drop(held);
    assert_eq!(pool.status().totals.timed_out, 1);
}

#[tokio::test]
async fn a_timeout_says_that_connecting_hangs() {
    let Started { pool, clock, script } = Scripted::start(PoolConfig::new().with_acquire_timeout(2 * SECOND));
    script.connects(Answer::Held);
    let mut wait = ask(&pool);
    still_pending(&mut wait).await;

    clock.advance(2 * SECOND);

    let Err(PoolError::Timeout(timeout)) = ready(&mut wait).await else { panic!("it waits for a connect that hangs") };
    assert_eq!(timeout.cause(), TimeoutCause::ConnectsHang);
    assert_eq!(timeout.status().connecting, 1);
}

#[tokio::test]
async fn a_timeout_carries_the_last_connect_error() {
    let config = PoolConfig::new().with_connect_failure(ConnectFailure::KeepTrying);
    let Started { pool, clock, script } = Scripted::start(config);
    script.connects(Answer::Fail(Fault::Refused));
    let mut wait = ask(&pool);
    still_pending(&mut wait).await;

    for _ in 0..50 {
        clock.advance(100 * MS);
        tokio::task::yield_now().await;
    }

    let Err(PoolError::Timeout(timeout)) = ready(&mut wait).await else { panic!("it cannot connect") };
    assert_eq!(timeout.cause(), TimeoutCause::ConnectsFail);
    assert!(matches!(timeout.last_connect_error(), Some(ConnectError::Failed(Fault::Refused))));
    let source = std::error::Error::source(&*timeout).map(ToString::to_string);
    assert_eq!(source.as_deref(), Some("connecting failed"));
    // 0.1, 0.2, 0.4 … s with up to half off: never a storm, never silence.
    assert!((5..=11).contains(&script.started()), "{} connects in 5 s", script.started());
}

#[tokio::test]
async fn a_timeout_says_that_there_are_more_callers_than_connections() {
    let Started { pool, clock, .. } = Scripted::start(PoolConfig::new().with_max(1));
    let mut held = pool.get().await.unwrap();
    let mut last = ask(&pool);
    still_pending(&mut last).await;
    for _ in 0..4 {
        clock.advance(SECOND);
        let mut next = ask(&pool);
        still_pending(&mut next).await;
        drop(held);
        held = ready(&mut last).await.unwrap();
        last = next;
    }
    let mut unlucky = ask(&pool);
    still_pending(&mut unlucky).await;
    clock.advance(SECOND);
    drop(held);
    let kept = ready(&mut last).await.unwrap();

    clock.advance(4 * SECOND);

    let Err(PoolError::Timeout(timeout)) = ready(&mut unlucky).await else { panic!("its time is up") };
    assert_eq!(timeout.cause(), TimeoutCause::Backlog);
    drop(kept);
}

#[tokio::test]
async fn a_refused_connect_is_reported_at_once_to_all_who_wait_and_until_the_next_is_due() {
    let Started { pool, clock, script } = Scripted::start(PoolConfig::new());
    script.connects(Answer::Fail(Fault::Refused));
    let (mut first, mut second) = (ask(&pool), ask(&pool));
    still_pending(&mut first).await;
    still_pending(&mut second).await;

    let errors = [ready(&mut first).await, ready(&mut second).await, pool.get().await].map(Result::unwrap_err);

    for error in errors {
        assert!(error.rejection().is_none());
        let PoolError::Connect(failure) = error else { panic!("{error}") };
        assert!(matches!(*failure, ConnectError::Failed(Fault::Refused)));
    }
    script.connects(Answer::Open);
    clock.advance(200 * MS);
    assert_eq!(pool.get().await.unwrap().id, 1);
}

#[tokio::test]
async fn a_failed_connect_leaves_callers_waiting_for_connections_that_are_in_use() {
    let Started { pool, script, .. } = Scripted::start(PoolConfig::new());
    let held = pool.get().await.unwrap();
    script.connects(Answer::Fail(Fault::Refused));
    let mut wait = ask(&pool);
    still_pending(&mut wait).await;
    has_happened(|| pool.status().totals.connect_failures == 1).await;
    still_pending(&mut wait).await;

    drop(held);

    assert_eq!(ready(&mut wait).await.unwrap().id, 1);
}

#[tokio::test]
async fn a_connect_that_hangs_is_cut_after_its_own_time() {
    let Started { pool, clock, script } = Scripted::start(PoolConfig::new());
    script.connects(Answer::Held);
    let mut wait = ask(&pool);
    still_pending(&mut wait).await;
    has_happened(|| script.started() == 1).await;

    clock.advance(3 * SECOND);

    let Err(PoolError::Connect(failure)) = ready(&mut wait).await else { panic!("it waits on") };
    assert_eq!(failure.to_string(), "connecting took longer than 3s");
    has_happened(|| script.cut() == 1).await;
}

#[tokio::test]
async fn a_nearer_deadline_cuts_the_wait_and_a_farther_one_does_not_lengthen_it() {
    let Started { pool, clock, .. } = Scripted::start(PoolConfig::new().with_max(1));
    let held = pool.get().await.unwrap();
    let start = clock.now();
    let mut far = Box::pin(pool.get_by(start.saturating_add(60 * SECOND)));
    let mut near = Box::pin(pool.get_by(start.saturating_add(SECOND)));
    still_pending(&mut far).await;
    still_pending(&mut near).await;

    clock.advance(SECOND);
    let Err(PoolError::Timeout(near)) = ready(&mut near).await else { panic!("its deadline has passed") };
    still_pending(&mut far).await;
    clock.advance(4 * SECOND);
    let Err(PoolError::Timeout(far)) = ready(&mut far).await else { panic!("its time is up") };

    assert_eq!((near.waited(), far.waited()), (SECOND, 5 * SECOND));
    let Err(PoolError::Timeout(gone)) = pool.get_by(start).await else { panic!("its deadline has passed") };
    assert_eq!(gone.waited(), Duration::ZERO);
    drop(held);
    assert_eq!(pool.get_by(start).await.unwrap().id, 1);
}

#[tokio::test]
async fn more_callers_than_may_wait_are_refused_at_once() {
    let Started { pool, script, .. } = Scripted::start(PoolConfig::new().with_max(2).with_max_waiters(1));
    script.connects(Answer::Held);
    // Two are served by connects under way, one waits for a return.
    let mut served = [ask(&pool), ask(&pool), ask(&pool)];
    for wait in &mut served {
        still_pending(wait).await;
    }

    let error = pool.get().await.unwrap_err();

    assert_eq!(error.to_string(), "3 callers wait for a connection; allowed are 1 beyond those that can be served");
    assert_eq!(error.rejection().map(|it| it.reason()), Some(Reason::QueueFull));
    assert_eq!(pool.status().totals.refused, 1);
    assert_eq!(pool.status().waiters, 3);
}

#[tokio::test]
async fn nobody_waits_for_a_return_where_no_waiters_are_allowed() {
    let Started { pool, .. } = Scripted::start(PoolConfig::new().with_max(1).with_max_waiters(0));

    let held = pool.get().await.unwrap();

    assert!(matches!(pool.get().await, Err(PoolError::QueueFull { waiters: 0, max_waiters: 0 })));
    drop(held);
    assert_eq!(pool.get().await.unwrap().id, 1);
}

#[tokio::test]
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

#[tokio::test]
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

#[tokio::test]
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

#[tokio::test]
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

#[tokio::test]
async fn a_connection_past_its_life_is_closed_when_it_comes_back() {
    let Started { pool, clock, script } = Scripted::start(PoolConfig::new());
    let held = pool.get().await.unwrap();
    clock.advance(1_800 * SECOND);

    drop(held);

    assert_eq!((pool.status().size, script.open()), (0, 0));
    assert_eq!(pool.status().totals.closed.lifetime, 1);
}

#[tokio::test]
async fn a_connection_is_closed_after_its_last_use() {
    let Started { pool, .. } = Scripted::start(PoolConfig::new().with_max_uses(2));

    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(pool.get().await.unwrap().id);
    }

    assert_eq!(ids, [1, 1, 2]);
    assert_eq!(pool.status().totals.closed.uses, 1);
}

#[tokio::test]
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

#[tokio::test]
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

#[tokio::test]
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

#[tokio::test]
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

#[tokio::test]
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

#[tokio::test]
async fn a_broken_connection_is_closed_when_it_comes_back() {
    let Started { pool, script, .. } = Scripted::start(PoolConfig::new());
    pool.get().await.unwrap().broken = true;
    assert_eq!((pool.status().size, script.open()), (0, 0));

    pool.get().await.unwrap().discard();

    assert_eq!(pool.status().totals.closed.broken, 2);
    assert_eq!(pool.get().await.unwrap().id, 3);
}

#[tokio::test]
async fn a_connection_taken_out_for_good_frees_its_place() {
    let Started { pool, script, .. } = Scripted::start(PoolConfig::new().with_max(1));

    let taken = pool.get().await.unwrap().take();

    let next = pool.get().await.unwrap();
    assert_eq!((taken.id, next.id, script.open()), (1, 2, 2));
    assert_eq!(pool.status().totals.closed.taken, 1);
}

#[tokio::test]
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

#[tokio::test]
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

#[tokio::test]
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

#[tokio::test]
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
}

#[tokio::test]
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

#[tokio::test]
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

#[tokio::test]
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

#[tokio::test]
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

#[tokio::test]
async fn a_stale_connection_that_cannot_be_replaced_frees_its_place() {
    let Started { pool, script, .. } = Scripted::start(PoolConfig::new().with_max(1));
    drop(pool.get().await.unwrap());
    script.connects(Answer::Fail(Fault::Refused));

    let result = pool.run_idempotent(async |_| Err::<(), _>(Fault::Reset)).await;

    assert!(matches!(result, Err(RunError::Pool(PoolError::Connect(_)))));
    assert_eq!((pool.status().size, pool.status().in_use), (0, 0));
    assert_eq!(pool.status().totals.connect_failures, 1);
}

#[tokio::test]
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

#[tokio::test]
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

#[tokio::test]
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

#[tokio::test]
async fn a_larger_pool_serves_those_who_wait() {
    let Started { pool, .. } = Scripted::start(PoolConfig::new().with_max(1));
    let held = pool.get().await.unwrap();
    let mut wait = ask(&pool);
    still_pending(&mut wait).await;

    pool.resize(2).unwrap();

    assert_eq!(ready(&mut wait).await.unwrap().id, 2);
    drop(held);
}

#[tokio::test]
async fn idle_connections_can_be_dropped_all_at_once() {
    let Started { pool, script, .. } = Scripted::start(PoolConfig::new());
    let held = pool.get().await.unwrap();
    drop(pool.get().await.unwrap());

    pool.evict_idle();

    assert_eq!((pool.status().idle, pool.status().in_use, script.open()), (0, 1, 1));
    drop(held);
    assert_eq!(pool.status().idle, 1);
}

#[tokio::test]
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

#[tokio::test]
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

#[tokio::test]
async fn the_last_handle_closes_the_pool_and_stops_its_task() {
    let Started { pool, script, .. } = Scripted::start(PoolConfig::new());
    let other = pool.clone();
    drop(pool.get().await.unwrap());
    let held = other.get().await.unwrap();
    drop(other.get().await.unwrap());
    drop(pool);
    assert_eq!(script.open(), 2);

    drop(other);

    assert_eq!(script.open(), 1);
    has_happened(|| tokio::runtime::Handle::current().metrics().num_alive_tasks() == 0).await;
    drop(held);
    assert_eq!(script.open(), 0);
}

#[tokio::test]
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
fn without_a_runtime_a_caller_is_told_so() {
    for answer in [ConnectFailure::Report, ConnectFailure::KeepTrying] {
        let Started { pool, .. } = Scripted::start(PoolConfig::new().with_connect_failure(answer));
        let mut wait = ask(&pool);
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());

        let error = loop {
            if let std::task::Poll::Ready(result) = wait.as_mut().poll(&mut cx) {
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

#[tokio::test]
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
