#![expect(
    clippy::inline_always,
    reason = "a call is one path through all layers of a stack; functions of their own would copy each future once a layer"
)]

use std::{fmt, mem::ManuallyDrop};

use crate::{CarryRejection, Class, Classify, Clock, Environment, Gate, Observer, Outcome, Shared, Timestamp};

/// A gate and the environment that its layer runs it in.
#[derive(Debug)]
pub struct Gated<G, E> {
    pub(crate) gate: G,
    pub(crate) env: E,
}

impl<G: Gate, E: Environment> Gated<G, E> {
    /// A gate that runs in `env`.
    pub const fn new(gate: G, env: E) -> Self {
        Self { gate, env }
    }

    /// The gate.
    pub const fn gate(&self) -> &G {
        &self.gate
    }

    /// What it runs in.
    pub const fn env(&self) -> &E {
        &self.env
    }

    #[inline(always)]
    fn finish(&self, ticket: G::Ticket, outcome: Outcome, now: impl FnOnce() -> Timestamp) {
        if G::RECORDS {
            self.gate.finish(ticket, outcome, now);
        }
        if E::Observer::PER_CALL {
            self.env.observer().on_call(outcome);
        }
    }
}

type Armed<G, E> = (Shared<Gated<G, E>>, <G as Gate>::Ticket);

/// The ticket of one call. However the call ends, the gate gets its ticket back exactly once: when the guard is settled,
/// or else when it is dropped, as [`Outcome::of_drop`] says: as [`Outcome::Panicked`] if the service did.
///
/// It is made before the service is called, so a panic inside `call` is recorded too. It does not ask
/// `std::thread::panicking()`, which is false where the panic is caught further out, and true for innocent calls that
/// are dropped while another one unwinds.
pub struct Guard<G: Gate, E: Environment> {
    // Nothing is left in it to drop once the guard's own drop has seen to it: said, so that it is not looked at again.
    armed: ManuallyDrop<Option<Armed<G, E>>>,
    panicked: bool,
}

/// Notes a panic of what runs while it lives: nothing is written where there is none.
#[must_use = "it notes what happens while it lives"]
pub(crate) struct Running<'a>(Option<&'a mut bool>);

impl Running<'_> {
    /// Nothing panicked.
    #[inline(always)]
    pub(crate) fn end(mut self) {
        self.0 = None;
    }
}

impl Drop for Running<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(panicked) = self.0.take() {
            *panicked = true;
        }
    }
}

impl<G: Gate, E: Environment> Guard<G, E> {
    /// A guard over an admitted call. A gate that records nothing gets none.
    #[inline(always)]
    pub(crate) fn new(gated: &Shared<Gated<G, E>>, ticket: G::Ticket) -> Self {
        let armed = if G::RECORDS || E::Observer::PER_CALL { Some((gated.clone(), ticket)) } else { None };
        Self { armed: ManuallyDrop::new(armed), panicked: false }
    }

    /// A guard over nothing.
    #[inline(always)]
    pub(crate) const fn disarmed() -> Self {
        Self { armed: ManuallyDrop::new(None), panicked: false }
    }

    /// Runs a piece of the call: a panic inside is recorded as one.
    #[inline(always)]
    pub fn around<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let running = self.running();
        let result = call();
        running.end();
        result
    }

    /// The same for a piece that is written out, not passed: the compiler may leave a closure out of line.
    #[inline(always)]
    pub(crate) fn running(&mut self) -> Running<'_> {
        Running(Some(&mut self.panicked))
    }

    /// Tells the gate that the call has no answer yet.
    #[inline(always)]
    pub(crate) fn pending(&mut self) {
        if let Some((gated, ticket)) = &mut *self.armed {
            gated.gate.pending(ticket, || gated.env.clock().now());
        }
    }

    /// Whether a piece of the call that [`Guard::around`] ran has panicked.
    pub const fn has_panicked(&self) -> bool {
        self.panicked
    }

    /// The same guard in another place; this one is left with nothing to do.
    #[must_use = "the call ends when the guard is dropped"]
    pub fn take(&mut self) -> Self {
        Self { armed: ManuallyDrop::new(self.armed.take()), panicked: self.panicked }
    }

    /// Ends the call now.
    #[inline(always)]
    pub fn settle(&mut self, outcome: Outcome) {
        if let Some((gated, ticket)) = self.armed.take() {
            gated.finish(ticket, outcome, || gated.env.clock().now());
        }
    }

    /// Ends the call as of `at`: the end of a body settles with the time of the response's head.
    pub fn settle_at(&mut self, outcome: Outcome, at: Timestamp) {
        if let Some((gated, ticket)) = self.armed.take() {
            gated.finish(ticket, outcome, || at);
        }
    }

    /// The time of the environment's clock, while the call has not ended.
    pub fn now(&self) -> Option<Timestamp> {
        self.armed.as_ref().map(|(gated, _)| gated.env.clock().now())
    }

    /// The outcome of `result`, whose error may carry a rejection; passes the other side's wait, or a verdict without a doubt, on to the
    /// gate.
    #[inline(always)]
    pub(crate) fn judge<Res, Err>(&self, result: Result<&Res, &Err>) -> Outcome
    where
        E: Classify<Res, Err::Remote>,
        Err: CarryRejection,
    {
        let remote = match result {
            Ok(response) => Ok(response),
            Err(error) => match error.split() {
                Ok(remote) => Err(remote),
                Err(rejection) => {
                    if !rejection.reason().is_timeout() {
                        self.refused_inside();
                    }
                    return Outcome::of_rejection(rejection);
                }
            },
        };
        self.judge_remote(remote)
    }

    #[cold]
    fn refused_inside(&self) {
        if let Some((gated, ticket)) = &*self.armed {
            gated.gate.refused_inside(ticket);
        }
    }

    /// The outcome of an answer by the other side.
    #[inline(always)]
    pub(crate) fn judge_remote<Res, Err: ?Sized>(&self, result: Result<&Res, &Err>) -> Outcome
    where
        E: Classify<Res, Err>,
    {
        let Some((gated, ticket)) = &*self.armed else { return Outcome::Finished(Class::Ignored) };
        let verdict = gated.env.classify(result);
        let now = || gated.env.clock().now();
        if verdict.trip {
            gated.gate.trip(ticket, verdict.retry_after, now);
        } else if let Some(wait) = verdict.retry_after {
            gated.gate.pushback(ticket, wait, now);
        }
        Outcome::Finished(verdict.class)
    }
}

impl<G: Gate, E: Environment> Drop for Guard<G, E> {
    #[inline(always)]
    fn drop(&mut self) {
        // Asked first, so that nothing is loaded of a call that has ended.
        if self.armed.is_some() {
            if let Some((gated, ticket)) = self.armed.take() {
                abandon(gated, ticket, self.panicked);
            }
        }
    }
}

/// Ends a call that was not settled. Out of line, so that the drop of one that was stays a single test; and told what it
/// needs by value: a future to which nobody points stands in registers.
#[cold]
#[inline(never)]
#[expect(clippy::needless_pass_by_value, reason = "a reference would point into the future")]
fn abandon<G: Gate, E: Environment>(gated: Shared<Gated<G, E>>, ticket: G::Ticket, panicked: bool) {
    gated.finish(ticket, Outcome::of_drop(panicked), || gated.env.clock().now());
}

impl<G: Gate, E: Environment> fmt::Debug for Guard<G, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("armed", &self.armed.is_some()).field("panicked", &self.panicked).finish()
    }
}
