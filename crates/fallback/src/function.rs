use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use crate::{Alternative, Case, Combine, Degraded, Reply};

/// Answers with what a function of the request and of the service's outcome comes to, as `function`. Made by [`from_fn`].
#[derive(Copy, Clone)]
pub struct FromFn<G> {
    function: G,
}

/// Answers with what `function` comes to, given what was kept of the request and how the service ended the call. An answer
/// that is itself a failure, or overload, by the environment's classifier, is none: it may be somebody else's. A page that
/// says sorry with a 503 is a [`Value`](crate::Value).
///
/// ```
/// use seawall_fallback::{FallbackLayer, from_fn};
/// use seawall_core::Error;
/// use tower::{ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let broken = service_fn(|_: u32| async { Err::<String, _>(std::io::Error::other("down")) });
/// let apology = from_fn(|user: &u32, outcome: Result<&String, &Error<std::io::Error>>| {
///     let text = format!("sorry, {user}: {}", outcome.unwrap_err());
///     async move { Ok::<_, std::convert::Infallible>(text) }
/// });
/// let layer = FallbackLayer::new(apology).with_extract(|user: &u32| *user);
///
/// assert_eq!(layer.protect(broken).oneshot(7).await.ok().as_deref(), Some("sorry, 7: down"));
/// # }
/// ```
pub const fn from_fn<G>(function: G) -> FromFn<G> {
    FromFn { function }
}

impl<G> Combine for FromFn<G> {}

impl<G, K, Res, Err, Fut, F> Alternative<K, Res, Err> for FromFn<G>
where
    G: Fn(&K, Result<&Res, &Err>) -> Fut,
    Fut: Future<Output = Result<Res, F>>,
{
    type Error = F;
    type Run = Fut;

    fn start(&self, case: &Case<'_, K, Res, Err>) -> Fut {
        (self.function)(case.request, case.outcome)
    }

    fn poll(&self, run: Pin<&mut Fut>, case: &Case<'_, K, Res, Err>, cx: &mut Context<'_>) -> Poll<Reply<Res, F>> {
        Poll::Ready(match ready!(run.poll(cx)) {
            Ok(answer) => case.reply(answer, Degraded::new("function")),
            Err(error) => Reply::Fail(error),
        })
    }
}

impl<G> fmt::Debug for FromFn<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromFn").finish_non_exhaustive()
    }
}
