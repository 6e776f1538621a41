//! The servers' side of the world.
use std::{
    pin::Pin,
    task::{Context, Poll},
};

use crate::{
    Protection, World,
    clock::stamp,
    door::Entry,
    events::What,
    world::{Attempt, Call, Server},
};

impl World<'_> {
    /// An attempt reaches its server.
    pub(crate) fn receive(&mut self, index: u32) {
        let now = self.now;
        let Some(attempt) = self.attempts.current(index) else { return };
        attempt.entered = now;
        let (server, context) = (attempt.server, attempt.context);
        self.figures.servers[server as usize].reached += 1;
        match self.servers[server as usize].door.admit(index, context, stamp(now)) {
            Entry::Admitted(passage) => self.enter(index, passage),
            Entry::Queued(wait) => {
                if let Some(attempt) = self.attempts.current(index) {
                    attempt.wait = Some(wait);
                }
                let generation = self.attempts.generation(index);
                self.poll_waiting(index, generation);
            }
            Entry::InLine(displaced) => {
                if let Some(other) = displaced {
                    self.refuse(other);
                }
            }
            Entry::Refused => self.refuse(index),
        }
    }

    /// Asks the shedder about a call in its queue.
    pub(crate) fn poll_waiting(&mut self, index: u32, generation: u32) {
        let waker = self.wakers.of(index);
        let Some(attempt) = self.attempts.get_mut(index, generation) else { return };
        let Some(wait) = &mut attempt.wait else { return };
        match Pin::new(wait).poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => {
                if let Some(at) = self.clock.take_asked() {
                    self.events.push(at.max(self.now + 1), What::Expiry, index, generation);
                }
            }
            Poll::Ready(turn) => {
                attempt.wait = None;
                match turn {
                    Ok(passage) => self.enter(index, Some(passage)),
                    Err(_) => self.refuse(index),
                }
            }
        }
    }

    fn enter(&mut self, index: u32, passage: Option<seawall_load_shedder::Passage>) {
        let now = self.now;
        let Some(attempt) = self.attempts.current(index) else { return };
        attempt.passage = passage;
        let server = attempt.server;
        let machine = &mut self.servers[server as usize].machine;
        let work = machine.work(0, &mut attempt.random, now);
        machine.stages[0].arrive(now, index, work, false);
        self.work_on(server, 0);
    }

    /// A refusal: at once, or after the work that it costs.
    fn refuse(&mut self, index: u32) {
        let now = self.now;
        self.figures.refused += 1;
        self.figures.note(now, u64::from(index) << 1);
        let Some(attempt) = self.attempts.current(index) else { return };
        attempt.refused = true;
        let server = attempt.server;
        self.figures.servers[server as usize].refused += 1;
        if self.scenario.rejection_cost > 0.0 {
            let stage = &mut self.servers[server as usize].machine.stages[0];
            let work = self.scenario.rejection_cost * stage.spec.work;
            stage.arrive(now, index, work, true);
            self.work_on(server, 0);
        } else {
            self.answer(index);
        }
    }

    /// Lets a stage begin what it can, and plans when it has done the next.
    pub(crate) fn work_on(&mut self, server: u32, stage: usize) {
        let now = self.now;
        let protection = self.scenario.protection;
        let Server { machine, usual, .. } = &mut self.servers[server as usize];
        let place = &mut machine.stages[stage];
        place.pass_to(now);
        let mut dropped = Vec::new();
        let attempts = &mut self.attempts;
        let late = match protection {
            Protection::DropExpired => Some(0),
            Protection::DropLate => Some(usual.as_mut().map_or(0, |usual| usual.nanos(now))),
            _ => None,
        };
        place.fill(|job| {
            let Some(late) = late.filter(|_| stage == 0) else { return true };
            let wanted = attempts
                .current(job)
                .is_some_and(|attempt| attempt.refused || now.saturating_add(late) < attempt.deadline);
            if !wanted {
                dropped.push(job);
            }
            wanted
        });
        if let Some(at) = place.replan(now) {
            self.events.push(at, What::Done, server << 4 | stage as u32, place.plan);
        }
        for job in dropped {
            self.attempts.remove(job);
        }
    }

    /// A stage has done what it planned.
    pub(crate) fn stage_done(&mut self, place: u32, plan: u32) {
        let (server, stage, now) = (place >> 4, (place & 15) as usize, self.now);
        let station = &mut self.servers[server as usize].machine.stages[stage];
        if station.plan != plan {
            return;
        }
        station.plan_is_due();
        while let Some(job) = self.servers[server as usize].machine.stages[stage].done(now) {
            self.leave_stage(job, server, stage);
        }
        self.work_on(server, stage);
    }

    fn leave_stage(&mut self, job: u32, server: u32, stage: usize) {
        let now = self.now;
        let Some(attempt) = self.attempts.current(job) else { return };
        let machine = &mut self.servers[server as usize].machine;
        let next = stage + 1;
        if !attempt.refused && next < machine.stages.len() {
            let work = machine.work(next, &mut attempt.random, now);
            machine.stages[next].arrive(now, job, work, false);
            self.work_on(server, next);
            return;
        }
        let (entered, refused, passage) = (attempt.entered, attempt.refused, attempt.passage.take());
        let next = if refused { None } else { self.servers[server as usize].door.finish(passage, stamp(now)) };
        if let Some(next) = next {
            self.enter(next, None);
        }
        if let Some(usual) = &mut self.servers[server as usize].usual {
            usual.record(now, now - entered);
        }
        self.figures.servers[server as usize].done += u64::from(!refused);
        self.answer(job);
    }

    /// The deadline has passed: the work is dropped where it is, as a future is, and nobody is told.
    pub(crate) fn cancel(&mut self, index: u32, generation: u32) {
        let now = self.now;
        let Some(attempt) = self.attempts.get_mut(index, generation) else { return };
        let (server, age) = (attempt.server, now - attempt.entered);
        self.attempts.remove(index);
        let Server { machine, usual, .. } = &mut self.servers[server as usize];
        if let Some(usual) = usual {
            usual.record(now, age);
        }
        for stage in 0..machine.stages.len() {
            if self.servers[server as usize].machine.stages[stage].cancel(now, index) {
                return self.work_on(server, stage);
            }
        }
    }

    /// Sends the answer.
    fn answer(&mut self, index: u32) {
        let delay = self.delay();
        if delay == 0 {
            self.reply(index);
        } else {
            self.events.push(self.now + delay, What::Reply, index, 0);
        }
    }

    /// The answer reaches the client.
    pub(crate) fn reply(&mut self, index: u32) {
        let Some(attempt) = self.attempts.remove(index) else { return };
        if !attempt.refused && attempt.began >= self.scenario.warm_up {
            self.figures.latency.saturating_record(self.now - attempt.began);
        }
        self.hear(&attempt);
    }
}

/// Whether an answer came for a call that still waits for this very attempt.
pub(crate) fn is_awaited(attempt: &Attempt, call: &Call) -> bool {
    call.attempts == attempt.which && !call.waits
}
