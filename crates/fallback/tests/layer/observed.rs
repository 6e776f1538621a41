//! What the observer hears.

use std::{
    future::{Future, pending, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex},
};

use seawall_core::{Class, Env, Observer, Outcome, Reason, VirtualClock, WrapError};
use seawall_fallback::{Cause, Combine, FallbackLayer, Value, from_fn};
use tower::{Layer, Service, service_fn};

use super::{Failing, Fault, down, poll_once, refused};

/// Writes down what it hears.
#[derive(Clone, Debug, Default)]
struct Heard(Arc<Mutex<Vec<Outcome>>>, Arc<Mutex<Vec<&'static str>>>);

impl Observer for Heard {
    const PER_CALL: bool = true;

    fn on_call(&self, outcome: Outcome) {
        self.0.lock().expect("no panic").push(outcome);
    }

    fn on_degraded(&self, source: &'static str) {
        self.1.lock().expect("no panic").push(source);
    }

    fn on_give_up(&self, reason: &'static str) {
        self.1.lock().expect("no panic").push(reason);
    }
}

impl Heard {
    fn outcomes(&self) -> Vec<Outcome> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

#[test]
fn the_observer_hears_how_the_service_ended_each_call_whoever_answered() {
    let heard = Heard::default();
    let env = Env::new().with_clock(VirtualClock::new()).with_observer(heard.clone());
    let layer = FallbackLayer::with_env(Value::new(0), env);

    for (script, outcome) in [
        (Ok(1), Outcome::Finished(Class::Success)),
        (down(), Outcome::Finished(Class::Failure)),
        (refused(Reason::CircuitOpen), Outcome::Finished(Class::Ignored)),
        (refused(Reason::AttemptTimeout), Outcome::TimedOut),
    ] {
        let mut call = Box::pin(layer.run_carrying((), ready(script)));
        assert!(poll_once(&mut call).is_ready());
        if outcome != Outcome::Finished(Class::Success) {
            assert!(poll_once(&mut call).is_pending(), "polled again after it was ready");
        }
        drop(call);
        assert_eq!(heard.outcomes(), [outcome]);
    }

    assert_eq!(*heard.1.lock().unwrap(), ["value", "value", "value"]);
}

#[test]
fn a_call_that_is_dropped_or_panics_at_any_point_is_reported_once() {
    type Answer = Pin<Box<dyn Future<Output = Result<u32, Failing>> + Send>>;
    let heard = Heard::default();
    let env = || Env::new().with_observer(heard.clone());
    let hangs = || {
        FallbackLayer::with_env(from_fn(|(): &(), _: Result<&u32, &Failing>| pending::<Result<u32, Fault>>()), env())
    };
    let panicking = |(): &(), outcome: Result<&u32, &Failing>| {
        let panics = outcome.is_err();
        async move {
            assert!(!panics, "the alternative panics");
            Ok::<_, Fault>(0)
        }
    };

    for (first, polls, outcome) in [
        (Box::pin(pending()) as Answer, 0, Outcome::Cancelled),
        (Box::pin(pending()), 1, Outcome::Cancelled),
        (Box::pin(ready(down())), 1, Outcome::Cancelled),
        (Box::pin(async { panic!("the service panics") }), 1, Outcome::Panicked),
    ] {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let mut call = Box::pin(hangs().run_carrying((), first));
            for _ in 0..polls {
                assert!(poll_once(&mut call).is_pending());
            }
        }));
        assert_eq!(caught.is_err(), outcome == Outcome::Panicked);
        assert_eq!(heard.outcomes(), [outcome]);
    }
    let layer = FallbackLayer::with_env(from_fn(panicking), env());
    assert!(poll_once(&mut Box::pin(layer.run_carrying((), ready(down())))).is_ready());
    assert_eq!(heard.outcomes(), [Outcome::Finished(Class::Failure)]);
    assert_eq!(*heard.1.lock().unwrap(), ["panicked"]);
}

#[tokio::test]
async fn a_panic_inside_call_is_reported_as_one() {
    let heard = Heard::default();
    let layer = FallbackLayer::with_env(Value::new(0), Env::new().with_observer(heard.clone()));
    let service = service_fn(|ask: bool| {
        assert!(!ask, "the service panics in call");
        ready(Ok::<u32, Fault>(1))
    });
    let mut service = layer.layer(WrapError::new(service));

    let caught = catch_unwind(AssertUnwindSafe(|| drop(service.call(true))));

    assert!(caught.is_err());
    assert_eq!(heard.outcomes(), [Outcome::Panicked]);
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what was kept of the request is lent")]
fn empty((): &(), _: Result<&u32, &Failing>) -> std::future::Ready<Result<u32, &'static str>> {
    ready(Err("empty"))
}

fn never(_: Cause, _: Result<&u32, &Failing>) -> bool {
    false
}

#[test]
fn the_observer_hears_when_nothing_stands_in_and_why() {
    let heard = Heard::default();
    let env = || Env::new().with_clock(VirtualClock::new()).with_observer(heard.clone());
    let fails = FallbackLayer::with_env(from_fn(empty), env());
    let passes = FallbackLayer::with_env(from_fn(empty).only(never), env());

    assert!(poll_once(&mut Box::pin(fails.run_carrying((), ready(down())))).is_ready());
    assert!(poll_once(&mut Box::pin(passes.run_carrying((), ready(down())))).is_ready());

    assert_eq!(*heard.1.lock().unwrap(), ["failed", "no_answer"]);
    assert_eq!(heard.outcomes(), [Outcome::Finished(Class::Failure); 2]);
}

#[test]
fn a_panic_of_the_first_of_a_chain_is_heard_of_where_the_second_has_nothing_to_say() {
    let heard = Heard::default();
    let env = Env::new().with_clock(VirtualClock::new()).with_observer(heard.clone());
    let panics = |(): &(), _: Result<&u32, &Failing>| -> std::future::Ready<Result<u32, Fault>> { panic!("at once") };
    let layer = FallbackLayer::with_env(from_fn(panics).then(from_fn(empty).only(never)), env);

    assert!(poll_once(&mut Box::pin(layer.run_carrying((), ready(down())))).is_ready());

    assert_eq!(*heard.1.lock().unwrap(), ["panicked"]);
}

#[test]
fn an_error_that_no_alternative_is_for_is_heard_of_as_the_services() {
    let heard = Heard::default();
    let env = Env::new().with_clock(VirtualClock::new()).with_observer(heard.clone());
    let layer = FallbackLayer::with_env(Value::new(0), env).with_when(never);

    assert!(poll_once(&mut Box::pin(layer.run_carrying((), ready(down())))).is_ready());

    assert_eq!(heard.outcomes(), [Outcome::Finished(Class::Failure)]);
}
