//! Any calls and leavings, against a list and a bucket kept by hand.

use std::{collections::VecDeque, sync::atomic::Ordering::SeqCst, time::Duration};

use proptest::prelude::*;
use seawall_core::{CallContext, Reason, Timestamp};

use super::{INTERVAL, MAX_QUEUED, MAX_WAIT, Task, ask, limiter};

#[derive(Debug, Clone)]
enum Step {
    Arrive { cost: u32, patience: u64 },
    Leave(prop::sample::Index),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (1..3_u32, prop_oneof![Just(u64::MAX), 0..60_u64]).prop_map(|(cost, patience)| Step::Arrive { cost, patience }),
        1 => any::<prop::sample::Index>().prop_map(Step::Leave),
        3 => (0..25_u64).prop_map(Step::Pass),
    ]
}

/// The truth: a bucket that holds time and a list, looked at every nanosecond.
struct Truth {
    level: u64,
    capacity: u64,
    line: VecDeque<(usize, u32)>,
    served: Vec<(usize, u64)>,
}

impl Truth {
    fn serve(&mut self, now: u64) {
        while let Some((id, cost)) = self.line.front().copied() {
            if self.level < u64::from(cost) * INTERVAL {
                return;
            }
            self.level -= u64::from(cost) * INTERVAL;
            self.served.push((id, now));
            self.line.pop_front();
        }
    }

    fn arrive(&mut self, id: usize, cost: u32, patience: u64, now: u64) -> Option<Reason> {
        let ahead: u64 = self.line.iter().map(|(_, cost)| u64::from(*cost)).sum();
        let need = (ahead + u64::from(cost)) * INTERVAL;
        let wait = need.saturating_sub(self.level);
        if u64::from(cost) * INTERVAL > self.capacity {
            return Some(Reason::TooHeavy);
        } else if wait > patience {
            return Some(Reason::DeadlineTooClose);
        } else if wait > MAX_WAIT {
            return Some(Reason::RateLimited);
        } else if wait > 0 && self.line.len() == MAX_QUEUED {
            return Some(Reason::QueueFull);
        }
        self.line.push_back((id, cost));
        self.serve(now);
        None
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn everybody_is_served_at_the_nanosecond_of_a_plain_list_or_told_the_same(
        burst in 1..4_u32,
        steps in prop::collection::vec(step(), 1..100),
    ) {
        let (limiter, clock) = limiter(burst);
        let capacity = u64::from(burst) * INTERVAL;
        let mut truth = Truth { level: capacity, capacity, line: VecDeque::new(), served: Vec::new() };
        let (mut now, mut tasks, mut served) = (0_u64, Vec::<(usize, Task)>::new(), Vec::new());
        for (id, step) in steps.into_iter().enumerate() {
            match step {
                Step::Arrive { cost, patience } => {
                    let deadline = Timestamp::from_nanos(now.saturating_add(patience));
                    let context = CallContext::new().with_cost(cost).with_deadline(deadline);
                    let said = ask(&limiter, &clock, context);
                    prop_assert_eq!(said.as_ref().err().copied(), truth.arrive(id, cost, patience, now));
                    match said {
                        Ok(None) => served.push((id, now)),
                        Ok(Some(task)) => tasks.push((id, task)),
                        Err(_) => {}
                    }
                }
                Step::Leave(which) if !tasks.is_empty() => {
                    let (id, task) = tasks.remove(which.index(tasks.len()));
                    truth.line.retain(|(other, _)| *other != id);
                    drop(task);
                    truth.serve(now);
                }
                Step::Leave(_) => {}
                Step::Pass(time) => {
                    for _ in 0..time {
                        now += 1;
                        truth.level = capacity.min(truth.level + 1);
                        truth.serve(now);
                        clock.advance(Duration::from_nanos(1));
                        run(&mut tasks, &mut served, now);
                    }
                }
            }
            run(&mut tasks, &mut served, now);
            prop_assert_eq!(&served, &truth.served);
            prop_assert_eq!(limiter.queued(), truth.line.len());
        }
    }
}

/// Polls whoever was woken until nobody is.
pub(super) fn run<N: Copy>(tasks: &mut Vec<(usize, Task)>, served: &mut Vec<(usize, N)>, now: N) {
    while tasks.iter().any(|(_, task)| task.woken.0.load(SeqCst)) {
        let mut done = Vec::new();
        for (id, task) in tasks.iter_mut() {
            if let Some(turn) = task.poll_if_woken() {
                assert_eq!(turn, Ok(()), "whoever is let in line is served in time");
                served.push((*id, now));
                done.push(*id);
            }
        }
        tasks.retain(|(id, _)| !done.contains(id));
    }
}
