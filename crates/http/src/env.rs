use seawall_core::{Env, MonotonicClock};

use crate::{Http, HttpAttributes};

/// The environment of layers over HTTP.
pub type HttpEnv = Env<MonotonicClock, Http, HttpAttributes>;

/// The environment that knows HTTP: answers classified by [`Http`], requests read by [`HttpAttributes`].
pub fn env() -> HttpEnv {
    Env::new().with_classifier(Http).with_attributes(HttpAttributes)
}
