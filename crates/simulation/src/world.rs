//! The world: virtual time, and everything that happens in it.
use std::time::Duration;

use seawall_circuit_breaker::BreakerTicket;
use seawall_core::{CallContext, Criticality, SeededEntropy};
use seawall_load_shedder::Passage;
use seawall_timeout::LatencyQuantile;

use crate::{
    Figures, Load, Protection, Scenario,
    client::Client,
    clock::{WorldClock, stamp},
    door::{Door, Waiting},
    events::{Event, Events, What},
    figures::Sample,
    machine::Machine,
    random::Random,
    slab::Slab,
    wake::Wakers,
};

/// The figures of the run are noted so many times.
const SAMPLES: u64 = 100;
pub(crate) const CRITICALITIES: [Criticality; 4] =
    [Criticality::Sheddable, Criticality::Degraded, Criticality::Default, Criticality::Critical];

/// What a client wants done, with all its attempts.
#[derive(Debug)]
pub(crate) struct Call {
    /// Its number in the run, from which its demands follow.
    pub(crate) number: u64,
    pub(crate) client: u32,
    pub(crate) began: u64,
    pub(crate) attempts: u32,
    pub(crate) class: usize,
    pub(crate) tenant: usize,
    /// When the attempt under way was sent.
    pub(crate) sent: u64,
    /// Between two attempts.
    pub(crate) waits: bool,
    /// The server of the attempt under way, and what the breaker gave for it.
    pub(crate) server: u32,
    pub(crate) ticket: Option<BreakerTicket>,
}

/// One attempt, as a server sees it.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) call: u32,
    pub(crate) call_generation: u32,
    /// Which attempt of the call it is.
    pub(crate) which: u32,
    pub(crate) server: u32,
    pub(crate) began: u64,
    pub(crate) deadline: u64,
    pub(crate) entered: u64,
    pub(crate) passage: Option<Passage>,
    pub(crate) wait: Option<Waiting>,
    pub(crate) random: Random,
    pub(crate) context: CallContext,
    pub(crate) refused: bool,
}

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) door: Door,
    pub(crate) machine: Machine,
    pub(crate) usual: Option<Usual>,
}

/// What 95% of a server's calls took in the last second that is over.
#[derive(Debug, Default)]
pub(crate) struct Usual {
    latencies: LatencyQuantile,
    second: u64,
    nanos: u64,
}

impl Usual {
    const PART: f64 = 0.95;
    const SECOND: u64 = 1_000_000_000;
    const ENOUGH: u64 = 20;

    pub(crate) fn record(&mut self, now: u64, latency: u64) {
        self.turn(now);
        self.latencies.record(Duration::from_nanos(latency));
    }

    /// Nothing, when too few calls were finished to tell.
    pub(crate) fn nanos(&mut self, now: u64) -> u64 {
        self.turn(now);
        self.nanos
    }

    fn turn(&mut self, now: u64) {
        let second = now / Self::SECOND;
        if second == self.second {
            return;
        }
        let known = second == self.second + 1 && self.latencies.count() >= Self::ENOUGH;
        let usual = if known { self.latencies.quantile(Self::PART) } else { None };
        self.nanos = u64::try_from(usual.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX);
        self.latencies.clear();
        self.second = second;
    }
}

/// A run under way.
#[derive(Debug)]
pub struct World<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) now: u64,
    pub(crate) clock: WorldClock,
    pub(crate) events: Events,
    pub(crate) calls: Slab<Call>,
    pub(crate) attempts: Slab<Attempt>,
    pub(crate) servers: Vec<Server>,
    pub(crate) clients: Vec<Client>,
    pub(crate) wakers: Wakers,
    pub(crate) figures: Figures,
    arrivals: Random,
    pub(crate) network: Random,
    pub(crate) waits: Random,
    /// Whether attempts are timed.
    pub(crate) watch: bool,
    capacity: f64,
}

impl<'a> World<'a> {
    /// Runs a scenario to its end: no call begins after its length, and all that are under way then are finished or given
    /// up.
    pub fn run(scenario: &'a Scenario) -> Figures {
        let mut world = Self::new(scenario);
        while world.advance() {}
        for (served, server) in world.figures.servers.iter_mut().zip(&world.servers) {
            (served.limit, _) = server.door.state();
        }
        world.figures
    }

    /// A world in which nothing has happened yet.
    pub fn new(scenario: &'a Scenario) -> Self {
        let clock = WorldClock::default();
        let seed = scenario.seed;
        let usual = || (scenario.protection == Protection::DropLate).then(Usual::default);
        let servers = (0..scenario.servers)
            .map(|index| Server {
                door: Door::new(scenario.protection, &clock),
                machine: Machine::new(&scenario.kind, scenario.length, seed ^ u64::from(index) << 32),
                usual: usual(),
            })
            .collect();
        let entropy = SeededEntropy::new(seed);
        let mut world = Self {
            scenario,
            now: 0,
            clients: (0..scenario.clients.count).map(|_| Client::new(scenario, &entropy)).collect(),
            clock,
            events: Events::default(),
            calls: Slab::default(),
            attempts: Slab::default(),
            servers,
            wakers: Wakers::default(),
            figures: Figures::new(scenario.length, scenario.clients.tenants.len(), scenario.servers),
            arrivals: Random::new(seed, 1),
            network: Random::new(seed, 2),
            waits: Random::new(seed, 3),
            watch: scenario.watch(),
            capacity: scenario.kind.capacity() * f64::from(scenario.servers),
        };
        world.begin();
        world
    }

    /// Lets one event happen; false when there is none any more.
    pub fn advance(&mut self) -> bool {
        let Some(event) = self.events.pop() else { return false };
        self.now = event.at;
        self.clock.set(event.at);
        self.figures.events += 1;
        self.figures.note(event.at, u64::from(event.index) << 8 | event.what as u64);
        self.step(event);
        self.poll_woken();
        true
    }

    fn begin(&mut self) {
        match self.scenario.clients.load {
            Load::Open(_) => self.plan_arrival(),
            Load::Closed { users, think } => {
                for user in 0..users {
                    let at = (self.arrivals.exponential() * think) as u64;
                    self.events.push(at, What::Thought, user, 0);
                }
            }
        }
        for server in 0..self.scenario.servers {
            self.trouble(server);
        }
        self.events.push(0, What::Sample, 0, 0);
    }

    fn step(&mut self, event: Event) {
        match event.what {
            What::Arrival => {
                self.begin_call(None);
                self.plan_arrival();
            }
            What::Thought => self.begin_call(Some(event.index)),
            What::Reach => self.receive(event.index),
            What::Done => self.stage_done(event.index, event.generation),
            What::Reply => self.reply(event.index),
            What::Timeout => self.time_out(event.index, event.generation),
            What::Retry => self.retry(event.index, event.generation),
            What::Expiry => self.poll_waiting(event.index, event.generation),
            What::Trouble => self.trouble(event.index),
            What::Sample => self.sample(),
            What::Cancel => self.cancel(event.index, event.generation),
        }
    }

    fn plan_arrival(&mut self) {
        let Load::Open(steps) = &self.scenario.clients.load else { return };
        let now = self.now;
        let step = steps.iter().rev().find(|(from, _)| *from <= now);
        let rate = step.map_or(0.0, |(_, load)| load * self.capacity);
        let gap = self.arrivals.exponential() / rate.max(1e-18);
        let mut at = now + (gap.min(1e18) as u64).max(1);
        // A step of the load in between: go on from there at the new rate.
        if let Some((from, _)) = steps.iter().find(|(from, _)| *from > now && *from < at) {
            let rest = self.arrivals.exponential();
            let (_, load) = steps.iter().rev().find(|(start, _)| start <= from).copied().unwrap_or((0, 1.0));
            at = from + ((rest / (load * self.capacity).max(1e-18)).min(1e18) as u64).max(1);
        }
        if at < self.scenario.length {
            self.events.push(at, What::Arrival, 0, 0);
        }
    }

    fn begin_call(&mut self, user: Option<u32>) {
        if self.now >= self.scenario.length {
            return;
        }
        let clients = &self.scenario.clients;
        let number = self.figures.begun;
        self.figures.begun += 1;
        let mut random = Random::new(self.scenario.seed ^ 0xCA11, number);
        let client = user.map_or_else(|| random.below(clients.count), |user| user % clients.count);
        let class = random.pick(&clients.criticalities);
        let tenant = if clients.tenants.is_empty() { 0 } else { random.pick(&clients.tenants) };
        let call = Call {
            number,
            client,
            began: self.now,
            attempts: 0,
            class,
            tenant,
            sent: self.now,
            waits: false,
            server: 0,
            ticket: None,
        };
        let (index, _) = self.calls.insert(call);
        self.clients[client as usize].begins(self.now);
        self.send(index);
    }

    /// Ends a call, in time or not.
    pub(crate) fn end_call(&mut self, index: u32, answered: bool) {
        let Some(call) = self.calls.remove(index) else { return };
        let tenth = (call.began / crate::figures::TENTH) as usize;
        self.figures.tenths[tenth].add(answered);
        if call.began >= self.scenario.warm_up {
            self.figures.add(call.began, call.class, answered);
            self.figures.add_of_tenant(call.tenant, call.began, answered);
        }
        self.figures.note(self.now, u64::from(index) << 1 | u64::from(answered));
        if let Load::Closed { think, .. } = self.scenario.clients.load {
            let at = self.now + (self.arrivals.exponential() * think) as u64;
            self.events.push(at, What::Thought, call.client, 0);
        }
    }

    fn trouble(&mut self, server: u32) {
        let now = self.now;
        if let Some(at) = self.servers[server as usize].machine.trouble(now) {
            if at < self.scenario.length {
                self.events.push(at, What::Trouble, server, 0);
            }
        }
        for stage in 0..self.servers[server as usize].machine.stages.len() {
            self.work_on(server, stage);
        }
    }

    fn sample(&mut self) {
        let (limit, in_flight) = self.servers[0].door.state();
        self.figures.samples.push(Sample { at: self.now, limit, in_flight });
        self.figures.note(u64::from(limit), u64::from(in_flight));
        let at = self.now + (self.scenario.length / SAMPLES).max(1);
        if at < self.scenario.length {
            self.events.push(at, What::Sample, 0, 0);
        }
    }

    /// How long a message takes, in nanoseconds.
    pub(crate) fn delay(&mut self) -> u64 {
        let network = self.scenario.network;
        if network.jitter > 0.0 {
            (network.delay + network.jitter * self.network.exponential()) as u64
        } else {
            network.delay as u64
        }
    }

    pub(crate) fn context(&self, class: usize, tenant: usize, deadline: u64) -> CallContext {
        let context = CallContext::new().with_criticality(CRITICALITIES[class]);
        // Tenant 0 is "nobody knows".
        let context =
            if self.scenario.clients.tenants.is_empty() { context } else { context.with_tenant(tenant as u64 + 1) };
        if self.scenario.clients.deadlines { context.with_deadline(stamp(deadline)) } else { context }
    }

    /// Polls those whom a shedder has woken.
    fn poll_woken(&mut self) {
        while let Some(index) = self.wakers.next() {
            let generation = self.attempts.generation(index);
            self.poll_waiting(index, generation);
        }
    }
}
