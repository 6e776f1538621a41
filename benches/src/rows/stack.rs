//! Whole stacks.

use std::{
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use seawall::{
    Client,
    backoff_with_jitter::{IfUnknown, RetryConfig, RetryLayer},
    bulkhead::{BulkheadConfig, BulkheadLayer},
    circuit_breaker::{BreakerConfig, CircuitBreakerLayer},
    core::{ClockScopeLayer, ScopeBoundaryLayer, WrapError},
    load_shedder::{LoadShedderConfig, LoadShedderLayer},
    timeout::{TimeoutConfig, TimeoutLayer},
};
use tower::{Layer, Service, service_fn};

use super::{Row, layer_row, peers};
use crate::operation::{Calls, Failed, LaterLeaf, Leaf, Operation, built};

/// Wide enough that nothing is refused.
const PLACES: usize = 1_000;
/// Long enough that nothing times out.
const LONG: Duration = Duration::from_secs(5);

/// Timeout, retry with budget, breaker, bulkhead and shedder under one clock scope.
fn client<S>(innermost: S, leak: bool) -> Box<dyn Operation>
where
    S: Service<u64, Response = u64, Error = Failed, Future: Send> + Clone + Send + Sync + 'static,
{
    let timeout = TimeoutLayer::new(built(TimeoutConfig::total(LONG)));
    let retry = RetryLayer::new(RetryConfig::new(IfUnknown::Repeat));
    let breaker = CircuitBreakerLayer::new(BreakerConfig::default());
    let bulkhead = BulkheadLayer::new(built(BulkheadConfig::new(PLACES)));
    let shedder = LoadShedderLayer::new(LoadShedderConfig::default());
    let gates = tower::layer::util::Stack::new(shedder.clone(), bulkhead.clone());
    if leak {
        let gates = tower::layer::util::Stack::new(shedder.leak(), bulkhead.leak());
        let layers = Client::empty()
            .with_total(timeout.leak())
            .with_retry(retry.leak())
            .with_breaker(breaker.leak())
            .with_bulkhead(gates);
        return Box::new(Calls(layers.protect(innermost)));
    }
    let layers = Client::empty().with_total(timeout).with_retry(retry).with_breaker(breaker).with_bulkhead(gates);
    Box::new(Calls(layers.protect(innermost)))
}

fn ready() -> Box<dyn Operation> {
    client(Leaf::default(), false)
}

fn ready_leaked() -> Box<dyn Operation> {
    client(Leaf::default(), true)
}

fn pending() -> Box<dyn Operation> {
    client(LaterLeaf::default(), false)
}

/// The document's three: timeout, retry, breaker, as seatbelt's users stack them.
fn three(timeout: &TimeoutLayer, retry: &RetryLayer, breaker: &CircuitBreakerLayer) -> Box<dyn Operation> {
    let innermost = ScopeBoundaryLayer::new().layer(WrapError::new(Leaf::default()));
    Box::new(Calls(ClockScopeLayer::new().layer(timeout.layer(retry.layer(breaker.layer(innermost))))))
}

fn three_layers() -> (TimeoutLayer, RetryLayer, CircuitBreakerLayer) {
    let timeout = TimeoutLayer::new(built(TimeoutConfig::attempt(LONG)));
    let retry = RetryLayer::new(RetryConfig::new(IfUnknown::Repeat));
    (timeout, retry, CircuitBreakerLayer::new(BreakerConfig::default()))
}

fn three_counted() -> Box<dyn Operation> {
    let (timeout, retry, breaker) = three_layers();
    three(&timeout, &retry, &breaker)
}

fn three_leaked() -> Box<dyn Operation> {
    let (timeout, retry, breaker) = three_layers();
    three(&timeout.leak(), &retry.leak(), &breaker.leak())
}

/// The server preset around a handler that answers at once.
fn server() -> Box<dyn Operation> {
    let handler = service_fn(|_: Request<Full<Bytes>>| {
        std::future::ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
    });
    let preset = seawall::server().leak().layer(handler);
    Box::new(Calls(AsRequest(preset)))
}

/// Calls an HTTP service with an empty request.
#[derive(Clone)]
struct AsRequest<S>(S);

impl<S: Service<Request<Full<Bytes>>>> Service<u64> for AsRequest<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, _: u64) -> S::Future {
        self.0.call(Request::new(Full::default()))
    }
}

pub(super) fn rows() -> Vec<Row> {
    let towers = || vec![peers::TOWER_THREE, peers::RESILIENCE_STACK];
    vec![
        layer_row("stack/client", "shared", ready, towers()),
        layer_row("stack/client-leaked", "shared", ready_leaked, towers()),
        layer_row("stack/client-pending", "shared", pending, vec![peers::TOWER_THREE_PENDING]).allocating(),
        layer_row(
            "stack/timeout-retry-breaker",
            "shared",
            three_counted,
            vec![peers::SEATBELT_STACK, peers::SEATBELT_STACK_OWN],
        ),
        layer_row(
            "stack/timeout-retry-breaker-leaked",
            "shared",
            three_leaked,
            vec![peers::SEATBELT_STACK, peers::SEATBELT_STACK_OWN],
        ),
        // A request's extensions, where the deadline goes, are one allocation of the http crate's.
        layer_row("stack/server", "shared", server, Vec::new()).allocating(),
    ]
}
