use std::time::Duration;

use http::Request;
use seawall_timeout::LimitOf;

use crate::deadline_header::Asked;

/// Has a timeout keep to the time that a request's own headers name, `x-request-timeout-ms` or `grpc-timeout`: those of a
/// client that is protected. What is left of it at each attempt is written there again, so it only comes closer.
///
/// The client presets of `seawall` do: the timeout that a `tonic` request is given is one of these headers.
///
/// ```
/// use seawall_http::AskedTime;
/// use seawall_timeout::{TimeoutConfig, TimeoutLayer};
/// use std::time::Duration;
///
/// let layer = TimeoutLayer::new(TimeoutConfig::total(Duration::from_secs(5))?).with_limit_of(AskedTime);
/// # let _ = layer;
/// # Ok::<(), seawall_timeout::TimeoutError>(())
/// ```
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct AskedTime;

impl<B> LimitOf<Request<B>> for AskedTime {
    fn limit(&self, _: &Request<B>) -> Option<Duration> {
        None
    }

    fn remaining(&self, request: &Request<B>) -> Option<Duration> {
        Asked::by(request.headers()).remaining
    }
}

#[cfg(feature = "reqwest")]
impl LimitOf<crate::TimedRequest> for AskedTime {
    fn limit(&self, _: &crate::TimedRequest) -> Option<Duration> {
        None
    }

    fn remaining(&self, timed: &crate::TimedRequest) -> Option<Duration> {
        Asked::by(timed.get_ref().headers()).remaining
    }
}

#[cfg(feature = "reqwest")]
impl LimitOf<reqwest::Request> for AskedTime {
    fn limit(&self, _: &reqwest::Request) -> Option<Duration> {
        None
    }

    fn remaining(&self, request: &reqwest::Request) -> Option<Duration> {
        Asked::by(request.headers()).remaining
    }
}
