use std::{
    fmt,
    panic::Location,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use seawall_core::{Environment, Observer, Shared, Timer, Timestamp, WaitKey};

use crate::{
    Connection, Manager, PoolError, PoolTimeout,
    inner::{Failure, Inner, apply},
    pool::CloseOnDrop,
    slots::{Expired, Fate, Lease, Refusal},
    tasks,
};

/// The future of [`Pool::get`](crate::Pool::get). The pool is asked when it is first polled.
///
/// Dropping it leaves the queue. A connection that it was handed meanwhile goes to the next caller; one that is being
/// opened is finished and kept.
#[must_use = "futures do nothing unless polled"]
pub struct Get<M: Manager, E: Environment<Clock: Timer> + 'static> {
    /// Goes on into the connection.
    inner: Option<Shared<Inner<M, E>>>,
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
    Waiting(WaitKey),
    Done,
}

impl<M: Manager, E: Environment<Clock: Timer>> Get<M, E> {
    pub(crate) const fn new(inner: Shared<Inner<M, E>>, deadline: Timestamp, at: &'static Location<'static>) -> Self {
        Self { inner: Some(inner), deadline, at, state: State::New, keeps: None }
    }

    pub(crate) fn keeping(mut self, handle: Arc<CloseOnDrop<M, E>>) -> Self {
        self.keeps = Some(handle);
        self
    }

    #[inline]
    fn begin(&mut self, cx: &Context<'_>) -> Poll<Got<M, E>> {
        let Some(inner) = &self.inner else { return Poll::Pending };
        let now = inner.now();
        let mut slots = inner.lock();
        if let Some(lease) = slots.take(now, self.at) {
            let refill = slots.refill(now);
            drop(slots);
            if let Some(effects) = refill {
                apply(inner, effects);
            }
            return self.served(lease);
        }
        drop(slots);
        self.join(now, cx)
    }

    fn join(&mut self, now: Timestamp, cx: &Context<'_>) -> Poll<Got<M, E>> {
        let Some(inner) = &self.inner else { return Poll::Pending };
        let mut slots = inner.lock();
        let (ticket, effects) = match slots.join(now, self.deadline, cx.waker().clone(), self.at) {
            Ok(joined) => joined,
            Err(refusal) => {
                drop(slots);
                return self.failed(refused::<M>(refusal));
            }
        };
        // What is idle may have been handed over at once.
        let fate = slots.fetch(ticket, cx.waker());
        let hires = fate.is_err() && slots.hires_keeper();
        drop(slots);
        self.state = if fate.is_ok() { State::Done } else { State::Waiting(ticket) };
        apply(inner, effects);
        if hires {
            tasks::keep(inner);
        }
        fate.map_or(Poll::Pending, |fate| self.ended(fate))
    }

    fn fetch(&mut self, ticket: WaitKey, cx: &Context<'_>) -> Poll<Got<M, E>> {
        let Some(inner) = &self.inner else { return Poll::Pending };
        let mut slots = inner.lock();
        let fate = slots.fetch(ticket, cx.waker());
        let hires = fate.is_err() && slots.hires_keeper();
        drop(slots);
        if hires {
            tasks::keep(inner);
        }
        let Ok(fate) = fate else { return Poll::Pending };
        self.state = State::Done;
        self.ended(fate)
    }

    fn ended(&mut self, fate: Fate<M::Connection, Failure<M>>) -> Poll<Got<M, E>> {
        match fate {
            Fate::Served(lease, _) => self.served(lease),
            Fate::TimedOut(expired) => self.failed(timed_out::<M>(*expired)),
            Fate::Failed(failure) => self.failed(PoolError::Connect(failure)),
            Fate::Closed => self.failed(PoolError::Closed),
        }
    }

    #[inline]
    fn served(&mut self, lease: Lease<M::Connection>) -> Poll<Got<M, E>> {
        self.state = State::Done;
        let Some(inner) = self.inner.take() else { return Poll::Pending };
        Poll::Ready(Ok(Connection::new(lease, inner)))
    }

    fn failed(&mut self, error: PoolError<M::Error>) -> Poll<Got<M, E>> {
        self.state = State::Done;
        if let (Some(inner), Some(rejection)) = (self.inner.take(), error.rejection()) {
            inner.env.observer().on_reject(&rejection);
        }
        Poll::Ready(Err(error))
    }
}

fn refused<M: Manager>(refusal: Refusal<Failure<M>>) -> PoolError<M::Error> {
    match refusal {
        Refusal::Closed => PoolError::Closed,
        Refusal::Full { waiters, max_waiters } => PoolError::QueueFull { waiters, max_waiters },
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
        match self.state {
            State::New => self.begin(cx),
            State::Waiting(ticket) => self.fetch(ticket, cx),
            // Polled again after it was ready: pending for ever, as nothing will wake it.
            State::Done => Poll::Pending,
        }
    }
}

impl<M: Manager, E: Environment<Clock: Timer>> Drop for Get<M, E> {
    fn drop(&mut self) {
        if let (State::Waiting(ticket), Some(inner)) = (self.state, &self.inner) {
            let now = inner.now();
            let effects = inner.lock().leave(ticket, now);
            apply(inner, effects);
        }
    }
}

impl<M: Manager, E: Environment<Clock: Timer>> fmt::Debug for Get<M, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Get").field("state", &self.state).field("deadline", &self.deadline).finish_non_exhaustive()
    }
}
