use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use seawall_core::{Attributes, CarryRejection, Classify, Environment, Shared, Timer, Timestamp};
use tower_service::Service;

use crate::{Advice, Ended, Replay, RetrySchedule, RetryWhen, shell::Template};

pin_project! {
    /// The future of a call through [`Retry`](crate::Retry). Dropping it ends the attempt under way or the wait.
    #[must_use = "futures do nothing unless polled"]
    pub struct RetryFuture<S, Req, E, P, W>
    where
        S: Service<P::Request>,
        S: 'static,
        P: Replay<Req>,
        P: 'static,
        E: Environment,
        E::Clock: Timer,
        W: 'static,
    {
        // The attempt stands first: what it holds is given back first.
        #[pin]
        attempt: Option<S::Future>,
        kept: Option<P::Kept>,
        // In one box, made when the first retry is due.
        later: Option<Pin<Box<Later<S, P::Request, <E::Clock as Timer>::Sleep>>>>,
        until: Timestamp,
        template: Shared<Template<S, E, P, W>>,
    }
}

pin_project! {
    /// A retry that is waiting: for its time, then for its service.
    struct Later<S, R, T> {
        #[pin]
        sleep: Option<T>,
        service: Option<S>,
        request: Option<R>,
        schedule: RetrySchedule,
    }
}

impl<S, Req, E, P, W> RetryFuture<S, Req, E, P, W>
where
    S: Service<P::Request>,
    P: Replay<Req>,
    E: Environment<Clock: Timer>,
{
    #[inline]
    pub(crate) const fn new(
        attempt: S::Future,
        kept: Option<P::Kept>,
        until: Timestamp,
        template: Shared<Template<S, E, P, W>>,
    ) -> Self {
        Self { attempt: Some(attempt), kept, later: None, until, template }
    }
}

impl<S, Req, E, P, W> Future for RetryFuture<S, Req, E, P, W>
where
    P: Replay<Req>,
    S: Service<P::Request, Error: CarryRejection> + Clone,
    E: Environment<Clock: Timer> + Attributes<P::Request> + Classify<S::Response, <S::Error as CarryRejection>::Remote>,
    W: RetryWhen<S::Response, <S::Error as CarryRejection>::Remote>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let this = self.as_mut().project();
            let result = match (this.attempt.as_pin_mut(), this.later.as_mut()) {
                (Some(attempt), _) => ready!(attempt.poll(cx)),
                (None, Some(later)) => match ready!(later.as_mut().poll_call(cx, || this.template.service())) {
                    Ok(attempt) => {
                        self.as_mut().project().attempt.set(Some(attempt));
                        continue;
                    }
                    Err(error) => Err(error),
                },
                // Nothing is under way and nothing waits: never so before the first answer.
                (None, None) => return Poll::Pending,
            };
            let Template { core, when, .. } = &**this.template;
            let (ended, success) = Ended::judge(&core.env, when, &result);
            if ended.advice == Advice::Stop {
                core.end(success, this.later.is_some());
                return Poll::Ready(result);
            }
            if !self.as_mut().retry(ended) {
                return Poll::Ready(result);
            }
            // The outcome goes before the wait: it may hold a connection.
        }
    }
}

impl<S, Req, E, P, W> RetryFuture<S, Req, E, P, W>
where
    P: Replay<Req>,
    S: Service<P::Request, Error: CarryRejection> + Clone,
    E: Environment<Clock: Timer> + Attributes<P::Request>,
{
    /// Prepares another attempt, if there is to be one.
    #[cold]
    fn retry(self: Pin<&mut Self>, ended: Ended) -> bool {
        let mut this = self.project();
        let Template { core, replay, .. } = &**this.template;
        let mut schedule = this.later.as_ref().map_or_else(RetrySchedule::default, |later| later.schedule);
        let next = core.next(&mut schedule, ended, *this.until, |previous_attempts| {
            let request = replay.again(this.kept.as_mut()?, previous_attempts)?;
            let context = core.env.context(&request);
            Some((request, context))
        });
        let Some((request, at)) = next else { return false };
        this.attempt.set(None);
        let sleep = (at > Timestamp::ZERO).then(|| core.env.clock().sleep_until(at));
        if let Some(later) = this.later {
            later.as_mut().restart(schedule, request, sleep);
        } else {
            *this.later = Some(Box::pin(Later { sleep, service: None, request: Some(request), schedule }));
        }
        true
    }
}

impl<S, R, T> Later<S, R, T> {
    fn restart(self: Pin<&mut Self>, schedule: RetrySchedule, request: R, sleep: Option<T>) {
        let mut this = self.project();
        *this.schedule = schedule;
        *this.request = Some(request);
        this.sleep.set(sleep);
    }

    /// Waits, drives a fresh service ready, and calls it.
    fn poll_call(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        fresh: impl FnOnce() -> S,
    ) -> Poll<Result<S::Future, S::Error>>
    where
        S: Service<R>,
        T: Future<Output = ()>,
    {
        let mut this = self.project();
        if let Some(sleep) = this.sleep.as_mut().as_pin_mut() {
            ready!(sleep.poll(cx));
            this.sleep.set(None);
        }
        let service = this.service.get_or_insert_with(fresh);
        let ready = ready!(service.poll_ready(cx));
        // Not kept after the call: an idle service may hold a place.
        let service = this.service.take();
        ready?;
        match (service, this.request.take()) {
            (Some(mut service), Some(request)) => Poll::Ready(Ok(service.call(request))),
            _ => Poll::Pending,
        }
    }
}

impl<S, Req, E, P, W> fmt::Debug for RetryFuture<S, Req, E, P, W>
where
    S: Service<P::Request>,
    P: Replay<Req>,
    E: Environment<Clock: Timer>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attempts = self.later.as_ref().map_or(1, |later| later.schedule.attempts());
        f.debug_struct("RetryFuture")
            .field("attempts", &attempts)
            .field("waiting", &self.attempt.is_none())
            .finish_non_exhaustive()
    }
}
