use std::{
    fmt,
    panic::Location,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use seawall_core::{Environment, Observer, Shared, Timer, Timestamp};

use crate::{
    Connection, Manager, PoolError, PoolTimeout,
    inner::{Failure, Inner, apply},
    pool::CloseOnDrop,
    queue::Ticket,
    slots::{Expired, Fate, Refusal},
    tasks,
};

/// The future of [`Pool::get`](crate::Pool::get). The pool is asked when it is first polled.
///
/// Dropping it leaves the queue. A connection that it was handed meanwhile goes to the next caller; one that is being
/// opened is finished and kept.
#[must_use = "futures do nothing unless polled"]
pub struct Get<M: Manager, E: Environment<Clock: Timer> + 'static> {
    inner: Shared<Inner<M, E>>,
    deadline: Timestamp,
    at: &'static Location<'static>,
    state: State,
    /// Keeps the pool open where the caller keeps no handle, as under `oneshot`.
    keeps: Option<Arc<CloseOnDrop<M, E>>>,
}

/// What a caller gets.
type Got<M, E> = Result<Connection<M, E>, PoolError<<M as Manager>::Error>>;

#[derive(Copy, Clone, Debug)]
enum State {
    New,
    Waiting(Ticket),
    Done,
}

impl<M: Manager, E: Environment<Clock: Timer>> Get<M, E> {
    pub(crate) const fn new(inner: Shared<Inner<M, E>>, deadline: Timestamp, at: &'static Location<'static>) -> Self {
        Self { inner, deadline, at, state: State::New, keeps: None }
    }

    pub(crate) fn keeping(mut self, handle: Arc<CloseOnDrop<M, E>>) -> Self {
        self.keeps = Some(handle);
        self
    }

    fn join(&mut self, now: Timestamp, cx: &Context<'_>) -> Result<(), PoolError<M::Error>> {
        let inner = &self.inner;
        let mut slots = inner.lock();
        let deadline = self.deadline.min(now.saturating_add(slots.config().acquire_timeout));
        let joined = slots.join(now, deadline, cx.waker().clone(), self.at);
        let max_waiters = slots.config().max_waiters;
        drop(slots);
        match joined {
            Ok((ticket, effects)) => {
                self.state = State::Waiting(ticket);
                apply(inner, effects);
                Ok(())
            }
            Err(refusal) => {
                self.state = State::Done;
                let error = refused::<M>(refusal, max_waiters);
                if let Some(rejection) = error.rejection() {
                    inner.env.observer().on_reject(&rejection);
                }
                Err(error)
            }
        }
    }

    fn fetch(&mut self, ticket: Ticket, cx: &Context<'_>) -> Poll<Got<M, E>> {
        let inner = &self.inner;
        let mut slots = inner.lock();
        let fate = slots.fetch(ticket, cx.waker());
        let hires = fate.is_none() && slots.hires_keeper();
        drop(slots);
        let Some(fate) = fate else {
            if hires {
                tasks::keep(inner);
            }
            return Poll::Pending;
        };
        self.state = State::Done;
        let error = match fate {
            Fate::Served(lease, _) => return Poll::Ready(Ok(Connection::new(lease, inner.clone()))),
            Fate::TimedOut(expired) => timed_out::<M>(*expired),
            Fate::Failed(failure) => PoolError::Connect(failure),
            Fate::Closed => PoolError::Closed,
        };
        if let Some(rejection) = error.rejection() {
            inner.env.observer().on_reject(&rejection);
        }
        Poll::Ready(Err(error))
    }
}

fn refused<M: Manager>(refusal: Refusal<Failure<M>>, max_waiters: usize) -> PoolError<M::Error> {
    match refusal {
        Refusal::Closed => PoolError::Closed,
        Refusal::Full { waiters } => PoolError::QueueFull { waiters, max_waiters },
        Refusal::Down(failure) => PoolError::Connect(failure),
        Refusal::TooLate(expired) => timed_out::<M>(*expired),
    }
}

fn timed_out<M: Manager>(expired: Expired<Failure<M>>) -> PoolError<M::Error> {
    let Expired { waited, status, last_failure } = expired;
    PoolError::Timeout(Box::new(PoolTimeout { waited, status, last_connect_error: last_failure }))
}

impl<M: Manager, E: Environment<Clock: Timer>> Future for Get<M, E> {
    type Output = Got<M, E>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if matches!(self.state, State::New) {
            let now = self.inner.now();
            let mut slots = self.inner.lock();
            let lease = slots.take(now, self.at);
            let refill = if lease.is_some() { slots.refill(now) } else { None };
            drop(slots);
            if let Some(lease) = lease {
                self.state = State::Done;
                if let Some(effects) = refill {
                    apply(&self.inner, effects);
                }
                return Poll::Ready(Ok(Connection::new(lease, self.inner.clone())));
            }
            if let Err(error) = self.join(now, cx) {
                return Poll::Ready(Err(error));
            }
        }
        match self.state {
            State::Waiting(ticket) => self.fetch(ticket, cx),
            // Polled again after it was ready: pending for ever, as nothing will wake it.
            State::New | State::Done => Poll::Pending,
        }
    }
}

impl<M: Manager, E: Environment<Clock: Timer>> Drop for Get<M, E> {
    fn drop(&mut self) {
        if let State::Waiting(ticket) = self.state {
            let now = self.inner.now();
            let effects = self.inner.lock().leave(ticket, now);
            apply(&self.inner, effects);
        }
    }
}

impl<M: Manager, E: Environment<Clock: Timer>> fmt::Debug for Get<M, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Get").field("state", &self.state).field("deadline", &self.deadline).finish_non_exhaustive()
    }
}
