//! What a run is made of.
use crate::{Kind, Protection};

/// One run: servers, the clients that call them, and what lies between.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Everything random in the run follows from it.
    pub seed: u64,
    /// How long calls keep coming, in nanoseconds.
    pub length: u64,
    /// What begins earlier is not counted, in nanoseconds.
    pub warm_up: u64,
    /// All servers are of this kind.
    pub kind: Kind,
    /// How many servers there are. Each call goes to any of them.
    pub servers: u32,
    /// What protects each server.
    pub protection: Protection,
    /// What a rejection costs the server, as a part of the mean work of a call.
    pub rejection_cost: f64,
    /// The clients.
    pub clients: Clients,
    /// The network.
    pub network: Network,
}

/// The clients of a run.
#[derive(Clone, Debug)]
pub struct Clients {
    /// How many processes; each has budgets, throttles and breakers of its own.
    pub count: u32,
    /// How calls come.
    pub load: Load,
    /// How long one attempt may take, in nanoseconds. An answer counts when it comes within that of its attempt.
    pub timeout: u64,
    /// Attempts per call. 1: no retries.
    pub attempts: u32,
    /// Whether retries are paid from a budget of 10% of the calls of the last ten seconds, without a reserve.
    pub budget: bool,
    /// The factor of a client throttle, where there is one.
    pub throttle: Option<f64>,
    /// A circuit breaker, where there is one.
    pub breaker: Option<Rejections>,
    /// Whether calls carry their deadline to the server.
    pub deadlines: bool,
    /// The shares of sheddable, degraded, default and critical calls.
    pub criticalities: [f64; 4],
    /// The shares of the tenants. Empty: there are none.
    pub tenants: Vec<f64>,
}

/// What a circuit breaker takes a server's rejections for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejections {
    /// No failures: the default.
    AreNoFailures,
    /// Failures.
    AreFailures,
}

/// How calls come.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Load {
    /// At random, whatever becomes of them: from each time on, in nanoseconds, so many times the capacity of all servers.
    Open(Vec<(u64, f64)>),
    /// So many users, each of whom calls again a while (nanoseconds in the mean) after the answer.
    Closed {
        /// The users.
        users: u32,
        /// How long they think.
        think: f64,
    },
}

/// What lies between clients and servers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Network {
    /// The delay of each way, in nanoseconds.
    pub delay: f64,
    /// The mean of an exponential addition to it.
    pub jitter: f64,
    /// The part of the requests that is lost.
    pub loss: f64,
}

impl Clients {
    /// One client whose calls come at random at so many times the capacity, wait as long as the kind's clients do, and
    /// are made once.
    pub fn open(kind: &Kind, load: f64) -> Self {
        Self {
            count: 1,
            load: Load::Open(vec![(0, load)]),
            timeout: kind.patience(),
            attempts: 1,
            budget: false,
            throttle: None,
            breaker: None,
            deadlines: false,
            criticalities: [0.0, 0.0, 1.0, 0.0],
            tenants: Vec::new(),
        }
    }
}

impl Scenario {
    /// Whether somebody has to look at the clock while an attempt is under way: where an answer is sure and nothing hangs
    /// on its being late, it is enough to look when it comes.
    pub(crate) fn watch(&self) -> bool {
        let clients = &self.clients;
        let silent = matches!(self.protection, Protection::DropExpired | Protection::DropLate);
        let closed = matches!(clients.load, Load::Closed { .. });
        let gates = clients.throttle.is_some() || clients.breaker.is_some();
        clients.attempts > 1 || gates || closed || silent || self.network.loss > 0.0
    }

    /// One server of a kind under a steady load, for as long as the kind is run; the first tenth is not counted.
    pub fn steady(kind: &Kind, protection: Protection, load: f64, seed: u64) -> Self {
        let length = kind.length();
        Self {
            seed,
            length,
            warm_up: length / 10,
            kind: kind.clone(),
            servers: 1,
            protection,
            rejection_cost: 0.0,
            clients: Clients::open(kind, load),
            network: Network::default(),
        }
    }
}
