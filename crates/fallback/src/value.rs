use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{Alternative, Case, Combine, Degraded, Reply};

/// Answers with clones of one value, as `value`.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Value<T> {
    value: T,
}

impl<T> Value<T> {
    /// Answers with clones of `value`.
    pub const fn new(value: T) -> Self {
        Self { value }
    }
}

impl<T> Combine for Value<T> {}

impl<T: Clone, K, Err> Alternative<K, T, Err> for Value<T> {
    type Error = Infallible;
    type Run = ();

    fn start(&self, _: &Case<'_, K, T, Err>) {}

    fn poll(&self, _: Pin<&mut ()>, _: &Case<'_, K, T, Err>, _: &mut Context<'_>) -> Poll<Reply<T, Infallible>> {
        Poll::Ready(Reply::Answer(self.value.clone(), Degraded::new("value")))
    }
}
