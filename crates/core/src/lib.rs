//! What every seawall layer is made of: time, outcomes, rejections, and the gate that decides.
//!
//! A pattern that admits or refuses calls implements [`Gate`]; [`GateLayer`] turns it into a Tower layer,
//! [`GateLayer::run`] protects a future without Tower, and [`KeyedLayer`] keeps one gate per host, tenant or route.
//!
//! ```
//! use seawall_core::{Admission, CallContext, Gate, GateLayer, NoWait, Outcome, Pattern, Reason, Rejection, Timestamp};
//!
//! /// Refuses every call.
//! struct Closed;
//!
//! impl Gate for Closed {
//!     type Ticket = ();
//!     type Wait = NoWait;
//!
//!     fn admit(&self, _: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<()> {
//!         Admission::Refused(Rejection::new(Pattern::Bulkhead, Reason::BulkheadFull))
//!     }
//!
//!     fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {}
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let layer = GateLayer::<Closed>::new(Closed);
//! let answer = layer.run(async { Ok::<_, std::io::Error>(1) }).await;
//! assert_eq!(answer.unwrap_err().to_string(), "refused by the bulkhead: all places are taken");
//! # }
//! ```
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod admission;
mod budget;
mod check;
mod classify;
mod clock;
mod context;
mod cut;
mod enforced;
mod enforcement;
mod entropy;
mod env;
mod error;
mod gate;
mod gate_future;
mod gate_layer;
mod gate_service;
mod guard;
mod inherit;
mod keyed;
mod latency_quantile;
mod observe;
mod outcome;
mod pick_key;
mod readiness;
mod recent_quantile;
mod rejection;
mod rotation;
mod run;
mod scope;
mod settle;
mod shared;
mod span;
mod stripe;
pub mod sync;
mod turn;
mod wait_list;
mod wrap_error;

pub use admission::{Admission, NoWait, Wait};
pub use budget::{
    ActiveBudget, Budget, BudgetError, CostBudget, Held, Minimum, Pace, Paid, Stamping, TokenBudget, WindowBudget,
};
pub use check::check;
pub use classify::{ByResult, Classify, Verdict};
pub use clock::{Clock, MonotonicClock, MonotonicSleep, Timer, Timestamp, VirtualClock, VirtualSleep};
#[cfg(feature = "tokio")]
pub use clock::{TokioClock, TokioSleep};
pub use context::{Attributes, CallContext, Criticality, NoAttributes};
pub use cut::Cut;
pub use enforced::{Enforced, MayWait, WaitForATicket};
pub use enforcement::{Enforcement, Enforcing, Percent, PercentError};
pub use entropy::{Entropy, SeededEntropy, ThreadEntropy, unit_interval};
pub use env::{Env, Environment, Serves};
pub use error::{BoxError, CarryRejection, Error};
pub use gate::Gate;
pub use gate_future::GateFuture;
pub use gate_layer::GateLayer;
pub use gate_service::GateService;
pub use guard::{Gated, Guard};
pub use inherit::{InheritDeadline, inherited_deadline};
pub use keyed::{KeyedError, KeyedLayer, KeyedService};
pub use latency_quantile::LatencyQuantile;
#[cfg(feature = "metrics")]
pub use observe::MetricsObserver;
#[cfg(feature = "tracing")]
pub use observe::TracingObserver;
pub use observe::{NoObserver, Observer};
pub use outcome::{Class, Outcome};
pub use pick_key::{OwnedKey, PickKey};
pub use readiness::{Readiness, Start};
pub use recent_quantile::RecentQuantile;
pub use rejection::{Pattern, Reason, Rejection};
pub use run::{Ask, AskGate, Run};
pub use scope::{
    ClockScope, ClockScopeFuture, ClockScopeLayer, ScopeBoundary, ScopeBoundaryFuture, ScopeBoundaryLayer,
};
pub use settle::{AtHead, Settle};
pub use shared::Shared;
pub use span::Span;
pub use stripe::{Stripes, assigned_stripe, stripe_count, thread_stripe};
pub use wait_list::{WaitKey, WaitList, replace_waker};
pub use wrap_error::{WrapError, WrapErrorFuture, WrapErrorLayer};
