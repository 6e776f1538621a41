//! The world's clock, as the cores see it.
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use seawall_core::{Clock, Timer, Timestamp};

/// Virtual time starts here: away from zero, where queues and windows have only just begun.
const START: u64 = 1_000_000_000_000;

/// The time of the world, which its owner sets. A world runs on one thread: relaxed words do.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorldClock {
    now: Arc<AtomicU64>,
    /// The last time that a sleeper asked to be polled again.
    asked: Arc<AtomicU64>,
}

pub(crate) const fn stamp(now: u64) -> Timestamp {
    Timestamp::from_nanos(START.saturating_add(now))
}

impl WorldClock {
    pub(crate) fn set(&self, now: u64) {
        self.now.store(now, Relaxed);
    }

    /// When the one that was polled last wants to be polled again; asked once.
    pub(crate) fn take_asked(&self) -> Option<u64> {
        Some(self.asked.swap(0, Relaxed)).filter(|at| *at > 0)
    }
}

impl Clock for WorldClock {
    fn now(&self) -> Timestamp {
        stamp(self.now.load(Relaxed))
    }
}

impl Timer for WorldClock {
    type Sleep = Sleep;

    fn sleep_until(&self, at: Timestamp) -> Sleep {
        Sleep { clock: self.clone(), at }
    }
}

/// A sleep of which the world is told when it ends.
#[derive(Debug)]
pub(crate) struct Sleep {
    clock: WorldClock,
    at: Timestamp,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.clock.now() >= self.at {
            return Poll::Ready(());
        }
        self.clock.asked.store(self.at.nanos_since(stamp(0)), Relaxed);
        Poll::Pending
    }
}
