use std::time::Duration;

use seawall_core::{
    Clock, ClockScope, ClockScopeLayer, Criticality, Entropy, Environment, Gate, GateLayer, MonotonicClock, NoObserver,
    Observer, Pattern, ScopeBoundaryLayer, ThreadEntropy, Timer, WrapError,
};
use seawall_http::{ReceiveDeadlineLayer, RequestBodyTimeoutLayer, Respond, RespondLayer};
use seawall_load_shedder::{
    CgroupReader, Knee, LoadShedder, LoadShedderConfig, LoadShedderLayer, Pressure, QueueingLoadShedder,
    QueueingShedderConfig,
};
use seawall_timeout::{StreamLimits, TimeoutConfig, TimeoutLayer};
use tower_layer::{Identity, Layer};

use crate::{Innermost, Leak, PresetEnv, StackError, http_client::valid};
#[cfg(feature = "metrics")]
use crate::{PresetMetrics, Publish};

/// How long a caller that names no deadline is assumed to wait, and the most that one may ask for.
const MAX_DEADLINE: Duration = Duration::from_secs(30);

/// The server preset over HTTP.
pub type HttpServer<K = MonotonicClock, O = NoObserver, R = ThreadEntropy> =
    Server<ReceiveDeadlineLayer<K>, TimeoutLayer<PresetEnv<K, O, R>>, LoadShedderLayer<PresetEnv<K, O, R>>, Identity>;

/// The same preset with a queue before the handlers: [`Server::with_queue`].
pub type QueueingServer<K = MonotonicClock, O = NoObserver, R = ThreadEntropy, B = Identity, Y = Identity> = Server<
    ReceiveDeadlineLayer<K>,
    TimeoutLayer<PresetEnv<K, O, R>>,
    GateLayer<QueueingLoadShedder<Knee, K>, PresetEnv<K, O, R>>,
    B,
    Y,
>;

/// The layers before a handler, in the order that works: refusals as responses, the caller's deadline, the timeout that
/// keeps it, load shedder, bulkhead. The order is fixed; all but the first two can be replaced or left out.
///
/// All of them share one clock reading. All services that it makes, one per connection say, and all its clones share one
/// state.
#[derive(Clone, Debug)]
pub struct Server<D, T, L, K, Y = Identity> {
    deadline: D,
    timeout: T,
    shedder: L,
    bulkhead: K,
    bodies: Y,
    respond: RespondLayer,
}

/// A handler behind a [`Server`].
pub type ServerService<S, D, T, L, K, Y = Identity> =
    ClockScope<Respond<<D as Layer<<T as Layer<Gates<S, L, K, Y>>>::Service>>::Service>>;

/// A handler behind the gates of a [`Server`].
pub type Gates<S, L, K, Y = Identity> =
    <L as Layer<<K as Layer<<Y as Layer<Innermost<S>>>::Service>>::Service>>::Service;

/// The preset for serving HTTP: sheds what cannot be finished in time with 503 and `Retry-After`, learns by itself how
/// much that is, and ends with 504 what has not answered when its caller stops waiting, or after 30 s.
///
/// A call has its place until the head of its answer: event streams and long downloads say nothing of the load, and would
/// fill the limit. Where bodies are the work, put a shedder that settles
/// [`AtBodyEnd`](seawall_http::AtBodyEnd) in its [place](Server::with_shedder), or a bulkhead
/// [behind it](Server::with_bulkhead).
///
/// ```
/// use axum::{Router, routing::get};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let app: Router = Router::new().route("/", get(|| async { "hello" })).layer(seawall::server());
/// let answer = app.oneshot(http::Request::new(axum::body::Body::empty())).await?;
/// assert_eq!(answer.status(), 200);
/// # Ok(())
/// # }
/// ```
pub fn server() -> HttpServer {
    server_with_env(seawall_http::env())
}

/// The same preset, whose layers tell an observer of one's own what happens, or read another clock.
///
/// ```
/// use seawall::core::VirtualClock;
///
/// let layers = seawall::server_with_env(seawall::http::env().with_clock(VirtualClock::new()));
/// assert_eq!(layers.deadline().expired(), 0);
/// ```
pub fn server_with_env<K, O, R>(env: PresetEnv<K, O, R>) -> HttpServer<K, O, R>
where
    K: Timer + Clone,
    O: Observer + Clone,
    R: Entropy + Clone,
{
    Server {
        deadline: ReceiveDeadlineLayer::new(MAX_DEADLINE).with_clock(env.clock().clone()),
        // No limit of its own: every request has a deadline by then.
        timeout: TimeoutLayer::with_env(
            valid(TimeoutConfig::total(Duration::MAX)),
            env.clone().for_layer(Pattern::Timeout, ""),
        ),
        shedder: LoadShedderLayer::with_env(LoadShedderConfig::default(), env.for_layer(Pattern::LoadShedder, "")),
        bulkhead: Identity::new(),
        bodies: Identity::new(),
        respond: RespondLayer::new(),
    }
}

impl<C: Clock, T, L, K, Y> Server<ReceiveDeadlineLayer<C>, T, L, K, Y> {
    /// Grants callers at most `limit`, and that much when they name no deadline. Default 30 s.
    ///
    /// # Errors
    /// Zero.
    pub fn with_max_deadline(mut self, limit: Duration) -> Result<Self, StackError> {
        if limit.is_zero() {
            return Err(StackError::MaxDeadline);
        }
        self.deadline = self.deadline.with_limit(limit);
        Ok(self)
    }
}

impl<K, O, R, B, Y>
    Server<ReceiveDeadlineLayer<K>, TimeoutLayer<PresetEnv<K, O, R>>, LoadShedderLayer<PresetEnv<K, O, R>>, B, Y>
where
    K: Timer + Clone,
    O: Observer + Clone,
    R: Entropy + Clone,
{
    /// Lets requests that find no room wait for a moment, the critical ones first and newest first under overload, in the
    /// place of refusing them at once. Services behind it have to be `Clone`, as axum's are.
    ///
    /// ```
    /// use seawall::load_shedder::QueueingShedderConfig;
    ///
    /// let layers = seawall::server().with_queue(QueueingShedderConfig::default());
    /// assert_eq!(layers.shedder().gate().queued(), 0);
    /// ```
    pub fn with_queue(self, config: QueueingShedderConfig) -> QueueingServer<K, O, R, B, Y> {
        let env = self.shedder.env().clone();
        let queue = QueueingLoadShedder::new(config, env.clock().clone());
        self.with_shedder(GateLayer::with_env(queue, env))
    }
}

impl<D, E: Environment<Clock: Clone>, C, L, K, Y> Server<D, TimeoutLayer<E, C>, L, K, Y> {
    /// Bounds the bodies of requests: those of a client that stands still, or trickles. A handler that reads one that is cut sees
    /// an error. Default: only the request's deadline, as only the handler knows how long a body may take. What is answered is
    /// bounded by a [`ResponseBodyTimeoutLayer`](seawall_http::ResponseBodyTimeoutLayer) around all of it.
    ///
    /// ```
    /// use axum::{Router, routing::post};
    /// use seawall::timeout::StreamLimits;
    /// use std::time::Duration;
    ///
    /// let limits = StreamLimits::new().with_idle(Duration::from_secs(10))?;
    /// let app: Router = Router::new()
    ///     .route("/", post(|body: String| async { body }))
    ///     .layer(seawall::server().with_body_limits(limits));
    /// # let _ = app;
    /// # Ok::<(), seawall::timeout::TimeoutError>(())
    /// ```
    pub fn with_body_limits(
        self,
        limits: StreamLimits,
    ) -> Server<D, TimeoutLayer<E, C>, L, K, RequestBodyTimeoutLayer<E::Clock>> {
        let bodies = RequestBodyTimeoutLayer::new(limits).with_clock(self.timeout.clock().clone());
        let Self { deadline, timeout, shedder, bulkhead, respond, .. } = self;
        Server { deadline, timeout, shedder, bulkhead, bodies, respond }
    }
}

/// Tells a shedder what the process feels, for as long as it is polled.
async fn feel<G: Gate, E: Environment<Clock: Timer + Clone>>(
    layer: GateLayer<G, E>,
    pressure: Pressure,
    reader: CgroupReader,
    shed_below: fn(&G, Criticality),
) {
    let clock = layer.env().clock().clone();
    pressure.watch(clock, reader, move |floor| shed_below(layer.gate(), floor)).await;
}

impl<D, T, E: Environment<Clock: Timer + Clone>, B, Y> Server<D, T, LoadShedderLayer<E>, B, Y> {
    /// Sheds also for what the process itself feels, whatever its latencies say, while the future that is returned is
    /// polled: spawn it. The presets feel nothing by themselves, since that takes a task.
    ///
    /// ```
    /// use seawall::load_shedder::{CgroupReader, Pressure};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let layers = seawall::server();
    /// tokio::spawn(layers.feel(Pressure::default(), CgroupReader::new()));
    /// # }
    /// ```
    pub fn feel(&self, pressure: Pressure, reader: CgroupReader) -> impl Future<Output = ()> + use<D, T, E, B, Y> {
        feel(self.shedder.clone(), pressure, reader, LoadShedder::shed_below)
    }
}

impl<D, T, K: Timer, E: Environment<Clock: Timer + Clone>, B, Y>
    Server<D, T, GateLayer<QueueingLoadShedder<Knee, K>, E>, B, Y>
{
    /// Sheds also for what the process itself feels: as [without a queue](Server::feel).
    pub fn feel(&self, pressure: Pressure, reader: CgroupReader) -> impl Future<Output = ()> + use<D, T, K, E, B, Y> {
        feel(self.shedder.clone(), pressure, reader, QueueingLoadShedder::shed_below)
    }
}

impl<D, T, L, K, Y> Server<D, T, L, K, Y> {
    /// Puts `layer` in the place of the timeout.
    pub fn with_timeout<T2>(self, layer: T2) -> Server<D, T2, L, K, Y> {
        let Self { deadline, shedder, bulkhead, bodies, respond, .. } = self;
        Server { deadline, timeout: layer, shedder, bulkhead, bodies, respond }
    }

    /// Puts `layer` in the place of the load shedder.
    pub fn with_shedder<L2>(self, layer: L2) -> Server<D, T, L2, K, Y> {
        let Self { deadline, timeout, bulkhead, bodies, respond, .. } = self;
        Server { deadline, timeout, shedder: layer, bulkhead, bodies, respond }
    }

    /// Puts `layer` in the place of the bulkhead, which the preset leaves out.
    pub fn with_bulkhead<K2>(self, layer: K2) -> Server<D, T, L, K2, Y> {
        let Self { deadline, timeout, shedder, bodies, respond, .. } = self;
        Server { deadline, timeout, shedder, bulkhead: layer, bodies, respond }
    }

    /// Lets handlers go on past their callers' deadlines, of which they are told all the same.
    pub fn without_timeout(self) -> Server<D, Identity, L, K, Y> {
        self.with_timeout(Identity::new())
    }

    /// Tells callers that are refused for overload not to come back with the same request (`x-seawall-do-not-retry`, gRPC's
    /// pushback): for where there is one instance, or all are overloaded together. By default only what no repetition mends
    /// is marked so, since a retry may reach an instance that has room.
    #[must_use]
    pub const fn without_retries_on_overload(mut self) -> Self {
        self.respond = self.respond.without_retries_on_overload();
        self
    }

    /// Leaves the load shedder out.
    pub fn without_shedder(self) -> Server<D, T, Identity, K, Y> {
        self.with_shedder(Identity::new())
    }

    /// The layer that takes callers' deadlines: how many it could not read, and how many had passed.
    pub const fn deadline(&self) -> &D {
        &self.deadline
    }

    /// The load shedder's layer: its gate has the limit and the calls in flight.
    pub const fn shedder(&self) -> &L {
        &self.shedder
    }

    /// The bulkhead's layer.
    pub const fn bulkhead(&self) -> &K {
        &self.bulkhead
    }
}

#[cfg(feature = "metrics")]
impl<D, T: Publish, L: Publish, K: Publish, Y> Server<D, T, L, K, Y> {
    /// What the layers are at, for whoever scrapes: the shedder's limit and latencies and who waits, the bulkhead's places. Once,
    /// after the last part was set: one that is set later is not in it, and a second time would count cuts of the limit twice.
    /// Calls and refusals are what an observer counts.
    ///
    /// ```
    /// use seawall::load_shedder::QueueingShedderConfig;
    ///
    /// let layers = seawall::server().with_queue(QueueingShedderConfig::default());
    /// let metrics = layers.metrics("web");
    /// // Before each scrape:
    /// metrics.scrape();
    /// ```
    pub fn metrics(&self, name: &str) -> PresetMetrics {
        let mut metrics = PresetMetrics::new();
        self.timeout.publish(name, &mut metrics);
        self.shedder.publish(name, &mut metrics);
        self.bulkhead.publish(name, &mut metrics);
        metrics
    }
}

impl<D: Leak, T: Leak, L: Leak, K: Leak, Y: Leak> Server<D, T, L, K, Y> {
    /// The same layers, whose state lives as long as the process: cheaper for cores that share them.
    #[must_use]
    pub fn leak(self) -> Self {
        Self {
            deadline: self.deadline.leak(),
            timeout: self.timeout.leak(),
            shedder: self.shedder.leak(),
            bulkhead: self.bulkhead.leak(),
            bodies: self.bodies.leak(),
            respond: self.respond,
        }
    }
}

impl<S, D, T, L, K, Y> Layer<S> for Server<D, T, L, K, Y>
where
    Y: Layer<Innermost<S>>,
    K: Layer<Y::Service>,
    L: Layer<K::Service>,
    T: Layer<L::Service>,
    D: Layer<T::Service>,
{
    type Service = ServerService<S, D, T, L, K, Y>;

    fn layer(&self, inner: S) -> Self::Service {
        let innermost = ScopeBoundaryLayer::new().layer(WrapError::new(inner));
        let gates = self.shedder.layer(self.bulkhead.layer(self.bodies.layer(innermost)));
        ClockScopeLayer::new().layer(self.respond.layer(self.deadline.layer(self.timeout.layer(gates))))
    }
}
