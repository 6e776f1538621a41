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
/// would have to wait is refused or spared like the others, and waits only where that is enforced. For a gate whose limit
/// follows its calls that is not enough: `LoadShedder::enforce` counts them all.
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
    /// What becomes of a call on which the gate has decided: for services that ask it more than [`Gate::admit`] does.
    #[inline]
    pub fn weigh(&self, admission: Admission<G::Ticket, G::Wait>) -> Admission<Option<G::Ticket>, WaitOf<G>> {
        match admission {
            Admission::Admitted(ticket) => Admission::Admitted(Some(ticket)),
            _ if !self.enforcing.enforces_all() && !self.enforcing.enforces() => Admission::Admitted(None),
            Admission::Refused(rejection) => Admission::Refused(rejection),
            Admission::Queued(wait) => Admission::Queued(wait.for_a_ticket()),
        }
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
        self.weigh(self.gate.admit(context, now))
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
