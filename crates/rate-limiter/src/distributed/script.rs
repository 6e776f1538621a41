use std::time::Duration;

use crate::{Answer, Exchange};

/// The whole of a [`Store`](crate::Store) in Redis: one exchange, atomically, in the language of its scripts.
///
/// The time is the Redis server's own, so processes whose clocks differ share a quota all the same. What is regained is
/// forgotten by Redis itself: a key lives as long as it owes something. A Redis that loses its keys, by a restart or under
/// memory pressure, forgets at most one burst of each. Needs Redis 5 or newer, or a server like it.
pub const SCRIPT: &str = include_str!("take.lua");

/// The SHA-1 of [`SCRIPT`], by which `EVALSHA` knows it.
pub const SCRIPT_SHA1: &str = "55fbae0f96f4230138e279ae2e80c598d7649028";

/// What [`SCRIPT`] is given after its one key: interval, burst, what to charge, what comes back, what to take.
pub fn script_arguments(exchange: &Exchange<'_>) -> [u64; 5] {
    let (quota, need) = (&exchange.quota, &exchange.need);
    // A quota's interval has 64 bits.
    let interval = u64::try_from(quota.interval().as_nanos()).unwrap_or(u64::MAX);
    [interval, quota.burst().into(), need.charge.into(), need.give_back.into(), need.take.into()]
}

/// What the two numbers mean that [`SCRIPT`] returns.
pub fn script_answer(granted: i64, full_in_micros: i64) -> Answer {
    Answer {
        granted: u32::try_from(granted.max(0)).unwrap_or(u32::MAX),
        full_in: Duration::from_micros(full_in_micros.max(0).unsigned_abs()),
    }
}
