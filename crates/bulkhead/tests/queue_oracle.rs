//! Both bulkheads against counters and a plain queue kept by hand.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use proptest::prelude::*;
use seawall_bulkhead::{Bulkhead, BulkheadConfig, BulkheadWait, Place, QueueingBulkhead, QueueingBulkheadConfig};
use seawall_core::{Admission, CallContext, Clock, Gate, Outcome, Reason, Timestamp, VirtualClock};

const MAX_QUEUED: usize = 4;
const MAX_WAIT: u64 = 10;

#[derive(Debug, Clone)]
enum Step {
    Arrive { weight: u32 },
    Finish { which: prop::sample::Index },
    Leave { which: prop::sample::Index },
    Resize { limit: usize },
    Pass { time: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..5_u32).prop_map(|weight| Step::Arrive { weight }),
        3 => any::<prop::sample::Index>().prop_map(|which| Step::Finish { which }),
        1 => any::<prop::sample::Index>().prop_map(|which| Step::Leave { which }),
        1 => (1..6_usize).prop_map(|limit| Step::Resize { limit }),
        1 => (0..8_u64).prop_map(|time| Step::Pass { time }),
    ]
}

/// What a call is told: let in, put in the queue, or refused.
#[derive(Debug, PartialEq)]
enum Said {
    In,
    Queued,
    Refused(Reason),
}

/// The truth: two numbers and a queue.
#[derive(Default)]
struct Truth {
    limit: u32,
    taken: u32,
    queue: VecDeque<(usize, u32, u64)>,
    /// Served out of the queue, or refused there, not told yet.
    decided: Vec<(usize, Said)>,
}

impl Truth {
    fn arrive(&mut self, id: usize, weight: u32, now: u64, may_queue: bool) -> Said {
        if self.queue.is_empty() && self.taken + weight <= self.limit {
            self.taken += weight;
            Said::In
        } else if weight > self.limit {
            Said::Refused(Reason::TooHeavy)
        } else if !may_queue {
            Said::Refused(Reason::BulkheadFull)
        } else if self.queue.len() == MAX_QUEUED {
            Said::Refused(Reason::QueueFull)
        } else {
            self.queue.push_back((id, weight, now + MAX_WAIT));
            Said::Queued
        }
    }

    fn serve(&mut self) {
        while let Some((id, weight, _)) = self.queue.front().copied() {
            if weight > self.limit {
                self.decided.push((id, Said::Refused(Reason::TooHeavy)));
            } else if self.taken + weight <= self.limit {
                self.taken += weight;
                self.decided.push((id, Said::In));
            } else {
                return;
            }
            self.queue.pop_front();
        }
    }

    /// What the waiter `id` learns when it looks at `now`.
    fn look(&mut self, id: usize, now: u64) -> Said {
        if let Some(index) = self.decided.iter().position(|(decided, _)| *decided == id) {
            return self.decided.remove(index).1;
        }
        let index = self.queue.iter().position(|(queued, ..)| *queued == id).expect("it is in the queue");
        if self.queue[index].2 > now {
            return Said::Queued;
        }
        self.queue.remove(index);
        self.serve();
        Said::Refused(Reason::QueueTimeout)
    }
}

type Waiting = (usize, u32, Pin<Box<BulkheadWait<VirtualClock>>>);

fn context(weight: u32) -> impl FnOnce() -> CallContext {
    move || CallContext::new().with_cost(weight)
}

proptest! {
    #[test]
    fn a_bulkhead_decides_as_a_counter_does(steps in prop::collection::vec(step(), 1..300)) {
        let bulkhead = Bulkhead::new(BulkheadConfig::new(3).unwrap());
        let mut truth = Truth { limit: 3, ..Truth::default() };
        let mut inside: Vec<(Place, u32)> = Vec::new();

        for step in steps {
            match step {
                Step::Arrive { weight } => {
                    let weight_counted = weight.max(1);
                    let said = match bulkhead.admit(context(weight), || unreachable!("it reads no clock")) {
                        Admission::Admitted(place) => { inside.push((place, weight_counted)); Said::In }
                        Admission::Refused(rejection) => Said::Refused(rejection.reason()),
                        Admission::Queued(wait) => match wait {},
                    };
                    prop_assert_eq!(said, truth.arrive(0, weight_counted, 0, false));
                }
                Step::Finish { which } | Step::Leave { which } if !inside.is_empty() => {
                    let (place, weight) = inside.swap_remove(which.index(inside.len()));
                    bulkhead.finish(place, Outcome::Cancelled, || unreachable!("it reads no clock"));
                    truth.taken -= weight;
                }
                Step::Resize { limit } => {
                    bulkhead.set_limit(limit).unwrap();
                    truth.limit = u32::try_from(limit).unwrap();
                }
                _ => {}
            }
            prop_assert_eq!((bulkhead.limit(), bulkhead.in_flight()), (truth.limit, truth.taken));
        }
    }

    #[test]
    fn a_queueing_bulkhead_serves_as_a_plain_queue_does(steps in prop::collection::vec(step(), 1..300)) {
        let clock = VirtualClock::new();
        let config = QueueingBulkheadConfig::new(BulkheadConfig::new(3).unwrap())
            .with_max_queued(MAX_QUEUED)
            .and_then(|config| config.with_max_wait(Duration::from_nanos(MAX_WAIT)))
            .unwrap();
        let bulkhead = QueueingBulkhead::new(config, clock.clone());
        let mut truth = Truth { limit: 3, ..Truth::default() };
        let mut inside: Vec<(Place, u32)> = Vec::new();
        let mut waiting: Vec<Waiting> = Vec::new();

        for (id, step) in steps.into_iter().enumerate() {
            match step {
                Step::Arrive { weight } => {
                    let weight_counted = weight.max(1);
                    let said = match bulkhead.admit(context(weight), || clock.now()) {
                        Admission::Admitted(place) => { inside.push((place, weight_counted)); Said::In }
                        Admission::Refused(rejection) => Said::Refused(rejection.reason()),
                        Admission::Queued(wait) => { waiting.push((id, weight_counted, Box::pin(wait))); Said::Queued }
                    };
                    prop_assert_eq!(said, truth.arrive(id, weight_counted, clock.now().as_nanos(), true));
                }
                Step::Finish { which } if !inside.is_empty() => {
                    let (place, weight) = inside.swap_remove(which.index(inside.len()));
                    bulkhead.finish(place, Outcome::Cancelled, || Timestamp::ZERO);
                    truth.taken -= weight;
                    truth.serve();
                }
                Step::Leave { which } if !waiting.is_empty() => {
                    let (id, weight, wait) = waiting.swap_remove(which.index(waiting.len()));
                    drop(wait);
                    if let Some(index) = truth.decided.iter().position(|(decided, _)| *decided == id) {
                        if truth.decided.remove(index).1 == Said::In {
                            truth.taken -= weight;
                        }
                    } else {
                        truth.queue.retain(|(queued, ..)| *queued != id);
                    }
                    truth.serve();
                }
                Step::Resize { limit } => {
                    bulkhead.set_limit(limit).unwrap();
                    truth.limit = u32::try_from(limit).unwrap();
                    truth.serve();
                }
                Step::Pass { time } => {
                    clock.advance(Duration::from_nanos(time));
                    let now = clock.now().as_nanos();
                    for (id, weight, mut wait) in std::mem::take(&mut waiting) {
                        let said = match wait.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                            Poll::Pending => { waiting.push((id, weight, wait)); Said::Queued }
                            Poll::Ready(Ok(place)) => { inside.push((place, weight)); Said::In }
                            Poll::Ready(Err(rejection)) => Said::Refused(rejection.reason()),
                        };
                        prop_assert_eq!(said, truth.look(id, now));
                    }
                }
                _ => {}
            }
            prop_assert_eq!(
                (bulkhead.limit(), bulkhead.in_flight(), bulkhead.queued()),
                (truth.limit, truth.taken, truth.queue.len())
            );
        }
    }
}
