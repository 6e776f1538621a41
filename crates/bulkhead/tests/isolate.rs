//! Calls that run on a runtime of their own.
#![cfg(feature = "tokio")]
#![expect(clippy::disallowed_types, reason = "a receiver that blocks is shared by the calls that it blocks")]

use std::{
    convert::Infallible,
    future::{Future, pending},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
    task::{Context, Poll, Waker},
    thread::{self, ThreadId},
    time::Duration,
};

use seawall_bulkhead::{BulkheadConfig, BulkheadLayer, Error, IsolateLayer};
use seawall_core::{InheritDeadline, Reason, Timestamp, inherited_deadline};
use tokio::runtime::{Builder, Runtime};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};

/// Far more than anything here takes; what is lost fails instead of hanging.
const LOST: Duration = Duration::from_secs(20);

/// A runtime with one thread.
fn other() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).build().expect("threads can be had")
}

fn here<F: Future>(future: F) -> F::Output {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime can be had");
    runtime.block_on(async { tokio::time::timeout(LOST, future).await.expect("it ends") })
}

fn next<T>(events: &Receiver<T>) -> T {
    events.recv_timeout(LOST).expect("it happens")
}

/// Waits until `done` says so; threads of another runtime are at work.
fn until(done: impl Fn() -> bool) {
    let (_never, tick) = channel::<()>();
    let happened = (0..LOST.as_millis()).any(|_| done() || tick.recv_timeout(Duration::from_millis(1)).is_ok());
    assert!(happened, "it never happened");
}

#[test]
fn a_call_is_made_ready_called_and_polled_over_there() {
    #[derive(Clone)]
    struct Threads(Vec<ThreadId>);
    impl Service<()> for Threads {
        type Response = Vec<ThreadId>;
        type Error = Error<Infallible>;
        type Future = std::pin::Pin<Box<dyn Future<Output = Result<Vec<ThreadId>, Error<Infallible>>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error<Infallible>>> {
            self.0.push(thread::current().id());
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, (): ()) -> Self::Future {
            let mut threads = self.0.clone();
            threads.push(thread::current().id());
            Box::pin(async move {
                threads.push(thread::current().id());
                Ok(threads)
            })
        }
    }
    let other = other();
    let service = IsolateLayer::new(other.handle().clone()).layer(Threads(Vec::new()));

    let threads = here(service.oneshot(())).unwrap();

    assert_eq!(threads.len(), 3);
    assert!(threads.iter().all(|id| *id == threads[0] && *id != thread::current().id()), "{threads:?}");
}

#[test]
fn a_call_that_blocks_its_thread_leaves_the_caller_s_runtime_alone() {
    let other = other();
    let (release, blocked) = channel::<()>();
    let blocked = Arc::new(Mutex::new(blocked));
    let service = IsolateLayer::new(other.handle().clone()).protect(service_fn(move |()| {
        let blocked = Arc::clone(&blocked);
        async move { Ok::<_, Infallible>(blocked.lock().unwrap().recv_timeout(LOST).is_ok()) }
    }));

    let (answer, ()) = here(async {
        // On one thread: the second runs only if the first does not block it.
        tokio::join!(service.oneshot(()), async { release.send(()).expect("it is waited for") })
    });

    assert_eq!(answer, Ok(true));
}

#[test]
fn a_caller_that_goes_away_cancels_its_call() {
    struct Tells(std::sync::mpsc::Sender<&'static str>);
    impl Drop for Tells {
        fn drop(&mut self) {
            let _ = self.0.send("dropped");
        }
    }
    let other = other();
    let (tell, events) = channel();
    let mut service = IsolateLayer::new(other.handle().clone()).protect(service_fn(move |()| {
        let tells = Tells(tell.clone());
        async move {
            tells.0.send("begun").expect("somebody listens");
            pending::<Result<(), Infallible>>().await
        }
    }));
    let call = service.call(());
    assert_eq!(next(&events), "begun");

    drop(call);

    assert_eq!(next(&events), "dropped");
}

#[test]
fn a_panic_over_there_goes_on_in_the_caller_and_frees_the_place() {
    let other = other();
    let bulkhead = BulkheadLayer::new(BulkheadConfig::new(1).unwrap());
    let panics = service_fn(|()| async { panic!("over there") as Result<(), Infallible> });
    let service = IsolateLayer::new(other.handle().clone()).layer(bulkhead.protect(panics));

    let caught = catch_unwind(AssertUnwindSafe(|| here(service.clone().oneshot(()))));

    assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"over there"));
    until(|| bulkhead.gate().in_flight() == 0);
}

#[test]
fn a_bulkhead_inside_holds_its_place_until_a_blocked_call_has_ended() {
    let other = other();
    let (release, blocked) = channel::<()>();
    let (tell, events) = channel();
    let blocked = Arc::new(Mutex::new(blocked));
    let bulkhead = BulkheadLayer::new(BulkheadConfig::new(1).unwrap());
    let blocks = service_fn(move |()| {
        let (blocked, tell) = (Arc::clone(&blocked), tell.clone());
        async move {
            tell.send(()).expect("somebody listens");
            Ok::<_, Infallible>(blocked.lock().unwrap().recv_timeout(LOST).is_ok())
        }
    });
    let mut service = IsolateLayer::new(other.handle().clone()).layer(bulkhead.protect(blocks));
    let call = service.call(());
    next(&events);

    drop(call);

    assert_eq!(bulkhead.gate().in_flight(), 1, "its thread is still blocked");
    release.send(()).unwrap();
    until(|| bulkhead.gate().in_flight() == 0);
}

#[test]
fn a_runtime_that_shuts_down_interrupts_calls_that_had_begun_and_refuses_others() {
    let other = other();
    let (tell, events) = channel();
    let mut service = IsolateLayer::new(other.handle().clone()).protect(service_fn(move |()| {
        tell.send(()).expect("somebody listens");
        pending::<Result<(), Infallible>>()
    }));
    let begun = service.call(());
    next(&events);

    other.shutdown_timeout(LOST);

    let [begun, late] = [begun, service.call(())].map(|call| *here(call).unwrap_err().rejection().expect("it is cut"));
    assert_eq!((begun.reason(), begun.may_have_been_sent()), (Reason::Interrupted, true));
    assert_eq!((late.reason(), late.may_have_been_sent()), (Reason::Closed, false));
}

#[test]
fn a_call_inherits_the_deadline_and_a_kept_handle_no_readiness() {
    let other = other();
    let inner = ServiceBuilder::new()
        .layer(ConcurrencyLimitLayer::new(1))
        .service(service_fn(|()| async { Ok::<_, Infallible>(inherited_deadline()) }));
    let service = IsolateLayer::new(other.handle().clone()).protect(inner);
    let at = Timestamp::from_nanos(7);
    let mut kept = service.clone();
    here(async { kept.ready().await.map(|_| ()) }).unwrap();

    let seen = here(InheritDeadline::new(at, async { service.oneshot(()).await }));

    assert_eq!(seen, Ok(Some(at)));
    assert_eq!(here(kept.call(())), Ok(None));
}

#[test]
fn a_call_that_was_answered_stays_answered() {
    let other = other();
    let mut service =
        IsolateLayer::new(other.handle().clone()).protect(service_fn(|()| async { Ok::<_, Infallible>(1) }));
    let mut call = pin!(service.call(()));

    assert_eq!(here(call.as_mut()), Ok(1));
    assert!(call.poll(&mut Context::from_waker(Waker::noop())).is_pending());
}
