use std::time::Duration;

use seawall_core::{ClockScope, ClockScopeLayer, ScopeBoundaryLayer, WrapError};
use seawall_http::{ReceiveDeadline, ReceiveDeadlineLayer, Respond, RespondLayer};
use seawall_load_shedder::{LoadShedderConfig, LoadShedderLayer};
use tower_layer::{Identity, Layer};

use crate::{BodyEnv, Innermost, Leak};

/// How long a caller that names no deadline is assumed to wait, and the most that one may ask for.
const MAX_DEADLINE: Duration = Duration::from_secs(30);

/// The server preset over HTTP.
pub type HttpServer = Server<LoadShedderLayer<BodyEnv>, Identity>;

/// The layers before a handler, in the order that works: refusals as responses, the caller's deadline, load shedder,
/// bulkhead. The order is fixed; shedder and bulkhead can be replaced or left out.
///
/// All of them share one clock reading. All services that it makes, one per connection say, and all its clones share one
/// state.
#[derive(Clone, Debug)]
pub struct Server<L, K> {
    deadline: ReceiveDeadlineLayer,
    shedder: L,
    bulkhead: K,
}

/// A handler behind a [`Server`].
pub type ServerService<S, L, K> =
    ClockScope<Respond<ReceiveDeadline<<L as Layer<<K as Layer<Innermost<S>>>::Service>>::Service>>>;

/// The preset for serving HTTP: sheds what cannot be finished in time with 503 and `Retry-After`, learns by itself how
/// much that is, and holds a place until the last byte of a body.
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
    let env = seawall_http::env().with_settle(seawall_http::AtBodyEnd);
    Server {
        deadline: ReceiveDeadlineLayer::new(MAX_DEADLINE),
        shedder: LoadShedderLayer::with_env(LoadShedderConfig::default(), env),
        bulkhead: Identity::new(),
    }
}

impl<L, K> Server<L, K> {
    /// Grants callers at most `limit`, and that much when they name no deadline. Default 30 s.
    #[must_use]
    pub fn with_max_deadline(mut self, limit: Duration) -> Self {
        self.deadline = self.deadline.with_limit(limit);
        self
    }

    /// Puts `layer` in the place of the load shedder.
    pub fn with_shedder<L2>(self, layer: L2) -> Server<L2, K> {
        Server { deadline: self.deadline, shedder: layer, bulkhead: self.bulkhead }
    }

    /// Puts `layer` in the place of the bulkhead, which the preset leaves out.
    pub fn with_bulkhead<K2>(self, layer: K2) -> Server<L, K2> {
        Server { deadline: self.deadline, shedder: self.shedder, bulkhead: layer }
    }

    /// Leaves the load shedder out.
    pub fn without_shedder(self) -> Server<Identity, K> {
        self.with_shedder(Identity::new())
    }

    /// The layer that takes callers' deadlines: how many it could not read, and how many had passed.
    pub const fn deadline(&self) -> &ReceiveDeadlineLayer {
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

impl<L: Leak, K: Leak> Server<L, K> {
    /// The same layers, whose state lives as long as the process: cheaper for cores that share them.
    #[must_use]
    pub fn leak(self) -> Self {
        Self { deadline: self.deadline.leak(), shedder: self.shedder.leak(), bulkhead: self.bulkhead.leak() }
    }
}

impl<S, L, K> Layer<S> for Server<L, K>
where
    K: Layer<Innermost<S>>,
    L: Layer<K::Service>,
{
    type Service = ServerService<S, L, K>;

    fn layer(&self, inner: S) -> Self::Service {
        let innermost = ScopeBoundaryLayer::new().layer(WrapError::new(inner));
        let gates = self.shedder.layer(self.bulkhead.layer(innermost));
        ClockScopeLayer::new().layer(RespondLayer::new().layer(self.deadline.layer(gates)))
    }
}
