//! How calls and alternatives end: gone before what comes after them, or in a panic.

use std::{
    future::{Future, ready},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use seawall_core::{Env, Error, Observer, Outcome, VirtualClock};
use seawall_fallback::{CaughtError, Combine, FallbackError, FallbackLayer, Value, from_fn};

use super::{Failing, Fault, down, poll_once};

/// Counts those that live.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Hears how many are alive when a call has ended.
#[derive(Clone)]
struct AliveAtTheEnd(Arc<AtomicUsize>, Arc<Mutex<Vec<usize>>>);

impl Observer for AliveAtTheEnd {
    const PER_CALL: bool = true;

    fn on_call(&self, _: Outcome) {
        self.1.lock().expect("no panic").push(self.0.load(SeqCst));
    }
}

/// Holds something for as long as it is there, also when it has ended.
struct Holding<T> {
    _alive: Alive,
    ends: Option<T>,
}

impl<T> Holding<T> {
    fn new(count: &Arc<AtomicUsize>, ends: T) -> Self {
        Self { _alive: Alive::new(count), ends: Some(ends) }
    }
}

impl<T: Unpin> Future for Holding<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<T> {
        self.ends.take().map_or(Poll::Pending, Poll::Ready)
    }
}

#[test]
fn service_and_alternative_are_gone_before_what_comes_after_them() {
    let alive = Arc::new(AtomicUsize::new(0));
    let ends = AliveAtTheEnd(Arc::clone(&alive), Arc::default());
    let env = Env::new().with_clock(VirtualClock::new()).with_observer(ends.clone());
    let begun = Arc::clone(&alive);
    let alternative = from_fn(move |(): &(), _: Result<&u32, &Failing>| {
        assert_eq!(begun.load(SeqCst), 0, "the service's call is gone");
        Holding::new(&begun, Ok::<_, &str>(7))
    });
    let layer = FallbackLayer::with_env(alternative, env);

    let mut call = Box::pin(layer.run_carrying((), Holding::new(&alive, down())));

    assert_eq!(poll_once(&mut call), Poll::Ready(Ok(7)));
    assert_eq!(*ends.1.lock().unwrap(), [0]);
}

type Nothing = Result<u32, Fault>;

/// An alternative that panics while it works.
macro_rules! panics {
    () => {
        from_fn(|(): &(), _: Result<&u32, &Failing>| {
            std::future::poll_fn(|_| -> Poll<Nothing> { panic!("while it works") })
        })
    };
}

#[test]
fn a_panic_that_is_caught_is_a_failure_of_the_alternative_beside_the_services_own() {
    macro_rules! outcome {
        ($alternative:expr) => {
            match poll_once(&mut Box::pin(FallbackLayer::new($alternative).run_carrying((), ready(down())))) {
                Poll::Ready(answer) => answer.map_err(FallbackError::into_parts),
                Poll::Pending => unreachable!("everything is ready at once"),
            }
        };
    }

    let panics_at_once = |(): &(), _: Result<&u32, &Failing>| -> std::future::Ready<Nothing> { panic!("as it begins") };
    let fails = |(): &(), _: Result<&u32, &Failing>| ready(Nothing::Err(Fault("empty")));
    let panicked = Err((Error::Inner(Fault("down")), Some(CaughtError::Panicked)));
    assert_eq!(outcome!(from_fn(panics_at_once).caught()), panicked);
    assert_eq!(outcome!(panics!().caught()), panicked);
    let failed = Err((Error::Inner(Fault("down")), Some(CaughtError::Failed(Fault("empty")))));
    assert_eq!(outcome!(from_fn(fails).caught()), failed);
    assert_eq!(outcome!(Value::new(7).caught()), Ok(7));
    assert_eq!(outcome!(panics!().caught().then(Value::new(7))), Ok(7));
}

#[test]
fn an_alternative_that_panics_leaves_the_services_own_outcome_or_the_next_ones_answer() {
    macro_rules! outcome {
        ($alternative:expr) => {
            match poll_once(&mut Box::pin(FallbackLayer::new($alternative).run_carrying((), ready(down())))) {
                Poll::Ready(answer) => answer.map_err(|error| error.into_parts().0),
                Poll::Pending => unreachable!("everything is ready at once"),
            }
        };
    }

    let panics_at_once = |(): &(), _: Result<&u32, &Failing>| -> std::future::Ready<Nothing> { panic!("as it begins") };
    let down = Err(Error::Inner(Fault("down")));
    assert_eq!(outcome!(from_fn(panics_at_once)), down);
    assert_eq!(outcome!(panics!()), down);
    assert_eq!(outcome!(panics!().then(from_fn(panics_at_once))), down);
    assert_eq!(outcome!(panics!().then(Value::new(7))), Ok(7));
    assert_eq!(outcome!(from_fn(panics_at_once).then(Value::new(7))), Ok(7));
}

#[test]
fn what_has_panicked_and_is_polled_again_does_no_harm() {
    let layer = FallbackLayer::new(panics!().caught());
    let mut call = Box::pin(layer.run_carrying((), ready(down())));
    assert!(poll_once(&mut call).is_ready());

    assert!(poll_once(&mut call).is_pending());
}
