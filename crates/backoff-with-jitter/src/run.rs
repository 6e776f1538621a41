use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use seawall_core::{CallContext, CarryRejection, Classify, Environment, Shared, Timer};

use crate::{
    Advice, Ended, RetryWhen,
    shell::{Core, Course},
    spent,
    watch::Watch,
};

pin_project! {
    /// The future of [`RetryLayer::run`](crate::RetryLayer::run).
    #[must_use = "futures do nothing unless polled"]
    pub struct RetryRun<M, F, E, W>
    where
        E: Environment,
        E::Clock: Timer,
    {
        #[pin]
        attempt: Option<F>,
        sleep: Option<Pin<Box<<E::Clock as Timer>::Sleep>>>,
        make: M,
        when: W,
        context: CallContext,
        // Unset until the first poll, which begins the call.
        course: Option<Course>,
        done: bool,
        core: Watch<Core<E>>,
    }
}

impl<M, F, E: Environment<Clock: Timer>, W> RetryRun<M, F, E, W> {
    pub(crate) fn new(core: Shared<Core<E>>, when: W, context: CallContext, make: M) -> Self {
        Self { attempt: None, sleep: None, make, when, context, course: None, done: false, core: Watch::new(core) }
    }
}

impl<M, F, E, W, T, X> Future for RetryRun<M, F, E, W>
where
    M: FnMut(u32) -> F,
    F: Future<Output = Result<T, X>>,
    X: CarryRejection,
    E: Environment<Clock: Timer> + Classify<T, X::Remote>,
    W: RetryWhen<T, X::Remote>,
{
    type Output = Result<T, X>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if *this.done {
            return Poll::Pending;
        }
        let course = this.course.get_or_insert_with(|| Course::new(this.core.begin()));
        loop {
            if let Some(sleep) = this.sleep.as_mut() {
                ready!(sleep.as_mut().poll(cx));
                *this.sleep = None;
            }
            if this.attempt.is_none() {
                let previous_attempts = course.schedule.attempts().saturating_sub(1);
                let attempt = this.core.around(|| (this.make)(previous_attempts));
                this.attempt.set(Some(attempt));
            }
            let Some(attempt) = this.attempt.as_mut().as_pin_mut() else { return Poll::Pending };
            spent::forget();
            let result = ready!(this.core.around(|| attempt.poll(cx)));
            this.core.around(|| this.attempt.set(None));
            let (ended, outcome) = Ended::judge(&this.core.env, this.when, &result);
            let next = if ended.advice == Advice::Stop {
                this.core.end(outcome, course);
                None
            } else {
                this.core.next(course, (ended, outcome), |_| Ok(((), this.context.inheriting())))
            };
            let Some(((), at)) = next else {
                *this.done = true;
                this.core.report(outcome);
                return Poll::Ready(result);
            };
            *this.sleep = at.map(|at| Box::pin(this.core.env.clock().sleep_until(at)));
        }
    }
}

impl<M, F, E: Environment<Clock: Timer>, W> fmt::Debug for RetryRun<M, F, E, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryRun")
            .field("attempts", &self.course.as_ref().map_or(1, |course| course.schedule.attempts()))
            .field("waiting", &self.sleep.is_some())
            .finish_non_exhaustive()
    }
}
