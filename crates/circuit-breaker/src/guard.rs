use std::fmt;

use seawall_core::{Class, Clock, Gate, Outcome, Rejection};

use crate::{breaker::Breaker, ticket::BreakerTicket};

/// One admitted call, for code that is no service and no future: a stream, a queue's consumer, a driver's callback.
///
/// It says how the call ended, once. Dropped before, it says that the call was given up on, which counts as
/// [`cancelled`](crate::BreakerConfigBuilder::cancelled) says.
#[must_use = "the call ends when this is dropped"]
pub struct BreakerGuard<'a, C: Clock> {
    breaker: &'a Breaker,
    clock: C,
    ticket: Option<BreakerTicket>,
}

impl Breaker {
    /// Asks for one call and keeps its ticket and its time.
    ///
    /// ```
    /// use seawall_circuit_breaker::{Breaker, BreakerConfig, MonotonicClock};
    ///
    /// let breaker = Breaker::from(BreakerConfig::default());
    /// match breaker.try_acquire(MonotonicClock) {
    ///     Ok(call) => call.success(),
    ///     Err(rejection) => println!("{rejection}"),
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`Breaker::try_admit`].
    pub fn try_acquire<C: Clock>(&self, clock: C) -> Result<BreakerGuard<'_, C>, Rejection> {
        let ticket = self.try_admit(clock.now())?;
        Ok(BreakerGuard { breaker: self, clock, ticket: Some(ticket) })
    }
}

impl<C: Clock> BreakerGuard<'_, C> {
    /// It worked.
    pub fn success(self) {
        self.finish(Outcome::Finished(Class::Success));
    }

    /// It failed.
    pub fn failure(self) {
        self.finish(Outcome::Finished(Class::Failure));
    }

    /// It says nothing about the other side. A probe gives its place back.
    pub fn ignore(self) {
        self.finish(Outcome::Finished(Class::Ignored));
    }

    /// It ended with `outcome`.
    pub fn finish(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(ticket) = self.ticket.take() {
            Gate::finish(self.breaker, ticket, outcome, || self.clock.now());
        }
    }
}

impl<C: Clock> Drop for BreakerGuard<'_, C> {
    fn drop(&mut self) {
        self.end(Outcome::of_drop(false));
    }
}

impl<C: Clock> fmt::Debug for BreakerGuard<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerGuard").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}
