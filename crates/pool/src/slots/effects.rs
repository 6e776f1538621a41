//! What a decision leaves to be done outside the lock, and how waits end.

use std::{task::Waker, time::Duration};

use super::{Idle, Lease};
use crate::PoolStatus;

/// How a wait ended.
#[derive(Debug)]
pub(crate) enum Fate<C, F> {
    /// With a connection, after that time.
    Served(Lease<C>, Duration),
    /// Too late.
    TimedOut(Box<Expired<F>>),
    /// With the failure of a connect.
    Failed(F),
    /// With the pool.
    Closed,
}

/// The pool as it was when somebody's time was up.
#[derive(Clone, Debug)]
pub(crate) struct Expired<F> {
    pub(crate) waited: Duration,
    pub(crate) status: PoolStatus,
    pub(crate) last_failure: Option<F>,
}

/// Why somebody may not even wait.
#[derive(Debug)]
pub(crate) enum Refusal<F> {
    Closed,
    Full { waiters: usize, max_waiters: usize },
    Down(F),
    TooLate(Box<Expired<F>>),
}

/// What is left to do once the lock is released.
#[derive(Debug)]
#[must_use]
pub(crate) struct Effects<C> {
    pub(crate) wake: Vec<Waker>,
    pub(crate) close: Vec<C>,
    pub(crate) start: Vec<Start<C>>,
    /// To be dropped, not woken.
    pub(crate) forget: Option<Waker>,
}

impl<C> Effects<C> {
    pub(super) const fn none() -> Self {
        Self { wake: Vec::new(), close: Vec::new(), start: Vec::new(), forget: None }
    }
}

/// Work for a task of its own.
#[derive(Debug)]
pub(crate) enum Start<C> {
    /// Open a connection.
    Connect,
    /// Ask for a sign of life.
    Check(Idle<C>),
}

/// What became of a connection that came back.
#[derive(Debug)]
#[must_use]
pub(crate) enum Returned<C> {
    /// It was kept or handed on; somebody may be to wake.
    Kept(Option<Waker>),
    /// It is closed.
    Closed(Effects<C>),
}
