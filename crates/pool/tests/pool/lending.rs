//! Who gets which connection, and when.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use crate::support::{Answer, Fault, Scripted, Started, TestEnv, ask, has_happened, ready, still_pending};
use seawall_core::{Clock, Env, Observer, Pattern, Reason, Rejection, VirtualClock};
use seawall_pool::{ConnectError, ConnectFailure, Pool, PoolConfig, PoolError, TimeoutCause};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
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

#[tokio::test(start_paused = true)]
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

#[tokio::test(start_paused = true)]
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

#[tokio::test(start_paused = true)]
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

#[tokio::test(start_paused = true)]
async fn a_connection_that_nobody_took_was_not_used() {
    let Started { pool, .. } = Scripted::start(PoolConfig::new().with_max(1).with_max_uses(2));
    let held = pool.get().await.unwrap();
    let mut gives_up = ask(&pool);
    still_pending(&mut gives_up).await;
    drop(held);
    drop(gives_up);

    assert_eq!(pool.get().await.unwrap().id, 1);
    assert_eq!(pool.status().totals.closed.uses, 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_whose_last_waker_holds_a_connection_wedges_nothing() {
    struct Holds(seawall_pool::Connection<Scripted, TestEnv>);
    impl Wake for Holds {
        fn wake(self: Arc<Self>) {
            unreachable!("the connection {} comes back by a drop", self.0.id);
        }
    }
    let Started { pool, .. } = Scripted::start(PoolConfig::new().with_max(1));
    let held = Waker::from(Arc::new(Holds(pool.get().await.unwrap())));
    let (mut moves_on, mut gives_up) = (ask(&pool), ask(&pool));
    assert!(moves_on.as_mut().poll(&mut Context::from_waker(&held)).is_pending());
    drop(held);

    still_pending(&mut moves_on).await;

    assert_eq!(ready(&mut moves_on).await.unwrap().id, 1);
    let held = Waker::from(Arc::new(Holds(pool.get().await.unwrap())));
    assert!(gives_up.as_mut().poll(&mut Context::from_waker(&held)).is_pending());
    drop(held);
    drop(gives_up);
    assert_eq!((pool.status().in_use, pool.status().idle), (0, 1));
}

#[tokio::test(start_paused = true)]
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

#[tokio::test(start_paused = true)]
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

#[tokio::test(start_paused = true)]
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
    assert_eq!((pool.status().totals.time_in_vain, pool.status().totals.wait_time), (5 * SECOND, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn the_time_of_all_who_wait_in_vain_is_told_apart_from_that_of_those_who_got_a_connection() {
    let Started { pool, clock, .. } = Scripted::start(PoolConfig::new().with_max(1));
    let held = pool.get().await.unwrap();
    let (mut leaves, mut served, mut closed) = (ask(&pool), ask(&pool), ask(&pool));
    for wait in [&mut leaves, &mut served, &mut closed] {
        still_pending(wait).await;
    }

    clock.advance(SECOND);
    drop(leaves);
    clock.advance(SECOND);
    drop(held);
    let held = ready(&mut served).await.unwrap();
    clock.advance(SECOND);
    pool.close();

    assert!(matches!(ready(&mut closed).await, Err(PoolError::Closed)));
    let totals = pool.status().totals;
    assert_eq!((totals.wait_time, totals.time_in_vain), (2 * SECOND, 4 * SECOND));
    drop(held);
}

#[tokio::test(start_paused = true)]
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

#[tokio::test(start_paused = true)]
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
    assert!(matches!(timeout.last_connect_error(), Some(ConnectError::Failed { source: Fault::Refused, .. })));
    let source = std::error::Error::source(&*timeout).map(ToString::to_string);
    assert_eq!(source.as_deref(), Some("connecting to 127.0.0.1:5432 failed"));
    // 0.1, 0.2, 0.4 … s with up to half off: never a storm, never silence.
    assert!((5..=11).contains(&script.started()), "{} connects in 5 s", script.started());
}

#[tokio::test(start_paused = true)]
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

#[tokio::test(start_paused = true)]
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
        assert!(matches!(*failure, ConnectError::Failed { source: Fault::Refused, .. }));
        assert_eq!(failure.to_string(), "connecting to 127.0.0.1:5432 failed");
    }
    script.connects(Answer::Open);
    clock.advance(200 * MS);
    assert_eq!(pool.get().await.unwrap().id, 1);
}

#[tokio::test(start_paused = true)]
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

#[tokio::test(start_paused = true)]
async fn a_connect_that_hangs_is_cut_after_its_own_time() {
    let Started { pool, clock, script } = Scripted::start(PoolConfig::new());
    script.connects(Answer::Held);
    let mut wait = ask(&pool);
    still_pending(&mut wait).await;
    has_happened(|| script.started() == 1).await;

    clock.advance(3 * SECOND);

    let Err(PoolError::Connect(failure)) = ready(&mut wait).await else { panic!("it waits on") };
    assert_eq!(failure.to_string(), "connecting to 127.0.0.1:5432 took longer than 3s");
    has_happened(|| script.cut() == 1).await;
}

#[tokio::test(start_paused = true)]
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

#[tokio::test(start_paused = true)]
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
    let rejection = error.rejection().map(|it| (it.reason(), it.queued()));
    assert_eq!(rejection, Some((Reason::QueueFull, Some(3))));
    assert_eq!(pool.status().totals.refused, 1);
    assert_eq!(pool.status().waiters, 3);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_return_where_no_waiters_are_allowed() {
    let Started { pool, .. } = Scripted::start(PoolConfig::new().with_max(1).with_max_waiters(0));

    let held = pool.get().await.unwrap();

    assert!(matches!(pool.get().await, Err(PoolError::QueueFull { waiters: 0, max_waiters: 0 })));
    drop(held);
    assert_eq!(pool.get().await.unwrap().id, 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_gets_no_connection_is_observed_once_with_the_reason() {
    #[derive(Clone, Default)]
    struct Reasons(Arc<AtomicUsize>, Arc<AtomicUsize>);
    impl Observer for Reasons {
        fn on_reject(&self, rejection: &Rejection) {
            match rejection.reason() {
                Reason::QueueFull => &self.0,
                _ => &self.1,
            }
            .fetch_add(1, SeqCst);
        }
    }
    let reasons = Reasons::default();
    let env = Env::new().with_clock(VirtualClock::new()).with_observer(reasons.clone());
    let config = PoolConfig::new().with_max(1).with_max_waiters(0);
    let pool = Pool::with_env(Scripted::new(), config, env).expect("a good configuration");
    let held = pool.get().await.expect("it opens");

    pool.get().await.expect_err("the only one is taken");
    let refused = (reasons.0.load(SeqCst), reasons.1.load(SeqCst));
    drop(held);
    pool.close();
    pool.get().await.expect_err("it is closed");

    assert_eq!((refused, reasons.0.load(SeqCst), reasons.1.load(SeqCst)), ((1, 0), 1, 1));
}
