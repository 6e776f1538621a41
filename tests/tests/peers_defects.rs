//! What peers were seen to do wrong in breaker, retry, timeout and fallback, and where it is shown that these do not.
//!
//! | seen | test |
//! |---|---|
//! | a window of calls never slides | circuit-breaker, `a_count_window_slides_so_a_hundred_thousand_successes_do_not_hide_an_outage` |
//! | each connection of a server, or each use of a layer, has a state of its own | `contract::axum`, `state_is_shared_by_clones_and_by_layer_calls` of each layer |
//! | half-open for ever: probes spaced widely, no probes, a hung probe | circuit-breaker, `probes_spaced_wider_than_the_window_still_close_it`, `what_cannot_be_is_refused_with_field_value_and_what_is_allowed`, `a_hung_probe_frees_its_place_when_it_is_too_old` |
//! | more probes than allowed | circuit-breaker, `of_a_million_calls_at_the_trip_no_more_than_the_probes_pass_ever`, `of_a_million_calls_in_half_open_no_more_than_the_probes_pass_a_round_however_they_end` |
//! | a dependency that hangs does not open the stack of the README | `a_hung_dependency_opens_the_breaker_between_a_timeout_and_a_retry` |
//! | calls given up on do not count unless all are | circuit-breaker, `one_answer_among_a_thousand_cancelled_calls_does_not_hide_that_it_hangs` |
//! | panics do not count | circuit-breaker, `a_dependency_that_panics_opens_it_also_when_the_panic_is_caught` |
//! | results from before the outage, or of earlier probes, decide | circuit-breaker, `results_from_before_the_outage_do_not_decide_the_probing`, `probes_of_an_earlier_half_open_period_do_not_decide_a_later_one` |
//! | an open time without end panics and poisons | circuit-breaker, `an_open_time_without_end_neither_panics_nor_ends` |
//! | a threshold of 1 or no open time panics when built, a threshold of 0 opens on successes, a misspelt field is taken | circuit-breaker, `the_edges_that_have_a_meaning_are_accepted`, `what_cannot_be_is_refused_with_field_value_and_what_is_allowed`, `a_misspelt_field_and_a_value_that_cannot_be_are_refused` |
//! | a healthy server is back late; background errors hold it open | circuit-breaker, tests/recovery.rs |
//! | breakers per key are never forgotten | core, `a_flood_of_keys_stays_within_the_bound` |
//! | a gauge reads 1 for every state | circuit-breaker, `exactly_one_state_reads_one_and_it_changes_with_the_breaker_not_with_the_scrape` |
//! | the first example does not compile | the README of each crate is a doctest |
//! | no jitter by default, or none at the cap | backoff-with-jitter, `the_defaults_are_these`; here, `waits_at_the_cap_are_spread_like_all_others` |
//! | the budget does not bind | `at_total_failure_the_default_budget_adds_at_most_a_tenth_at_any_rate_from_ten_a_second_on` |
//! | an exceeded budget is an error of its own | backoff-with-jitter, `an_exhausted_budget_gives_the_original_outcome_and_bounds_the_load` |
//! | a hint of a day is slept in full | backoff-with-jitter, `the_other_sides_hint_is_waited_out_up_to_the_maximum` |
//! | clones are called that were never polled ready | backoff-with-jitter, `each_retry_drives_one_fresh_clone_ready`; fallback, `another_service_is_driven_ready_and_its_error_is_kept` |
//! | an open breaker waits for a service that is not ready | circuit-breaker, `an_open_circuit_refuses_at_once_over_a_service_that_is_not_ready` |
//! | a service that is not `Sync` cannot be protected | circuit-breaker, `a_service_that_is_not_sync_can_be_protected`; here, `a_service_that_is_not_sync_can_be_retried_bounded_and_stood_in_for` |
//! | a timer keeps its first waker | timeout, `the_timer_wakes_the_task_that_polled_last`; backoff-with-jitter, `the_wait_wakes_the_task_that_polled_last` |
//! | a timer needs the runtime that made the clock | timeout, `a_timer_needs_no_runtime_and_not_the_one_it_was_made_in` |
//! | a timeout begins at the first `Pending` | timeout, `time_counts_from_the_call_and_not_from_the_first_poll` |
//! | refusals by layers further in count against the dependency, or are retried at once | circuit-breaker, `panics_and_timeouts_are_failures_and_local_refusals_are_nothing`; backoff-with-jitter, `a_local_refusal_without_a_time_is_never_retried_at_once` |
//! | retries inside retries multiply | backoff-with-jitter, `what_the_inner_one_has_given_up_on_is_not_repeated_by_the_outer_one` |
//! | a waiting call spins | `every_waiter_is_woken_and_none_spins` of each layer |
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{cell::Cell, collections::HashSet, convert::Infallible, time::Duration};

use http::{Request, Response};
use http_body_util::Empty;
use hyper::{
    body::{Bytes, Incoming},
    client::conn::http2 as client,
    server::conn::http2 as server,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use seawall::{
    backoff_with_jitter::{Backoff, IfUnknown, Jitter, Position, RetryConfig, RetryLayer},
    bulkhead::{BulkheadConfig, BulkheadLayer},
    circuit_breaker::{BreakerConfig, CircuitBreakerLayer, State},
    core::{Clock, Entropy, Env, SeededEntropy, TokioClock, WrapErrorLayer},
    fallback::{FallbackLayer, Value},
    timeout::{TimeoutConfig, TimeoutLayer},
};
use tokio::sync::mpsc;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);

/// A fleet that an open circuit has told the same wait, to the nanosecond.
#[tokio::test(start_paused = true)]
async fn callers_that_a_breaker_told_the_same_wait_do_not_come_back_together() {
    let env = || Env::new().with_clock(TokioClock);
    let breaker = CircuitBreakerLayer::with_env(BreakerConfig::builder().jitter(0.0).build().unwrap(), env());
    let config = RetryConfig::new(IfUnknown::Repeat).with_attempts(2).unwrap().without_budget();
    let retry = RetryLayer::with_env(config, env().with_entropy(SeededEntropy::new(3)));
    let begun = TokioClock.now();
    breaker.gate().trip(None, begun);
    let service = retry.layer(breaker.protect(service_fn(async |()| Ok::<_, Infallible>(()))));

    let calls: Vec<_> = (0..1_000)
        .map(|_| {
            let call = service.clone().oneshot(());
            tokio::spawn(async move {
                let _ = call.await;
                TokioClock.now().since(begun)
            })
        })
        .collect();
    let mut tenths = [0; 10];
    for call in calls {
        let after = call.await.unwrap().checked_sub(5 * SECOND).unwrap();
        tenths[usize::try_from(after.as_millis() / 100).unwrap()] += 1;
    }

    // A tenth of the wait, which is less than the backoff's own ceiling would have it.
    assert!(tenths[..5].iter().all(|calls| (150..250).contains(calls)), "{tenths:?}");
    assert_eq!(tenths.iter().sum::<i32>(), 1_000);
}

#[test]
fn waits_at_the_cap_are_spread_like_all_others() {
    for jitter in [Jitter::Full, Jitter::Equal, Jitter::Decorrelated, Jitter::Proportional(0.3)] {
        let backoff = Backoff::exponential(SECOND, 2.0, 8 * SECOND).unwrap().with_jitter(jitter).unwrap();
        let entropy = SeededEntropy::new(7);

        let at_the_cap: HashSet<Duration> = (0..100)
            .map(|_| {
                let mut position = Position::START;
                for _ in 0..9 {
                    let _ = backoff.next(&mut position, entropy.next_u64());
                }
                backoff.next(&mut position, entropy.next_u64())
            })
            .collect();

        assert!(at_the_cap.len() > 40, "{jitter:?}: {} different waits of 100", at_the_cap.len());
        assert!(at_the_cap.iter().all(|wait| *wait <= 8 * SECOND), "{jitter:?}");
    }
}

#[tokio::test]
async fn a_service_that_is_not_sync_can_be_retried_bounded_and_stood_in_for() {
    fn assert_send<T: Send>(value: T) -> T {
        value
    }
    let calls = Cell::new(0);
    let service = service_fn(move |(): ()| {
        calls.set(calls.get() + 1);
        std::future::ready(Ok::<u32, Infallible>(calls.get()))
    });
    let service = ServiceBuilder::new()
        .layer(FallbackLayer::new(Value::new(0)))
        .layer(RetryLayer::new(RetryConfig::new(IfUnknown::Repeat)))
        .layer(TimeoutLayer::new(TimeoutConfig::attempt(SECOND).unwrap()))
        .layer(WrapErrorLayer::new())
        .service(service);

    assert_eq!(assert_send(assert_send(service).oneshot(())).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_as_long_as_the_open_breaker_inside_says_and_then_is_its_probe() {
    let env = || Env::new().with_clock(TokioClock);
    let breaker = CircuitBreakerLayer::with_env(BreakerConfig::builder().jitter(0.0).build().unwrap(), env());
    let retry = RetryLayer::with_env(RetryConfig::new(IfUnknown::OnlyUnsent), env());
    let service = retry.layer(breaker.protect(service_fn(async |(): ()| Ok::<_, Infallible>("well again"))));
    breaker.gate().trip(None, TokioClock.now());
    let begin = TokioClock.now();

    let answer = service.oneshot(()).await;

    assert_eq!((answer, breaker.gate().state()), (Ok("well again"), State::HalfOpen));
    let waited = TokioClock.now().since(begin);
    // Up to a tenth is added, and a tick of the timer.
    assert!((5 * SECOND..=5 * SECOND + SECOND / 2 + SECOND / 100).contains(&waited), "{waited:?}");
    assert_eq!(retry.figures().retries, 1);
}

/// Says so when it is dropped.
struct Gone(mpsc::UnboundedSender<&'static str>);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = self.0.send("gone");
    }
}

/// A client of a server with this handler, over HTTP/2 in memory.
async fn over_http2<S>(handler: S) -> client::SendRequest<Empty<Bytes>>
where
    S: Service<Request<Incoming>, Response = Response<Empty<Bytes>>, Error: std::error::Error + Send + Sync>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    let (near, far) = tokio::io::duplex(64 * 1_024);
    let served = server::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(far), TowerToHyperService::new(handler));
    tokio::spawn(served);
    let (client, connection) = client::handshake(TokioExecutor::new(), TokioIo::new(near)).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn a_caller_that_resets_its_http2_stream_ends_the_work_and_what_it_holds() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let bulkhead = BulkheadLayer::new(BulkheadConfig::new(1).unwrap());
    let work = service_fn(move |(): ()| {
        let gone = Gone(tell.clone());
        tell.send("called").unwrap();
        async move {
            std::future::pending::<()>().await;
            drop(gone);
            Ok::<_, Infallible>(Response::new(Empty::new()))
        }
    });
    let stack = ServiceBuilder::new()
        .layer(TimeoutLayer::new(TimeoutConfig::total(60 * SECOND).unwrap()))
        .layer(RetryLayer::new(RetryConfig::new(IfUnknown::Repeat)))
        .layer(CircuitBreakerLayer::new(BreakerConfig::default()))
        .layer(bulkhead.clone())
        .layer(WrapErrorLayer::new())
        .service(work);
    let mut client = over_http2(service_fn(move |_: Request<Incoming>| stack.clone().oneshot(()))).await;

    let call = tokio::spawn(async move { client.send_request(Request::new(Empty::new())).await.map(drop) });
    assert_eq!((told.recv().await, bulkhead.gate().in_flight()), (Some("called"), 1));
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());

    let gone = tokio::time::timeout(10 * SECOND, told.recv()).await;
    assert_eq!((gone, bulkhead.gate().in_flight()), (Ok(Some("gone")), 0));
}
