#![expect(
    clippy::inline_always,
    reason = "a call is one path through all layers of a stack; functions of their own would copy each future once a layer"
)]

use crate::{
    Attributes, ByResult, CallContext, CarryRejection, Classify, Clock, Entropy, MonotonicClock, NoAttributes,
    NoObserver, Observer, Pattern, Settle, ThreadEntropy, Verdict, settle::AtHead,
};

/// What layers take from outside, as one value with defaults: clock, classifier, attributes, observer, settling and
/// entropy.
///
/// Who changes nothing never sees it. Tests pass a clock that they move:
///
/// ```
/// use seawall_core::{Env, VirtualClock};
///
/// let clock = VirtualClock::new();
/// let env = Env::new().with_clock(clock.clone());
/// # let _ = env;
/// ```
#[derive(Copy, Clone, Debug, Default)]
pub struct Env<K = MonotonicClock, C = ByResult, A = NoAttributes, O = NoObserver, P = AtHead, R = ThreadEntropy> {
    clock: K,
    classify: C,
    attributes: A,
    observer: O,
    settle: P,
    entropy: R,
}

impl Env {
    /// The defaults: [`MonotonicClock`], [`ByResult`], [`NoAttributes`], [`NoObserver`], [`AtHead`], [`ThreadEntropy`].
    pub const fn new() -> Self {
        Self {
            clock: MonotonicClock,
            classify: ByResult,
            attributes: NoAttributes,
            observer: NoObserver,
            settle: AtHead,
            entropy: ThreadEntropy,
        }
    }
}

impl<K, C, A, O, P, R> Env<K, C, A, O, P, R> {
    /// Reads the time from `clock`; layers that sleep need a [`Timer`](crate::Timer).
    pub fn with_clock<K2>(self, clock: K2) -> Env<K2, C, A, O, P, R> {
        let Self { classify, attributes, observer, settle, entropy, .. } = self;
        Env { clock, classify, attributes, observer, settle, entropy }
    }

    /// Judges answers with `classify`.
    pub fn with_classifier<C2>(self, classify: C2) -> Env<K, C2, A, O, P, R> {
        let Self { clock, attributes, observer, settle, entropy, .. } = self;
        Env { clock, classify, attributes, observer, settle, entropy }
    }

    /// Reads the context of requests with `attributes`.
    pub fn with_attributes<A2>(self, attributes: A2) -> Env<K, C, A2, O, P, R> {
        let Self { clock, classify, observer, settle, entropy, .. } = self;
        Env { clock, classify, attributes, observer, settle, entropy }
    }

    /// Tells `observer` what happens.
    pub fn with_observer<O2>(self, observer: O2) -> Env<K, C, A, O2, P, R> {
        let Self { clock, classify, attributes, settle, entropy, .. } = self;
        Env { clock, classify, attributes, observer, settle, entropy }
    }

    /// The same for one layer of a stack: see [`Observer::for_layer`].
    #[must_use]
    pub fn for_layer(self, pattern: Pattern, part: &'static str) -> Self
    where
        O: Observer,
    {
        Self { observer: self.observer.for_layer(pattern, part), ..self }
    }

    /// Ends calls as `settle` says: at the response's head, or at the end of its body.
    pub fn with_settle<P2>(self, settle: P2) -> Env<K, C, A, O, P2, R> {
        let Self { clock, classify, attributes, observer, entropy, .. } = self;
        Env { clock, classify, attributes, observer, settle, entropy }
    }

    /// Takes random words from `entropy`.
    pub fn with_entropy<R2>(self, entropy: R2) -> Env<K, C, A, O, P, R2> {
        let Self { clock, classify, attributes, observer, settle, .. } = self;
        Env { clock, classify, attributes, observer, settle, entropy }
    }
}

/// An [`Env`], whatever it is made of.
pub trait Environment: Clone + Send + Sync + 'static {
    /// Where the time comes from.
    type Clock: Clock;
    /// Who is told what happens.
    type Observer: Observer;
    /// When a call ends.
    type Settle: Send + Sync + 'static;
    /// Where random words come from.
    type Entropy: Entropy;

    /// The clock.
    fn clock(&self) -> &Self::Clock;
    /// The observer.
    fn observer(&self) -> &Self::Observer;
    /// The entropy.
    fn entropy(&self) -> &Self::Entropy;
}

impl<K, C, A, O, P, R> Environment for Env<K, C, A, O, P, R>
where
    K: Clock,
    C: Clone + Send + Sync + 'static,
    A: Clone + Send + Sync + 'static,
    O: Observer + Clone,
    P: Clone + Send + Sync + 'static,
    R: Entropy + Clone,
{
    type Clock = K;
    type Observer = O;
    type Settle = P;
    type Entropy = R;

    #[inline(always)]
    fn clock(&self) -> &K {
        &self.clock
    }

    #[inline(always)]
    fn observer(&self) -> &O {
        &self.observer
    }

    #[inline(always)]
    fn entropy(&self) -> &R {
        &self.entropy
    }
}

impl<K, C, A, O, P, R, Res: ?Sized, Err: ?Sized> Classify<Res, Err> for Env<K, C, A, O, P, R>
where
    C: Classify<Res, Err>,
{
    #[inline(always)]
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
        self.classify.classify(result)
    }
}

impl<K, C, A, O, P, R, Req: ?Sized> Attributes<Req> for Env<K, C, A, O, P, R>
where
    A: Attributes<Req>,
{
    #[inline(always)]
    fn context(&self, request: &Req) -> CallContext {
        self.attributes.context(request)
    }
}

/// All that a layer asks of its environment for one kind of call.
pub trait Serves<Req, Res, Err: CarryRejection>:
    Environment<Settle: Settle<Res>> + Attributes<Req> + Classify<Res, Err::Remote>
{
}

impl<E, Req, Res, Err: CarryRejection> Serves<Req, Res, Err> for E where
    E: Environment<Settle: Settle<Res>> + Attributes<Req> + Classify<Res, Err::Remote>
{
}
