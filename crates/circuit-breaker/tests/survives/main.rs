//! What a breaker must survive, with the failures that peers were seen to have among it.

#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

mod counting;
mod kit;
mod probing;
mod time;
