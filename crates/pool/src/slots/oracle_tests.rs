//! The slots beside a pool kept by hand in plain lists.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Wake, Waker},
};

use proptest::prelude::*;

use super::*;
use crate::ConnectFailure;

mod truth;

use truth::{End, Truth};

/// Counts how often a caller is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Both pools, and what the shell around the slots would hold.
struct Both {
    slots: Slots<u32, &'static str>,
    truth: Truth,
    now: Timestamp,
    next_id: u32,
    callers: usize,
    tickets: Vec<(usize, WaitKey, Arc<Woken>)>,
    leases: Vec<Lease<u32>>,
    checks: Vec<Idle<u32>>,
    connects: usize,
    gone: Vec<u32>,
}

impl Both {
    fn new(config: PoolConfig) -> Self {
        Self {
            slots: Slots::new(config),
            truth: Truth::new(config),
            now: Timestamp::ZERO,
            next_id: 0,
            callers: 0,
            tickets: Vec::new(),
            leases: Vec::new(),
            checks: Vec::new(),
            connects: 0,
            gone: Vec::new(),
        }
    }

    fn apply(&mut self, effects: Effects<u32>) {
        effects.wake.into_iter().for_each(Waker::wake);
        self.gone.extend(effects.close);
        for start in effects.start {
            match start {
                Start::Connect => self.connects += 1,
                Start::Check(idle) => self.checks.push(idle),
            }
        }
    }

    fn returned(&mut self, returned: Returned<u32>) {
        match returned {
            Returned::Kept(waker) => waker.into_iter().for_each(Waker::wake),
            Returned::Closed(effects) => self.apply(effects),
        }
    }

    fn get(&mut self, patience: u64) {
        let at = Location::caller();
        let now = self.now;
        if let Some(lease) = self.slots.take(now, at) {
            let (id, since) = self.truth.idle.pop().expect("the truth has one too");
            assert!(self.truth.is_trusted(since, now) && self.truth.waiting.is_empty());
            assert_eq!(lease.connection, id);
            self.truth.held.push(id);
            self.leases.push(lease);
            if let Some(effects) = self.slots.refill(now) {
                self.apply(effects);
            }
            self.truth.settle(now);
            return;
        }
        let truth = &mut self.truth;
        let fresh = truth.idle.last().is_some_and(|idle| truth.is_trusted(idle.1, now));
        assert!(!fresh || !truth.waiting.is_empty(), "a fresh connection is not given out");
        let unfetched = truth.ended.iter().filter(|(_, end)| matches!(end, End::Has(_))).count();
        let servable = truth.config.max.saturating_sub(truth.held.len() + unfetched);
        let full = truth.waiting.len() >= truth.config.max_waiters + servable;
        let down = truth.failures > 0 && truth.total() == 0 && now < truth.connect_at;
        let woken = Arc::new(Woken::default());
        let deadline = now.saturating_add(Duration::from_millis(patience));
        let latest = deadline.min(now.saturating_add(truth.config.acquire_timeout));
        match self.slots.join(now, deadline, Waker::from(Arc::clone(&woken)), at) {
            Ok((ticket, effects)) => {
                assert!(!truth.closed && !full && !down && patience > 0);
                truth.waiting.push((self.callers, latest));
                truth.settle(now);
                self.tickets.push((self.callers, ticket, woken));
                self.apply(effects);
            }
            Err(Refusal::Closed) => assert!(truth.closed),
            Err(Refusal::Full { waiters, .. }) => assert!(full && waiters == truth.waiting.len()),
            Err(Refusal::Down(failure)) => assert!(down && failure == "refused"),
            Err(Refusal::TooLate(expired)) => assert!(patience == 0 && expired.waited.is_zero()),
        }
        self.callers += 1;
    }

    /// A caller looks whether its wait is over.
    fn fetch(&mut self, pick: usize) {
        let Some(pick) = pick.checked_rem(self.tickets.len()) else { return };
        let (caller, ticket, woken) = &self.tickets[pick];
        let known = Waker::from(Arc::clone(woken));
        let Ok(fate) = self.slots.fetch(*ticket, &known) else { return };
        let at = self.truth.ended.iter().position(|(ended, _)| ended == caller).expect("its wait is over");
        let (_, end) = self.truth.ended.remove(at);
        match (fate, end) {
            (Fate::Served(lease, _), End::Has(id)) => {
                assert_eq!(lease.connection, id);
                self.truth.held.push(id);
                self.leases.push(lease);
            }
            (Fate::TimedOut(_), End::TimedOut) | (Fate::Failed(_), End::Failed) | (Fate::Closed, End::Closed) => {}
            (fate, end) => unreachable!("{fate:?} instead of {end:?}"),
        }
        self.tickets.remove(pick);
    }

    fn leave(&mut self, pick: usize) {
        let Some(pick) = pick.checked_rem(self.tickets.len()) else { return };
        let (caller, ticket, _) = self.tickets.remove(pick);
        let effects = self.slots.leave(ticket, self.now);
        self.truth.waiting.retain(|(waiting, _)| *waiting != caller);
        if let Some(at) = self.truth.ended.iter().position(|(ended, _)| *ended == caller) {
            if let (_, End::Has(id)) = self.truth.ended.remove(at) {
                self.truth.put(id, self.now);
                if self.truth.gone.contains(&id) {
                    self.truth.settle(self.now);
                }
            }
        }
        self.apply(effects);
    }

    fn give_back(&mut self, pick: usize, broken: bool) {
        let Some(pick) = pick.checked_rem(self.leases.len()) else { return };
        let lease = self.leases.remove(pick);
        let id = self.truth.held.remove(pick);
        assert_eq!(lease.connection, id);
        if broken {
            self.truth.gone.push(id);
        } else {
            self.truth.put(id, self.now);
        }
        if self.truth.gone.contains(&id) {
            self.truth.settle(self.now);
        }
        let returned = self.slots.give_back(lease, broken.then_some(Closing::Broken), self.now);
        self.returned(returned);
    }

    fn connected(&mut self, fails: bool) {
        if self.connects == 0 {
            return;
        }
        self.connects -= 1;
        self.truth.connecting -= 1;
        let effects = if fails {
            self.truth.connect_failed(self.now);
            self.slots.connect_failed("refused", self.now, 0)
        } else {
            self.next_id += 1;
            (self.truth.failures, self.truth.failed_checks, self.truth.connect_at) = (0, 0, Timestamp::ZERO);
            self.truth.put(self.next_id, self.now);
            self.slots.connected(self.next_id, self.now, 0)
        };
        self.truth.settle(self.now);
        self.apply(effects);
    }

    fn checked(&mut self, pick: usize, fails: bool) {
        let Some(pick) = pick.checked_rem(self.checks.len()) else { return };
        let idle = self.checks.remove(pick);
        let id = self.truth.checking.remove(pick);
        assert_eq!(idle.connection, id);
        let effects = if fails {
            self.gone.push(id);
            self.truth.gone.push(id);
            self.truth.failed_checks += 1;
            while self.truth.failed_checks >= 2
                && self.truth.idle.first().is_some_and(|(_, since)| !self.truth.is_trusted(*since, self.now))
            {
                let (id, _) = self.truth.idle.remove(0);
                self.truth.gone.push(id);
            }
            self.slots.check_failed(self.now)
        } else {
            self.truth.failed_checks = 0;
            self.truth.put(id, self.now);
            self.slots.check_passed(idle, self.now)
        };
        self.truth.settle(self.now);
        self.apply(effects);
    }

    fn advance(&mut self, millis: u64) {
        self.now = self.now.saturating_add(Duration::from_millis(millis));
        let (effects, next) = self.slots.tick(self.now);
        self.truth.tick(self.now);
        self.truth.settle(self.now);
        self.apply(effects);
        assert_eq!(next.is_none(), self.truth.closed);
        assert!(next.is_none_or(|next| next > self.now), "the keeper would spin");
    }

    fn resize(&mut self, max: usize) {
        self.truth.config.max = max;
        while self.truth.total() - self.truth.connecting > max && !self.truth.idle.is_empty() {
            self.truth.gone.push(self.truth.idle.remove(0).0);
        }
        self.truth.settle(self.now);
        let effects = self.slots.resize(max, self.now);
        self.apply(effects);
    }

    fn evict(&mut self) {
        self.truth.gone.extend(self.truth.idle.drain(..).map(|(id, _)| id));
        self.truth.settle(self.now);
        let effects = self.slots.evict_idle(self.now);
        self.apply(effects);
    }

    fn suspect(&mut self) {
        self.truth.suspect_before = self.now.saturating_add(Duration::from_nanos(1));
        self.slots.suspect(self.now);
    }

    fn close(&mut self) {
        self.truth.closed = true;
        self.truth.gone.extend(self.truth.idle.drain(..).map(|(id, _)| id));
        self.truth.ended.extend(self.truth.waiting.drain(..).map(|(caller, _)| (caller, End::Closed)));
        let effects = self.slots.close(self.now);
        self.apply(effects);
    }

    fn compare(&mut self) {
        let (slots, truth) = (&self.slots, &mut self.truth);
        assert!(slots.idle.iter().map(|idle| (idle.connection, idle.since)).eq(truth.idle.iter().copied()));
        assert!(slots.queue.iter().map(|waiter| waiter.deadline).eq(truth.waiting.iter().map(|waiter| waiter.1)));
        assert_eq!((slots.connecting, self.connects), (truth.connecting, truth.connecting));
        assert_eq!(slots.checking, truth.checking.len());
        assert_eq!(slots.total(), truth.total());
        self.gone.sort_unstable();
        truth.gone.sort_unstable();
        assert_eq!(self.gone, truth.gone, "each connection is closed once");
        let status = slots.status(self.now);
        assert_eq!(status.totals.closed.sum(), truth.gone.len() as u64);
        assert_eq!(status.totals.created, status.totals.closed.sum() + status.size as u64, "none is lost");
        for (caller, _, woken) in &self.tickets {
            let over = truth.ended.iter().any(|(ended, _)| ended == caller);
            assert_eq!(woken.0.load(SeqCst), usize::from(over), "woken once, when the wait is over");
        }
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Get(u64),
    Fetch(usize),
    Leave(usize),
    GiveBack(usize, bool),
    Connected(bool),
    Checked(usize, bool),
    Advance(u64),
    Resize(usize),
    Evict,
    Suspect,
    Close,
}

fn operation() -> impl Strategy<Value = Operation> {
    let pick = 0_usize..8;
    prop_oneof![
        8 => prop_oneof![5 => 1_u64..8_000, 1 => Just(0)].prop_map(Operation::Get),
        6 => pick.clone().prop_map(Operation::Fetch),
        2 => pick.clone().prop_map(Operation::Leave),
        6 => (pick.clone(), prop::bool::weighted(0.2)).prop_map(|(pick, broken)| Operation::GiveBack(pick, broken)),
        6 => prop::bool::weighted(0.3).prop_map(Operation::Connected),
        4 => (pick, any::<bool>()).prop_map(|(pick, fails)| Operation::Checked(pick, fails)),
        5 => prop_oneof![3 => 0_u64..1_500, 1 => 0_u64..40_000].prop_map(Operation::Advance),
        1 => (1_usize..5).prop_map(Operation::Resize),
        1 => Just(Operation::Evict),
        1 => Just(Operation::Suspect),
    ]
}

fn config() -> impl Strategy<Value = PoolConfig> {
    (1_usize..5, 0_usize..3, 0_usize..4, 1_usize..3).prop_map(|(max, min_idle, max_waiters, concurrency)| {
        PoolConfig::new()
            .with_max(max)
            .with_min_idle(min_idle.min(max))
            .with_max_waiters(max_waiters)
            .with_connect_concurrency(concurrency)
            .with_max_lifetime(Duration::MAX)
            .with_connect_failure(ConnectFailure::Report)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn decides_as_a_pool_kept_by_hand(
        config in config(),
        mut operations in prop::collection::vec(operation(), 0..150),
        close in any::<bool>(),
        after in prop::collection::vec(operation(), 0..20),
    ) {
        let mut both = Both::new(config);
        operations.extend(close.then_some(Operation::Close));
        operations.extend(after);
        for operation in operations {
            match operation {
                Operation::Get(patience) => both.get(patience),
                Operation::Fetch(pick) => both.fetch(pick),
                Operation::Leave(pick) => both.leave(pick),
                Operation::GiveBack(pick, broken) => both.give_back(pick, broken),
                Operation::Connected(fails) => both.connected(fails),
                Operation::Checked(pick, fails) => both.checked(pick, fails),
                Operation::Advance(millis) => both.advance(millis),
                Operation::Resize(max) => both.resize(max),
                Operation::Evict => both.evict(),
                Operation::Suspect => both.suspect(),
                Operation::Close => both.close(),
            }
            both.compare();
        }
    }
}
