#![expect(clippy::disallowed_types, reason = "the service is locked only when it is needed")]

use std::{
    fmt,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{Alternative, Case, Combine, Degraded, Reply};

/// Answers with what another service answers, as `service`. An answer that is itself a failure, or overload, by the
/// environment's classifier, is none.
///
/// A call that needs it drives a fresh clone ready and calls that. Put a timeout and a bulkhead around it: what helps out
/// must not become the next thing that hangs.
pub struct OtherService<S, B> {
    service: Mutex<S>,
    build: B,
}

impl<S, B> OtherService<S, B> {
    /// Asks `service` for what `build` makes of what was kept of the request.
    pub const fn new(service: S, build: B) -> Self {
        Self { service: Mutex::new(service), build }
    }
}

impl<S, B> Combine for OtherService<S, B> {}

pin_project! {
    /// Another service at work on a call.
    #[project = OtherProjection]
    pub struct OtherRun<S, R, F> {
        service: Option<S>,
        request: Option<R>,
        #[pin]
        call: Option<F>,
    }
}

impl<S, B, R, K, Res, Err> Alternative<K, Res, Err> for OtherService<S, B>
where
    S: Service<R, Response = Res> + Clone,
    B: Fn(&K) -> R,
{
    type Error = S::Error;
    type Run = OtherRun<S, R, S::Future>;

    fn start(&self, case: &Case<'_, K, Res, Err>) -> Self::Run {
        // A clone that panicked has changed nothing.
        let service = self.service.lock().unwrap_or_else(PoisonError::into_inner).clone();
        OtherRun { service: Some(service), request: Some((self.build)(case.request)), call: None }
    }

    fn poll(
        &self,
        run: Pin<&mut Self::Run>,
        case: &Case<'_, K, Res, Err>,
        cx: &mut Context<'_>,
    ) -> Poll<Reply<Res, S::Error>> {
        let mut run = run.project();
        if let Some(service) = run.service.as_mut() {
            let ready = ready!(service.poll_ready(cx));
            // Not kept after the call: an idle service may hold a place.
            let service = run.service.take();
            if let Err(error) = ready {
                return Poll::Ready(Reply::Fail(error));
            }
            if let (Some(mut service), Some(request)) = (service, run.request.take()) {
                run.call.set(Some(service.call(request)));
            }
        }
        let Some(call) = run.call.as_mut().as_pin_mut() else { return Poll::Pending };
        Poll::Ready(match ready!(call.poll(cx)) {
            Ok(answer) => case.reply(answer, Degraded::new("service")),
            Err(error) => Reply::Fail(error),
        })
    }
}

impl<S, B> fmt::Debug for OtherService<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtherService").finish_non_exhaustive()
    }
}

impl<S, R, F> fmt::Debug for OtherRun<S, R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtherRun").field("called", &self.call.is_some()).finish_non_exhaustive()
    }
}
