//! The one task that owns the table of instances.

use std::ffi::OsString;
use std::process::ExitStatus;
use std::time::Duration;

use seawall::backoff_with_jitter::Backoff;
use tokio::sync::{mpsc, oneshot, watch};

use super::bulletin::{Bulletin, replace, tell};
use super::draining::{Draining, STAGE_LIMIT};
use super::process::{Pipes, Process};
use super::roster::{Addresses, Health, Roster};
use super::{Plan, health};
use crate::client::Client;
use crate::clock;
use crate::config::ENVIRONMENT;
use crate::control::events::{Events, Severity};
use crate::link::{Fault, FromInstance, Role};
use crate::say;

/// Delay before the first restart; it doubles with every short life.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest delay before a restart.
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// A life below this counts as short.
const SHORT_LIFE_MS: u64 = 10_000;
/// A process that does not listen by then is killed and started again.
const START_LIMIT: Duration = Duration::from_secs(30);

/// What the task is told. `index` is a place in the roster, `life` the process that it is about.
#[derive(Debug)]
pub(super) enum Message {
    Start { index: usize },
    StartOver { index: usize, life: u32 },
    Heard { index: usize, life: u32, message: FromInstance },
    Ended { index: usize, life: u32, status: ExitStatus },
    Health { index: usize, life: u32, healthy: bool },
    Kill { target: String, reply: oneshot::Sender<Option<String>> },
    Faults(Vec<Fault>),
    Drain { done: oneshot::Sender<usize> },
    GraceOver,
    StageOver { stage: usize },
}

/// What the task keeps beside the roster about the present process of an instance.
#[derive(Debug, Default)]
struct Running {
    process: Option<Process>,
    /// Ends with its last handle.
    checks: Option<seawall::health::Health>,
}

#[derive(Debug)]
pub(super) struct Actor {
    plan: Plan,
    events: Events,
    client: Client,
    inbox: mpsc::Sender<Message>,
    roster: watch::Sender<Roster>,
    bulletin: watch::Sender<Bulletin>,
    running: Vec<Running>,
    draining: Option<(Draining, oneshot::Sender<usize>)>,
    /// Those that did not finish in time.
    overdue: usize,
}

impl Actor {
    pub(super) fn new(plan: Plan, events: Events, inbox: mpsc::Sender<Message>, roster: watch::Sender<Roster>) -> Self {
        let running = roster.borrow().members().iter().map(|_| Running::default()).collect();
        let bulletin = watch::Sender::new(Bulletin::default());
        Self { plan, events, client: Client::new(), inbox, roster, bulletin, running, draining: None, overdue: 0 }
    }

    pub(super) async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        for index in 0..self.running.len() {
            self.start(index);
        }
        while let Some(message) = messages.recv().await {
            match message {
                Message::Start { index } => self.start(index),
                Message::StartOver { index, life } => self.start_over(index, life),
                Message::Heard { index, life, message } => self.heard(index, life, message),
                Message::Ended { index, life, status } => self.ended(index, life, status),
                Message::Health { index, life, healthy } => self.health(index, life, healthy),
                Message::Kill { target, reply } => {
                    let _gone = reply.send(self.kill(&target));
                }
                Message::Faults(faults) => {
                    self.bulletin.send_if_modified(|bulletin| replace(&mut bulletin.faults, faults));
                }
                Message::Drain { done } => {
                    self.draining.get_or_insert((Draining::default(), done));
                    self.bulletin.send_modify(|bulletin| {
                        bulletin.faults.clear();
                        bulletin.announced = true;
                    });
                    self.later(self.plan.options.drain_grace, Message::GraceOver);
                }
                Message::GraceOver => {
                    if let Some((draining, _)) = &mut self.draining {
                        draining.begin();
                    }
                }
                Message::StageOver { stage } => self.stage_over(stage),
            }
            if self.drained() {
                return;
            }
        }
    }

    fn start(&mut self, index: usize) {
        if self.draining.is_some() {
            return;
        }
        let (role, number, life) = {
            let roster = self.roster.borrow();
            let Some(member) = roster.members.get(index).filter(|member| member.pid.is_none()) else { return };
            (member.role, member.number, member.life.saturating_add(1))
        };
        let environment: Vec<(&str, &str)> = ENVIRONMENT
            .into_iter()
            .zip([&self.plan.options.database_url, &self.plan.options.redis_url])
            .filter_map(|((variable, _), url)| Some((variable, url.as_deref()?)))
            .collect();
        let started = Process::start(&self.plan.binary, &self.arguments(role, number), &environment);
        let pid = started.as_ref().ok().map(|(process, _)| process.pid());
        self.roster.send_modify(|roster| {
            let Some(member) = roster.members.get_mut(index) else { return };
            member.life = life;
            member.pid = pid;
            member.health = if pid.is_some() { Health::Starting } else { Health::Down };
            member.started_ms = millis(clock::since_start());
        });
        match started {
            Ok((process, pipes)) => {
                if let Some(running) = self.running.get_mut(index) {
                    running.process = Some(process);
                }
                self.attend(index, life, role, number, pipes);
            }
            Err(error) => {
                let text = format!("{role}/{number} cannot be started: {}: {error}", self.plan.binary.display());
                say::err(&text);
                self.events.add(Severity::Error, role.plane(), text);
                self.later(LONGEST_DELAY, Message::Start { index });
            }
        }
    }

    fn arguments(&self, role: Role, number: u32) -> Vec<OsString> {
        let listen = if role == Role::Edge { self.plan.edge.to_string() } else { "127.0.0.1:0".to_owned() };
        let pairs: [(&str, OsString); 11] = [
            ("--role", role.name().into()),
            ("--instance", number.to_string().into()),
            ("--capacity", self.plan.capacity.of(role).to_string().into()),
            ("--listen", listen.into()),
            ("--state", self.plan.options.state.name().into()),
            ("--data", self.plan.options.data.clone().into()),
            ("--protection", self.plan.options.protection.name().into()),
            ("--pressure", self.plan.options.pressure.name().into()),
            ("--api-rate", self.plan.options.api_rate.to_string().into()),
            ("--drain-grace", self.plan.options.drain_grace.as_secs_f64().to_string().into()),
            ("--trust-criticality", self.plan.options.trust_criticality.to_string().into()),
        ];
        let keys = self.plan.options.api_keys.file().map(|file| ("--api-keys", file.into()));
        let flags = pairs.into_iter().chain(keys).flat_map(|(flag, value)| [OsString::from(flag), value]);
        std::iter::once(OsString::from("instance")).chain(flags).collect()
    }

    /// Connects a new process with this task: what it says, what it is told, its end, and how long it may take to start.
    fn attend(&self, index: usize, life: u32, role: Role, number: u32, pipes: Pipes) {
        let Pipes { input, mut lines, ended, .. } = pipes;
        tokio::spawn(tell(input, self.bulletin.subscribe(), role, number));
        let inbox = self.inbox.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                // A line that is no message is lost output of a library; it goes where logs go.
                let Ok(message) = serde_json::from_str(&line) else {
                    say::err(format_args!("{role}/{number}: {line}"));
                    continue;
                };
                if inbox.send(Message::Heard { index, life, message }).await.is_err() {
                    return;
                }
            }
        });
        let inbox = self.inbox.clone();
        tokio::spawn(async move {
            let status = ended.await.unwrap_or_default();
            let _gone = inbox.send(Message::Ended { index, life, status }).await;
        });
        self.later(START_LIMIT, Message::StartOver { index, life });
    }

    fn heard(&mut self, index: usize, life: u32, message: FromInstance) {
        let Some((name, role)) = self.present(index, life) else { return };
        match message {
            FromInstance::State(parts) => self.roster.send_modify(|roster| roster.state = Some(parts)),
            FromInstance::Event { text, severity } => {
                self.events.add(Severity::from_name(&severity), role.plane(), text);
            }
            FromInstance::Failed { cause } => {
                self.events.add(Severity::Error, role.plane(), format!("{name} cannot serve: {cause}"));
            }
            FromInstance::Listening { service, admin, cache } => {
                self.roster.send_modify(|roster| {
                    if let Some(member) = roster.members.get_mut(index) {
                        member.addresses = Some(Addresses { service, admin, cache });
                    }
                });
                self.events.add(Severity::Info, role.plane(), format!("{name} listens on {service}"));
                self.check(index, life, &format!("http://{admin}"));
            }
        }
        self.publish();
    }

    /// Has the instance checked until its process ends.
    fn check(&mut self, index: usize, life: u32, url: &str) {
        let (checks, mut changes) = health::watch(self.client.clone(), url);
        if let Some(running) = self.running.get_mut(index) {
            running.checks = Some(checks);
        }
        let inbox = self.inbox.clone();
        tokio::spawn(async move {
            while changes.changed().await.is_ok() {
                let Some(healthy) = *changes.borrow_and_update() else { continue };
                if inbox.send(Message::Health { index, life, healthy }).await.is_err() {
                    return;
                }
            }
        });
    }

    fn health(&mut self, index: usize, life: u32, healthy: bool) {
        let Some((name, role)) = self.present(index, life) else { return };
        self.roster.send_modify(|roster| {
            if let Some(member) = roster.members.get_mut(index) {
                member.health = if healthy { Health::Pass } else { Health::Fail };
            }
        });
        if healthy {
            self.events.add(Severity::Info, role.plane(), format!("{name} is ready"));
        } else if self.draining.is_none() {
            self.events.add(Severity::Warn, role.plane(), format!("{name} fails its health check"));
        }
        self.publish();
    }

    fn ended(&mut self, index: usize, life: u32, status: ExitStatus) {
        let Some((name, role)) = self.present(index, life) else { return };
        if let Some(running) = self.running.get_mut(index) {
            *running = Running::default();
        }
        let now = millis(clock::since_start());
        let (mut killed, mut short_lives) = (false, 0);
        self.roster.send_modify(|roster| {
            let Some(member) = roster.members.get_mut(index) else { return };
            let short = now.saturating_sub(member.started_ms) < SHORT_LIFE_MS;
            short_lives = member.short_lives;
            member.short_lives = if short { member.short_lives.saturating_add(1) } else { 0 };
            killed = std::mem::take(&mut member.killed);
            member.pid = None;
            member.addresses = None;
            member.health = Health::Down;
        });
        self.publish();
        if self.draining.is_some() {
            return;
        }
        let delay = restart_delay(short_lives);
        let how = if killed { "was killed".to_owned() } else { format!("ended unasked ({status})") };
        let text = format!("{name} {how}; starting it again in {} ms", delay.as_millis());
        self.events.add(Severity::Error, role.plane(), text);
        self.later(delay, Message::Start { index });
    }

    fn kill(&mut self, target: &str) -> Option<String> {
        let index = self.roster.borrow().running(target)?;
        self.running.get(index)?.process.as_ref()?.kill();
        let mut name = None;
        self.roster.send_modify(|roster| {
            if let Some(member) = roster.members.get_mut(index) {
                member.killed = true;
                name = Some(member.name());
            }
        });
        name
    }

    fn start_over(&mut self, index: usize, life: u32) {
        let Some((name, role)) = self.present(index, life) else { return };
        let silent = self.roster.borrow().members.get(index).is_some_and(|member| member.addresses.is_none());
        if let Some(process) = self.running.get(index).and_then(|running| running.process.as_ref())
            && silent
        {
            let limit = START_LIMIT.as_secs();
            self.events.add(Severity::Error, role.plane(), format!("{name} does not listen after {limit} s; killed"));
            process.kill();
        }
    }

    fn stage_over(&mut self, stage: usize) {
        let Some(roles) = self
            .draining
            .as_mut()
            .filter(|(draining, _)| draining.stage() == stage)
            .and_then(|(draining, _)| draining.advance(&self.roster.borrow()))
        else {
            return;
        };
        for (member, running) in self.roster.borrow().members().iter().zip(&self.running) {
            if let Some(process) = running.process.as_ref().filter(|_| roles.contains(&member.role)) {
                let text = format!("{} did not finish within {} s; killed", member.name(), STAGE_LIMIT.as_secs());
                say::err(&text);
                self.events.add(Severity::Warn, member.role.plane(), text);
                process.kill();
                self.overdue = self.overdue.saturating_add(1);
            }
        }
    }

    /// Moves the draining on; true when there is nothing left to drain.
    fn drained(&mut self) -> bool {
        let Some((mut draining, done)) = self.draining.take() else { return false };
        let Some(roles) = draining.advance(&self.roster.borrow()) else {
            let _gone = done.send(self.overdue);
            return true;
        };
        let begun = self.bulletin.send_if_modified(|bulletin| {
            let begins = draining.has_begun() && !roles.iter().all(|role| bulletin.draining.contains(role));
            if begins {
                bulletin.draining.extend_from_slice(roles);
            }
            begins
        });
        if begun {
            self.later(STAGE_LIMIT, Message::StageOver { stage: draining.stage() });
        }
        self.draining = Some((draining, done));
        false
    }

    /// Tells every instance about the others, if anything changed.
    fn publish(&self) {
        let topology = self.roster.borrow().topology();
        self.bulletin.send_if_modified(|bulletin| replace(&mut bulletin.topology, topology));
    }

    /// Name and role, if the message is about the present process.
    fn present(&self, index: usize, life: u32) -> Option<(String, Role)> {
        let roster = self.roster.borrow();
        let member = roster.members.get(index).filter(|member| member.life == life)?;
        Some((member.name(), member.role))
    }

    fn later(&self, delay: Duration, message: Message) {
        let inbox = self.inbox.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let _gone = inbox.send(message).await;
        });
    }
}

/// The wait before a restart. Without jitter: one supervisor starts one stack, so no two restarts meet by chance.
fn restart_delay(short_lives: u32) -> Duration {
    Backoff::exponential(FIRST_DELAY, 2.0, LONGEST_DELAY)
        .map_or(LONGEST_DELAY, |backoff| backoff.ceiling(short_lives.into()))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_before_a_restart_doubles_with_short_lives_up_to_five_seconds() {
        let delays = [0, 1, 2, 5, 6, u32::MAX].map(|lives| restart_delay(lives).as_millis());

        assert_eq!(delays, [100, 200, 400, 3_200, 5_000, 5_000]);
    }
}
