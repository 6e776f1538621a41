use std::time::Duration;

use seawall_core::{CallContext, Timestamp};

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

    /// How much time `request` itself says that its caller has left: a deadline like
    /// [`CallContext::deadline`](seawall_core::CallContext::deadline), which counts where it is earlier than all others.
    /// By default it says nothing.
    #[inline]
    fn remaining(&self, request: &Req) -> Option<Duration> {
        let _ = request;
        None
    }
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

/// The earlier of the deadline that is known of a call and the one that its request names as what is left at `now`; and whether
/// it is the end of a total timeout.
#[inline]
pub(crate) fn earliest(
    context: &CallContext,
    remaining: Option<Duration>,
    now: Timestamp,
) -> (Option<Timestamp>, bool) {
    match remaining.map(|left| now.saturating_add(left)) {
        Some(named) if context.deadline.is_none_or(|known| named < known) => (Some(named), false),
        _ => (context.deadline, context.deadline_is_total),
    }
}
