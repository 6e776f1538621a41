//! Queues of ten and of ten thousand: what a call costs that waits its turn may not depend on how many wait.

use std::{
    collections::VecDeque,
    future::{Pending, pending},
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use seawall::{
    bulkhead::{BulkheadConfig, QueueingBulkhead, QueueingBulkheadConfig},
    core::{Admission, CallContext, Class, Clock, Gate, Outcome, Timer, Timestamp, Wait},
    load_shedder::{Fixed, QueueingLoadShedder, QueueingShedderConfig},
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
    ]
}
