use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use reqwest::ResponseBuilderExt;
use seawall_core::{Environment, Gate, Guard, Outcome, Settle};
use sync_wrapper::SyncWrapper;

use crate::AtBodyEnd;

/// The response stays reqwest's own, with its address; its body holds the place.
impl Settle<reqwest::Response> for AtBodyEnd {
    type Response<G: Gate, E: Environment> = reqwest::Response;

    fn settle<G: Gate, E: Environment>(
        guard: &mut Guard<G, E>,
        outcome: Outcome,
        response: reqwest::Response,
    ) -> reqwest::Response {
        // The address is lost on the way, unless it is handed over as an extension that only a builder can make.
        let mut address = http::Response::builder().url(response.url().clone());
        let response: http::Response<reqwest::Body> = response.into();
        let mut response = Self::settle(guard, outcome, response);
        if let Some(address) = address.extensions_mut() {
            response.extensions_mut().extend(std::mem::take(address));
        }
        response.map(|body| reqwest::Body::wrap(SharedBody::new(body))).into()
    }
}

pin_project! {
    /// A body that may be looked at from several threads, as reqwest asks: what they see is kept beside it.
    pub(crate) struct SharedBody<B> {
        #[pin]
        body: SyncWrapper<B>,
        hint: SizeHint,
        ended: bool,
    }
}

impl<B: Body> SharedBody<B> {
    pub(crate) fn new(body: B) -> Self {
        let (hint, ended) = (body.size_hint(), body.is_end_stream());
        Self { body: SyncWrapper::new(body), hint, ended }
    }
}

impl<B: Body> Body for SharedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let mut body = this.body.get_pin_mut();
        let frame = ready!(body.as_mut().poll_frame(cx));
        let body = body.into_ref();
        (*this.hint, *this.ended) = (body.size_hint(), body.is_end_stream());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}
