//! The services that attempts go to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use seawall_backoff_with_jitter::{CloneRequest, IfUnknown, Rebuild, RetryConfig, RetryLayer};
use seawall_core::Error;
use tower::{
    Layer, Service, ServiceExt, buffer::Buffer, limit::ConcurrencyLimit, limit::ConcurrencyLimitLayer, service_fn,
};

use crate::scripted::{FAIL, Fault, Scripted, Step, each_second, env, layer};

#[tokio::test(start_paused = true)]
async fn a_call_that_succeeds_at_once_clones_neither_service_nor_request() {
    #[derive(Debug)]
    struct NotClone;
    let (service, script) = Scripted::new([Step::Answer(1)]);
    let layer = layer(each_second()).with_replay(Rebuild::new(|_: &NotClone| Some(()), |(): &(), _| Some(NotClone)));
    let mut service = layer.layer(service);
    let at_first = script.clones.load(Relaxed);

    let answer = service.ready().await.expect("ready").call(NotClone).await;

    assert_eq!(answer, Ok(1));
    assert_eq!(script.clones.load(Relaxed), at_first);
}

#[tokio::test(start_paused = true)]
async fn each_retry_drives_one_fresh_clone_ready() {
    let (service, script) = Scripted::new([FAIL, FAIL, Step::Answer(1)]);
    let mut service = layer(each_second()).layer(service);
    let at_first = script.clones.load(Relaxed);

    let answer = ServiceExt::<()>::ready(&mut service).await.expect("ready").call(()).await;

    assert_eq!(answer, Ok(1));
    assert_eq!(script.clones.load(Relaxed) - at_first, 2);
}

#[tokio::test(start_paused = true)]
async fn fifty_callers_retry_over_one_place_without_a_deadlock() {
    let (service, script) = Scripted::new((0..50).flat_map(|_| [FAIL, Step::Answer(1)]));
    let config = each_second().without_budget().with_attempts(100).expect("allowed");
    let service = layer(config).layer(ConcurrencyLimit::new(service, 1));

    let calls: Vec<_> = (0..50).map(|_| tokio::spawn(service.clone().oneshot(()))).collect();

    for call in calls {
        assert_eq!(call.await.expect("no panic"), Ok(1));
    }
    assert_eq!(script.attempts(), 100);
}

#[tokio::test(start_paused = true)]
async fn it_retries_over_a_buffer() {
    let (service, script) = Scripted::new([FAIL, Step::Answer(3)]);
    let service = Buffer::new(service, 1);
    // A buffer turns errors into boxed ones, which carry rejections too.
    let layer = RetryLayer::with_env(each_second(), env());

    let answer = layer.layer(service).oneshot(()).await;

    assert_eq!((answer.ok(), script.attempts()), (Some(3), 2));
}

#[tokio::test(start_paused = true)]
async fn it_works_under_a_buffer_and_under_a_limit() {
    let (service, script) = Scripted::new([FAIL, Step::Answer(3)]);
    let retry = layer(each_second()).layer(service);
    let mut service = Buffer::new(ConcurrencyLimitLayer::new(1).layer(retry), 1);

    let answer = service.ready().await.expect("ready").call(()).await;

    assert_eq!((answer.ok(), script.attempts()), (Some(3), 2));
}

#[tokio::test(start_paused = true)]
async fn an_error_while_the_fresh_service_gets_ready_counts_as_its_attempt() {
    /// Ready the first time, broken the second, ready again.
    #[derive(Clone)]
    struct Moody(Arc<AtomicUsize>);
    impl Service<()> for Moody {
        type Response = usize;
        type Error = Error<Fault>;
        type Future = std::future::Ready<Result<usize, Self::Error>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            let visit = self.0.fetch_add(1, Relaxed);
            Poll::Ready(if visit == 1 { Err(Error::Inner(Fault("no connection"))) } else { Ok(()) })
        }

        fn call(&mut self, (): ()) -> Self::Future {
            let visit = self.0.load(Relaxed);
            std::future::ready(if visit == 1 { Err(Error::Inner(Fault("busy"))) } else { Ok(visit) })
        }
    }
    let layer = layer(each_second());

    let answer = layer.layer(Moody(Arc::new(AtomicUsize::new(0)))).oneshot(()).await;

    assert_eq!((answer, layer.figures().retries), (Ok(3), 2));
}

#[test]
fn services_and_futures_can_be_sent_and_need_not_be_sync_inside() {
    fn check<T: Send>(_: &T) {}
    #[derive(Clone)]
    struct NotSync(#[expect(dead_code, reason = "its type is what counts")] std::cell::Cell<u8>);
    let service = service_fn({
        let not_sync = NotSync(std::cell::Cell::new(0));
        move |(): ()| {
            let _ = &not_sync;
            std::future::ready(Ok::<(), Error<()>>(()))
        }
    });
    let mut service = RetryLayer::new(RetryConfig::new(IfUnknown::Repeat)).with_replay(CloneRequest).layer(service);
    check(&service);

    check(&service.call(()));
}
