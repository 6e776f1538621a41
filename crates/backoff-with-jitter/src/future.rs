#![expect(
    clippy::inline_always,
    reason = "a call is one path through all layers of a stack; functions of their own would copy each future once a layer"
)]

use std::{
    fmt,
    mem::ManuallyDrop,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use seawall_core::{Attributes, CarryRejection, Classify, Environment, Outcome, Timer, Verdict};
use tower_service::Service;

use crate::{
    Advice, Ended, Replay, RetryWhen,
    shell::{Account, Course, Template},
    spent,
    watch::Watch,
};

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
        #[pin]
        stage: Stage<S, S::Future, P::Request, P::Kept, <E::Clock as Timer>::Sleep, E, P, W>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<S: 'static, F, R, K, T, E: Environment, P: 'static, W: 'static> {
        /// The first attempt is under way. It stands first: what it holds is given back first.
        First { #[pin] attempt: F, kept: Option<K>, account: Account, template: Watch<Template<S, E, P, W>> },
        /// It has failed. Everything is in one box, made now: a call that succeeds at first carries nothing of it.
        Later { later: Boxed<Later<S, F, R, K, T, E, P, W>> },
    }
}

/// A pinned box whose drop is out of line, so that the drop of a call that succeeded at first is short enough to be in line.
struct Boxed<T>(ManuallyDrop<Option<Pin<Box<T>>>>);

impl<T> Boxed<T> {
    fn new(value: T) -> Self {
        Self(ManuallyDrop::new(Some(Box::pin(value))))
    }

    fn as_mut(&mut self) -> Option<Pin<&mut T>> {
        (*self.0).as_mut().map(Pin::as_mut)
    }
}

impl<T> Drop for Boxed<T> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(boxed) = self.0.take() {
            drop_boxed(boxed);
        }
    }
}

#[cold]
#[inline(never)]
fn drop_boxed<T>(boxed: Pin<Box<T>>) {
    drop(boxed);
}

pin_project! {
    /// A call whose first attempt has failed: it waits for its time, then for its service, then for its attempt.
    struct Later<S: 'static, F, R, K, T, E: Environment, P: 'static, W: 'static> {
        #[pin]
        attempt: Option<F>,
        #[pin]
        sleep: Option<T>,
        service: Option<S>,
        request: Option<R>,
        kept: K,
        course: Course,
        template: Watch<Template<S, E, P, W>>,
    }
}

impl<S, Req, E, P, W> RetryFuture<S, Req, E, P, W>
where
    S: Service<P::Request>,
    P: Replay<Req>,
    E: Environment<Clock: Timer>,
{
    #[inline(always)]
    pub(crate) const fn new(
        attempt: S::Future,
        kept: Option<P::Kept>,
        account: Account,
        template: Watch<Template<S, E, P, W>>,
    ) -> Self {
        Self { stage: Stage::First { attempt, kept, account, template } }
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

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let StageProjection::First { attempt, account, template, .. } = self.as_mut().project().stage.project() else {
            return self.poll_later(cx);
        };
        spent::forget();
        let result = ready!(template.around(|| attempt.poll(cx)));
        let Ok(response) = &result else { return self.failed(cx, result) };
        let verdict = template.env.classify(Ok(response));
        let advice = template.when.advise(verdict, Ok(response));
        if advice == Advice::Stop {
            let outcome = Outcome::Finished(verdict.class);
            template.end_at_first(outcome, *account);
            template.report(outcome);
            return Poll::Ready(result);
        }
        self.answered(cx, result, advice, verdict)
    }
}

impl<S, Req, E, P, W> RetryFuture<S, Req, E, P, W>
where
    P: Replay<Req>,
    S: Service<P::Request, Error: CarryRejection> + Clone,
    E: Environment<Clock: Timer> + Attributes<P::Request> + Classify<S::Response, <S::Error as CarryRejection>::Remote>,
    W: RetryWhen<S::Response, <S::Error as CarryRejection>::Remote>,
{
    /// The first attempt ended with an error.
    #[cold]
    #[inline(never)]
    fn failed(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        result: Result<S::Response, S::Error>,
    ) -> Poll<Result<S::Response, S::Error>> {
        let StageProjection::First { account, template, .. } = self.as_mut().project().stage.project() else {
            return Poll::Pending;
        };
        let (ended, outcome) = Ended::judge(&template.env, &template.when, &result);
        if ended.advice == Advice::Stop {
            template.end_at_first(outcome, *account);
            template.report(outcome);
            return Poll::Ready(result);
        }
        self.again(cx, result, ended, outcome)
    }

    /// The first attempt was answered, and that is worth another.
    #[cold]
    #[inline(never)]
    fn answered(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        result: Result<S::Response, S::Error>,
        advice: Advice,
        verdict: Verdict,
    ) -> Poll<Result<S::Response, S::Error>> {
        self.again(cx, result, Ended::by_answer(advice, verdict), Outcome::Finished(verdict.class))
    }

    /// Makes a second attempt, if there is to be one.
    fn again(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        result: Result<S::Response, S::Error>,
        ended: Ended,
        outcome: Outcome,
    ) -> Poll<Result<S::Response, S::Error>> {
        let StageProjection::First { kept, account, template, .. } = self.as_mut().project().stage.project() else {
            return Poll::Pending;
        };
        let (mut kept, mut course, mut template) = (kept.take(), Course::new(*account), template.take());
        let next =
            template.next(&mut course, (ended, outcome), |previous| template.replay.again(kept.as_mut()?, previous));
        let (Some((request, sleep)), Some(kept)) = (next, kept) else {
            template.report(outcome);
            return Poll::Ready(result);
        };
        // The attempt and its outcome go before the wait: they may hold a connection.
        template.enter();
        drop(result);
        let (attempt, service, request) = (None, None, Some(request));
        let later = Boxed::new(Later { attempt, sleep, service, request, kept, course, template });
        self.as_mut().project().stage.set(Stage::Later { later });
        if let StageProjection::Later { later } = self.as_mut().project().stage.project() {
            if let Some(later) = later.as_mut() {
                later.project().template.leave();
            }
        }
        self.poll_later(cx)
    }

    /// Everything after the first attempt.
    #[cold]
    #[inline(never)]
    fn poll_later(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<S::Response, S::Error>> {
        let StageProjection::Later { later } = self.project().stage.project() else { return Poll::Pending };
        let Some(mut later) = later.as_mut() else { return Poll::Pending };
        loop {
            spent::forget();
            let this = later.as_mut().project();
            let result = match this.attempt.as_pin_mut() {
                Some(attempt) => ready!(this.template.around(|| attempt.poll(cx))),
                None => match ready!(later.as_mut().poll_call(cx)) {
                    Ok(attempt) => {
                        later.as_mut().project().attempt.set(Some(attempt));
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            let mut this = later.as_mut().project();
            let (ended, outcome) = Ended::judge(&this.template.env, &this.template.when, &result);
            if ended.advice == Advice::Stop {
                this.template.core.end(outcome, this.course);
                this.template.report(outcome);
                return Poll::Ready(result);
            }
            let template = &*this.template;
            let next =
                template.next(this.course, (ended, outcome), |previous| template.replay.again(this.kept, previous));
            let Some((request, sleep)) = next else {
                this.template.report(outcome);
                return Poll::Ready(result);
            };
            this.template.around(|| {
                drop(result);
                this.attempt.set(None);
            });
            *this.request = Some(request);
            this.sleep.set(sleep);
        }
    }
}

impl<S, F, R, K, T, E, P, W> Later<S, F, R, K, T, E, P, W>
where
    S: Service<R, Future = F> + Clone,
    T: Future<Output = ()>,
    E: Environment,
{
    /// Waits, drives a fresh service ready, and calls it.
    fn poll_call(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<F, S::Error>> {
        let mut this = self.project();
        if let Some(sleep) = this.sleep.as_mut().as_pin_mut() {
            ready!(sleep.poll(cx));
            this.sleep.set(None);
        }
        let service = this.service.get_or_insert_with(|| this.template.service());
        let ready = ready!(this.template.around(|| service.poll_ready(cx)));
        // Not kept after the call: an idle service may hold a place.
        let service = this.service.take();
        ready?;
        match (service, this.request.take()) {
            (Some(mut service), Some(request)) => Poll::Ready(Ok(this.template.around(|| service.call(request)))),
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
        let (attempts, waiting) = match &self.stage {
            Stage::First { .. } => (1, false),
            Stage::Later { later } => {
                later.0.as_ref().map_or((1, false), |later| (later.course.schedule.attempts(), later.attempt.is_none()))
            }
        };
        f.debug_struct("RetryFuture").field("attempts", &attempts).field("waiting", &waiting).finish_non_exhaustive()
    }
}
