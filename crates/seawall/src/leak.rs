use seawall_backoff_with_jitter::RetryLayer;
use seawall_core::{Environment, Gate, GateLayer};
use seawall_fallback::FallbackLayer;
use seawall_http::{ReceiveDeadlineLayer, RequestBodyTimeoutLayer, ResponseBodyTimeoutLayer};
use seawall_timeout::{InheritedTimeoutLayer, TimeoutLayer};
use tower_layer::Identity;

/// A layer whose state can be made to live as long as the process.
pub trait Leak {
    /// The same layer, never freed: cheaper for cores that share it.
    #[must_use]
    fn leak(self) -> Self;
}

impl Leak for Identity {
    fn leak(self) -> Self {
        self
    }
}

impl<G: Gate, E: Environment> Leak for GateLayer<G, E> {
    fn leak(self) -> Self {
        Self::leak(self)
    }
}

impl<E: Environment, P, W> Leak for RetryLayer<E, P, W> {
    fn leak(self) -> Self {
        Self::leak(self)
    }
}

impl<E: Environment, D, L> Leak for TimeoutLayer<E, D, L> {
    fn leak(self) -> Self {
        Self::leak(self)
    }
}

impl<E: Environment, L> Leak for InheritedTimeoutLayer<E, L> {
    fn leak(self) -> Self {
        Self::leak(self)
    }
}

impl<A, X, E: Environment, W, M> Leak for FallbackLayer<A, X, E, W, M> {
    fn leak(self) -> Self {
        Self::leak(self)
    }
}

#[cfg(feature = "reqwest")]
impl Leak for seawall_http::TimedRequestLayer {
    fn leak(self) -> Self {
        self
    }
}

impl<K> Leak for ResponseBodyTimeoutLayer<K> {
    fn leak(self) -> Self {
        self
    }
}

impl<K> Leak for RequestBodyTimeoutLayer<K> {
    fn leak(self) -> Self {
        self
    }
}

impl<K> Leak for ReceiveDeadlineLayer<K> {
    fn leak(self) -> Self {
        Self::leak(self)
    }
}
