use std::pin::Pin;

use crate::Observation;

/// Something that can be asked how it does. Any closure that gives a future is one, if the future gives an
/// [`Observation`] or a `Result<(), E>`.
///
/// A check must not block its thread: its timeout cannot cut it then.
pub trait Check: Send + Sync + 'static {
    /// Looks once.
    fn run(&self) -> impl Future<Output = Observation> + Send;
}

impl<F, R> Check for F
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output: Into<Observation>> + Send,
{
    async fn run(&self) -> Observation {
        self().await.into()
    }
}

/// A run of a check of any kind.
pub(crate) type Run<'a> = Pin<Box<dyn Future<Output = Observation> + Send + 'a>>;

/// A check of any kind: a box per run is no matter at one run per second and less.
pub(crate) trait AnyCheck: Send + Sync {
    fn begin(&self) -> Run<'_>;
}

impl<C: Check> AnyCheck for C {
    fn begin(&self) -> Run<'_> {
        Box::pin(self.run())
    }
}
