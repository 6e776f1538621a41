use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Response};
use seawall_core::{Classify, Clock, Verdict};
use seawall_rate_limiter::AdaptiveRate;

use crate::{
    parse_rate_limit, parse_rate_limit_reset,
    rate_limit::{LEGACY_REMAINING, RATE_LIMIT},
    rate_limit_reset::RATE_LIMIT_RESET,
};

/// Classifies as another classifier does, and tells an [`AdaptiveRate`] what each response says of the quota that is left:
/// so a client slows down before the next 429.
///
/// Read are the `RateLimit` field, of which the quota with the fewest calls left counts, or else `x-ratelimit-remaining`
/// with `x-ratelimit-reset`. The clock must be that of the layer's environment.
///
/// ```
/// use seawall_core::{Clock, Env, GateLayer, VirtualClock};
/// use seawall_http::{HeedQuota, Http};
/// use seawall_rate_limiter::{AdaptiveQuota, AdaptiveRate};
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (rate, clock) = (Arc::new(AdaptiveRate::new(AdaptiveQuota::default())), VirtualClock::new());
/// let env = Env::new().with_clock(clock.clone()).with_classifier(HeedQuota::new(Http, Arc::clone(&rate), clock));
/// let layer = GateLayer::<Arc<AdaptiveRate>, _>::with_env(rate, env);
///
/// let answer = http::Response::builder().header("ratelimit", r#""default";r=0;t=30"#).body(())?;
/// layer.run(async { Ok::<_, std::io::Error>(answer) }).await?;
///
/// let refused = layer.run(async { Ok::<_, std::io::Error>(http::Response::new(())) }).await.unwrap_err();
/// let wait = refused.rejection().and_then(|rejection| rejection.retry_after());
/// assert_eq!(wait, Some(std::time::Duration::from_secs(30)));
/// # Ok(())
/// # }
/// ```
///
/// # Source
/// draft-ietf-httpapi-ratelimit-headers-10, section 3.
#[derive(Debug, Clone)]
pub struct HeedQuota<C, K> {
    classify: C,
    rate: Arc<AdaptiveRate>,
    clock: K,
}

impl<C, K: Clock> HeedQuota<C, K> {
    /// Tells `rate`, at the time of `clock`, and leaves the class to `classify`.
    pub const fn new(classify: C, rate: Arc<AdaptiveRate>, clock: K) -> Self {
        Self { classify, rate, clock }
    }

    fn heed(&self, headers: &HeaderMap) {
        if let Some((remaining, reset_in)) = quota_left(headers) {
            // The call that is answered is counted by the server, and is still under way here.
            self.rate.told(remaining.saturating_add(1), reset_in, self.clock.now());
        }
    }
}

impl<B, Err: ?Sized, C: Classify<Response<B>, Err>, K: Clock> Classify<Response<B>, Err> for HeedQuota<C, K> {
    fn classify(&self, result: Result<&Response<B>, &Err>) -> Verdict {
        if let Ok(response) = result {
            self.heed(response.headers());
        }
        self.classify.classify(result)
    }
}

#[cfg(feature = "reqwest")]
impl<Err: ?Sized, C: Classify<reqwest::Response, Err>, K: Clock> Classify<reqwest::Response, Err> for HeedQuota<C, K> {
    fn classify(&self, result: Result<&reqwest::Response, &Err>) -> Verdict {
        if let Ok(response) = result {
            self.heed(response.headers());
        }
        self.classify.classify(result)
    }
}

/// How many calls are left until when, where both are said.
fn quota_left(headers: &HeaderMap) -> Option<(u64, Duration)> {
    if let Some(value) = headers.get(RATE_LIMIT) {
        let quotas = parse_rate_limit(value.as_bytes())?.into_iter();
        return quotas.filter_map(|quota| Some((quota.remaining, quota.reset_in?))).min();
    }
    let remaining = headers.get(LEGACY_REMAINING)?.to_str().ok()?.parse().ok()?;
    #[expect(clippy::disallowed_methods, reason = "a date on the wire is wall-clock time, which no Clock gives")]
    let now = std::time::SystemTime::now();
    let reset_in = parse_rate_limit_reset(headers.get(RATE_LIMIT_RESET)?.as_bytes(), now)?;
    Some((remaining, reset_in))
}

#[cfg(test)]
mod tests {
    use seawall_core::{Class, Timestamp, VirtualClock};
    use seawall_rate_limiter::AdaptiveQuota;

    use super::*;

    fn heed(headers: &[(&'static str, &'static str)]) -> Option<Duration> {
        let rate = Arc::new(AdaptiveRate::new(AdaptiveQuota::default()));
        let heeds = HeedQuota::new(|_: Result<&_, &()>| Class::Ignored, Arc::clone(&rate), VirtualClock::new());
        let mut response = Response::new(());
        for (name, value) in headers {
            response.headers_mut().insert(*name, http::HeaderValue::from_static(value));
        }
        rate.take(1, Timestamp::ZERO).expect("nothing is limited yet");
        assert_eq!(Classify::<Response<()>, ()>::classify(&heeds, Ok(&response)).class, Class::Ignored);
        rate.take(1, Timestamp::ZERO).err().and_then(|refused| refused.retry_after())
    }

    #[test]
    fn of_several_quotas_the_one_with_the_fewest_calls_left_counts() {
        assert_eq!(heed(&[("ratelimit", r#""day";r=900;t=9, "hour";r=0;t=1800"#)]), Some(Duration::from_secs(1_800)));
        assert_eq!(heed(&[("ratelimit", r#""day";r=900;t=9, "hour";r=0"#)]), None);
    }

    #[test]
    fn what_many_services_send_instead_is_read_too() {
        let wait = heed(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "7")]);
        assert_eq!(wait, Some(Duration::from_secs(7)));
        assert_eq!(heed(&[("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", "7")]), None);
    }

    #[test]
    fn what_says_nothing_limits_nothing() {
        assert_eq!(heed(&[]), None);
        assert_eq!(heed(&[("x-ratelimit-remaining", "0")]), None);
        assert_eq!(heed(&[("x-ratelimit-remaining", "-1"), ("x-ratelimit-reset", "7")]), None);
        assert_eq!(heed(&[("ratelimit", "???"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "7")]), None);
    }
}
