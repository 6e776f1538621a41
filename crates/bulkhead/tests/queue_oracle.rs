//! Both bulkheads against counters and a plain list kept by hand.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use proptest::prelude::*;
use seawall_bulkhead::{
    Bulkhead, BulkheadConfig, BulkheadWait, Order, Place, PriorityBulkhead, QueueingBulkhead, QueueingBulkheadConfig,
    Reserve, Shares,
};
use seawall_core::{Admission, CallContext, Clock, Criticality, Gate, Outcome, Reason, Timestamp, VirtualClock};

const MAX_QUEUED: usize = 4;
const MAX_WAIT: u64 = 10;
const LIMIT: u32 = 6;

#[derive(Debug, Clone)]
enum Step {
    Arrive(Arrival),
    Finish { which: prop::sample::Index },
    Leave { which: prop::sample::Index },
    Resize { limit: usize },
    Pass { time: u64 },
}

/// A call as it comes.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    weight: u32,
    criticality: Criticality,
    tenant: u64,
    patience: Option<u64>,
}

impl Arrival {
    fn context(self, now: u64) -> CallContext {
        let context =
            CallContext::new().with_cost(self.weight).with_criticality(self.criticality).with_tenant(self.tenant);
        match self.patience {
            Some(patience) => context.with_deadline(Timestamp::from_nanos(now + patience)),
            None => context,
        }
    }
}

fn arrival() -> impl Strategy<Value = Arrival> {
    let criticality = prop::sample::select(vec![
        Criticality::Sheddable,
        Criticality::Degraded,
        Criticality::Default,
        Criticality::Critical,
    ]);
    (0..4_u32, criticality, 0..5_u64, prop::option::of(1..15_u64))
        .prop_map(|(weight, criticality, tenant, patience)| Arrival { weight, criticality, tenant, patience })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => arrival().prop_map(Step::Arrive),
        3 => any::<prop::sample::Index>().prop_map(|which| Step::Finish { which }),
        1 => any::<prop::sample::Index>().prop_map(|which| Step::Leave { which }),
        1 => (1..9_usize).prop_map(|limit| Step::Resize { limit }),
        1 => (0..8_u64).prop_map(|time| Step::Pass { time }),
    ]
}

fn order() -> impl Strategy<Value = Order> {
    let halves = Shares::fixed([(1, 0.5), (2, 0.3)]).expect("they are less than everything");
    let thirds = Shares::fixed([(1, 0.1), (2, 0.3), (3, 0.6)]).expect("they are everything");
    prop_oneof![
        Just(Order::OldestFirst),
        Just(Order::NewestFirst),
        Just(Order::EarliestDeadlineFirst),
        Just(Order::MostCriticalFirst(Reserve::none())),
        Just(Order::MostCriticalFirst(Reserve::default())),
        Just(Order::ByShare(Shares::equal())),
        Just(Order::ByShare(halves)),
        Just(Order::ByShare(thirds)),
    ]
}

/// What a call is told: let in, put in the queue, or refused.
#[derive(Debug, PartialEq)]
enum Said {
    In,
    Queued,
    Refused(Reason),
}

/// One that waits.
#[derive(Debug, Clone, Copy)]
struct Entry {
    id: usize,
    weight: u32,
    criticality: Criticality,
    tenant: u64,
    deadline: u64,
    until: u64,
}

/// The truth: numbers, and a list that is searched from end to end.
struct Truth {
    order: Order,
    limit: u32,
    taken: u32,
    /// What each tenant holds.
    held: HashMap<u64, u32>,
    /// In order of arrival.
    queue: Vec<Entry>,
    /// Served out of the queue, or refused there, not told yet.
    decided: Vec<(usize, Said)>,
}

impl Truth {
    fn new(order: Order) -> Self {
        Self { order, limit: LIMIT, taken: 0, held: HashMap::new(), queue: Vec::new(), decided: Vec::new() }
    }

    fn ceiling(&self, criticality: Criticality) -> u32 {
        match &self.order {
            Order::MostCriticalFirst(reserve) => reserve.ceiling(criticality, self.limit),
            _ => self.limit,
        }
    }

    /// The one that `tenant` is counted as: itself, or 0 for all that have no share of their own.
    fn holder(&self, tenant: u64) -> u64 {
        match &self.order {
            Order::ByShare(shares) => match shares.of(tenant) {
                Some(_) if !self.has_share(tenant) => 0,
                _ => tenant,
            },
            _ => tenant,
        }
    }

    /// The shares of the test are those of the first tenants.
    fn has_share(&self, tenant: u64) -> bool {
        let Order::ByShare(shares) = &self.order else { return false };
        let own = if shares.of(3) == Some(0.6) { 1..=3 } else { 1..=2 };
        own.contains(&tenant)
    }

    /// `count` over the share of a tenant, in millionths so that equal means equal.
    fn relative(&self, count: u32, tenant: u64) -> f64 {
        let Order::ByShare(shares) = &self.order else { return 0.0 };
        let share = shares.of(tenant).unwrap_or(1.0);
        let parts = (share * 10.0).round();
        if parts > 0.0 { f64::from(count) / parts } else { f64::INFINITY }
    }

    /// The index of the one whose turn it is.
    fn first(&self) -> Option<usize> {
        let indices = 0..self.queue.len();
        match &self.order {
            Order::NewestFirst => indices.last(),
            Order::EarliestDeadlineFirst => indices.min_by_key(|index| self.queue[*index].deadline),
            Order::MostCriticalFirst(_) => {
                indices.min_by_key(|index| std::cmp::Reverse(self.queue[*index].criticality))
            }
            Order::ByShare(_) => indices.min_by(|left, right| {
                let [left, right] = [left, right].map(|index| self.holder(self.queue[*index].tenant));
                let held = |holder| self.held.get(&holder).copied().unwrap_or(0);
                self.relative(held(left), left).total_cmp(&self.relative(held(right), right))
            }),
            _ => indices.min(),
        }
    }

    /// The index of the one that makes room for `entry`.
    fn makes_room_for(&self, entry: &Entry) -> Option<usize> {
        let indices = 0..self.queue.len();
        match &self.order {
            Order::NewestFirst => Some(0),
            Order::EarliestDeadlineFirst => {
                let last = indices.max_by_key(|index| self.queue[*index].deadline)?;
                (self.queue[last].deadline > entry.deadline).then_some(last)
            }
            Order::MostCriticalFirst(_) => {
                // The newest of the least critical.
                let last = indices.rev().min_by_key(|index| self.queue[*index].criticality)?;
                (self.queue[last].criticality < entry.criticality).then_some(last)
            }
            Order::ByShare(_) => {
                let own = self.holder(entry.tenant);
                let length = |holder| self.queue.iter().filter(|other| self.holder(other.tenant) == holder).count();
                let relative =
                    |holder, more: u32| self.relative(u32::try_from(length(holder)).unwrap_or(u32::MAX) + more, holder);
                let longest = indices.map(|index| relative(self.holder(self.queue[index].tenant), 0));
                let longest = longest.max_by(f64::total_cmp)?;
                if relative(own, 1) > longest {
                    return None;
                }
                // Of lines of the same length it is the newest of all.
                let last = (0..self.queue.len())
                    .rev()
                    .find(|index| relative(self.holder(self.queue[*index].tenant), 0) >= longest)?;
                (self.holder(self.queue[last].tenant) != own).then_some(last)
            }
            _ => None,
        }
    }

    fn arrive(&mut self, id: usize, call: Arrival, now: u64, may_queue: bool) -> Said {
        let (weight, ceiling) = (call.weight.max(1), self.ceiling(call.criticality));
        let holder = self.holder(call.tenant);
        if self.queue.is_empty() && self.taken + weight <= ceiling {
            self.taken += weight;
            *self.held.entry(holder).or_default() += weight;
            return Said::In;
        }
        if weight > ceiling {
            return Said::Refused(Reason::TooHeavy);
        }
        if !may_queue {
            return Said::Refused(Reason::BulkheadFull);
        }
        let deadline = call.patience.map_or(u64::MAX, |patience| now + patience);
        let until = deadline.min(now + MAX_WAIT);
        let entry = Entry { id, weight, criticality: call.criticality, tenant: call.tenant, deadline, until };
        if self.queue.len() == MAX_QUEUED {
            let Some(last) = self.makes_room_for(&entry) else { return Said::Refused(Reason::QueueFull) };
            let last = self.queue.remove(last);
            self.decided.push((last.id, Said::Refused(Reason::QueueFull)));
        }
        self.queue.push(entry);
        if self.first() == Some(self.queue.len() - 1) {
            self.serve(now);
        }
        Said::Queued
    }

    fn serve(&mut self, now: u64) {
        while let Some(first) = self.first() {
            let Entry { id, weight, criticality, deadline, until, tenant, .. } = self.queue[first];
            let ceiling = self.ceiling(criticality);
            if deadline <= now || until < now {
                self.decided.push((id, Said::Refused(Reason::QueueTimeout)));
            } else if weight > ceiling {
                self.decided.push((id, Said::Refused(Reason::TooHeavy)));
            } else if self.taken + weight <= ceiling {
                self.taken += weight;
                *self.held.entry(self.holder(tenant)).or_default() += weight;
                self.decided.push((id, Said::In));
            } else {
                return;
            }
            self.queue.remove(first);
        }
    }

    fn finish(&mut self, call: Arrival, now: u64) {
        self.taken -= call.weight.max(1);
        *self.held.entry(self.holder(call.tenant)).or_default() -= call.weight.max(1);
        self.serve(now);
    }

    /// What the waiter `id` learns when it looks at `now`.
    fn look(&mut self, id: usize, now: u64) -> Said {
        if let Some(index) = self.decided.iter().position(|(decided, _)| *decided == id) {
            return self.decided.remove(index).1;
        }
        let index = self.queue.iter().position(|queued| queued.id == id).expect("it is in the queue");
        if self.queue[index].until > now {
            return Said::Queued;
        }
        self.queue.remove(index);
        self.serve(now);
        Said::Refused(Reason::QueueTimeout)
    }

    /// The waiter `id` goes without looking.
    fn leave(&mut self, id: usize, call: Arrival, now: u64) {
        if let Some(index) = self.decided.iter().position(|(decided, _)| *decided == id) {
            if self.decided.remove(index).1 == Said::In {
                self.finish(call, now);
            }
        } else {
            self.queue.retain(|queued| queued.id != id);
            self.serve(now);
        }
    }
}

type Waiting = (usize, Arrival, Pin<Box<BulkheadWait<VirtualClock>>>);

proptest! {
    #[test]
    fn a_bulkhead_decides_as_a_counter_does(steps in prop::collection::vec(step(), 1..300)) {
        let bulkhead = Bulkhead::new(BulkheadConfig::new(LIMIT as usize).unwrap());
        let mut truth = Truth::new(Order::OldestFirst);

        fails_fast(&bulkhead, &mut truth, steps, |limit| bulkhead.set_limit(limit).unwrap(), || {
            (bulkhead.limit(), bulkhead.in_flight())
        })?;
    }

    #[test]
    fn a_bulkhead_with_a_reserve_decides_as_a_counter_does(steps in prop::collection::vec(step(), 1..300)) {
        let bulkhead = PriorityBulkhead::new(BulkheadConfig::new(LIMIT as usize).unwrap(), Reserve::default());
        let mut truth = Truth::new(Order::MostCriticalFirst(Reserve::default()));

        fails_fast(&bulkhead, &mut truth, steps, |limit| bulkhead.set_limit(limit).unwrap(), || {
            (bulkhead.limit(), bulkhead.in_flight())
        })?;
    }

    #[test]
    fn a_queueing_bulkhead_serves_as_a_plain_list_does(order in order(), steps in prop::collection::vec(step(), 1..300)) {
        let clock = VirtualClock::new();
        let config = QueueingBulkheadConfig::new(BulkheadConfig::new(LIMIT as usize).unwrap())
            .with_order(order.clone())
            .with_max_queued(MAX_QUEUED)
            .and_then(|config| config.with_max_wait(Duration::from_nanos(MAX_WAIT)))
            .unwrap();
        let bulkhead = QueueingBulkhead::new(config, clock.clone());
        let mut truth = Truth::new(order);
        let mut inside: Vec<(Place, Arrival)> = Vec::new();
        let mut waiting: Vec<Waiting> = Vec::new();

        for (id, step) in steps.into_iter().enumerate() {
            let now = clock.now().as_nanos();
            match step {
                Step::Arrive(call) => {
                    let said = match bulkhead.admit(|| call.context(now), || clock.now()) {
                        Admission::Admitted(place) => { inside.push((place, call)); Said::In }
                        Admission::Refused(rejection) => Said::Refused(rejection.reason()),
                        Admission::Queued(wait) => { waiting.push((id, call, Box::pin(wait))); Said::Queued }
                    };
                    prop_assert_eq!(said, truth.arrive(id, call, now, true));
                }
                Step::Finish { which } if !inside.is_empty() => {
                    let (place, call) = inside.swap_remove(which.index(inside.len()));
                    bulkhead.finish(place, Outcome::Cancelled, || clock.now());
                    truth.finish(call, now);
                }
                Step::Leave { which } if !waiting.is_empty() => {
                    let (id, call, wait) = waiting.swap_remove(which.index(waiting.len()));
                    drop(wait);
                    truth.leave(id, call, now);
                }
                Step::Resize { limit } => {
                    bulkhead.set_limit(limit).unwrap();
                    truth.limit = u32::try_from(limit).unwrap();
                    truth.serve(now);
                }
                Step::Pass { time } => {
                    clock.advance(Duration::from_nanos(time));
                    let now = clock.now().as_nanos();
                    for (id, call, mut wait) in std::mem::take(&mut waiting) {
                        let said = match wait.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                            Poll::Pending => { waiting.push((id, call, wait)); Said::Queued }
                            Poll::Ready(Ok(place)) => { inside.push((place, call)); Said::In }
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
            if let Order::ByShare(_) = truth.order {
                for tenant in 0..5 {
                    let held = truth.held.get(&truth.holder(tenant)).copied().unwrap_or(0);
                    prop_assert_eq!(bulkhead.in_flight_of(tenant), Some(held));
                }
            }
        }
    }
}

/// Drives a gate that lets nobody wait.
fn fails_fast<G: Gate<Ticket = Place, Wait = seawall_core::NoWait>>(
    gate: &G,
    truth: &mut Truth,
    steps: Vec<Step>,
    resize: impl Fn(usize),
    figures: impl Fn() -> (u32, u32),
) -> Result<(), TestCaseError> {
    let mut inside: Vec<(Place, Arrival)> = Vec::new();
    for step in steps {
        match step {
            Step::Arrive(call) => {
                let said = match gate.admit(|| call.context(0), || unreachable!("it reads no clock")) {
                    Admission::Admitted(place) => {
                        inside.push((place, call));
                        Said::In
                    }
                    Admission::Refused(rejection) => Said::Refused(rejection.reason()),
                    Admission::Queued(wait) => match wait {},
                };
                prop_assert_eq!(said, truth.arrive(0, call, 0, false));
            }
            Step::Finish { which } | Step::Leave { which } if !inside.is_empty() => {
                let (place, call) = inside.swap_remove(which.index(inside.len()));
                gate.finish(place, Outcome::Cancelled, || unreachable!("it reads no clock"));
                truth.finish(call, 0);
            }
            Step::Resize { limit } => {
                resize(limit);
                truth.limit = u32::try_from(limit).expect("small");
            }
            _ => {}
        }
        prop_assert_eq!(figures(), (truth.limit, truth.taken));
    }
    Ok(())
}
