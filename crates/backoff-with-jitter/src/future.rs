#![expect(
    clippy::inline_always,
    reason = "a call is one path through all layers of a stack; functions of their own would copy each future once a layer"
)]

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use seawall_core::{Attributes, CarryRejection, Classify, Environment, Observer, Outcome, Shared, Timer};
use tower_service::Service;

use crate::{
    Advice, Ended, Replay, RetryWhen, Stopped,
    shell::{Account, Course, Template},
    spent,
    stage::Stage,
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
        // The first attempt, until it has ended. It stands first: what it holds is given back first.
        #[pin]
        attempt: Option<S::Future>,
        kept: Keeping<P::Kept>,
        account: Account,
        stage: Stage<Template<S, E, P, W>, LaterOf<S, Req, E, P, W>>,
    }
}

/// What there is to make a further attempt of.
#[derive(Debug)]
pub(crate) enum Keeping<K> {
    /// What the request was kept as.
    Kept(K),
    /// Nothing, and whether the request may be repeated.
    Nothing(Option<bool>),
}

/// What a service answers to a request.
type Answer<S, R> = Result<<S as Service<R>>::Response, <S as Service<R>>::Error>;

type LaterOf<S, Req, E, P, W> = Later<
    S,
    <S as Service<<P as Replay<Req>>::Request>>::Future,
    <P as Replay<Req>>::Request,
    <P as Replay<Req>>::Kept,
    <<E as Environment>::Clock as Timer>::Sleep,
    E,
    P,
    W,
>;

/// What follows a failure, or its result where nothing does.
type Prepared<S, Req, E, P, W> = Result<Pin<Box<LaterOf<S, Req, E, P, W>>>, Answer<S, <P as Replay<Req>>::Request>>;

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
    /// Makes the first attempt.
    #[inline(always)]
    pub(crate) fn new(
        template: Shared<Template<S, E, P, W>>,
        kept: Keeping<P::Kept>,
        account: Account,
        attempt: impl FnOnce() -> S::Future,
    ) -> Self {
        if E::Observer::PER_CALL {
            let mut stage = Stage::first(template);
            let attempt = Some(stage.around(attempt));
            return Self { attempt, kept, account, stage };
        }
        // Nobody hears of panics in there: what is made after it need not be moved.
        Self { attempt: Some(attempt()), kept, account, stage: Stage::first(template) }
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
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(attempt) = this.attempt.as_mut().as_pin_mut() else {
            let Some(later) = this.stage.later_mut() else { return Poll::Pending };
            return poll_later(later, cx);
        };
        spent::forget();
        let Some((template, report)) = this.stage.first_mut() else { return Poll::Pending };
        report.enter::<Template<S, E, P, W>>();
        let polled = attempt.poll(cx);
        report.leave::<Template<S, E, P, W>>();
        let result = ready!(polled);
        if let Ok(response) = &result {
            let verdict = template.env.classify(Ok(response));
            if template.when.advise(verdict, Ok(response)) == Advice::Stop {
                let outcome = Outcome::Finished(verdict.class);
                template.end_at_first(outcome, *this.account);
                report.make(template, outcome);
                return Poll::Ready(result);
            }
        }
        let Some(template) = this.stage.hand_on() else { return Poll::Pending };
        match again(result, std::mem::replace(this.kept, Keeping::Nothing(None)), *this.account, template) {
            Ok(later) => {
                // Still reported as a panic, if it is one: see `again`.
                this.attempt.set(None);
                poll_later(this.stage.set_later(later), cx)
            }
            Err(result) => Poll::Ready(result),
        }
    }
}

/// Prepares a second attempt, if there is to be one. Told what it needs by value: nothing may point into the future.
#[cold]
#[inline(never)]
fn again<S, Req, E, P, W>(
    result: Answer<S, P::Request>,
    mut kept: Keeping<P::Kept>,
    account: Account,
    mut template: Watch<Template<S, E, P, W>>,
) -> Prepared<S, Req, E, P, W>
where
    P: Replay<Req>,
    S: Service<P::Request, Error: CarryRejection> + Clone,
    E: Environment<Clock: Timer> + Attributes<P::Request> + Classify<S::Response, <S::Error as CarryRejection>::Remote>,
    W: RetryWhen<S::Response, <S::Error as CarryRejection>::Remote>,
{
    let (ended, outcome) = Ended::judge(&template.env, &template.when, &result);
    if ended.advice == Advice::Stop {
        template.end_at_first(outcome, account);
        template.report(outcome);
        return Err(result);
    }
    let mut course = Course::new(account);
    let next = template.next(&mut course, (ended, outcome), |previous| match &mut kept {
        Keeping::Kept(kept) => template.replay.again(kept, previous).ok_or(Stopped::NotReplayable),
        Keeping::Nothing(idempotent) => {
            let harmful = ended.advice == Advice::IfIdempotent && !template.core.config.may_repeat(*idempotent);
            Err(if harmful { Stopped::NotIdempotent } else { Stopped::NotReplayable })
        }
    });
    let (Some((request, sleep)), Keeping::Kept(kept)) = (next, kept) else {
        template.report(outcome);
        return Err(result);
    };
    // The attempt and its outcome go before the wait: they may hold a connection.
    template.enter();
    drop(result);
    let (attempt, service, request) = (None, None, Some(request));
    Ok(Box::pin(Later { attempt, sleep, service, request, kept, course, template }))
}

/// Everything after the first attempt.
#[cold]
#[inline(never)]
fn poll_later<S, Req, E, P, W>(
    mut later: Pin<&mut LaterOf<S, Req, E, P, W>>,
    cx: &mut Context<'_>,
) -> Poll<Answer<S, P::Request>>
where
    P: Replay<Req>,
    S: Service<P::Request, Error: CarryRejection> + Clone,
    E: Environment<Clock: Timer> + Attributes<P::Request> + Classify<S::Response, <S::Error as CarryRejection>::Remote>,
    W: RetryWhen<S::Response, <S::Error as CarryRejection>::Remote>,
{
    // What held the first attempt is gone.
    later.as_mut().project().template.leave();
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
        let next = template.next(this.course, (ended, outcome), |previous| {
            template.replay.again(this.kept, previous).ok_or(Stopped::NotReplayable)
        });
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
        let later = self.stage.later();
        let (attempts, waiting) =
            later.map_or((1, false), |later| (later.course.schedule.attempts(), later.attempt.is_none()));
        f.debug_struct("RetryFuture").field("attempts", &attempts).field("waiting", &waiting).finish_non_exhaustive()
    }
}
