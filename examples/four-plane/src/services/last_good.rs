//! The last good answer to each page: what a gateway answers when a service cannot.

use std::time::Duration;

use http::HeaderValue;
use seawall::fallback::{Combine as _, LastGood, LastGoodConfig, LastGoodError, Named};
use seawall::http::{GoodAnswers, KeptAnswer};

use super::cached::X_CACHE;

/// Most answers that are kept.
const MAX_ANSWERS: usize = 20_000;
/// Most bytes of answers that are kept: 32 MiB.
const MAX_BYTES: u64 = 32 << 20;
/// How the fallback is called in `x-seawall-degraded`.
const SOURCE: &str = "gateway-cache";

/// Keeps answers under what a function makes of `K`, which is what is known of a request.
pub type LastAnswers<K> = Named<LastGood<fn(&K) -> Option<String>, String, KeptAnswer, GoodAnswers>>;

/// Answers that are bounded in number and bytes.
///
/// # Errors
/// Never: the bounds are constants that are allowed.
pub fn answers<K>(key: fn(&K) -> Option<String>) -> Result<LastAnswers<K>, LastGoodError> {
    let config = LastGoodConfig::new(MAX_ANSWERS, Duration::MAX)?.with_max_weight(MAX_BYTES)?;
    let memory = GoodAnswers::new(MAX_BYTES).with_header(X_CACHE, HeaderValue::from_static("stale"));
    Ok(LastGood::remembering(config, memory, key).named(SOURCE))
}
