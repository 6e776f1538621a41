#![cfg_attr(doctest, doc = include_str!("../../../docs/health.md"))]
//! Runs health checks in the background, acts on what they find, and answers probes at once.
//!
//! Checks are registered in a [`Registry`] and started; a [`Health`] handle then answers probes from what they have
//! found. A check that fails often enough calls for its recovery action once, and once more when it has mended.
//!
//! ```
//! use seawall_health::{CheckConfig, Registry, Status};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), seawall_health::HealthError> {
//! let mut checks = Registry::new().with_service("catalog/1", "1.2.3");
//! checks.register("database:ping", CheckConfig::database(), || async { Err::<(), _>("connection refused") })?;
//! let health = checks.spawn(|task| {
//!     tokio::spawn(task);
//! });
//! # tokio::task::yield_now().await;
//!
//! let answer = health.report().answer();
//! assert_eq!(answer.status, 200); // one failure is too few, and the database is not this process
//! assert!(answer.body.contains("connection refused"));
//! # Ok(())
//! # }
//! ```
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod body;
mod check;
mod config;
mod entry;
mod error;
mod health;
mod judge;
mod observation;
mod phase;
mod recovery;
mod registry;
mod report;
mod runner;
#[cfg(feature = "http")]
mod service;
mod status;
#[cfg(feature = "system")]
mod system;
mod watermark;

pub use check::Check;
pub use config::{CheckConfig, CheckKind};
pub use error::{BodyError, HealthError};
pub use health::Health;
pub use judge::Judge;
pub use observation::Observation;
pub use phase::Phase;
pub use recovery::{RecoveryAction, RecoveryEdge, StatusChange};
pub use registry::Registry;
pub use report::{Answer, CheckReport, HealthReport};
pub use runner::Task;
#[cfg(feature = "http")]
pub use service::HealthService;
pub use status::Status;
#[cfg(feature = "system")]
pub use system::{DiskSpace, MemoryUse};
pub use watermark::Watermark;
