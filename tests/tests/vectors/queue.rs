//! What queues with controlled delay drop, and how long they let wait.

use std::{collections::VecDeque, time::Duration};

use seawall::{
    core::Timestamp,
    load_shedder::{CoDel, ControlledDelay, Waited},
};
use serde::Deserialize;
use serde_json::Value;

use crate::{accepted, at_ms, expect, expect_near, parse};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CoDelCase {
    target_ns: u64,
    interval_ns: u64,
    quiet_backlog: usize,
    arrivals_ns: Vec<u64>,
    dequeues: Vec<Dequeue>,
    drops: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dequeue {
    t_ns: u64,
    #[serde(deserialize_with = "Option::deserialize")]
    got: Option<usize>,
    dropped: Vec<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LawCase {
    interval_ms: u64,
    count: u32,
    step_us: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueueCase {
    target_ms: u64,
    interval_ms: u64,
    events: Vec<Event>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, tag = "op", rename_all = "lowercase")]
enum Event {
    Push {
        t_ms: u64,
        limit_ms: u64,
    },
    Pop {
        #[serde(rename = "t_ms")]
        _t_ms: u64,
    },
}

pub(crate) fn codel(case: &Value) -> Result<(), String> {
    let case: CoDelCase = parse(case)?;
    let (target, interval) = (Duration::from_nanos(case.target_ns), Duration::from_nanos(case.interval_ns));
    let mut codel = accepted(CoDel::new(target, interval))?.with_quiet_backlog(case.quiet_backlog);
    let mut arrivals = case.arrivals_ns.iter().copied().map(Timestamp::from_nanos).enumerate().peekable();
    let mut queue = VecDeque::new();
    let mut drops = 0_usize;
    for (number, dequeue) in case.dequeues.iter().enumerate() {
        let now = Timestamp::from_nanos(dequeue.t_ns);
        while let Some(arrival) = arrivals.next_if(|(_, at)| *at <= now) {
            queue.push_back(arrival);
        }
        let mut dropped = Vec::new();
        let next = || {
            let (item, since) = queue.pop_front()?;
            Some(Waited { item, since, left_behind: queue.len() })
        };
        let got = codel.pop(now, next, |item| dropped.push(item));
        expect(&format!("dropped at dequeue {number}"), &dropped, &dequeue.dropped)?;
        expect(&format!("got at dequeue {number}"), &got, &dequeue.got)?;
        drops = drops.saturating_add(dropped.len());
    }
    expect("drops", &drops, &case.drops)
}

pub(crate) fn control_law(case: &Value) -> Result<(), String> {
    let case: LawCase = parse(case)?;
    let step = CoDel::control_law(Duration::from_millis(case.interval_ms), case.count);
    expect_near("step_us", step.as_secs_f64() * 1e6, case.step_us, case.step_us * 0.001)
}

pub(crate) fn request_queue(case: &Value) -> Result<(), String> {
    let case: QueueCase = parse(case)?;
    let (target, interval) = (Duration::from_millis(case.target_ms), Duration::from_millis(case.interval_ms));
    let mut delay = accepted(ControlledDelay::new(target, interval))?;
    let mut queued = 0_u32;
    for (number, event) in (0_u32..).zip(&case.events) {
        match *event {
            Event::Push { t_ms, limit_ms } => {
                let now = at_ms(t_ms);
                if queued == 0 {
                    delay.was_empty(now);
                }
                queued = queued.saturating_add(1);
                let limit = Duration::from_millis(limit_ms);
                expect(&format!("limit of event {number}"), &delay.limit(now), &limit)?;
            }
            Event::Pop { .. } => queued = queued.saturating_sub(1),
        }
    }
    Ok(())
}
