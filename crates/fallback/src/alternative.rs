use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use seawall_core::{Class, Timestamp};

use crate::{Bounded, Bounds, Caught, Cause, Chain, Named, Only};

/// A call that its service did not answer well.
#[non_exhaustive]
pub struct Case<'a, K, Res, Err> {
    /// What was kept of the request: see [`Extract`](crate::Extract).
    pub request: &'a K,
    /// How the service ended it.
    pub outcome: Result<&'a Res, &'a Err>,
    /// What that means.
    pub cause: Cause,
    /// When it ended.
    pub now: Timestamp,
    /// What the environment's classifier makes of an answer.
    judge: &'a dyn Fn(&Res) -> Class,
}

impl<'a, K, Res, Err> Case<'a, K, Res, Err> {
    pub(crate) const fn new(
        request: &'a K,
        outcome: Result<&'a Res, &'a Err>,
        (cause, now): (Cause, Timestamp),
        judge: &'a dyn Fn(&Res) -> Class,
    ) -> Self {
        Self { request, outcome, cause, now, judge }
    }

    /// The reply of an alternative that was given `answer` by somebody else, who may be as sick as the service: one that
    /// the environment's classifier takes for a failure, or for overload, is [`Flaw::Answer`].
    pub fn reply<F>(&self, answer: Res, degraded: Degraded) -> Reply<Res, F> {
        match (self.judge)(&answer) {
            class @ (Class::Failure | Class::Overload) => Reply::Flawed(Flaw::Answer(class)),
            _ => Reply::Answer(answer, degraded),
        }
    }
}

impl<K, Res, Err> Copy for Case<'_, K, Res, Err> {}

impl<K, Res, Err> Clone for Case<'_, K, Res, Err> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, Res, Err> fmt::Debug for Case<'_, K, Res, Err> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("cause", &self.cause).field("now", &self.now).finish_non_exhaustive()
    }
}

/// Where an answer comes from that is not the service's.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Degraded {
    /// The name of what answered: one fixed word, as it stands in headers and metrics.
    pub source: &'static str,
    /// How old the answer is, where it was given before.
    pub age: Option<Duration>,
    /// Why the service's own answer was not good enough, in one fixed word: `failure`, `overload`, or the reason of a
    /// rejection, as `circuit_open`. Set by the layer; empty before.
    pub reason: &'static str,
}

impl Degraded {
    /// A fresh answer by `source`.
    pub const fn new(source: &'static str) -> Self {
        Self { source, age: None, reason: "" }
    }

    /// An answer that was given `age` ago.
    #[must_use]
    pub const fn with_age(mut self, age: Duration) -> Self {
        self.age = Some(age);
        self
    }
}

/// What an alternative has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "it answers, has nothing to say, fails, or says nothing good")]
pub enum Reply<Res, F> {
    /// An answer in the service's place.
    Answer(Res, Degraded),
    /// Nothing: it is the next one's turn, or the service's own outcome stands.
    Pass,
    /// It failed itself.
    Fail(F),
    /// It came to nothing good, without an error of its own: as [`Reply::Fail`].
    Flawed(Flaw),
}

/// How an alternative came to nothing good without an error of its own.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flaw {
    /// What it was answered is itself a failure, or overload. The answer is gone, with what it held.
    Answer(Class),
    /// It panicked.
    Panic,
}

impl Flaw {
    /// The name as it stands in metrics: `bad_answer`, `panicked`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answer(_) => "bad_answer",
            Self::Panic => "panicked",
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answer(Class::Overload) => "the fallback was answered that there is too much to do",
            Self::Answer(_) => "the fallback was answered with a failure",
            Self::Panic => "the fallback panicked",
        })
    }
}

impl<Res, F> Reply<Res, F> {
    /// The same, with another error.
    pub(crate) fn map_error<F2>(self, map: impl FnOnce(F) -> F2) -> Reply<Res, F2> {
        match self {
            Self::Answer(answer, degraded) => Reply::Answer(answer, degraded),
            Self::Pass => Reply::Pass,
            Self::Fail(error) => Reply::Fail(map(error)),
            Self::Flawed(flaw) => Reply::Flawed(flaw),
        }
    }
}

/// What answers when the service does not.
///
/// `K` is what was kept of the request, `Res` and `Err` are what the service answers with. It is started only when a call
/// was not answered well, and driven by the caller's own future: a caller that goes away ends it too.
pub trait Alternative<K, Res, Err> {
    /// How it fails itself.
    type Error;
    /// It at work on one call.
    type Run;

    /// Begins work on `case`.
    fn start(&self, case: &Case<'_, K, Res, Err>) -> Self::Run;

    /// Goes on with `run` on the same `case`.
    fn poll(
        &self,
        run: Pin<&mut Self::Run>,
        case: &Case<'_, K, Res, Err>,
        cx: &mut Context<'_>,
    ) -> Poll<Reply<Res, Self::Error>>;

    /// Hears of every response that was a success.
    #[inline]
    fn remember(&self, request: &K, response: &Res, now: impl FnOnce() -> Timestamp) {
        let _ = (request, response, now);
    }
}

/// Puts alternatives together.
pub trait Combine: Sized {
    /// Tries `next` when this one has nothing to say, or fails.
    fn then<B>(self, next: B) -> Chain<Self, B> {
        Chain::new(self, next)
    }

    /// Answers only where `when` says so; elsewhere it has nothing to say.
    fn only<W>(self, when: W) -> Only<Self, W> {
        Only::new(self, when)
    }

    /// Gives its answers another [`Degraded::source`].
    fn named(self, source: &'static str) -> Named<Self> {
        Named::new(self, source)
    }

    /// Bounds how long it may take and how many calls it helps out at the same time.
    fn bounded(self, bounds: Bounds) -> Bounded<Self> {
        Bounded::new(self, bounds)
    }

    /// Makes an error of a panic: [`CaughtError::Panicked`](crate::CaughtError::Panicked) beside the service's own. Without
    /// it a panic is a [`Flaw`]: the caller gets the service's own outcome, or the next alternative's answer, all the same.
    fn caught(self) -> Caught<Self> {
        Caught::new(self)
    }
}
