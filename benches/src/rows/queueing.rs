//! Queues of ten and of ten thousand: what a call costs that waits its turn may not depend on how many wait.

use std::{
    collections::VecDeque,
    future::{Pending, pending},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use seawall::{
    bulkhead::{BulkheadConfig, QueueingBulkhead, QueueingBulkheadConfig},
    core::{Admission, CallContext, Class, Clock, Gate, Outcome, Timer, Timestamp, Wait},
    load_shedder::{Fixed, QueueingLoadShedder, QueueingShedderConfig},
    rate_limiter::{AdmitKey, QueueingGcra, QueueingKeys, QueueingQuota, Quota, Quotas, RateLimiterWait},
};

use super::{Row, layer_row};
use crate::operation::{Operation, built};

const SHORT: usize = 10;
const LONG: usize = 10_000;

/// Stands still and never rings: neither clock nor timer are in the rows, and nobody has waited too long.
#[derive(Clone)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(1)
    }
}

impl Timer for Still {
    type Sleep = Pending<()>;

    fn sleep_until(&self, _: Timestamp) -> Pending<()> {
        pending()
    }
}

/// A gate with one place, the call that has it, and those who wait for it.
struct Queue<G: Gate> {
    make: fn() -> G,
    gate: G,
    inside: Option<G::Ticket>,
    waiting: VecDeque<Pin<Box<Option<G::Wait>>>>,
}

impl<G: Gate> Queue<G> {
    fn of(make: fn() -> G, depth: usize) -> Self {
        let gate = make();
        let Admission::Admitted(inside) = gate.admit(CallContext::default, || Still.now()) else {
            unreachable!("nobody is inside")
        };
        let mut queue = Self { make, gate, inside: Some(inside), waiting: VecDeque::with_capacity(depth) };
        for _ in 0..depth {
            queue.join(Box::pin(None));
        }
        queue
    }

    /// Gets in line, and looks once.
    fn join(&mut self, mut slot: Pin<Box<Option<G::Wait>>>) {
        let Admission::Queued(wait) = self.gate.admit(CallContext::default, || Still.now()) else {
            unreachable!("the place is taken")
        };
        slot.set(Some(wait));
        if let Some(wait) = slot.as_mut().as_pin_mut() {
            let looked = wait.poll_ticket(&mut Context::from_waker(Waker::noop()));
            assert!(looked.is_pending(), "others are before it");
        }
        self.waiting.push_back(slot);
    }

    /// One call ends, the next begins, and another gets in line.
    fn step(&mut self) {
        if let Some(inside) = self.inside.take() {
            self.gate.finish(inside, Outcome::Finished(Class::Success), || Still.now());
        }
        let Some(mut first) = self.waiting.pop_front() else { return };
        if let Some(wait) = first.as_mut().as_pin_mut() {
            let Poll::Ready(Ok(ticket)) = wait.poll_ticket(&mut Context::from_waker(Waker::noop())) else {
                unreachable!("its turn has come")
            };
            self.inside = Some(ticket);
        }
        first.set(None);
        self.join(first);
    }
}

impl<G: Gate> Operation for Queue<G> {
    fn run(&mut self, iterations: u64) {
        for _ in 0..iterations {
            self.step();
        }
    }

    /// A queue of its own: whose turn it is in a shared one is not for one thread to say.
    fn share(&self) -> Box<dyn Operation> {
        Box::new(Self::of(self.make, self.waiting.len()))
    }
}

/// Goes on by the interval of a quota with each step, and never rings.
#[derive(Clone, Default)]
struct Stepping(Arc<AtomicU64>);

impl Clock for Stepping {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.load(Relaxed))
    }
}

impl Timer for Stepping {
    type Sleep = Pending<()>;

    fn sleep_until(&self, _: Timestamp) -> Pending<()> {
        pending()
    }
}

/// Between two turns of a quota.
const INTERVAL: Duration = Duration::from_micros(1);

/// A quota that is used up, and those who wait for their turn of it.
struct Turns<G> {
    make: fn(Stepping) -> G,
    limiter: G,
    clock: Stepping,
    waiting: VecDeque<Pin<Box<Option<RateLimiterWait<Stepping>>>>>,
    calls: u64,
}

impl<G: AdmitKey<u64, Ticket = (), Wait = RateLimiterWait<Stepping>>> Turns<G> {
    fn of(make: fn(Stepping) -> G, depth: usize) -> Self {
        let clock = Stepping::default();
        let mut turns =
            Self { make, limiter: make(clock.clone()), clock, waiting: VecDeque::with_capacity(depth), calls: 0 };
        let first = turns.limiter.admit_key(&0, CallContext::default, || turns.clock.now());
        assert!(matches!(first, Admission::Admitted(())), "nobody was before it");
        for _ in 0..depth {
            turns.join(Box::pin(None));
        }
        turns
    }

    /// Gets in line, and looks once. Each call is of another key than those beside it.
    fn join(&mut self, mut slot: Pin<Box<Option<RateLimiterWait<Stepping>>>>) {
        self.calls = self.calls.wrapping_add(1);
        let Admission::Queued(wait) = self.limiter.admit_key(&self.calls, CallContext::default, || self.clock.now())
        else {
            unreachable!("the quota is used up")
        };
        slot.set(Some(wait));
        if let Some(wait) = slot.as_mut().as_pin_mut() {
            let looked = wait.poll(&mut Context::from_waker(Waker::noop()));
            assert!(looked.is_pending(), "others are before it");
        }
        self.waiting.push_back(slot);
    }

    /// A turn comes, the first in line has it, and another gets in line.
    fn step(&mut self) {
        self.clock.0.fetch_add(u64::from(INTERVAL.subsec_nanos()), Relaxed);
        let Some(mut first) = self.waiting.pop_front() else { return };
        if let Some(wait) = first.as_mut().as_pin_mut() {
            let turn = wait.poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(turn, Poll::Ready(Ok(()))), "its turn has come");
        }
        first.set(None);
        self.join(first);
    }
}

impl<G: AdmitKey<u64, Ticket = (), Wait = RateLimiterWait<Stepping>>> Operation for Turns<G> {
    fn run(&mut self, iterations: u64) {
        for _ in 0..iterations {
            self.step();
        }
    }

    /// A queue of its own: whose turn it is in a shared one is not for one thread to say.
    fn share(&self) -> Box<dyn Operation> {
        Box::new(Self::of(self.make, self.waiting.len()))
    }
}

/// A limiter without keys, asked about one.
struct Keyless(QueueingGcra<Stepping>);

impl Gate for Keyless {
    type Ticket = ();
    type Wait = RateLimiterWait<Stepping>;

    fn admit(
        &self,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Admission<(), RateLimiterWait<Stepping>> {
        self.0.admit(context, now)
    }

    fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {}
}

impl AdmitKey<u64> for Keyless {
    fn admit_key(
        &self,
        _: &u64,
        context: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Admission<(), RateLimiterWait<Stepping>> {
        self.0.admit(context, now)
    }
}

fn line<Q>(quota: Q) -> QueueingQuota<Q> {
    built(built(QueueingQuota::new(quota).with_max_queued(2 * LONG)).with_max_wait(Duration::MAX))
}

fn limiter(clock: Stepping) -> Keyless {
    Keyless(QueueingGcra::new(line(built(Quota::every(INTERVAL))), clock))
}

/// A line of as many keys, before what they share.
fn keys(clock: Stepping) -> QueueingKeys<Quotas, u64, Stepping> {
    QueueingKeys::new(line(Quotas::new().with_shared(built(Quota::every(INTERVAL)))), clock)
}

fn bulkhead() -> QueueingBulkhead<Still> {
    let config = QueueingBulkheadConfig::new(built(BulkheadConfig::new(1)));
    let config = built(built(config.with_max_queued(LONG)).with_max_wait(Duration::MAX));
    QueueingBulkhead::new(config, Still)
}

fn shedder() -> QueueingLoadShedder<Fixed, Still> {
    let config = built(QueueingShedderConfig::default().with_max_queued(LONG));
    QueueingLoadShedder::with_algorithm(built(Fixed::new(1)), config, Still)
}

pub(super) fn rows() -> Vec<Row> {
    let row = |name, make| Row { over_bare_call: false, ..layer_row(name, "none", make, Vec::new()) };
    vec![
        row("queueing/depth-10", || Box::new(Queue::of(bulkhead, SHORT))),
        row("queueing/depth-10000", || Box::new(Queue::of(bulkhead, LONG))),
        row("queueing/shedder-depth-10", || Box::new(Queue::of(shedder, SHORT))),
        row("queueing/shedder-depth-10000", || Box::new(Queue::of(shedder, LONG))),
        row("queueing/limiter-depth-10", || Box::new(Turns::of(limiter, SHORT))).allocating(),
        row("queueing/limiter-depth-10000", || Box::new(Turns::of(limiter, LONG))).allocating(),
        row("queueing/keys-depth-10", || Box::new(Turns::of(keys, SHORT))).allocating(),
        row("queueing/keys-depth-10000", || Box::new(Turns::of(keys, LONG))).allocating(),
    ]
}
