use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;

use crate::{Admission, CallContext, Enforcement, Enforcing, Gate, NoWait, Outcome, Rejection, Timestamp, Wait};

/// Enforces only a share of what a gate refuses: in the shadow it refuses nothing and counts what it would have; then the
/// share is raised, while calls go on, as far as callers bear it.
///
/// A call that is spared goes on as if there were no gate: it takes up nothing, and the gate learns nothing of it. One that
/// would have to wait is refused or spared like the others, and waits only where that is enforced; where it is not it is never in
/// line, and nobody makes room for it there. For a gate whose limit follows its calls that is not enough: `LoadShedder::enforce`
/// counts them all.
///
/// ```
/// use seawall_core::{Enforced, Enforcement, GateLayer};
/// # use seawall_core::{Admission, CallContext, Gate, NoWait, Outcome, Pattern, Reason, Rejection, Timestamp};
/// # struct Closed;
/// # impl Gate for Closed {
/// #     type Ticket = ();
/// #     type Wait = NoWait;
/// #     fn admit(&self, _: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<()> {
/// #         Admission::Refused(Rejection::new(Pattern::Bulkhead, Reason::BulkheadFull))
/// #     }
/// #     fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {}
/// # }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer: GateLayer<Enforced<Closed>> = GateLayer::new(Enforced::new(Closed, Enforcement::Shadow));
/// layer.run(async { Ok::<_, std::io::Error>(()) }).await?;
/// assert_eq!(layer.gate().spared(), 1);
///
/// layer.gate().enforce(Enforcement::Enforce);
/// assert!(layer.run(async { Ok::<_, std::io::Error>(()) }).await.is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Enforced<G> {
    gate: G,
    enforcing: Enforcing,
}

impl<G> Enforced<G> {
    /// A gate of whose refusals so many are enforced.
    pub fn new(gate: G, enforcement: Enforcement) -> Self {
        Self { gate, enforcing: Enforcing::new(enforcement) }
    }

    /// Changes the share while calls go on.
    pub fn enforce(&self, enforcement: Enforcement) {
        self.enforcing.set(enforcement);
    }

    /// How many calls would have been refused, had that been enforced.
    pub fn spared(&self) -> u64 {
        self.enforcing.spared()
    }

    /// The gate itself.
    pub const fn gate(&self) -> &G {
        &self.gate
    }
}

impl<G: Gate<Wait: MayWait<G::Ticket>>> Enforced<G> {
    /// Whether the next call that the gate refuses is refused: for services that ask it more than [`Gate::admit`] does. If so the
    /// gate's answer is to be [weighed](Self::weigh); if not it is to be asked without that the call waits, and the call
    /// [let off](Self::let_off).
    #[inline]
    pub fn enforces_next(&self) -> bool {
        self.enforcing.enforces_next()
    }

    /// What becomes of a call of which the gate's decision is enforced.
    #[inline]
    pub fn weigh(&self, admission: Admission<G::Ticket, G::Wait>) -> Admission<Option<G::Ticket>, WaitOf<G>> {
        match admission {
            Admission::Admitted(ticket) => Admission::Admitted(Some(ticket)),
            Admission::Refused(rejection) => {
                self.enforcing.count_enforced();
                Admission::Refused(rejection)
            }
            Admission::Queued(wait) => {
                self.enforcing.count_enforced();
                Admission::Queued(wait.for_a_ticket())
            }
        }
    }

    /// What becomes of one of which it is not: it goes on, with the ticket that it had at once, if it had one.
    #[inline]
    pub fn let_off(&self, ticket: Option<G::Ticket>) -> Admission<Option<G::Ticket>, WaitOf<G>> {
        if ticket.is_none() {
            self.enforcing.count_spared();
        }
        Admission::Admitted(ticket)
    }
}

/// How the calls of an [`Enforced`] gate wait.
type WaitOf<G> = <<G as Gate>::Wait as MayWait<<G as Gate>::Ticket>>::ForATicket;

/// The waits that an [`Enforced`] gate hands on: all that there are.
pub trait MayWait<T>: Wait<T> {
    /// The same wait for a ticket that might not have been.
    type ForATicket: Wait<Option<T>>;

    /// Waits on for the ticket.
    fn for_a_ticket(self) -> Self::ForATicket;
}

impl<T> MayWait<T> for NoWait {
    type ForATicket = Self;

    fn for_a_ticket(self) -> Self {
        self
    }
}

impl<T, W: Future<Output = Result<T, Rejection>> + Send + 'static> MayWait<T> for W {
    type ForATicket = WaitForATicket<W>;

    fn for_a_ticket(self) -> WaitForATicket<W> {
        WaitForATicket { wait: self }
    }
}

pin_project! {
    /// The wait of an [`Enforced`] gate that lets calls wait.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct WaitForATicket<W> {
        #[pin]
        wait: W,
    }
}

impl<T, W: Future<Output = Result<T, Rejection>>> Future for WaitForATicket<W> {
    type Output = Result<Option<T>, Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().wait.poll(cx).map_ok(Some)
    }
}

impl<G: Gate<Wait: MayWait<G::Ticket>>> Gate for Enforced<G> {
    /// None for a call that was spared.
    type Ticket = Option<G::Ticket>;
    type Wait = WaitOf<G>;
    const RECORDS: bool = G::RECORDS;

    #[inline]
    fn admit(
        &self,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Admission<Self::Ticket, Self::Wait> {
        if self.enforces_next() {
            self.weigh(self.gate.admit(context, now))
        } else {
            self.let_off(self.gate.admit_at_once(context, now))
        }
    }

    #[inline]
    fn admit_at_once(
        &self,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Option<Self::Ticket> {
        let enforces = self.enforces_next();
        match self.gate.admit_at_once(context, now) {
            Some(ticket) => Some(Some(ticket)),
            None if enforces => {
                self.enforcing.count_enforced();
                None
            }
            None => {
                self.enforcing.count_spared();
                Some(None)
            }
        }
    }

    #[inline]
    fn finish(&self, ticket: Self::Ticket, outcome: Outcome, now: impl FnOnce() -> Timestamp) {
        if let Some(ticket) = ticket {
            self.gate.finish(ticket, outcome, now);
        }
    }

    fn pending(&self, ticket: &mut Self::Ticket, now: impl FnOnce() -> Timestamp) {
        if let Some(ticket) = ticket {
            self.gate.pending(ticket, now);
        }
    }

    fn pushback(&self, ticket: &Self::Ticket, wait: Duration, now: impl FnOnce() -> Timestamp) {
        if let Some(ticket) = ticket {
            self.gate.pushback(ticket, wait, now);
        }
    }

    fn refused_inside(&self, ticket: &Self::Ticket) {
        if let Some(ticket) = ticket {
            self.gate.refused_inside(ticket);
        }
    }

    fn trip(&self, ticket: &Self::Ticket, wait: Option<Duration>, now: impl FnOnce() -> Timestamp) {
        if let Some(ticket) = ticket {
            self.gate.trip(ticket, wait, now);
        }
    }

    fn is_idle(&self, now: impl FnOnce() -> Timestamp) -> bool {
        self.gate.is_idle(now)
    }
}
