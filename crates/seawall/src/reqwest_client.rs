use seawall_core::{Entropy, Environment, MonotonicClock, NoObserver, Observer, ThreadEntropy, Timer};
use seawall_http::{CarryInTimedRequest, SendDeadlineLayer, SendTimedLayer, TimedRequestLayer};

use tower_layer::Identity;

use crate::{
    Client, PresetEnv,
    http_client::{HttpLayers, RESERVE, layers},
};

/// The client preset over `reqwest`.
pub type ReqwestClient<K = MonotonicClock, O = NoObserver, R = ThreadEntropy> =
    HttpLayers<K, O, R, CarryInTimedRequest, SendTimedLayer<K>, TimedRequestLayer>;

/// The [`client()`](crate::client()) preset for a `reqwest::Client`: the same layers and defaults around requests and
/// responses that stay reqwest's own. A request is repeated where its body can be cloned; a streamed one is sent once.
///
/// ```no_run
/// use tower::{Service, ServiceExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = reqwest::Client::new();
/// let mut protected = seawall::reqwest_client().leak().protect(client.clone());
///
/// let request = client.get("http://127.0.0.1:8080/catalog/popular").build()?;
/// let answer = protected.ready().await?.call(request).await?;
/// println!("{}", answer.text().await?);
/// # Ok(())
/// # }
/// ```
pub fn reqwest_client() -> ReqwestClient {
    reqwest_client_with_env(seawall_http::env())
}

impl<T, R, B, K, A, D, H> Client<T, R, B, K, A, D, TimedRequestLayer, H> {
    /// The same layers, for [`TimedRequest`](seawall_http::TimedRequest)s in the place of reqwest's own: they say of
    /// themselves whether they may be repeated and how much they matter.
    ///
    /// ```no_run
    /// use seawall::http::TimedRequest;
    /// use tower::{Service, ServiceExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = reqwest::Client::new();
    /// let mut protected = seawall::reqwest_client().timed().leak().protect(client.clone());
    ///
    /// let read = TimedRequest::from(client.post("http://127.0.0.1:8080/search").build()?).with_idempotent(true);
    /// let answer = protected.ready().await?.call(read).await?;
    /// # let _ = answer;
    /// # Ok(())
    /// # }
    /// ```
    pub fn timed(self) -> Client<T, R, B, K, A, D, Identity, H> {
        let Self { total, retry, breaker, bulkhead, attempt, deadline, throttle, limits, .. } = self;
        Client { total, retry, breaker, bulkhead, attempt, deadline, fallback: Identity::new(), throttle, limits }
    }
}

/// The same preset, whose layers tell an observer of one's own what happens, or read another clock.
pub fn reqwest_client_with_env<K, O, R>(env: PresetEnv<K, O, R>) -> ReqwestClient<K, O, R>
where
    K: Timer + Clone,
    O: Observer + Clone,
    R: Entropy + Clone,
{
    let send = SendDeadlineLayer::new(RESERVE).with_clock(env.clock().clone());
    layers(env, CarryInTimedRequest, SendTimedLayer::new(send), TimedRequestLayer::new())
}
