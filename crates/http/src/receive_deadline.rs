use std::{fmt, time::Duration};

use http::Request;
use seawall_core::{
    Clock, MonotonicClock, Rejection, Shared,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};
use tower_layer::Layer;

use crate::{Deadline, DeadlineService, StampDeadline, deadline_header::Asked, deadline_service::TOO_CLOSE};

/// Takes a caller's deadline from `x-request-timeout-ms`, `grpc-timeout` or Envoy's `x-envoy-expected-rq-timeout-ms` into
/// the extension [`Deadline`], where all layers inside find it; calls that the handler makes inherit it.
///
/// What travels is the time that remains, never a point in time, so the clocks of the two machines need not agree; what
/// the network takes is not seen, and is what the sender's reserve is for. Of several headers the least counts. At most
/// `limit` is granted, whoever asks for more, and that much when the caller says nothing. A header that cannot be read is
/// ignored and [counted](Self::malformed).
///
/// A request that arrives with nothing left, or less than [`with_min_remaining`](Self::with_min_remaining) says, is
/// refused with [`Reason::DeadlineTooClose`](seawall_core::Reason::DeadlineTooClose), 504, without calling the handler.
#[derive(Clone)]
pub struct ReceiveDeadlineLayer<K = MonotonicClock> {
    limit: Duration,
    min_remaining: Duration,
    observed_only: bool,
    counts: Shared<Counts>,
    clock: K,
}

/// Relaxed: each counts for itself.
#[derive(Debug, Default)]
struct Counts {
    malformed: AtomicU64,
    expired: AtomicU64,
}

impl ReceiveDeadlineLayer {
    /// Grants at most `limit`.
    pub fn new(limit: Duration) -> Self {
        Self {
            limit,
            min_remaining: Duration::ZERO,
            observed_only: false,
            counts: Shared::new(Counts::default()),
            clock: MonotonicClock,
        }
    }
}

impl<K> ReceiveDeadlineLayer<K> {
    /// Reads the time from `clock`.
    pub fn with_clock<K2>(self, clock: K2) -> ReceiveDeadlineLayer<K2> {
        let Self { limit, min_remaining, observed_only, counts, .. } = self;
        ReceiveDeadlineLayer { limit, min_remaining, observed_only, counts, clock }
    }

    /// Grants at most `limit`. The counts go on.
    #[must_use]
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Refuses what arrives with less than this: too little to answer in time. Default 0: only what has nothing left.
    #[must_use]
    pub fn with_min_remaining(mut self, min_remaining: Duration) -> Self {
        self.min_remaining = min_remaining;
        self
    }

    /// Only counts what would be refused, and gives it the limit: to see what the deadlines of callers would do before they
    /// do it. Default: refuses.
    #[must_use]
    pub fn observed_only(mut self) -> Self {
        self.observed_only = true;
        self
    }

    /// How many headers could not be read, since the layer was made.
    pub fn malformed(&self) -> u64 {
        // Relaxed, as everywhere here: a count that guards nothing.
        self.counts.malformed.load(Relaxed)
    }

    /// How many requests arrived with too little left, refused or not, since the layer was made.
    pub fn expired(&self) -> u64 {
        self.counts.expired.load(Relaxed)
    }

    /// The same layer, whose counts live as long as the process. Earlier clones keep sharing.
    #[must_use]
    pub fn leak(self) -> Self {
        Self { counts: self.counts.leak(), ..self }
    }
}

impl<K: Clock> StampDeadline for ReceiveDeadlineLayer<K> {
    fn stamp<B>(&self, request: &mut Request<B>) -> Result<Option<Deadline>, Rejection> {
        let asked = Asked::by(request.headers());
        if asked.malformed > 0 {
            self.counts.malformed.fetch_add(asked.malformed, Relaxed);
        }
        let (now, mut granted) = (self.clock.now(), asked.remaining.unwrap_or(self.limit).min(self.limit));
        let left = Deadline::of(request).map_or(granted, |known| known.at().since(now).min(granted));
        if left.is_zero() || left < self.min_remaining {
            self.counts.expired.fetch_add(1, Relaxed);
            if !self.observed_only {
                return Err(TOO_CLOSE);
            }
            granted = self.limit;
        }
        Deadline::bring_forward(request, now.saturating_add(granted));
        Ok(request.extensions().get().copied())
    }
}

impl<K> fmt::Debug for ReceiveDeadlineLayer<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiveDeadlineLayer")
            .field("limit", &self.limit)
            .field("min_remaining", &self.min_remaining)
            .field("observed_only", &self.observed_only)
            .finish_non_exhaustive()
    }
}

impl<S, K: Clone> Layer<S> for ReceiveDeadlineLayer<K> {
    type Service = ReceiveDeadline<S, K>;

    fn layer(&self, inner: S) -> Self::Service {
        DeadlineService::new(inner, self.clone())
    }
}

/// A service behind a [`ReceiveDeadlineLayer`].
pub type ReceiveDeadline<S, K = MonotonicClock> = DeadlineService<S, ReceiveDeadlineLayer<K>>;
