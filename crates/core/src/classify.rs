#![expect(
    clippy::inline_always,
    reason = "a call is one path through all layers of a stack; functions of their own would copy each future once a layer"
)]

use std::time::Duration;

use crate::Class;

/// What an answer says, and how long the other side asks to be left alone.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// What the answer says about the other side.
    pub class: Class,
    /// The wait that it asks for (`Retry-After`, gRPC pushback).
    pub retry_after: Option<Duration>,
    /// Whether it asks not to be called again for the same request (negative gRPC pushback, `x-seawall-do-not-retry`):
    /// repeating it would only add to the load.
    pub do_not_retry: bool,
    /// Whether this answer alone leaves no doubt ("this account is suspended"): a breaker then opens at once, for
    /// [`retry_after`](Self::retry_after) where that is known, else for its next open time.
    pub trip: bool,
}

impl Verdict {
    /// A verdict without a wait.
    #[inline(always)]
    pub const fn new(class: Class) -> Self {
        Self { class, retry_after: None, do_not_retry: false, trip: false }
    }

    /// With the wait that the other side asks for.
    #[must_use]
    pub const fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// With the other side's wish that nobody repeats the request.
    #[must_use]
    pub const fn with_do_not_retry(mut self) -> Self {
        self.do_not_retry = true;
        self
    }

    /// As an answer that leaves no doubt.
    ///
    /// ```
    /// use seawall_core::{Class, Verdict};
    /// use std::time::Duration;
    ///
    /// let by_status = |result: Result<&u16, &()>| match result {
    ///     Ok(403) => Verdict::new(Class::Failure).with_trip().with_retry_after(Duration::from_secs(60)),
    ///     Ok(_) => Verdict::new(Class::Success),
    ///     Err(()) => Verdict::new(Class::Failure),
    /// };
    /// assert!(by_status(Ok(&403)).trip);
    /// ```
    #[must_use]
    pub const fn with_trip(mut self) -> Self {
        self.trip = true;
        self
    }
}

impl From<Class> for Verdict {
    #[inline(always)]
    fn from(class: Class) -> Self {
        Self::new(class)
    }
}

/// Tells what an answer says about the other side. One classifier serves breaker, retry and limiter alike.
///
/// Any closure from `Result<&Response, &Error>` to a [`Class`] or a [`Verdict`] is one. The error is the other side's:
/// rejections by layers never reach a classifier.
///
/// ```
/// use seawall_core::{Class, Classify};
///
/// let by_length = |result: Result<&String, &std::io::Error>| match result {
///     Ok(text) if text.is_empty() => Class::Failure,
///     Ok(_) => Class::Success,
///     Err(_) => Class::Failure,
/// };
/// assert_eq!(by_length.classify(Ok(&String::new())).class, Class::Failure);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot judge a `{Res}` or a `{Err}`",
    note = "`seawall_http::env()` and the presets judge HTTP answers: for others leave `env()` out, begin with `Client::empty()`, or give a classifier of your own"
)]
pub trait Classify<Res: ?Sized, Err: ?Sized> {
    /// The verdict on one answer.
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict;
}

/// The default classifier: `Ok` is a success, `Err` a failure. It does not know HTTP, where a 500 is an `Ok`.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct ByResult;

impl<Res: ?Sized, Err: ?Sized> Classify<Res, Err> for ByResult {
    #[inline(always)]
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
        Verdict::new(if result.is_ok() { Class::Success } else { Class::Failure })
    }
}

impl<F, V, Res: ?Sized, Err: ?Sized> Classify<Res, Err> for F
where
    F: for<'a> Fn(Result<&'a Res, &'a Err>) -> V,
    V: Into<Verdict>,
{
    #[inline(always)]
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
        self(result).into()
    }
}
