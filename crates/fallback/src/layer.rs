use std::fmt;

use seawall_core::{CarryRejection, Classify, Env, Environment, Error, Shared, WrapError, WrapErrorFuture};
use tower_layer::Layer;

use crate::{
    Alternative, ByClass, Fallback, FallbackFigures, FallbackFuture, FallbackWhen, Mark, Nothing, Unmarked,
    call::{Call, Core, State},
    figures::Tally,
};

/// Answers in the place of a service that cannot. All services that it makes, and all its clones, share one alternative
/// and one set of figures.
///
/// While the service answers well nothing is allocated. An error of the service's `poll_ready` is given on: there is no call
/// yet to answer. The observer hears of each call once, with how the *service* ended it: a fallback hides no outage.
pub struct FallbackLayer<A: 'static, X = Nothing, E: 'static = Env, W: 'static = ByClass, M: 'static = Unmarked> {
    core: Shared<Core<A, E, W, M>>,
    extract: X,
}

impl<A> FallbackLayer<A> {
    /// A layer in the default environment.
    pub fn new(alternative: A) -> Self {
        Self::with_env(alternative, Env::new())
    }
}

impl<A, E: Environment> FallbackLayer<A, Nothing, E> {
    /// A layer with a clock, a classifier and so on of its own.
    pub fn with_env(alternative: A, env: E) -> Self {
        let state = Shared::new(State { plan: alternative, tally: Tally::default() });
        Self { core: Shared::new(Core { state, env, when: ByClass, mark: Unmarked }), extract: Nothing }
    }
}

impl<A, X, E: Environment, W, M> FallbackLayer<A, X, E, W, M> {
    /// Keeps of every request what `extract` picks, for the alternative. Default [`Nothing`].
    pub fn with_extract<X2>(self, extract: X2) -> FallbackLayer<A, X2, E, W, M> {
        FallbackLayer { core: self.core, extract }
    }

    /// Lets an alternative answer where `when` says so. Default [`ByClass`].
    pub fn with_when<W2>(self, when: W2) -> FallbackLayer<A, X, E, W2, M>
    where
        M: Clone,
    {
        let Core { state, env, mark, .. } = &*self.core;
        let core = Core { state: state.clone(), env: env.clone(), when, mark: mark.clone() };
        FallbackLayer { core: Shared::new(core), extract: self.extract }
    }

    /// Marks the answers of alternatives with `mark`. Default [`Unmarked`].
    pub fn with_mark<M2>(self, mark: M2) -> FallbackLayer<A, X, E, W, M2>
    where
        W: Clone,
    {
        let Core { state, env, when, .. } = &*self.core;
        let core = Core { state: state.clone(), env: env.clone(), when: when.clone(), mark };
        FallbackLayer { core: Shared::new(core), extract: self.extract }
    }

    /// The same layer, whose state lives as long as the process: cheaper for cores that share it.
    #[must_use]
    pub fn leak(self) -> Self {
        Self { core: self.core.leak(), extract: self.extract }
    }

    /// The alternative: a [`LastGood`](crate::LastGood) tells how many responses it keeps.
    pub fn alternative(&self) -> &A {
        &self.core.state.plan
    }

    /// What the layer has done so far.
    pub fn figures(&self) -> FallbackFigures {
        self.core.state.tally.figures()
    }

    /// Wraps the errors of `service` and puts the fallback before it: the whole protection in one call.
    pub fn protect<S>(&self, service: S) -> Fallback<WrapError<S>, A, X, E, W, M>
    where
        X: Clone,
    {
        self.layer(WrapError::new(service))
    }

    /// Stands in for what is no Tower service.
    ///
    /// ```
    /// use seawall_fallback::{FallbackLayer, Value};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let none = FallbackLayer::new(Value::new(Vec::<u32>::new()));
    /// let answer = none.run(async { Err(std::io::Error::other("down")) }).await;
    /// assert_eq!(answer.ok(), Some(vec![]));
    /// # }
    /// ```
    pub fn run<F, T, R>(&self, future: F) -> FallbackFuture<WrapErrorFuture<F>, (), T, Error<R>, A, E, W, M>
    where
        F: Future<Output = Result<T, R>>,
        A: Alternative<(), T, Error<R>>,
        E: Classify<T, R>,
        W: FallbackWhen<T, Error<R>>,
        M: Mark<T, A::Error>,
    {
        self.run_carrying((), WrapErrorFuture::new(future))
    }

    /// Stands in for a future whose errors carry rejections, as those of other layers' `run` do. `request` is what the
    /// alternative is given of it.
    pub fn run_carrying<F, K, T, R>(&self, request: K, future: F) -> FallbackFuture<F, K, T, R, A, E, W, M>
    where
        F: Future<Output = Result<T, R>>,
        R: CarryRejection,
        A: Alternative<K, T, R>,
        E: Classify<T, R::Remote>,
        W: FallbackWhen<T, R>,
        M: Mark<T, A::Error>,
    {
        FallbackFuture::new(future, request, Call::new(&self.core))
    }
}

impl<S, A, X: Clone, E: Environment, W, M> Layer<S> for FallbackLayer<A, X, E, W, M> {
    type Service = Fallback<S, A, X, E, W, M>;

    fn layer(&self, inner: S) -> Self::Service {
        Fallback::new(inner, self.core.clone(), self.extract.clone())
    }
}

impl<A, X: Clone, E, W, M> Clone for FallbackLayer<A, X, E, W, M> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone(), extract: self.extract.clone() }
    }
}

impl<A: fmt::Debug, X, E, W, M> fmt::Debug for FallbackLayer<A, X, E, W, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackLayer").field("alternative", &self.core.state.plan).finish_non_exhaustive()
    }
}
