use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use seawall_core::{
    Admission, CallContext, CarryRejection, Clock, Env, Environment, Gate, GateFuture, Gated, MonotonicClock, NoWait,
    Observer, Outcome, Rejection, Serves, Settle, Shared, Timer, Timestamp, WrapError,
};
use tower_layer::Layer;
use tower_service::Service;

use crate::{BulkheadWait, Place, QueueingBulkhead, QueueingBulkheadConfig};

/// Lets services wait for a place before they are ready, so that whoever drives them reads no further request in
/// meanwhile: back-pressure as tower's `ConcurrencyLimit` has it.
///
/// The price is the one of every reservation: a handle that was made ready holds its place until it is called or
/// dropped, and one that is kept ready without being called keeps it from others. Of a request nothing is known when a
/// place is taken for it, so each takes one place, whatever it costs and however critical it is. Where that matters, take
/// [`QueueingBulkheadLayer`](crate::QueueingBulkheadLayer), which waits in the call.
///
/// Unlike tower's the wait is bounded: a handle that has waited as long as it may, or finds the queue full or the bulkhead
/// closed, is ready, and its next call is refused with the reason. Only then is it known who is refused.
///
/// ```
/// use seawall_bulkhead::{BackPressureLayer, BulkheadConfig, QueueingBulkheadConfig};
/// use tower::{Service, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = BackPressureLayer::new(QueueingBulkheadConfig::new(BulkheadConfig::new(1)?));
/// let mut service = layer.protect(service_fn(|id: u32| async move { Ok::<_, std::io::Error>(id + 1) }));
///
/// let ready = service.ready().await?;
/// assert_eq!(layer.bulkhead().in_flight(), 1, "the place is reserved");
/// assert_eq!(ready.call(1).await?, 2);
/// assert_eq!(layer.bulkhead().in_flight(), 0);
/// # Ok(())
/// # }
/// ```
pub struct BackPressureLayer<E: Environment<Clock: Timer> + 'static = Env> {
    shared: Shared<Gated<Reserving<E::Clock>, E>>,
}

impl BackPressureLayer {
    /// A layer in the default environment.
    pub fn new(config: QueueingBulkheadConfig) -> Self {
        Self::with_env(config, Env::new())
    }
}

impl<E: Environment<Clock: Timer>> BackPressureLayer<E> {
    /// A layer with a clock, a classifier and so on of its own. Its waiters sleep on that clock.
    pub fn with_env(config: QueueingBulkheadConfig, env: E) -> Self {
        let gate = Reserving(QueueingBulkhead::new(config, env.clock().clone()));
        Self { shared: Shared::new(Gated::new(gate, env)) }
    }

    /// The same layer, whose state lives as long as the process: cheaper for cores that share it. Earlier clones keep
    /// sharing.
    #[must_use]
    pub fn leak(self) -> Self {
        Self { shared: self.shared.leak() }
    }

    /// Its places and its queue: figures and manual controls.
    pub fn bulkhead(&self) -> &QueueingBulkhead<E::Clock> {
        &self.shared.gate().0
    }

    /// Wraps the errors of `service` and puts the bulkhead before it: the whole protection in one call.
    pub fn protect<S>(&self, service: S) -> BackPressure<WrapError<S>, E> {
        self.layer(WrapError::new(service))
    }
}

impl<E: Environment<Clock: Timer>> Clone for BackPressureLayer<E> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<E: Environment<Clock: Timer>> fmt::Debug for BackPressureLayer<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bulkhead = self.bulkhead();
        f.debug_struct("BackPressureLayer")
            .field("limit", &bulkhead.limit())
            .field("in_flight", &bulkhead.in_flight())
            .field("queued", &bulkhead.queued())
            .finish_non_exhaustive()
    }
}

impl<S, E: Environment<Clock: Timer>> Layer<S> for BackPressureLayer<E> {
    type Service = BackPressure<S, E>;

    fn layer(&self, inner: S) -> Self::Service {
        BackPressure { inner, shared: self.shared.clone(), reserved: Reserved::Nothing }
    }
}

/// A queueing bulkhead whose calls come with their places, which they were given before. One that comes without is
/// refused unless a place is free.
#[derive(Debug)]
pub struct Reserving<T = MonotonicClock>(QueueingBulkhead<T>);

impl<T: Timer> Gate for Reserving<T> {
    type Ticket = Place;
    type Wait = NoWait;

    fn admit(&self, context: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<Place> {
        self.0.try_admit(&context()).into()
    }

    #[inline]
    fn finish(&self, place: Place, outcome: Outcome, now: impl FnOnce() -> Timestamp) {
        self.0.finish(place, outcome, now);
    }
}

/// A service behind a [`BackPressureLayer`]. A clone has reserved nothing.
pub struct BackPressure<S, E: Environment<Clock: Timer> + 'static = Env> {
    inner: S,
    shared: Shared<Gated<Reserving<E::Clock>, E>>,
    reserved: Reserved<E::Clock>,
}

/// What a handle has for its next call.
enum Reserved<T: Timer> {
    Nothing,
    Waiting { wait: Pin<Box<BulkheadWait<T>>>, since: Timestamp },
    Place(Place),
    Refusal(Rejection),
}

impl<S, E: Environment<Clock: Timer>> BackPressure<S, E> {
    /// The service behind the bulkhead.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    fn ask(&mut self) {
        let (gate, env) = (&self.shared.gate().0, self.shared.env());
        let mut since = None;
        let now = || *since.insert(env.clock().now());
        self.reserved = match gate.admit(CallContext::default, now) {
            Admission::Admitted(place) => Reserved::Place(place),
            Admission::Refused(rejection) => Reserved::Refusal(rejection),
            Admission::Queued(wait) => {
                Reserved::Waiting { wait: Box::pin(wait), since: since.unwrap_or(Timestamp::ZERO) }
            }
        };
    }

    /// Gives back what was reserved.
    fn release(&mut self) {
        if let Reserved::Place(place) = std::mem::replace(&mut self.reserved, Reserved::Nothing) {
            let now = || self.shared.env().clock().now();
            self.shared.gate().0.finish(place, Outcome::Cancelled, now);
        }
    }
}

impl<S, Req, E> Service<Req> for BackPressure<S, E>
where
    S: Service<Req, Error: CarryRejection>,
    E: Serves<Req, S::Response, S::Error> + Environment<Clock: Timer>,
{
    type Response = <E::Settle as Settle<S::Response>>::Response<Reserving<E::Clock>, E>;
    type Error = S::Error;
    type Future = GateFuture<S, Req, Reserving<E::Clock>, E>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        loop {
            match &mut self.reserved {
                Reserved::Nothing => self.ask(),
                Reserved::Waiting { wait, since } => {
                    let (turn, since) = (ready!(wait.as_mut().poll(cx)), *since);
                    self.reserved = match turn {
                        Ok(place) => {
                            let env = self.shared.env();
                            if E::Observer::PER_CALL {
                                env.observer().on_wait(env.clock().now().since(since));
                            }
                            Reserved::Place(place)
                        }
                        Err(rejection) => Reserved::Refusal(rejection),
                    };
                }
                Reserved::Place(_) => {
                    let polled = self.inner.poll_ready(cx);
                    if matches!(polled, Poll::Ready(Err(_))) {
                        self.release();
                    }
                    return polled;
                }
                // The next call is told.
                Reserved::Refusal(_) => return Poll::Ready(Ok(())),
            }
        }
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let admission = match std::mem::replace(&mut self.reserved, Reserved::Nothing) {
            Reserved::Place(place) => Admission::Admitted(place),
            Reserved::Refusal(rejection) => Admission::Refused(rejection),
            // Called without having been made ready.
            Reserved::Nothing | Reserved::Waiting { .. } => {
                self.shared.gate().admit(CallContext::default, || self.shared.env().clock().now())
            }
        };
        GateFuture::decided(&self.shared, &mut self.inner, request, admission)
    }
}

impl<S: Clone, E: Environment<Clock: Timer>> Clone for BackPressure<S, E> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: self.shared.clone(), reserved: Reserved::Nothing }
    }
}

impl<S, E: Environment<Clock: Timer> + 'static> Drop for BackPressure<S, E> {
    fn drop(&mut self) {
        self.release();
    }
}

impl<S: fmt::Debug, E: Environment<Clock: Timer>> fmt::Debug for BackPressure<S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reserved = match &self.reserved {
            Reserved::Nothing => "nothing",
            Reserved::Waiting { .. } => "waits",
            Reserved::Place(_) => "a place",
            Reserved::Refusal(_) => "a refusal",
        };
        f.debug_struct("BackPressure").field("inner", &self.inner).field("reserved", &reserved).finish_non_exhaustive()
    }
}
