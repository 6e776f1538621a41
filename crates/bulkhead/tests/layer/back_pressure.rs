//! The bulkhead whose services wait before they are ready.

use std::{
    convert::Infallible,
    future::{Pending, Ready, pending, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use seawall_bulkhead::{BackPressure, BackPressureLayer, QueueingBulkheadConfig};
use seawall_core::{Env, Observer, Reason, Rejection, VirtualClock};
use tower::{Layer, Service, service_fn};

use super::{places, poll, reason};

type Layered = BackPressureLayer<Env<VirtualClock>>;

/// One place, one that may wait, for a second.
fn narrow() -> (Layered, VirtualClock) {
    let clock = VirtualClock::new();
    let config = QueueingBulkheadConfig::new(places(1))
        .with_max_queued(1)
        .and_then(|config| config.with_max_wait(Duration::from_secs(1)))
        .expect("in range");
    (BackPressureLayer::with_env(config, Env::new().with_clock(clock.clone())), clock)
}

fn is_ready<S: Service<()>>(service: &mut S) -> bool {
    service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// In flight, queued.
fn held(layer: &Layered) -> (u32, usize) {
    (layer.bulkhead().in_flight(), layer.bulkhead().queued())
}

fn hangs((): ()) -> Pending<Result<(), Infallible>> {
    pending()
}

fn answers((): ()) -> Ready<Result<(), Infallible>> {
    ready(Ok(()))
}

#[derive(Default)]
struct Woken(AtomicU32);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn a_handle_is_ready_when_it_has_a_place_and_gives_it_back_when_it_is_dropped() {
    let (layer, _) = narrow();
    let mut first = layer.protect(service_fn(answers));
    let mut second = first.clone();

    assert!(is_ready(&mut first) && is_ready(&mut first));
    assert_eq!(held(&layer), (1, 0), "asking twice reserves once");
    assert!(!is_ready(&mut second));
    assert_eq!(held(&layer), (1, 1));
    let woken = Arc::new(Woken::default());
    assert!(second.poll_ready(&mut Context::from_waker(&Waker::from(Arc::clone(&woken)))).is_pending());
    drop(first);

    assert_eq!((woken.0.load(Relaxed), held(&layer)), (1, (1, 0)), "the place goes on to who waits");
    assert!(is_ready(&mut second));
    drop(second);
    assert_eq!(held(&layer), (0, 0));
}

#[test]
fn a_call_holds_the_place_that_was_reserved_for_it_until_its_end() {
    let (layer, _) = narrow();
    let mut service = layer.protect(service_fn(hangs));
    assert!(is_ready(&mut service));

    let call = service.call(());

    assert_eq!(held(&layer), (1, 0));
    assert!(!is_ready(&mut service), "it has no second place");
    drop((call, service));
    assert_eq!(held(&layer), (0, 0));
}

#[test]
fn a_clone_has_reserved_nothing_and_a_handle_that_waits_leaves_when_it_is_dropped() {
    let (layer, _) = narrow();
    let mut ready = layer.protect(service_fn(hangs));
    assert!(is_ready(&mut ready));
    let mut waits = ready.clone();
    assert!(!is_ready(&mut waits));

    drop(waits);

    assert_eq!(held(&layer), (1, 0));
}

#[test]
fn who_waited_in_vain_or_finds_no_room_to_wait_is_ready_and_its_next_call_is_refused() {
    let (layer, clock) = narrow();
    let mut holds = layer.protect(service_fn(hangs));
    assert!(is_ready(&mut holds));
    let (mut waits, mut too_many) = (holds.clone(), holds.clone());
    assert!(!is_ready(&mut waits) && is_ready(&mut too_many));

    let full = poll(&mut Box::pin(too_many.call(())));
    clock.advance(Duration::from_secs(1));
    assert!(is_ready(&mut waits));
    let late = poll(&mut Box::pin(waits.call(())));

    let [full, late] = [full, late].map(|polled| match polled {
        Poll::Ready(refused) => reason(refused),
        Poll::Pending => unreachable!("it is refused at once"),
    });
    assert_eq!((full, late, held(&layer)), (Reason::QueueFull, Reason::QueueTimeout, (1, 0)));
    assert!(!is_ready(&mut waits), "it asks anew");
}

#[test]
fn a_closed_bulkhead_refuses_the_next_call_of_who_waits() {
    let (layer, _) = narrow();
    let mut holds = layer.protect(service_fn(hangs));
    assert!(is_ready(&mut holds));
    let mut waits = holds.clone();
    assert!(!is_ready(&mut waits));

    layer.bulkhead().close();

    assert!(is_ready(&mut waits));
    let Poll::Ready(refused) = poll(&mut Box::pin(waits.call(()))) else { unreachable!("it is refused at once") };
    assert_eq!(reason(refused), Reason::Closed);
}

#[test]
fn a_call_that_was_not_made_ready_takes_a_free_place_or_is_refused() {
    let (layer, _) = narrow();
    let mut service = layer.protect(service_fn(hangs));

    let call = service.call(());
    let Poll::Ready(refused) = poll(&mut Box::pin(service.call(()))) else { unreachable!("it is refused at once") };

    assert_eq!((reason(refused), held(&layer)), (Reason::BulkheadFull, (1, 0)));
    drop(call);
    assert_eq!(held(&layer), (0, 0));
}

/// Is never ready.
#[derive(Clone)]
struct Broken;

impl Service<()> for Broken {
    type Response = ();
    type Error = seawall_core::Error<&'static str>;
    type Future = Pending<Result<(), Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Err(seawall_core::Error::Inner("broken")))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        unreachable!("called without being ready")
    }
}

#[test]
fn a_service_that_is_broken_holds_no_place() {
    let (layer, _) = narrow();
    let mut broken: BackPressure<Broken, _> = layer.layer(Broken);

    assert!(is_ready(&mut broken));

    assert_eq!(held(&layer), (0, 0));
}

/// Keeps how long handles waited, in milliseconds, and how many calls were refused.
#[derive(Clone, Default)]
struct Heard(Arc<AtomicU32>, Arc<AtomicU32>);

impl Observer for Heard {
    const PER_CALL: bool = true;

    fn on_wait(&self, waited: Duration) {
        self.0.fetch_add(waited.as_millis().try_into().unwrap_or(u32::MAX), Relaxed);
    }

    fn on_reject(&self, _: &Rejection) {
        self.1.fetch_add(1, Relaxed);
    }
}

#[test]
fn waits_and_refusals_are_observed() {
    let (clock, heard) = (VirtualClock::new(), Heard::default());
    let env = Env::new().with_clock(clock.clone()).with_observer(heard.clone());
    let layer = BackPressureLayer::with_env(QueueingBulkheadConfig::new(places(1)), env);
    let mut service = layer.protect(service_fn(answers));
    assert!(is_ready(&mut service));
    let mut waits = service.clone();
    assert!(!is_ready(&mut waits));
    clock.advance(Duration::from_millis(7));
    assert!(poll(&mut Pin::new(&mut service.call(()))).is_ready());

    assert!(is_ready(&mut waits));
    layer.bulkhead().close();
    let mut refused = service.clone();
    assert!(is_ready(&mut refused));
    assert!(poll(&mut Box::pin(refused.call(()))).is_ready());

    assert_eq!((heard.0.load(Relaxed), heard.1.load(Relaxed)), (7, 1));
}
