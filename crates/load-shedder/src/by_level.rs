use std::time::Duration;

use seawall_core::{
    Admission, CallContext, Entropy, Gate, NoWait, Outcome, Reason, ThreadEntropy, Timestamp,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

use crate::{
    AdmissionLevel, Level, admission_level::LEVELS, config::DEFAULT_RETRY_AFTER, refusals::Refusals, usage::Usage,
};

/// The paper's window.
const WINDOW: u64 = 1_000_000_000;
/// Users keep their levels for so long: an hour, as in the paper.
const TURN: u64 = 3_600_000_000_000;
/// There was overload in a window in which the gate refused more than one in so many of those that came through to it.
const TOLERATED: u32 = 50;

/// Before a gate that refuses for overload, a [`LoadShedder`](crate::LoadShedder) say: refuses by [`Level`], so that the gate has
/// little left to refuse, and the same users are refused for an hour instead of some calls of everybody. Of calls that are as critical
/// those fall first that a tenant asks for beyond its share, a 64th of what all ask for: from whoever asks for most, until it has no
/// more than the next one. So who floods is cut by itself, and is left its share like everybody.
///
/// For services of which one page or purchase takes many calls: where each call is refused with a chance of a half, of ten calls all
/// are let in once in a thousand times. Where calls stand alone, and tenants are few, fair turns
/// ([`QueueingLoadShedder`](crate::QueueingLoadShedder)) share better. A call that says no tenant has a level of its own by chance;
/// one that is exempt is not asked. It reads the clock once a call, and takes no lock.
///
/// ```
/// use seawall_core::{CallContext, GateLayer};
/// use seawall_load_shedder::{ByLevel, LoadShedder, LoadShedderConfig};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let gate = ByLevel::new(LoadShedder::new(LoadShedderConfig::default()));
/// let layer: GateLayer<ByLevel<LoadShedder>> = GateLayer::new(gate);
/// let of_user = CallContext::new().with_tenant(7);
/// assert_eq!(layer.run_with(of_user, async { Ok::<_, std::io::Error>(1) }).await?, 1);
/// # Ok(())
/// # }
/// ```
///
/// # Source
/// As that of [`AdmissionLevel`]; what is beyond a share is failsafe-go's usage tracker in fixed memory. There overload is what calls wait in a queue; here it is what the gate refuses.
#[derive(Debug)]
pub struct ByLevel<G, R = ThreadEntropy> {
    gate: G,
    refusals: Refusals<ThreadEntropy>,
    entropy: R,
    /// Relaxed, as all below: counts and marks that guard no other memory. A call that is counted in the next window while one
    /// closes is counted there.
    from: AtomicU32,
    over_at: AtomicU64,
    came_through: AtomicU32,
    refused: AtomicU32,
    arrived: Box<[AtomicU32]>,
    usage: Usage,
}

impl<G> ByLevel<G> {
    /// Before `gate`; all levels are let in.
    pub fn new(gate: G) -> Self {
        Self::with_entropy(gate, ThreadEntropy)
    }
}

impl<G, R: Entropy> ByLevel<G, R> {
    /// The same with another source of the levels of calls that say no tenant.
    pub fn with_entropy(gate: G, entropy: R) -> Self {
        Self {
            gate,
            refusals: Refusals::new(DEFAULT_RETRY_AFTER, ThreadEntropy),
            entropy,
            from: AtomicU32::new(0),
            over_at: AtomicU64::new(0),
            came_through: AtomicU32::new(0),
            refused: AtomicU32::new(0),
            arrived: (0..LEVELS).map(|_| AtomicU32::new(0)).collect(),
            usage: Usage::new(),
        }
    }

    /// The gate itself.
    pub const fn gate(&self) -> &G {
        &self.gate
    }

    /// The number of the lowest level that is let in: 0 while all are, a hundred and twenty-eight to a criticality.
    pub fn lowest(&self) -> u32 {
        self.from.load(Relaxed)
    }

    fn level(&self, context: &CallContext, now: Timestamp) -> Level {
        let turn = now.as_nanos() / TURN;
        if context.tenant == 0 {
            return Level::of(context.criticality, self.entropy.next_u64(), turn);
        }
        match self.usage.beyond_share(context.tenant, turn, context.cost) {
            Some(rank) => Level::beyond_share(context.criticality, rank),
            None => Level::of(context.criticality, context.tenant, turn),
        }
    }

    /// The window is over: whoever is first to say so closes it.
    #[cold]
    fn close_window(&self, over_at: u64, now: u64) {
        if self.over_at.compare_exchange(over_at, now.saturating_add(WINDOW), Relaxed, Relaxed).is_err() {
            return;
        }
        let arrived = |level| self.arrived.get(level).map_or(0, |count: &AtomicU32| count.swap(0, Relaxed));
        let (came_through, refused) = (self.came_through.swap(0, Relaxed), self.refused.swap(0, Relaxed));
        let mut threshold = AdmissionLevel::of_window(self.from.load(Relaxed), arrived);
        threshold.close_window(refused.saturating_mul(TOLERATED) > came_through);
        self.from.store(u32::try_from(threshold.lowest()).unwrap_or_default(), Relaxed);
        self.usage.close_windows(1_u64.saturating_add(now.saturating_sub(over_at) / WINDOW));
    }
}

impl<G: Gate<Wait = NoWait>, R: Entropy> Gate for ByLevel<G, R> {
    type Ticket = G::Ticket;
    type Wait = NoWait;
    const RECORDS: bool = G::RECORDS;

    fn admit(&self, context: impl FnOnce() -> CallContext, now: impl FnOnce() -> Timestamp) -> Admission<G::Ticket> {
        let context = context();
        if context.exempt {
            return self.gate.admit(|| context, now);
        }
        let now = now();
        let over_at = self.over_at.load(Relaxed);
        if now.as_nanos() >= over_at {
            self.close_window(over_at, now.as_nanos());
        }
        let level = self.level(&context, now);
        if let Some(arrived) = self.arrived.get(usize::from(level.number())) {
            arrived.fetch_add(1, Relaxed);
        }
        if u32::from(level.number()) < self.from.load(Relaxed) {
            return Admission::Refused(self.refusals.rejection(Reason::Overloaded, context.criticality));
        }
        self.came_through.fetch_add(1, Relaxed);
        let admission = self.gate.admit(|| context, || now);
        if matches!(&admission, Admission::Refused(rejection) if rejection.reason() == Reason::Overloaded) {
            self.refused.fetch_add(1, Relaxed);
        }
        admission
    }

    fn finish(&self, ticket: G::Ticket, outcome: Outcome, now: impl FnOnce() -> Timestamp) {
        self.gate.finish(ticket, outcome, now);
    }

    fn pending(&self, ticket: &mut G::Ticket, now: impl FnOnce() -> Timestamp) {
        self.gate.pending(ticket, now);
    }

    fn pushback(&self, ticket: &G::Ticket, wait: Duration, now: impl FnOnce() -> Timestamp) {
        self.gate.pushback(ticket, wait, now);
    }

    fn refused_inside(&self, ticket: &G::Ticket) {
        self.gate.refused_inside(ticket);
    }

    fn trip(&self, ticket: &G::Ticket, wait: Option<Duration>, now: impl FnOnce() -> Timestamp) {
        self.gate.trip(ticket, wait, now);
    }

    fn is_idle(&self, now: impl FnOnce() -> Timestamp) -> bool {
        self.lowest() == 0 && self.gate.is_idle(now)
    }
}
