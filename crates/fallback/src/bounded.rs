use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use seawall_core::{
    InheritDeadline, MonotonicClock, Timer, Timestamp, inherited_deadline,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use crate::{Alternative, Bounds, Case, Combine, Reply};

/// An alternative within [`Bounds`]. Made by [`Combine::bounded`]; its clones share the places.
///
/// Time counts from when the alternative begins. One that is cut, or has no place, has failed: the next alternative's
/// turn, or the service's own outcome. What it calls inherits its end as a deadline.
#[derive(Clone)]
pub struct Bounded<A, K = MonotonicClock> {
    alternative: A,
    bounds: Bounds,
    places: Places,
    clock: K,
}

impl<A> Bounded<A> {
    pub(crate) fn new(alternative: A, bounds: Bounds) -> Self {
        Self { alternative, bounds, places: Places::new(bounds.places()), clock: MonotonicClock }
    }
}

impl<A, K> Bounded<A, K> {
    /// Reads the time from `clock`.
    pub fn with_clock<K2>(self, clock: K2) -> Bounded<A, K2> {
        let Self { alternative, bounds, places, .. } = self;
        Bounded { alternative, bounds, places, clock }
    }

    /// How many calls it could help out at this moment beside those that it does.
    pub fn free(&self) -> u32 {
        self.places.free()
    }
}

impl<A, K> Combine for Bounded<A, K> {}

/// How an alternative within [`Bounds`] failed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BoundedError<F> {
    /// As it said itself.
    #[error(transparent)]
    Failed(#[from] F),
    /// Its time was up.
    #[error("the fallback took too long")]
    TookTooLong,
    /// It was helping out as many calls as it may.
    #[error("the fallback had no place left")]
    Full,
}

pin_project! {
    /// An alternative at work within bounds, or one that was cut or had no place.
    pub struct BoundedRun<R, T> {
        // Stands before the place: what it holds is given back first.
        #[pin]
        run: Option<R>,
        #[pin]
        sleep: Option<T>,
        until: Timestamp,
        place: Option<Place>,
        full: bool,
    }
}

impl<A, K, Q, Res, Err> Alternative<Q, Res, Err> for Bounded<A, K>
where
    A: Alternative<Q, Res, Err>,
    K: Timer,
{
    type Error = BoundedError<A::Error>;
    type Run = BoundedRun<A::Run, K::Sleep>;

    fn start(&self, case: &Case<'_, Q, Res, Err>) -> Self::Run {
        let Some(place) = self.places.take() else {
            return BoundedRun { run: None, sleep: None, until: Timestamp::ZERO, place: None, full: true };
        };
        let now = self.clock.now();
        let left = inherited_deadline().map(|deadline| deadline.since(now));
        let until = now.saturating_add(self.bounds.slice(left));
        // Nothing is begun that has no time.
        let run = (until > now).then(|| self.alternative.start(case));
        let place = run.is_some().then_some(place);
        BoundedRun { run, sleep: None, until, place, full: false }
    }

    fn poll(
        &self,
        run: Pin<&mut Self::Run>,
        case: &Case<'_, Q, Res, Err>,
        cx: &mut Context<'_>,
    ) -> Poll<Reply<Res, Self::Error>> {
        let mut this = run.project();
        let Some(run) = this.run.as_mut().as_pin_mut() else {
            return Poll::Ready(Reply::Fail(if *this.full { BoundedError::Full } else { BoundedError::TookTooLong }));
        };
        let mut run = Some(run);
        let work = poll_fn(|cx| match run.take() {
            Some(run) => self.alternative.poll(run, case, cx),
            None => Poll::Pending,
        });
        let reply = match Pin::new(&mut InheritDeadline::new(*this.until, work)).poll(cx) {
            Poll::Ready(reply) => reply.map_error(BoundedError::Failed),
            Poll::Pending if *this.until == Timestamp::MAX => return Poll::Pending,
            Poll::Pending => {
                if this.sleep.is_none() {
                    this.sleep.set(Some(self.clock.sleep_until(*this.until)));
                }
                if this.sleep.as_mut().as_pin_mut().is_some_and(|sleep| sleep.poll(cx).is_pending()) {
                    return Poll::Pending;
                }
                Reply::Fail(BoundedError::TookTooLong)
            }
        };
        // Gone before the next alternative begins: it may need what this one holds.
        this.run.set(None);
        this.sleep.set(None);
        *this.place = None;
        Poll::Ready(reply)
    }

    #[inline]
    fn remember(&self, request: &Q, response: &Res, now: impl FnOnce() -> Timestamp) {
        self.alternative.remember(request, response, now);
    }
}

impl<A: fmt::Debug, K> fmt::Debug for Bounded<A, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounded")
            .field("alternative", &self.alternative)
            .field("bounds", &self.bounds)
            .field("free", &self.free())
            .finish_non_exhaustive()
    }
}

impl<R, T> fmt::Debug for BoundedRun<R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedRun").field("until", &self.until).field("full", &self.full).finish_non_exhaustive()
    }
}

/// A number of places. Relaxed throughout: the count guards no other memory, and moves by compare-exchange.
#[derive(Clone)]
struct Places(Arc<AtomicU32>);

impl Places {
    fn new(places: u32) -> Self {
        Self(Arc::new(AtomicU32::new(places)))
    }

    fn free(&self) -> u32 {
        self.0.load(Relaxed)
    }

    fn take(&self) -> Option<Place> {
        let taken = self.0.fetch_update(Relaxed, Relaxed, |free| free.checked_sub(1));
        taken.is_ok().then(|| Place(Arc::clone(&self.0)))
    }
}

/// One place, given back when it is dropped.
struct Place(Arc<AtomicU32>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use super::*;

    #[test]
    fn two_calls_never_have_the_only_place_at_once_and_it_comes_back() {
        loom::model(|| {
            let places = Places::new(1);
            let other = places.clone();
            let thread = loom::thread::spawn(move || other.take().map(drop).is_some());
            let mine = places.take();
            if mine.is_some() {
                assert!(places.take().is_none());
            }
            let had = mine.is_some();
            drop(mine);
            let theirs = thread.join().unwrap_or(false);
            assert!(had || theirs);
            assert_eq!(places.free(), 1);
        });
    }
}
