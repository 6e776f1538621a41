use std::time::Duration;

/// Says how long a request may take, where that depends on the request.
///
/// Any `Fn(&Request) -> Option<Duration>` is one:
///
/// ```
/// use seawall_timeout::{TimeoutConfig, TimeoutLayer};
/// use std::time::Duration;
///
/// struct Query {
///     rows: u64,
/// }
///
/// let layer = TimeoutLayer::new(TimeoutConfig::attempt(Duration::from_millis(100))?)
///     .with_limit_of(|query: &Query| (query.rows > 1_000).then_some(Duration::from_secs(2)));
/// # let _ = layer;
/// # Ok::<(), seawall_timeout::TimeoutError>(())
/// ```
pub trait LimitOf<Req: ?Sized> {
    /// How long `request` may take; nothing: what the layer allows. 0 allows what is answered at once,
    /// [`Duration::MAX`] never cuts.
    fn limit(&self, request: &Req) -> Option<Duration>;
}

/// The default: the layer's own limit holds for every request.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct SameForAll;

impl<Req: ?Sized> LimitOf<Req> for SameForAll {
    #[inline]
    fn limit(&self, _: &Req) -> Option<Duration> {
        None
    }
}

impl<F: Fn(&Req) -> Option<Duration>, Req: ?Sized> LimitOf<Req> for F {
    #[inline]
    fn limit(&self, request: &Req) -> Option<Duration> {
        self(request)
    }
}
