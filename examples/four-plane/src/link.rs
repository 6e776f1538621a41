//! What the parent and an instance tell each other: JSON lines, over the instance's standard input and output.
//!
//! An instance whose standard input ends has lost its parent and stops at once, so that nothing is left behind.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use crate::config::ApiKeys;

/// What one process of the stack does.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "every role is handled wherever roles are told apart")]
pub enum Role {
    /// Load balancer on the public port; every edge process listens on the same one.
    Edge,
    /// Routes to the services and protects the calls.
    Gateway,
    /// The world's cities: pages, search, popular.
    Catalog,
    /// What is seen together with what a user has seen.
    Recommendation,
    /// Database and cache.
    State,
}

impl Role {
    /// All roles, in the order in which they start: what others need comes first.
    pub const ALL: [Self; 5] = [Self::State, Self::Catalog, Self::Recommendation, Self::Gateway, Self::Edge];

    /// The name used in messages, targets, headers and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Gateway => "gateway",
            Self::Catalog => "catalog",
            Self::Recommendation => "recommendation",
            Self::State => "state",
        }
    }

    /// The plane it belongs to: `edge`, `service` or `state`.
    pub const fn plane(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Gateway | Self::Catalog | Self::Recommendation => "service",
            Self::State => "state",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| UnknownRole { role: text.to_owned() })
    }
}

/// A role that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("role is {role}; allowed are edge, gateway, catalog, recommendation, state")]
pub struct UnknownRole {
    /// The text given.
    pub role: String,
}

/// From the parent to an instance.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "both ends are the same binary")]
pub enum ToInstance {
    /// Replaces what the instance knew about the others.
    Topology(Topology),
    /// Replaces the faults that are active for this instance.
    Faults(Vec<Fault>),
    /// Say that you are not ready, and go on serving: you will be drained.
    Announce,
    /// Take nothing new, finish what is in flight, then exit with code 0.
    Drain,
}

/// How far an instance is on its way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "every step is handled wherever steps are told apart")]
pub enum Ending {
    /// It serves.
    #[default]
    NotYet,
    /// It says that it is not ready, and serves new connections all the same: whoever spreads load has to see it first.
    Announced,
    /// It takes nothing new and finishes what it has.
    Draining,
}

/// From an instance to the parent.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "both ends are the same binary")]
pub enum FromInstance {
    /// Sent once, as soon as the instance's listeners are bound.
    Listening {
        /// The service's listener; the state instance's database.
        service: SocketAddr,
        /// Where `/health` and `/metrics` answer; the same as `service` where one listener does both.
        admin: SocketAddr,
        /// The state instance's cache.
        cache: Option<SocketAddr>,
    },
    /// Sent by the state instance before `Listening`: what its two parts are.
    State(StateParts),
    /// Sent as the last thing by an instance that cannot serve: what is wrong, which file or field holds it, and what is allowed.
    Failed {
        /// The text of the error.
        cause: String,
    },
    /// Something worth a line in the page's list of events.
    Event {
        /// One sentence.
        text: String,
        /// `info`, `warn` or `error`.
        severity: String,
    },
}

/// All live instances of all roles.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Topology {
    /// Every instance that listens and whose process lives.
    pub endpoints: Vec<Endpoint>,
    /// What database and cache are; `None` until the state instance has said so.
    pub state: Option<StateParts>,
}

impl Topology {
    /// The instances of one role, healthy or not.
    pub fn of(&self, role: Role) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().filter(move |endpoint| endpoint.role == role)
    }
}

/// One live instance.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// What it does.
    pub role: Role,
    /// Its number among its role's instances, from 1.
    pub instance: u32,
    /// The service's listener; the state instance's database.
    pub address: SocketAddr,
    /// The state instance's cache; `None` for every other role.
    pub cache: Option<SocketAddr>,
    /// What `/health/ready` answered last.
    pub healthy: bool,
}

impl Endpoint {
    /// `role/number`, as in `x-served-by` and in fault targets.
    pub fn name(&self) -> String {
        format!("{}/{}", self.role, self.instance)
    }
}

/// What stands behind the state instance's two listeners.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct StateParts {
    /// `embedded` or `postgresql`.
    pub database: String,
    /// `embedded` or `redis`.
    pub cache: String,
    /// How to log in to the real database. Its host and port are not the ones to dial: those are the state instance's
    /// [`Endpoint::address`], which forwards.
    pub database_url: Option<String>,
    /// Likewise for the real cache, behind [`Endpoint::cache`].
    pub redis_url: Option<String>,
}

/// What goes wrong.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "every kind is handled wherever kinds are told apart")]
pub enum FaultKind {
    /// The process is killed; only the parent handles it.
    Kill,
    /// Every answer takes this many milliseconds longer.
    Latency,
    /// This share of the calls fails, 0 to 1.
    Error,
    /// No answer ever comes.
    Hang,
    /// No connection is taken, and those that there are break.
    Refuse,
    /// Every answer comes at this many bytes per second.
    Trickle,
    /// The cache forgets everything, once.
    Flush,
    /// This multiple of the declared capacity is sent; only the parent handles it.
    Overload,
}

impl FaultKind {
    /// All kinds, in the order in which they are listed to users.
    pub const ALL: [Self; 8] =
        [Self::Kill, Self::Latency, Self::Error, Self::Hang, Self::Refuse, Self::Trickle, Self::Flush, Self::Overload];

    /// The name used in requests and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Latency => "latency",
            Self::Error => "error",
            Self::Hang => "hang",
            Self::Refuse => "refuse",
            Self::Trickle => "trickle",
            Self::Flush => "flush",
            Self::Overload => "overload",
        }
    }
}

/// One active fault.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Fault {
    /// Given by the control plane.
    pub id: u64,
    /// What goes wrong.
    pub kind: FaultKind,
    /// `catalog/1`, `catalog`, `database`, `cache`, `edge` …
    pub target: String,
    /// Milliseconds, share, bytes per second or multiple, see [`FaultKind`].
    pub value: f64,
}

impl Fault {
    /// Whether it is meant for this instance: by name (`catalog/1`) or by role (`catalog`).
    pub fn hits(&self, role: Role, number: u32) -> bool {
        match self.target.split_once('/') {
            None => self.target == role.name(),
            Some((name, digits)) => name == role.name() && digits.parse() == Ok(number),
        }
    }
}

/// Where the state plane comes from.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "both modes are handled wherever modes are told apart")]
pub enum StateMode {
    /// Real servers where they are given or found installed, embedded parts otherwise.
    #[default]
    Auto,
    /// Embedded parts, except what is given by URL.
    Embedded,
}

impl StateMode {
    /// The name used on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Embedded => "embedded",
        }
    }
}

/// Whether calls are protected.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "both modes are handled wherever modes are told apart")]
pub enum ProtectionMode {
    /// By everything that there is.
    #[default]
    On,
    /// Without shedding, throttles, breakers, bulkheads, retries and attempt timeouts: to see what they are worth.
    Off,
}

impl ProtectionMode {
    /// The name used on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

/// Whether the edge sheds for what its process feels.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "both modes are handled wherever modes are told apart")]
pub enum PressureMode {
    /// It goes by its workers alone: on a machine that others use as well, a late event loop is their doing.
    #[default]
    Off,
    /// The less critical are refused while its event loop is late or the control group's memory runs out.
    On,
}

impl PressureMode {
    /// The name used on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
        }
    }
}

/// A little more than the supervisor takes from one health check to the next.
const DRAIN_GRACE: Duration = Duration::from_millis(1_500);
/// Requests per second of each caller unless told otherwise: far above what the edges let through.
const API_RATE: u32 = 10_000;

/// What the parent's command line and configuration say to every instance.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceOptions {
    /// Folder for what is kept between runs.
    pub data: PathBuf,
    /// Where the state plane comes from.
    pub state: StateMode,
    /// A `PostgreSQL` to use.
    pub database_url: Option<String>,
    /// A Redis to use.
    pub redis_url: Option<String>,
    /// Whether calls are protected.
    pub protection: ProtectionMode,
    /// Whether the edge sheds for what its process feels.
    pub pressure: PressureMode,
    /// Whether the edge takes what a request's `x-criticality` says for true. By default it only lowers what the path is
    /// worth: whoever asks would raise it otherwise.
    pub trust_criticality: bool,
    /// Requests per second of each known API key, and of each address without one.
    pub api_rate: u32,
    /// The API keys that have a quota of their own.
    pub api_keys: ApiKeys,
    /// How long an instance that is to end says so before it takes no more connections.
    pub drain_grace: Duration,
}

impl Default for InstanceOptions {
    fn default() -> Self {
        Self {
            data: PathBuf::new(),
            state: StateMode::default(),
            database_url: None,
            redis_url: None,
            protection: ProtectionMode::default(),
            pressure: PressureMode::default(),
            trust_criticality: false,
            api_rate: API_RATE,
            api_keys: ApiKeys::default(),
            drain_grace: DRAIN_GRACE,
        }
    }
}

/// What a role gets to serve with.
#[derive(Debug)]
pub struct Instance {
    /// What it does.
    pub role: Role,
    /// Its number among its role's instances, from 1.
    pub number: u32,
    /// Where to listen: the public address for the edge (shared, `SO_REUSEPORT`), a free loopback port otherwise.
    pub listen: SocketAddr,
    /// Declared capacity in requests per second.
    pub capacity: f64,
    /// What the parent was started with.
    pub options: InstanceOptions,
    /// All live instances.
    pub topology: watch::Receiver<Topology>,
    /// The faults that are meant for this instance.
    pub faults: watch::Receiver<Vec<Fault>>,
    /// Moves on to [`Ending::Draining`] once: finish, return from `serve`.
    pub ending: watch::Receiver<Ending>,
    /// Speaks to the parent.
    pub report: Reporter,
}

impl Instance {
    /// `role/number`, as in `x-served-by`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.role, self.number)
    }
}

/// Sends [`FromInstance`] messages to the parent.
#[derive(Debug, Clone)]
pub struct Reporter {
    lines: mpsc::UnboundedSender<FromInstance>,
}

impl Reporter {
    /// A reporter and the receiver of what it sends.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<FromInstance>) {
        let (lines, receiver) = mpsc::unbounded_channel();
        (Self { lines }, receiver)
    }

    /// Says that the listeners are bound. A message that nobody can take any more is dropped: the parent is gone then.
    pub fn listening(&self, service: SocketAddr, admin: SocketAddr, cache: Option<SocketAddr>) {
        let _gone = self.lines.send(FromInstance::Listening { service, admin, cache });
    }

    /// Says what database and cache are; only the state instance does, before [`Self::listening`].
    pub fn state(&self, parts: StateParts) {
        let _gone = self.lines.send(FromInstance::State(parts));
    }

    /// Puts a line into the list of events. `severity` is `info`, `warn` or `error`.
    pub fn event(&self, severity: &str, text: impl Into<String>) {
        let _gone = self.lines.send(FromInstance::Event { text: text.into(), severity: severity.to_owned() });
    }
}
