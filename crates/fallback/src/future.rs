use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use seawall_core::{CarryRejection, Class, Classify, Clock, Environment, Observer, Outcome, Timestamp};

use crate::{
    Alternative, Case, Cause, Degraded, FallbackError, FallbackWhen, Flaw, Mark, Reply, call::Call, caught::catch,
};

pin_project! {
    /// The future of a call through [`Fallback`](crate::Fallback). Dropping it ends the service's call, or the
    /// alternative's work.
    #[must_use = "futures do nothing unless polled"]
    pub struct FallbackFuture<F, K, T, R, A, E, W, M>
    where
        A: Alternative<K, T, R>,
        A: 'static,
        E: Environment,
        W: 'static,
        M: 'static,
    {
        #[pin]
        stage: Stage<F, K, T, R, A, A::Run, E, W, M>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<F, K, T, R, A: 'static, N, E: Environment, W: 'static, M: 'static> {
        /// The service is at work. It stands first: what it holds is given back before its end is reported.
        Service { #[pin] attempt: F, kept: Option<K>, call: Call<A, E, W, M> },
        /// The alternative is. In a box, made now: a call that the service answers carries nothing of it.
        Alternative { instead: Pin<Box<Instead<K, T, R, A, N, E, W, M>>> },
        Done,
    }
}

pin_project! {
    /// A call that the service did not answer well.
    struct Instead<K, T, R, A: 'static, N, E: Environment, W: 'static, M: 'static> {
        #[pin]
        run: N,
        kept: K,
        primary: Option<Result<T, R>>,
        cause: Cause,
        at: Timestamp,
        outcome: Outcome,
        call: Call<A, E, W, M>,
    }
}

impl<F, K, T, R, A: Alternative<K, T, R>, E: Environment, W, M> FallbackFuture<F, K, T, R, A, E, W, M> {
    #[inline]
    pub(crate) const fn new(attempt: F, kept: K, call: Call<A, E, W, M>) -> Self {
        Self { stage: Stage::Service { attempt, kept: Some(kept), call } }
    }
}

impl<F, K, T, R, A, E, W, M> Future for FallbackFuture<F, K, T, R, A, E, W, M>
where
    F: Future<Output = Result<T, R>>,
    R: CarryRejection,
    A: Alternative<K, T, R>,
    E: Environment + Classify<T, R::Remote>,
    W: FallbackWhen<T, R>,
    M: Mark<T, A::Error>,
{
    type Output = Result<T, FallbackError<R, A::Error>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let StageProjection::Service { attempt, kept, call } = self.as_mut().project().stage.project() else {
            return self.poll_instead(cx);
        };
        let response = match ready!(call.around(|_| attempt.poll(cx))) {
            Ok(response) => response,
            Err(error) => return self.failed(cx, error),
        };
        let core = call.core();
        let verdict = core.env.classify(Ok(&response));
        if core.when.applies(Cause::Answered(verdict), Ok(&response)) {
            return self.instead(cx, Ok(response), Cause::Answered(verdict));
        }
        if verdict.class == Class::Success {
            if let Some(kept) = kept {
                core.state.plan.remember(kept, &response, || core.env.clock().now());
            }
        }
        call.end(|| Outcome::Finished(verdict.class));
        Poll::Ready(Ok(response))
    }
}

impl<F, K, T, R, A, E, W, M> FallbackFuture<F, K, T, R, A, E, W, M>
where
    R: CarryRejection,
    A: Alternative<K, T, R>,
    E: Environment + Classify<T, R::Remote>,
    W: FallbackWhen<T, R>,
    M: Mark<T, A::Error>,
{
    /// The service ended the call with an error.
    #[cold]
    #[inline(never)]
    fn failed(mut self: Pin<&mut Self>, cx: &mut Context<'_>, error: R) -> Poll<Result<T, FallbackError<R, A::Error>>> {
        let StageProjection::Service { call, .. } = self.as_mut().project().stage.project() else {
            return Poll::Pending;
        };
        let core = call.core();
        let cause = Cause::of_error(&error, |remote| core.env.classify(Err(remote)));
        if core.when.applies(cause, Err(&error)) {
            return self.instead(cx, Err(error), cause);
        }
        call.end(|| outcome_of(cause));
        Poll::Ready(Err(FallbackError::new(error)))
    }

    /// Lets the alternative begin.
    #[cold]
    #[inline(never)]
    fn instead(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        primary: Result<T, R>,
        cause: Cause,
    ) -> Poll<Result<T, FallbackError<R, A::Error>>> {
        let StageProjection::Service { kept, call, .. } = self.as_mut().project().stage.project() else {
            return Poll::Pending;
        };
        let (Some(kept), mut call) = (kept.take(), call.take()) else { return Poll::Pending };
        // The service's call goes first: it may hold a place that the alternative needs.
        call.around(|_| self.as_mut().project().stage.set(Stage::Done));
        let at = call.core().env.clock().now();
        let begun = call.around(|core| {
            let judge = |answer: &T| core.env.classify(Ok(answer)).class;
            let lent = Case::new(&kept, primary.as_ref(), (cause, at), &judge);
            catch(|| core.state.plan.start(&lent))
        });
        let Some(run) = begun else {
            let result = settle(&call, primary, cause, Reply::Flawed(Flaw::Panic));
            call.end(|| outcome_of(cause));
            return Poll::Ready(result);
        };
        let instead = Instead { run, kept, primary: Some(primary), cause, at, outcome: outcome_of(cause), call };
        self.as_mut().project().stage.set(Stage::Alternative { instead: Box::pin(instead) });
        self.poll_instead(cx)
    }

    /// Everything after the service.
    #[cold]
    #[inline(never)]
    fn poll_instead(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, FallbackError<R, A::Error>>> {
        // Polled again after it was ready: pending for ever, as nothing will wake it.
        let StageProjection::Alternative { instead } = self.as_mut().project().stage.project() else {
            return Poll::Pending;
        };
        let this = instead.as_mut().project();
        let Some(primary) = this.primary else { return Poll::Pending };
        let polled = this.call.around(|core| {
            let judge = |answer: &T| core.env.classify(Ok(answer)).class;
            let case = Case::new(&*this.kept, primary.as_ref(), (*this.cause, *this.at), &judge);
            catch(|| core.state.plan.poll(this.run, &case, cx))
        });
        let reply = ready!(polled.unwrap_or(Poll::Ready(Reply::Flawed(Flaw::Panic))));
        let result = match this.primary.take() {
            Some(primary) => settle(this.call, primary, *this.cause, reply),
            None => return Poll::Pending,
        };
        let outcome = *this.outcome;
        let mut call = this.call.take();
        call.around(|_| self.as_mut().project().stage.set(Stage::Done));
        call.end(|| outcome);
        Poll::Ready(result)
    }
}

const fn outcome_of(cause: Cause) -> Outcome {
    match cause {
        Cause::Answered(verdict) => Outcome::Finished(verdict.class),
        Cause::Rejected(rejection) => Outcome::of_rejection(&rejection),
    }
}

/// What the caller gets.
fn settle<A, E, W, M, T, R, F>(
    call: &Call<A, E, W, M>,
    primary: Result<T, R>,
    cause: Cause,
    reply: Reply<T, F>,
) -> Result<T, FallbackError<R, F>>
where
    E: Environment,
    M: Mark<T, F>,
{
    let core = call.core();
    let give_up = |why: &'static str| {
        core.state.tally.unanswered();
        core.env.observer().on_give_up(why);
    };
    let (primary, failure) = match reply {
        Reply::Answer(mut answer, degraded) => {
            let degraded = Degraded { reason: cause.as_str(), ..degraded };
            core.state.tally.degraded();
            core.env.observer().on_degraded(degraded.source);
            core.mark.degraded(&mut answer, &degraded);
            return Ok(answer);
        }
        Reply::Pass => (primary, None),
        Reply::Fail(error) => (primary, Some(error)),
        Reply::Flawed(flaw) => {
            give_up(flaw.as_str());
            return match primary {
                Ok(mut response) => {
                    core.mark.flawed(&mut response, flaw);
                    Ok(response)
                }
                Err(error) => Err(FallbackError::new(error)),
            };
        }
    };
    give_up(if failure.is_some() { "failed" } else { "no_answer" });
    match (primary, failure) {
        (Ok(mut response), Some(error)) => {
            core.mark.failed(&mut response, error);
            Ok(response)
        }
        (Ok(response), None) => Ok(response),
        (Err(error), Some(failure)) => Err(FallbackError::new(error).with_fallback(failure)),
        (Err(error), None) => Err(FallbackError::new(error)),
    }
}

impl<F, K, T, R, A: Alternative<K, T, R>, E: Environment, W, M> fmt::Debug for FallbackFuture<F, K, T, R, A, E, W, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            Stage::Service { .. } => "service",
            Stage::Alternative { .. } => "alternative",
            Stage::Done => "done",
        };
        f.debug_struct("FallbackFuture").field("stage", &stage).finish_non_exhaustive()
    }
}
