use tower_layer::Layer;

use crate::Leak;

/// One layer around another: tower's `Stack`, whose two can still be [leaked](Leak).
#[derive(Clone, Copy, Debug)]
pub struct Around<I, O> {
    inner: I,
    outer: O,
}

impl<I, O> Around<I, O> {
    pub(crate) const fn new(inner: I, outer: O) -> Self {
        Self { inner, outer }
    }
}

impl<S, I: Layer<S>, O: Layer<I::Service>> Layer<S> for Around<I, O> {
    type Service = O::Service;

    fn layer(&self, service: S) -> O::Service {
        self.outer.layer(self.inner.layer(service))
    }
}

impl<I: Leak, O: Leak> Leak for Around<I, O> {
    fn leak(self) -> Self {
        Self { inner: self.inner.leak(), outer: self.outer.leak() }
    }
}
