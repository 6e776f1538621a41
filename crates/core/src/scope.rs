#![expect(
    clippy::inline_always,
    reason = "a call is one path through all layers of a stack; functions of their own would copy each future once a layer"
)]

use std::{
    cell::Cell,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::Timestamp;

/// No scope: every reading is fresh.
const NONE: u64 = 0;
/// In a scope that has not read the clock yet. A higher value is the scope's reading, with this bit below it.
const UNREAD: u64 = 1;

thread_local! {
    static SCOPE: Cell<u64> = const { Cell::new(NONE) };
}

/// One reading for everyone in the current scope; a fresh one outside.
#[inline(always)]
pub(crate) fn shared_reading(read: impl FnOnce() -> Timestamp) -> Timestamp {
    let state = SCOPE.get();
    if state > UNREAD {
        return Timestamp::from_nanos(state >> 1);
    }
    let now = read();
    if state == UNREAD {
        // All but the top bit, which takes 292 years.
        SCOPE.set(now.as_nanos() << 1 | UNREAD);
    }
    now
}

/// Puts the thread into `state` until dropped. Afterwards a scope that was there before is unread again: what ran in
/// between took time, so its old reading is stale.
struct Entered {
    before: u64,
}

impl Entered {
    #[inline(always)]
    fn new(state: u64) -> Self {
        Self { before: SCOPE.replace(state) }
    }
}

impl Drop for Entered {
    #[inline(always)]
    fn drop(&mut self) {
        SCOPE.set(self.before & UNREAD);
    }
}

macro_rules! scoped_service {
    ($layer:ident, $service:ident, $future:ident, $state:expr, $(#[$layer_doc:meta])*, $(#[$service_doc:meta])*) => {
        $(#[$layer_doc])*
        #[derive(Copy, Clone, Debug, Default)]
        #[non_exhaustive]
        pub struct $layer;

        impl $layer {
            /// The layer; it has no settings.
            pub const fn new() -> Self {
                Self
            }
        }

        impl<S> Layer<S> for $layer {
            type Service = $service<S>;

            fn layer(&self, inner: S) -> $service<S> {
                $service { inner }
            }
        }

        $(#[$service_doc])*
        #[derive(Copy, Clone, Debug)]
        pub struct $service<S> {
            inner: S,
        }

        impl<S: Service<Req>, Req> Service<Req> for $service<S> {
            type Response = S::Response;
            type Error = S::Error;
            type Future = $future<S::Future>;

            #[inline(always)]
            fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
                let _entered = Entered::new($state);
                self.inner.poll_ready(cx)
            }

            #[inline(always)]
            fn call(&mut self, req: Req) -> Self::Future {
                let _entered = Entered::new($state);
                $future { inner: self.inner.call(req) }
            }
        }

        pin_project! {
            #[doc = concat!("The future of [`", stringify!($service), "`].")]
            #[derive(Debug)]
            #[must_use = "futures do nothing unless polled"]
            pub struct $future<F> {
                #[pin]
                inner: F,
            }
        }

        impl<F: Future> Future for $future<F> {
            type Output = F::Output;

            #[inline(always)]
            fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
                let _entered = Entered::new($state);
                self.project().inner.poll(cx)
            }
        }
    };
}

scoped_service!(
    ClockScopeLayer, ClockScope, ClockScopeFuture, UNREAD,
    /// Lets all layers inside share one reading of [`MonotonicClock`] per `call` and per `poll`. Outermost in a stack,
    /// and only together with a [`ScopeBoundaryLayer`] innermost: the presets of the `seawall` crate insert both.
    ///
    /// [`MonotonicClock`]: crate::MonotonicClock
    ,
    /// A service behind a [`ClockScopeLayer`].
);

scoped_service!(
    ScopeBoundaryLayer, ScopeBoundary, ScopeBoundaryFuture, NONE,
    /// Ends the clock scope for what is inside, so that the work of the innermost service, and any stack nested in it,
    /// measures its own time. After each inner `call` and `poll` the scope outside reads the clock anew.
    ,
    /// A service behind a [`ScopeBoundaryLayer`].
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clock, MonotonicClock};

    #[test]
    fn one_scope_has_one_reading_and_the_next_a_later_one() {
        let read_twice = || (MonotonicClock.now(), MonotonicClock.now());

        let first = {
            let _scope = Entered::new(UNREAD);
            read_twice()
        };
        let second = {
            let _scope = Entered::new(UNREAD);
            read_twice()
        };

        assert_eq!(first.0, first.1);
        assert_eq!(second.0, second.1);
        assert!(second.0 > first.0);
    }

    #[test]
    fn after_a_boundary_the_scope_reads_anew() {
        let _scope = Entered::new(UNREAD);
        let before = MonotonicClock.now();
        {
            let _boundary = Entered::new(NONE);
            assert!(MonotonicClock.now() > before);
        }

        assert!(MonotonicClock.now() > before);
    }

    #[test]
    fn a_panic_inside_leaves_no_scope_behind() {
        let caught = std::panic::catch_unwind(|| {
            let _scope = Entered::new(UNREAD);
            panic!("inside");
        });

        assert!(caught.is_err());
        assert_eq!(SCOPE.get(), NONE);
    }
}
