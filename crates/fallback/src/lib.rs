//! Answers in the place of a service that cannot, and says so.
//!
//! What answers is an [`Alternative`]: a [`Value`], a function ([`from_fn`]), [`OtherService`], the [`LastGood`] response,
//! or several of them, one [after](Combine::then) another.
//!
//! ```
//! use seawall_fallback::{FallbackLayer, Value};
//! use tower::{ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let broken = service_fn(|_: u32| async { Err::<&str, _>(std::io::Error::other("down")) });
//! let popular = FallbackLayer::new(Value::new("what everybody likes"));
//!
//! let answer = popular.protect(broken).oneshot(7).await;
//!
//! assert_eq!(answer.ok(), Some("what everybody likes"));
//! assert_eq!(popular.figures().degraded, 1);
//! # }
//! ```
//!
//! By default it answers for failures, overload and refusals by the layers inside, never for what is the caller's own
//! mistake: see [`ByClass`] and [`FallbackWhen`]. When the alternative fails as well, the caller gets both errors in a
//! [`FallbackError`], or the service's own response.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod alternative;
mod bounded;
mod bounds;
mod call;
mod caught;
mod chain;
mod dimmer;
mod error;
mod extract;
mod figures;
mod function;
mod future;
mod last_good;
mod layer;
mod mark;
mod named;
mod only;
mod other_service;
mod service;
mod value;
mod when;

pub use alternative::{Alternative, Case, Combine, Degraded, Flaw, Reply};
pub use bounded::{Bounded, BoundedError, BoundedRun};
pub use bounds::Bounds;
pub use caught::{Caught, CaughtError, CaughtRun};
pub use chain::{Chain, ChainError, ChainRun};
pub use dimmer::{Dimmer, Feature, FeatureLayer, FeatureService};
pub use error::{BoundsError, FallbackError, LastGoodError};
pub use extract::{Extract, Nothing};
pub use figures::FallbackFigures;
pub use function::{FromFn, from_fn};
pub use future::FallbackFuture;
pub use last_good::{CloneResponse, LastGood, LastGoodConfig, Memory};
pub use layer::FallbackLayer;
pub use mark::{Mark, Unmarked};
pub use named::Named;
pub use only::Only;
pub use other_service::{OtherRun, OtherService};
pub use seawall_core::{Error, Rejection, WrapErrorLayer};
pub use service::Fallback;
pub use value::Value;
pub use when::{ByClass, Cause, FallbackWhen};
