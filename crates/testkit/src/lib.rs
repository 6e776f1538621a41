//! What a layer must prove before it is one of seawall's.
//!
//! [`Probe`] is an innermost service that does what each request says and watches how it is treated; [`Ledger`] is a
//! gate that admits everything and books how each call ended; the functions of [`contract`] put a layer between the two
//! and check every promise that seawall makes: one outcome per call, permits that come back, readiness that reserves
//! nothing, state that is shared, waiters that wake.
//!
//! ```
//! use seawall_testkit::{Probe, Script};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let probe = Probe::new();
//! assert_eq!(probe.clone().oneshot(Script::Answer).await, Ok("answered"));
//! assert_eq!(probe.calls(), 1);
//! assert_eq!(probe.running(), 0);
//! # }
//! ```
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod contract;
mod count_polls;
mod cut;
mod hold;
mod ledger;
mod probe;
mod recorder;

pub use count_polls::{CountPolls, Polls};
pub use cut::{Cut, CutFuture};
pub use hold::{Held, hold};
pub use ledger::{Ledger, LedgerLayer, LedgerService, TestEnv};
pub use probe::{Probe, ProbeError, ProbeFuture, Script};
pub use recorder::{Booked, Recorder};
