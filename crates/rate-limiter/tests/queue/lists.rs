//! Any calls and leavings of keys, against plain lists before the same limiters.

use std::{collections::VecDeque, time::Duration};

use proptest::prelude::*;
use seawall_core::{Admission, CallContext, Clock, Timestamp, VirtualClock};
use seawall_rate_limiter::{AdmitKey, Gcra, KeyedGcra, Limit, LimitKeys, QueueingKeys, QueueingQuota, Quota, Quotas};

use super::{
    Task,
    keys::{INTERVAL, lines, quota},
};

#[derive(Debug, Clone)]
enum Step {
    Arrive { key: usize, cost: u32 },
    Leave(prop::sample::Index),
    Pass(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..3_usize, 1..3_u32).prop_map(|(key, cost)| Step::Arrive { key, cost }),
        1 => any::<prop::sample::Index>().prop_map(Step::Leave),
        3 => (0..25_u32).prop_map(Step::Pass),
    ]
}

/// A plain list that says who is served when.
trait List {
    fn join(&mut self, id: usize, key: usize, cost: u32);

    fn leave(&mut self, id: usize);

    /// From its front, as far as quotas go; whether it is told who of those is first.
    fn serve(&mut self, now: Timestamp) -> bool;

    fn waiting(&self) -> usize;

    fn served(&mut self) -> &mut Vec<(usize, Timestamp)>;
}

fn are_served_as_by<G: LimitKeys<usize>>(
    mut truth: impl List,
    limiter: G,
    steps: Vec<Step>,
) -> Result<(), TestCaseError> {
    let (limiter, clock) = lines(limiter, 1_000);
    let (mut tasks, mut served) = (Vec::<(usize, Task)>::new(), Vec::new());
    for (id, step) in steps.into_iter().enumerate() {
        let mut passes = 0;
        match step {
            Step::Arrive { key, cost } => {
                truth.join(id, key, cost);
                match limiter.admit_key(&key, || CallContext::new().with_cost(cost), || clock.now()) {
                    Admission::Admitted(()) => served.push((id, clock.now())),
                    Admission::Queued(wait) => tasks.push((id, Task::new(wait))),
                    Admission::Refused(_) => prop_assert!(false, "there is room in line"),
                }
            }
            Step::Leave(which) if !tasks.is_empty() => {
                let (id, task) = tasks.remove(which.index(tasks.len()));
                truth.leave(id);
                drop(task);
            }
            Step::Leave(_) => {}
            Step::Pass(times) => passes = times,
        }
        for pass in 0..=passes {
            if pass > 0 {
                clock.advance(Duration::from_nanos(1));
            }
            if !truth.serve(clock.now()) {
                return Ok(());
            }
            super::oracle::run(&mut tasks, &mut served, clock.now());
        }
        // Of those who have their turn at one moment any may look first.
        truth.served().sort_unstable();
        served.sort_unstable();
        prop_assert_eq!(&served, truth.served());
        prop_assert_eq!(limiter.queued(), truth.waiting());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn each_key_is_served_as_by_a_list_before_a_limiter_of_its_own(steps in prop::collection::vec(step(), 1..100)) {
        are_served_as_by(OneByOne::new(), KeyedGcra::new(quota(2)), steps)?;
    }

    #[test]
    fn keys_with_a_quota_of_their_own_and_a_common_one_are_served_as_by_a_list_of_all(
        steps in prop::collection::vec(step(), 1..100),
        (own, shared) in (2..4_u32, 2..4_u32),
    ) {
        let quotas = Quotas::new().with_keyed(slower(own)).with_shared(quota(shared));
        are_served_as_by(Truth::new(own, shared), quotas, steps)?;
    }

    #[test]
    fn whom_its_own_quota_lets_go_is_served_in_time_or_told_when_it_comes(
        steps in prop::collection::vec((0..4_usize, 0..12_u64), 1..200),
        (own, shared) in (1..4_u32, 1..4_u32),
    ) {
        let quotas = Quotas::new().with_keyed(slower(own)).with_shared(quota(shared));
        let clock = VirtualClock::new();
        let quota = QueueingQuota::new(quotas).with_max_queued(1_000).unwrap().with_max_wait(INTERVAL * 7).unwrap();
        let limiter = QueueingKeys::<Quotas, usize, VirtualClock>::new(quota, clock.clone());
        let (mut tasks, mut late) = (Vec::<(bool, Task)>::new(), 0_usize);
        for (key, pass) in steps {
            let held = LimitKeys::own_turn_in(limiter.limiter(), &key, tasks.len() as u64, 1, clock.now());
            if let Admission::Queued(wait) = limiter.admit_key(&key, CallContext::new, || clock.now()) {
                tasks.push((held != Some(Duration::ZERO), Task::new(wait)));
            }
            for _ in 0..=pass {
                while tasks.iter().any(|(_, task)| task.is_woken()) {
                    tasks.retain_mut(|(held, task)| {
                        let turn = task.poll_if_woken();
                        late += usize::from(!*held && turn.as_ref().is_some_and(Result::is_err));
                        turn.is_none()
                    });
                }
                clock.advance(Duration::from_nanos(1));
            }
        }
        prop_assert_eq!(late, 0);
    }
}

/// What a key has to itself, which is less than a third of what all have.
fn slower(burst: u32) -> Quota {
    Quota::every(Duration::from_nanos(37)).and_then(|quota| quota.with_burst(burst)).expect("in range")
}

/// One list of all, from whose front is served whomever its key lets go, until what all share is used up.
struct Truth {
    own: [Gcra; 3],
    shared: Gcra,
    line: Vec<(usize, usize, u32)>,
    served: Vec<(usize, Timestamp)>,
}

impl Truth {
    fn new(own: u32, shared: u32) -> Self {
        let own = std::array::from_fn(|_| Gcra::new(slower(own)));
        Self { own, shared: Gcra::new(quota(shared)), line: Vec::new(), served: Vec::new() }
    }

    /// The first of each key, and whether that lets it go.
    fn are_ready(&self, at: Timestamp) -> [bool; 3] {
        [0, 1, 2].map(|key| {
            let first = self.line.iter().find(|(_, of, _)| *of == key);
            first.is_some_and(|(.., cost)| self.own[key].check(*cost, at).is_ok())
        })
    }

    fn serve_all(&mut self, now: Timestamp) {
        let (mut at, mut passed) = (0, [false; 3]);
        while let Some((id, key, cost)) = self.line.get(at).copied() {
            if passed[key] || self.own[key].check(cost, now).is_err() {
                passed[key] = true;
                at += 1;
                continue;
            }
            if Limit::take(&self.shared, cost, now).is_err() {
                return;
            }
            assert_eq!(self.own[key].take(cost, now), Ok(()));
            self.served.push((id, now));
            self.line.remove(at);
        }
    }
}

impl List for Truth {
    fn join(&mut self, id: usize, key: usize, cost: u32) {
        self.line.push((id, key, cost));
    }

    fn leave(&mut self, id: usize) {
        self.line.retain(|(other, ..)| *other != id);
    }

    fn serve(&mut self, now: Timestamp) -> bool {
        let was_ready = self.are_ready(now.saturating_sub(Duration::from_nanos(1)));
        let is_new = self.are_ready(now).iter().zip(was_ready).any(|(is, was)| *is && !was);
        self.serve_all(now);
        // A key lets one go in the very moment in which another is looked at that came later: if not all have their turn, any may
        // be first.
        !(is_new && self.are_ready(now).contains(&true))
    }

    fn waiting(&self) -> usize {
        self.line.len()
    }

    fn served(&mut self) -> &mut Vec<(usize, Timestamp)> {
        &mut self.served
    }
}

/// A list for each key, before a limiter of its own.
struct OneByOne {
    lines: [(Gcra, VecDeque<(usize, u32)>); 3],
    served: Vec<(usize, Timestamp)>,
}

impl OneByOne {
    fn new() -> Self {
        Self { lines: std::array::from_fn(|_| (Gcra::new(quota(2)), VecDeque::new())), served: Vec::new() }
    }
}

impl List for OneByOne {
    fn join(&mut self, id: usize, key: usize, cost: u32) {
        self.lines[key].1.push_back((id, cost));
    }

    fn leave(&mut self, id: usize) {
        for (_, line) in &mut self.lines {
            line.retain(|(other, _)| *other != id);
        }
    }

    fn serve(&mut self, now: Timestamp) -> bool {
        for (gcra, line) in &mut self.lines {
            while line.front().is_some_and(|(_, cost)| Limit::take(gcra, *cost, now).is_ok()) {
                self.served.extend(line.pop_front().map(|(id, _)| (id, now)));
            }
        }
        true
    }

    fn waiting(&self) -> usize {
        self.lines.iter().map(|(_, line)| line.len()).sum()
    }

    fn served(&mut self) -> &mut Vec<(usize, Timestamp)> {
        &mut self.served
    }
}
