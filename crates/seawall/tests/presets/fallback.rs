use std::convert::Infallible;

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, Full};
use seawall::{
    Error, HttpClientBody,
    core::{Env, NoObserver, VirtualClock},
    fallback::{FallbackLayer, from_fn},
    http::{DEGRADED_HEADER, Http, MarkDegraded},
};
use tower::ServiceExt;

use crate::scripted::{Chance, Does, SECOND, Scripted, drive, env, get};

type Body = HttpClientBody<Full<Bytes>, VirtualClock, NoObserver, Chance>;

#[test]
fn a_fallback_answers_for_whatever_the_other_layers_refuse_or_fail() {
    let clock = VirtualClock::new();
    let popular = from_fn(|(): &(), _: Result<&Response<Body>, &Error<std::io::Error>>| async {
        Ok::<_, Infallible>(Response::new(Body::unguarded(Bytes::from("popular"))))
    });
    let fallback = FallbackLayer::with_env(popular, Env::new().with_clock(clock.clone()).with_classifier(Http));
    let layers = seawall::client_with_env(env(&clock)).with_fallback(fallback.with_mark(MarkDegraded)).leak();
    let service = Scripted::new(&clock, Does::Hang);
    let call = || {
        let (answer, took) = drive(&clock, layers.protect(service.clone()).oneshot(get()));
        let answer = answer.unwrap();
        let degraded = answer.headers().contains_key(DEGRADED_HEADER);
        (drive(&clock, answer.into_body().collect()).0.unwrap().to_bytes(), degraded, took)
    };

    let (body, degraded, took) = call();
    assert_eq!((body, degraded, took), (Bytes::from("popular"), true, 5 * SECOND));
    service.now_does(Does::Answer(500));
    for _ in 0..20 {
        assert_eq!(call().0, "popular");
    }
    let sent = service.seen().len();
    assert_eq!(call().0, "popular");
    assert_eq!(service.seen().len(), sent, "the circuit is open");

    service.now_does(Does::Answer(200));
    clock.advance(6 * SECOND);
    let (body, degraded, _) = call();
    assert_eq!((body, degraded), (Bytes::from("said"), false));
}
