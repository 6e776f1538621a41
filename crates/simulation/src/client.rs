//! The clients' side of the world.
use std::time::Duration;

use seawall_circuit_breaker::{Breaker, BreakerConfig, BreakerTicket, CountAs};
use seawall_core::{Admission, Budget, CallContext, Class, Gate, Outcome, SeededEntropy, Stamping, WindowBudget};
use seawall_load_shedder::{Throttle, ThrottleConfig};

use crate::{
    Protection, Rejections, Scenario, World, clock::stamp, events::What, random::Random, serving::is_awaited,
    world::Attempt,
};

/// Full jitter from 50 ms, doubling up to a second: the defaults of the retry layer.
const FIRST_WAIT: f64 = 50e6;
const LONGEST_WAIT: f64 = 1e9;

/// A gate on the client's side lets a call not through.
#[derive(Debug)]
struct HeldBack;

/// What a client process keeps.
#[derive(Debug)]
pub(crate) struct Client {
    budget: Option<Budget>,
    /// By server.
    throttles: Vec<Throttle<SeededEntropy>>,
    breakers: Vec<Breaker>,
}

impl Client {
    pub(crate) fn new(scenario: &Scenario, entropy: &SeededEntropy) -> Self {
        let clients = &scenario.clients;
        let throttle = |k: f64| {
            let config = ThrottleConfig::default().with_k(k).expect("1 to 10");
            Throttle::with_entropy(config, entropy.clone())
        };
        let breaker = |rejections: Rejections| {
            let builder = BreakerConfig::builder().seed(scenario.seed);
            let builder = match rejections {
                Rejections::AreNoFailures => builder,
                Rejections::AreFailures => builder.overload(CountAs::Failure),
            };
            Breaker::from(builder.build().expect("the defaults, nearly"))
        };
        let window = || {
            WindowBudget::new(0.1, 0, Duration::from_secs(10))
                .expect("a tenth over ten seconds")
                .with_stamping(Stamping::Each)
        };
        Self {
            budget: clients.budget.then(|| window().into()),
            throttles: clients.throttle.iter().flat_map(|k| (0..scenario.servers).map(move |_| throttle(*k))).collect(),
            breakers: clients
                .breaker
                .iter()
                .flat_map(|count| (0..scenario.servers).map(move |_| breaker(*count)))
                .collect(),
        }
    }

    pub(crate) fn begins(&self, now: u64) {
        if let Some(budget) = &self.budget {
            budget.request(|| stamp(now));
        }
    }

    fn may_retry(&self, now: u64) -> bool {
        self.budget.as_ref().is_none_or(|budget| budget.withdraw(|| stamp(now)))
    }

    /// Asks the gates on the client's side: the breaker, then the throttle. The breaker's ticket, if there is a breaker.
    fn admit(&self, server: u32, now: u64) -> Result<Option<BreakerTicket>, HeldBack> {
        let (context, now) = (CallContext::default, || stamp(now));
        let ticket = match self.breakers.get(server as usize) {
            Some(breaker) => match breaker.admit(context, now) {
                Admission::Admitted(ticket) => Some(ticket),
                _ => return Err(HeldBack),
            },
            None => None,
        };
        match self.throttles.get(server as usize).map(|throttle| throttle.admit(context, now)) {
            None | Some(Admission::Admitted(())) => Ok(ticket),
            Some(_) => {
                if let (Some(breaker), Some(ticket)) = (self.breakers.get(server as usize), ticket) {
                    breaker.finish(ticket, Outcome::Finished(Class::Ignored), now);
                }
                Err(HeldBack)
            }
        }
    }

    /// The end of an attempt, told to the gates that it passed.
    fn finish(&self, server: u32, ticket: Option<BreakerTicket>, outcome: Outcome, now: u64) {
        if let Some(throttle) = self.throttles.get(server as usize) {
            throttle.finish((), outcome, || stamp(now));
        }
        if let (Some(breaker), Some(ticket)) = (self.breakers.get(server as usize), ticket) {
            breaker.finish(ticket, outcome, || stamp(now));
        }
    }
}

impl World<'_> {
    /// The next attempt of a call.
    pub(crate) fn send(&mut self, index: u32) {
        let now = self.now;
        let servers = self.scenario.servers;
        let server = if servers == 1 { 0 } else { self.network.below(servers) };
        let Some(call) = self.calls.current(index) else { return };
        call.attempts += 1;
        call.server = server;
        call.sent = now;
        call.waits = false;
        let (number, which, class, tenant) = (call.number, call.attempts, call.class, call.tenant);
        let client = &self.clients[call.client as usize];
        let Ok(ticket) = client.admit(server, now) else {
            self.figures.held_back += 1;
            return self.failed(index);
        };
        call.ticket = ticket;
        self.figures.attempts += 1;
        let generation = self.calls.generation(index);
        let deadline = now + self.scenario.clients.timeout;
        if self.watch {
            self.events.push(deadline, What::Timeout, index, generation);
        }
        if self.scenario.network.loss > 0.0 && self.network.unit() < self.scenario.network.loss {
            return;
        }
        let context = self.context(class, tenant, deadline);
        let random = Random::new(self.scenario.seed ^ 0xDE_3A9D, number << 4 | u64::from(which & 15));
        let (attempt, number) = self.attempts.insert(Attempt {
            call: index,
            call_generation: generation,
            which,
            server,
            began: now,
            deadline,
            entered: now,
            passage: None,
            wait: None,
            random,
            context,
            refused: false,
        });
        if self.scenario.protection == Protection::DropLate {
            self.events.push(deadline, What::Cancel, attempt, number);
        }
        let delay = self.delay();
        if delay == 0 {
            self.receive(attempt);
        } else {
            self.events.push(now + delay, What::Reach, attempt, 0);
        }
    }

    /// The answer to an attempt.
    pub(crate) fn hear(&mut self, attempt: &Attempt) {
        let now = self.now;
        let Some(call) = self.calls.get_mut(attempt.call, attempt.call_generation) else { return };
        if !is_awaited(attempt, call) {
            return;
        }
        let (client, server, ticket) = (call.client, call.server, call.ticket.take());
        let in_time = now - call.sent <= self.scenario.clients.timeout;
        let class = if attempt.refused { Class::Overload } else { Class::Success };
        self.clients[client as usize].finish(server, ticket, Outcome::Finished(class), now);
        if attempt.refused {
            self.failed(attempt.call);
        } else {
            self.end_call(attempt.call, in_time);
        }
    }

    /// An attempt has taken too long; if it is the one under way.
    pub(crate) fn time_out(&mut self, index: u32, generation: u32) {
        let now = self.now;
        let timeout = self.scenario.clients.timeout;
        let Some(call) = self.calls.get_mut(index, generation) else { return };
        if call.sent + timeout > now || call.waits {
            return;
        }
        let (client, server, ticket) = (call.client, call.server, call.ticket.take());
        self.clients[client as usize].finish(server, ticket, Outcome::TimedOut, now);
        self.failed(index);
    }

    /// An attempt came to nothing: another, after a while, or the end of the call.
    fn failed(&mut self, index: u32) {
        let now = self.now;
        let generation = self.calls.generation(index);
        let Some(call) = self.calls.current(index) else { return };
        if call.attempts < self.scenario.clients.attempts && self.clients[call.client as usize].may_retry(now) {
            call.waits = true;
            let ceiling = (FIRST_WAIT * f64::from(1_u32 << (call.attempts - 1).min(20))).min(LONGEST_WAIT);
            let at = now + (self.waits.unit() * ceiling) as u64;
            self.events.push(at, What::Retry, index, generation);
        } else {
            self.end_call(index, false);
        }
    }

    pub(crate) fn retry(&mut self, index: u32, generation: u32) {
        if self.calls.get_mut(index, generation).is_some() {
            self.send(index);
        }
    }
}
