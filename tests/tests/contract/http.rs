//! Layers that speak HTTP, and ends of calls that come with the end of a body: the suite's scripts travel inside requests.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Bytes, Frame};
use seawall::{
    bulkhead::{BulkheadConfig, BulkheadLayer},
    core::{Clock, Error, GateLayer, Pattern, Reason, Rejection, TokioClock},
    http::{
        AtBodyEnd, HeedQuota, QuotaName, RateLimitFields, RateLimitHeadersLayer, ReceiveDeadlineLayer,
        RequestBodyTimeoutLayer, RespondLayer, ResponseBodyTimeoutLayer, SendDeadlineLayer, SendTimed, SendTimedLayer,
        TakeTimed, TimedRequestLayer, WholeBodyLayer,
    },
    load_shedder::{LoadShedder, LoadShedderConfig},
    rate_limiter::{AdaptiveQuota, AdaptiveRate, Gcra, Quota},
    timeout::StreamLimits,
};
use seawall_testkit::{
    ProbeError, Script, TestEnv,
    contract::{self, Crowd, Leaf, Subject},
};
use tower::{Layer, Service};

type BoxCall<T, X> = Pin<Box<dyn Future<Output = Result<T, X>> + Send>>;

/// Puts a layer over HTTP between services that speak of scripts.
#[derive(Clone)]
struct OverHttp<L>(L);

impl<L: Layer<Origin>> Layer<Leaf> for OverHttp<L> {
    type Service = Caller<L::Service>;

    fn layer(&self, leaf: Leaf) -> Self::Service {
        Caller(self.0.layer(Origin(leaf)))
    }
}

/// Answers a request as the script in it says, with a body whose second frame comes later where the answer does.
#[derive(Clone)]
struct Origin(Leaf);

impl<B> Service<Request<B>> for Origin {
    type Response = Response<Frames>;
    type Error = Error<ProbeError>;
    type Future = BoxCall<Response<Frames>, Error<ProbeError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let script = *request.extensions().get::<Script>().expect("a script in each request");
        let call = self.0.call(script);
        Box::pin(async move {
            let answer = call.await?;
            let waits = script == Script::AnswerLater;
            Ok(Response::new(Frames { first: Some(Bytes::from_static(b"> ")), answer: Some(answer), waits }))
        })
    }
}

/// A body of two frames.
struct Frames {
    first: Option<Bytes>,
    answer: Option<&'static str>,
    waits: bool,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if std::mem::take(&mut self.waits) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.answer.take().map(|answer| Ok(Frame::data(Bytes::from_static(answer.as_bytes())))))
    }
}

/// Sends scripts as requests, and reads the answers to their end.
#[derive(Clone)]
struct Caller<S>(S);

impl<S, B> Service<Script> for Caller<S>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error = Error<ProbeError>, Future: Send + 'static>,
    B: Body<Data = Bytes, Error: std::fmt::Debug> + Send + 'static,
{
    type Response = &'static str;
    type Error = Error<ProbeError>;
    type Future = BoxCall<&'static str, Error<ProbeError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, script: Script) -> Self::Future {
        let mut request = Request::new(Empty::new());
        request.extensions_mut().insert(script);
        let call = self.0.call(request);
        Box::pin(async move { Ok(read(call.await?).await) })
    }
}

async fn read<B: Body<Data = Bytes, Error: std::fmt::Debug>>(response: Response<B>) -> &'static str {
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "> answered");
    "answered"
}

/// The contract of a layer that lets all calls through and is no gate.
async fn passes_calls_on<L>(make: impl Fn(TestEnv) -> L)
where
    L: Layer<Leaf, Service: Subject>,
{
    contract::every_call_through_it_ends_once(&make).await;
    contract::dropping_at_any_point_leaves_nothing_held(&make, |_| 0).await;
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(&make).await;
    contract::handles_that_are_ready_and_idle_keep_nobody_out(&make).await;
    contract::works_under_a_buffer(&make, Crowd::Passes).await;
    contract::every_waiter_is_woken_and_none_spins(&make, Crowd::Passes).await;
}

const PLACES: usize = 4;

#[tokio::test(start_paused = true)]
async fn a_bulkhead_that_settles_at_the_end_of_the_body_keeps_the_contract() {
    let make = |env: TestEnv| {
        OverHttp(BulkheadLayer::with_env(BulkheadConfig::new(PLACES).unwrap(), env.with_settle(AtBodyEnd)))
    };
    contract::every_call_ends_in_exactly_one_outcome(make).await;
    contract::every_call_through_it_ends_once(make).await;
    contract::dropping_at_any_point_leaves_nothing_held(make, |layer| layer.0.gate().in_flight() as usize).await;
    contract::readiness_reserves_nothing_that_a_drop_does_not_return(make).await;
    contract::handles_that_are_ready_and_idle_keep_nobody_out(make).await;
    contract::works_under_a_buffer(make, Crowd::IsRefused).await;
    contract::every_waiter_is_woken_and_none_spins(make, Crowd::IsRefused).await;
}

#[tokio::test(start_paused = true)]
async fn a_load_shedder_that_settles_at_the_end_of_the_body_keeps_the_contract() {
    let make = |env: TestEnv| {
        let layer = GateLayer::<LoadShedder, _>::with_env(LoadShedderConfig::default(), env.with_settle(AtBodyEnd));
        OverHttp(layer)
    };
    contract::every_call_ends_in_exactly_one_outcome(make).await;
    contract::every_call_through_it_ends_once(make).await;
    contract::dropping_at_any_point_leaves_nothing_held(make, |layer| layer.0.gate().in_flight() as usize).await;
    contract::works_under_a_buffer(make, Crowd::IsRefused).await;
    contract::every_waiter_is_woken_and_none_spins(make, Crowd::IsRefused).await;
}

/// Nothing has been refused, and no header says how much is left: nothing is limited.
#[tokio::test(start_paused = true)]
async fn a_rate_that_heeds_what_responses_say_keeps_the_contract() {
    let make = |env: TestEnv| {
        let rate = Arc::new(AdaptiveRate::new(AdaptiveQuota::default()));
        let heeds = HeedQuota::new(seawall::core::ByResult, Arc::clone(&rate), TokioClock);
        OverHttp(GateLayer::<Arc<AdaptiveRate>, _>::with_env(rate, env.with_classifier(heeds)))
    };
    contract::every_call_ends_in_exactly_one_outcome(make).await;
    contract::every_call_through_it_ends_once(make).await;
    contract::dropping_at_any_point_leaves_nothing_held(make, |layer| layer.0.gate().in_flight() as usize).await;
    contract::works_under_a_buffer(make, Crowd::Passes).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_held_until_its_body_has_come_keeps_the_contract() {
    passes_calls_on(|_| OverHttp(WholeBodyLayer::new(64 << 10, |never: Infallible| match never {}))).await;
}

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test(start_paused = true)]
async fn bounds_on_bodies_keep_the_contract() {
    let limits = StreamLimits::new().with_idle(24 * HOUR).unwrap();
    passes_calls_on(|_| OverHttp(ResponseBodyTimeoutLayer::new(limits).with_clock(TokioClock))).await;
    passes_calls_on(|_| OverHttp(RequestBodyTimeoutLayer::new(limits).with_clock(TokioClock))).await;
}

#[tokio::test(start_paused = true)]
async fn deadlines_that_are_received_and_sent_keep_the_contract() {
    passes_calls_on(|_| OverHttp(ReceiveDeadlineLayer::new(24 * HOUR).with_clock(TokioClock))).await;
    passes_calls_on(|_| OverHttp(SendDeadlineLayer::new(Duration::ZERO).with_clock(TokioClock))).await;
}

#[tokio::test(start_paused = true)]
async fn headers_that_tell_the_quota_keep_the_contract() {
    let (name, quota) = (QuotaName::new("all").unwrap(), Quota::per_second(10).unwrap());
    let gcra = Arc::new(Gcra::new(quota));
    passes_calls_on(|_| {
        let gcra = Arc::clone(&gcra);
        OverHttp(RateLimitHeadersLayer::new(move |_: &Request<Empty<Bytes>>| {
            let gcra = Arc::clone(&gcra);
            move || RateLimitFields::new().with(name, &quota, gcra.standing(TokioClock.now()))
        }))
    })
    .await;
}

/// A server: its handlers answer failures themselves, and nothing but a refusal is left for [`RespondLayer`].
#[derive(Clone)]
struct Served;

#[derive(Clone)]
struct Handlers(Origin);

#[derive(Clone)]
struct Client<S>(S);

impl Layer<Leaf> for Served {
    type Service = Client<seawall::http::Respond<Handlers>>;

    fn layer(&self, leaf: Leaf) -> Self::Service {
        Client(RespondLayer::new().layer(Handlers(Origin(leaf))))
    }
}

impl<B> Service<Request<B>> for Handlers {
    type Response = Response<Frames>;
    type Error = Error<Infallible>;
    type Future = BoxCall<Response<Frames>, Error<Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request<B>>::poll_ready(&mut self.0, cx).map_err(|_| unreachable!("the probe is always ready"))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let call = self.0.call(request);
        Box::pin(async move {
            match call.await {
                Ok(response) => Ok(response),
                Err(Error::Rejected(rejection)) => Err(Error::Rejected(rejection)),
                Err(Error::Inner(_)) => {
                    let mut failed = Response::new(Frames { first: None, answer: None, waits: false });
                    *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                    Ok(failed)
                }
            }
        })
    }
}

impl<S, B> Service<Script> for Client<S>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error = Infallible, Future: Send + 'static>,
    B: Body<Data = Bytes, Error: std::fmt::Debug> + Send + 'static,
{
    type Response = &'static str;
    type Error = Error<ProbeError>;
    type Future = BoxCall<&'static str, Error<ProbeError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx).map_err(|never| match never {})
    }

    fn call(&mut self, script: Script) -> Self::Future {
        let mut request = Request::new(Empty::new());
        request.extensions_mut().insert(script);
        let call = self.0.call(request);
        Box::pin(async move {
            let Ok(response) = call.await;
            match response.status() {
                StatusCode::OK => Ok(read(response).await),
                StatusCode::GATEWAY_TIMEOUT => Err(Rejection::new(Pattern::Timeout, Reason::AttemptTimeout).into()),
                _ => Err(Error::Inner(ProbeError::default())),
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_that_become_responses_keep_the_contract() {
    passes_calls_on(|_| Served).await;
}

/// reqwest's own requests outside and inside, timed ones between. The script is in the URL.
#[derive(Clone)]
struct Timed;

#[derive(Clone)]
struct FromUrl(Leaf);

#[derive(Clone)]
struct ToUrl<S>(S);

const SCRIPTS: [Script; 8] = [
    Script::Answer,
    Script::AnswerLater,
    Script::Fail,
    Script::Hold,
    Script::Hang,
    Script::TimeOut,
    Script::PanicInCall,
    Script::PanicInPoll,
];

impl Layer<Leaf> for Timed {
    type Service = ToUrl<TakeTimed<SendTimed<FromUrl, TokioClock>>>;

    fn layer(&self, leaf: Leaf) -> Self::Service {
        let send = SendTimedLayer::new(SendDeadlineLayer::new(Duration::ZERO).with_clock(TokioClock));
        ToUrl(TimedRequestLayer::new().layer(send.layer(FromUrl(leaf))))
    }
}

impl Service<reqwest::Request> for FromUrl {
    type Response = &'static str;
    type Error = Error<ProbeError>;
    type Future = <Leaf as Service<Script>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: reqwest::Request) -> Self::Future {
        self.0.call(SCRIPTS[request.url().path()[1..].parse::<usize>().unwrap()])
    }
}

impl<S: Service<reqwest::Request>> Service<Script> for ToUrl<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, script: Script) -> Self::Future {
        let index = SCRIPTS.iter().position(|known| *known == script).unwrap();
        let url = format!("http://127.0.0.1/{index}").parse().unwrap();
        self.0.call(reqwest::Request::new(Method::GET, url))
    }
}

#[tokio::test(start_paused = true)]
async fn requests_with_a_deadline_beside_them_keep_the_contract() {
    passes_calls_on(|_| Timed).await;
}
