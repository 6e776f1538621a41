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
        stage: Stage<S, E, P, W, P::Request, <E::Clock as Timer>::Sleep>,
        until: Timestamp,
        pays: bool,
    }
}

/// One field, so that a call that succeeds at first makes and drops no more than a reference.
enum Stage<S: 'static, E: 'static, P: 'static, W: 'static, R, T> {
    /// The first attempt is under way.
    First(Shared<Template<S, E, P, W>>),
    /// It has failed. What only a retry needs is in one box, made now.
    Later(Pin<Box<Later<S, E, P, W, R, T>>>),
}

pin_project! {
    /// A retry that is waiting: for its time, then for its service.
    struct Later<S: 'static, E: 'static, P: 'static, W: 'static, R, T> {
        #[pin]
        sleep: Option<T>,
        service: Option<S>,
        request: Option<R>,
        schedule: RetrySchedule,
        template: Shared<Template<S, E, P, W>>,
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
        until: Option<Timestamp>,
        template: Shared<Template<S, E, P, W>>,
    ) -> Self {
        let (until, pays) = match until {
            None => (Timestamp::MAX, false),
            Some(until) => (until, true),
        };
        Self { attempt: Some(attempt), kept, stage: Stage::First(template), until, pays }
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
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut future = self;
        let this = future.as_mut().project();
        let (Some(attempt), Stage::First(template)) = (this.attempt.as_pin_mut(), &*this.stage) else {
            return future.poll_later(cx);
        };
        let result = ready!(attempt.poll(cx));
        let (ended, success) = Ended::judge(&template.env, &template.when, &result);
        if ended.advice == Advice::Stop {
            if *this.pays {
                template.core.end(success, false);
            }
            return Poll::Ready(result);
        }
        if !future.as_mut().retry(ended) {
            return Poll::Ready(result);
        }
        // The outcome goes before the wait: it may hold a connection.
        drop(result);
        future.poll_later(cx)
    }
}

impl<S, Req, E, P, W> RetryFuture<S, Req, E, P, W>
where
    P: Replay<Req>,
    S: Service<P::Request, Error: CarryRejection> + Clone,
    E: Environment<Clock: Timer> + Attributes<P::Request> + Classify<S::Response, <S::Error as CarryRejection>::Remote>,
    W: RetryWhen<S::Response, <S::Error as CarryRejection>::Remote>,
{
    /// Everything after the first attempt.
    #[cold]
    #[inline(never)]
    fn poll_later(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<S::Response, S::Error>> {
        loop {
            let this = self.as_mut().project();
            // Before the first failure there is an attempt, and that is polled above.
            let Stage::Later(later) = this.stage else { return Poll::Pending };
            let result = match this.attempt.as_pin_mut() {
                Some(attempt) => ready!(attempt.poll(cx)),
                None => match ready!(later.as_mut().poll_call(cx)) {
                    Ok(attempt) => {
                        self.as_mut().project().attempt.set(Some(attempt));
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            let template = &later.template;
            let (ended, success) = Ended::judge(&template.env, &template.when, &result);
            if ended.advice == Advice::Stop {
                template.core.end(success, true);
                return Poll::Ready(result);
            }
            if !self.as_mut().retry(ended) {
                return Poll::Ready(result);
            }
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
    #[inline(never)]
    fn retry(self: Pin<&mut Self>, ended: Ended) -> bool {
        let mut this = self.project();
        let (template, mut schedule) = match &*this.stage {
            Stage::First(template) => (template.clone(), RetrySchedule::default()),
            Stage::Later(later) => (later.template.clone(), later.schedule),
        };
        let Template { core, replay, .. } = &*template;
        let next = core.next(&mut schedule, ended, *this.until, |previous_attempts| {
            let request = replay.again(this.kept.as_mut()?, previous_attempts)?;
            let context = core.env.context(&request);
            Some((request, context))
        });
        let Some((request, at)) = next else { return false };
        this.attempt.set(None);
        let sleep = (at > Timestamp::ZERO).then(|| core.env.clock().sleep_until(at));
        if let Stage::Later(later) = this.stage {
            later.as_mut().restart(schedule, request, sleep);
        } else {
            let later = Later { sleep, service: None, request: Some(request), schedule, template };
            *this.stage = Stage::Later(Box::pin(later));
        }
        true
    }
}

impl<S, E: Environment, P, W, R, T> Later<S, E, P, W, R, T> {
    fn restart(self: Pin<&mut Self>, schedule: RetrySchedule, request: R, sleep: Option<T>) {
        let mut this = self.project();
        *this.schedule = schedule;
        *this.request = Some(request);
        this.sleep.set(sleep);
    }

    /// Waits, drives a fresh service ready, and calls it.
    fn poll_call(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<S::Future, S::Error>>
    where
        S: Service<R> + Clone,
        T: Future<Output = ()>,
    {
        let mut this = self.project();
        if let Some(sleep) = this.sleep.as_mut().as_pin_mut() {
            ready!(sleep.poll(cx));
            this.sleep.set(None);
        }
        let service = this.service.get_or_insert_with(|| this.template.service());
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
        let attempts = match &self.stage {
            Stage::First(_) => 1,
            Stage::Later(later) => later.schedule.attempts(),
        };
        f.debug_struct("RetryFuture")
            .field("attempts", &attempts)
            .field("waiting", &self.attempt.is_none())
            .finish_non_exhaustive()
    }
}
