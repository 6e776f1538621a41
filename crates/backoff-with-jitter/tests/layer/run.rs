//! Without Tower.

use std::{task::Poll, time::Duration};

use seawall_core::{CallContext, Clock, Error, InheritDeadline, TokioClock};
use tower::{Layer, ServiceExt};

use crate::scripted::{FAIL, Fault, Scripted, boxed, each_second, layer, poll_once};

#[tokio::test(start_paused = true)]
async fn blocks_of_code_are_retried_by_the_same_rules() {
    let layer = layer(each_second());
    let start = TokioClock.now();
    let mut told = Vec::new();

    let until = start.saturating_add(Duration::from_millis(2_500));
    let context = CallContext::new().with_deadline(until);
    let answer = layer
        .run_carrying(context, |previous| {
            told.push(previous);
            std::future::ready(if previous < 2 { Err(Error::Inner(Fault("busy"))) } else { Ok(previous) })
        })
        .await;
    let plain = layer.run(|| std::future::ready(Err::<(), _>(Fault("broken")))).await;

    assert_eq!((answer, told), (Ok(2), vec![0, 1, 2]));
    assert_eq!(plain, Err(Error::Inner(Fault("broken"))));
    assert_eq!(TokioClock.now().since(start), Duration::from_secs(4));
    assert_eq!(layer.figures().out_of_attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_polled_again_after_it_is_ready_does_no_harm_when_run_without_tower() {
    let mut call = boxed(layer(each_second()).run(|| std::future::ready(Ok::<_, ()>(1))));

    assert_eq!(poll_once(&mut call), Poll::Ready(Ok(1)));

    assert!(poll_once(&mut call).is_pending());
}

#[tokio::test(start_paused = true)]
async fn the_callers_deadline_ends_retries_with_and_without_tower() {
    let begin = TokioClock.now();
    let layer = layer(each_second().with_attempts(20).expect("allowed"));
    let a_minute_on = begin.saturating_add(Duration::from_secs(60));
    let (service, script) = Scripted::new([FAIL; 20]);
    let fails = || std::future::ready(Err::<u32, _>(Fault("busy")));
    let carrying = |_| std::future::ready(Err::<u32, _>(Error::Inner(Fault("busy"))));
    let inherit = || begin.saturating_add(Duration::from_millis(1_500));

    let plain = InheritDeadline::new(inherit(), layer.run(fails)).await;
    let tower = InheritDeadline::new(inherit(), layer.layer(service).oneshot(())).await;
    let context = CallContext::new().with_deadline(a_minute_on);
    let context = InheritDeadline::new(inherit(), layer.run_carrying(context, carrying)).await;

    assert!(plain.is_err() && tower.is_err() && context.is_err());
    assert_eq!(TokioClock.now().since(begin), Duration::from_secs(1));
    assert_eq!((script.attempts(), layer.figures().deadline), (1, 3));
}
