use std::{sync::Arc, time::Duration};

use crate::{Admission, CallContext, Outcome, Rejection, Timestamp, Wait};

/// A decision on calls: let this one through or not, and learn from how it ended.
///
/// A pure core: the time comes in as a closure, so a gate that needs none reads no clock; so does the context, so one
/// that needs none parses no header. [`GateLayer`](crate::GateLayer) makes a Tower layer of it.
///
/// Every ticket comes back to [`Gate::finish`] exactly once, with the one [`Outcome`] that the call had.
pub trait Gate: Send + Sync + 'static {
    /// What an admitted call carries until its end: a generation, a start, a place. Gates that need the latency keep
    /// the start here.
    type Ticket: Send + 'static;

    /// [`NoWait`](crate::NoWait), or a future for one's turn. It alone decides how the layer handles readiness.
    type Wait: Wait<Self::Ticket>;

    /// Whether [`Gate::finish`] does anything. `false`: no call carries a guard, and `finish` is never called.
    const RECORDS: bool = true;

    /// Whether [`Gate::refusal`] ever says anything. `false`: it is never asked, and its layer keeps nothing for it.
    const FORESEES: bool = false;

    /// Decides on one call.
    fn admit(
        &self,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Admission<Self::Ticket, Self::Wait>;

    /// Decides on one call that does not wait: its ticket, if it may go on at once. Nobody loses by it what it does not get. For a gate
    /// before which calls queue; by default the call gets in line and leaves.
    fn admit_at_once(
        &self,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Option<Self::Ticket> {
        match self.admit(context, now) {
            Admission::Admitted(ticket) => Some(ticket),
            Admission::Refused(_) | Admission::Queued(_) => None,
        }
    }

    /// Takes back the ticket of a call that has ended.
    fn finish(&self, ticket: Self::Ticket, outcome: Outcome, now: impl FnOnce() -> Timestamp);

    /// What any call would be refused with now, whatever it asks for and whoever asks. Takes and counts nothing. The layer
    /// asks this while its inner service is not ready: a call that is refused anyway need not wait for that. `None` by
    /// default, and whenever it depends on the call or on chance.
    fn refusal(&self, now: impl FnOnce() -> Timestamp) -> Option<Rejection> {
        let _ = now;
        None
    }

    /// Hears that a call was refused as [`Gate::refusal`] had said, without [`Gate::admit`]: for gates that count what they
    /// refuse. Does nothing by default.
    fn refused_as_foreseen(&self) {}

    /// Hears, each time that an admitted call is polled and has no answer yet, that it goes on. A gate that wants to know
    /// only how long calls wait stamps their start here, and spares those that are ready at once the clock. Does nothing
    /// by default.
    fn pending(&self, ticket: &mut Self::Ticket, now: impl FnOnce() -> Timestamp) {
        let _ = (ticket, now);
    }

    /// Hears, before [`Gate::finish`], that the other side asked to be left alone for `wait`. Does nothing by default.
    fn pushback(&self, ticket: &Self::Ticket, wait: Duration, now: impl FnOnce() -> Timestamp) {
        let _ = (ticket, wait, now);
    }

    /// Hears, before [`Gate::finish`], that a layer further in refused or interrupted the call: no word of it comes from the
    /// other side. Does nothing by default.
    fn refused_inside(&self, ticket: &Self::Ticket) {
        let _ = ticket;
    }

    /// Hears, before [`Gate::finish`] and instead of [`Gate::pushback`], that one answer leaves no doubt about the other
    /// side, which is to be left alone for `wait` where that is known. Does nothing by default.
    fn trip(&self, ticket: &Self::Ticket, wait: Option<Duration>, now: impl FnOnce() -> Timestamp) {
        let _ = (ticket, wait, now);
    }

    /// The same gate for keys that have nothing to do with each other and found no place in a full table, where there is
    /// something that one of them must not do to the others: a breaker never opens then. As it is by default.
    #[must_use]
    fn shared_by_strangers(self) -> Self
    where
        Self: Sized,
    {
        self
    }

    /// Whether forgetting this gate would change nothing: a keyed table may then evict it. An open breaker says no.
    fn is_idle(&self, now: impl FnOnce() -> Timestamp) -> bool {
        let _ = now;
        true
    }
}

/// A gate that several layers, or a layer and a handle that steers it, hold together.
impl<G: Gate> Gate for Arc<G> {
    type Ticket = G::Ticket;
    type Wait = G::Wait;
    const RECORDS: bool = G::RECORDS;
    const FORESEES: bool = G::FORESEES;

    #[inline]
    fn admit(
        &self,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Admission<Self::Ticket, Self::Wait> {
        G::admit(self, context, now)
    }

    #[inline]
    fn admit_at_once(
        &self,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Option<Self::Ticket> {
        G::admit_at_once(self, context, now)
    }

    #[inline]
    fn finish(&self, ticket: Self::Ticket, outcome: Outcome, now: impl FnOnce() -> Timestamp) {
        G::finish(self, ticket, outcome, now);
    }

    fn refusal(&self, now: impl FnOnce() -> Timestamp) -> Option<Rejection> {
        G::refusal(self, now)
    }

    fn refused_as_foreseen(&self) {
        G::refused_as_foreseen(self);
    }

    #[inline]
    fn pending(&self, ticket: &mut Self::Ticket, now: impl FnOnce() -> Timestamp) {
        G::pending(self, ticket, now);
    }

    #[inline]
    fn pushback(&self, ticket: &Self::Ticket, wait: Duration, now: impl FnOnce() -> Timestamp) {
        G::pushback(self, ticket, wait, now);
    }

    #[inline]
    fn refused_inside(&self, ticket: &Self::Ticket) {
        G::refused_inside(self, ticket);
    }

    #[inline]
    fn trip(&self, ticket: &Self::Ticket, wait: Option<Duration>, now: impl FnOnce() -> Timestamp) {
        G::trip(self, ticket, wait, now);
    }

    /// One that somebody else holds as well stays as it is.
    fn shared_by_strangers(self) -> Self {
        match Self::try_unwrap(self) {
            Ok(gate) => Self::new(gate.shared_by_strangers()),
            Err(held) => held,
        }
    }

    fn is_idle(&self, now: impl FnOnce() -> Timestamp) -> bool {
        G::is_idle(self, now)
    }
}
