//! Starts, watches, restarts, kills and drains the instances, each a child process.
//!
//! One task owns the table of instances; everything that happens reaches it as a message. An instance whose process ends
//! leaves the topology at once and is started again after a delay that doubles while its lives stay short. Children end
//! when their pipe from the parent closes, so nothing is left behind however the parent ends.

mod actor;
mod bulletin;
pub mod child;
mod draining;
mod health;
pub mod process;
mod roster;

use std::path::PathBuf;

use tokio::sync::{mpsc, oneshot, watch};

pub use roster::{Health, Member, Roster};

use crate::config::Capacities;
use crate::control::events::Events;
use crate::link::{Fault, InstanceOptions, Role};
use std::net::SocketAddr;

/// How many messages may wait for the one task; senders wait beyond that.
const INBOX: usize = 256;

/// What to start.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Plan {
    /// The program of every instance.
    pub binary: PathBuf,
    /// The public address that the edge processes share.
    pub edge: SocketAddr,
    /// Declared requests per second.
    pub capacity: Capacities,
    /// What every instance is told.
    pub options: InstanceOptions,
}

impl Plan {
    /// The plan for one stack.
    pub const fn new(binary: PathBuf, edge: SocketAddr, capacity: Capacities, options: InstanceOptions) -> Self {
        Self { binary, edge, capacity, options }
    }

    /// How many instances a role has.
    pub const fn count(role: Role) -> u32 {
        match role {
            Role::Edge | Role::Gateway => 2,
            Role::Catalog | Role::Recommendation => 3,
            Role::State => 1,
        }
    }
}

/// A target that cannot be killed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no instance of {target} is running")]
pub struct NotRunning {
    /// The target asked for.
    pub target: String,
}

/// The handle to the task that owns the instances. Clones speak to the same one.
#[derive(Debug, Clone)]
pub struct Supervisor {
    inbox: mpsc::Sender<actor::Message>,
    roster: watch::Receiver<Roster>,
}

impl Supervisor {
    /// Starts every instance of the plan.
    pub fn start(plan: Plan, events: Events) -> Self {
        let (inbox, messages) = mpsc::channel(INBOX);
        let (roster_in, roster) = watch::channel(Roster::new());
        tokio::spawn(actor::Actor::new(plan, events, inbox.clone(), roster_in).run(messages));
        Self { inbox, roster }
    }

    /// The instances as they are.
    pub fn roster(&self) -> Roster {
        self.roster.borrow().clone()
    }

    /// Follows the instances.
    pub fn watch(&self) -> watch::Receiver<Roster> {
        self.roster.clone()
    }

    /// Kills one instance (`catalog/2`), or the longest running one of a role (`catalog`), and returns its name.
    ///
    /// # Errors
    /// [`NotRunning`] when there is none.
    pub async fn kill(&self, target: &str) -> Result<String, NotRunning> {
        let (reply, answer) = oneshot::channel();
        let gone = || NotRunning { target: target.to_owned() };
        self.inbox.send(actor::Message::Kill { target: target.to_owned(), reply }).await.map_err(|_| gone())?;
        answer.await.ok().flatten().ok_or_else(gone)
    }

    /// Replaces the faults that are active.
    pub async fn set_faults(&self, faults: Vec<Fault>) {
        let _gone = self.inbox.send(actor::Message::Faults(faults)).await;
    }

    /// Drains every instance, those nearest to the users first, and returns when the last process has ended: how many
    /// had to be killed since they did not finish.
    pub async fn drain(&self) -> usize {
        let (done, ended) = oneshot::channel();
        if self.inbox.send(actor::Message::Drain { done }).await.is_err() {
            return 0;
        }
        ended.await.unwrap_or_default()
    }
}
