//! Refuses the calls that a server cannot finish in time, and learns by itself how many that is.
//!
//! ```
//! use seawall_load_shedder::{LoadShedderConfig, LoadShedderLayer};
//! use tower::{Service, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = service_fn(|id: u32| async move { Ok::<_, std::io::Error>(id + 1) });
//! let mut server = LoadShedderLayer::new(LoadShedderConfig::default()).protect(server);
//! assert_eq!(server.ready().await?.call(1).await?, 2);
//! # Ok(())
//! # }
//! ```
//!
//! [`LoadShedder`] counts the calls under way and admits a new one while they are below a limit. The limit follows the
//! server: [`Knee`], the default, compares the latency under load with the latency below it, and keeps as many calls
//! under way as the server can use and no more. A refused call is refused at once, without a clock reading, a lock
//! or an allocation.
//!
//! [`QueueingLoadShedder`] lets calls wait for some milliseconds first; [`Throttle`] stands on the client's side and holds
//! calls back from a server that refuses many.
//!
//! - Calls have one of four [criticalities](seawall_core::Criticality); the sheddable go first.
//! - A call that is cut by a timeout or dropped counts as a latency of at least its age: a server that answers nobody in
//!   time is seen to be slow.
//! - The limit is at least 1 and does not grow while the server is not asked for more.
//! - All clones of a layer and all services that it makes share one limit.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod admission_level;
mod aimd;
mod by_level;
mod cgroup;
mod codel;
mod config;
mod control;
mod controlled_delay;
mod error;
mod fair_queue;
mod figures;
mod first_leaps;
mod fixed;
mod gradient2;
mod headroom;
mod knee;
mod layer;
mod limit;
mod limit_cut;
mod limiter;
mod line;
#[cfg(feature = "metrics")]
mod metrics;
mod pressure;
mod queueing;
mod refusals;
mod sampling;
mod shedder;
mod step;
mod sway;
mod tally;
mod tenant_line;
mod throttle;
mod usage;
mod vegas;
mod wait;
mod waiters;
mod watch;
mod word;

pub use admission_level::{AdmissionLevel, Level};
pub use aimd::{Aimd, AimdConfig};
pub use by_level::ByLevel;
pub use cgroup::CgroupReader;
pub use codel::{CoDel, Waited};
pub use config::{LoadShedderConfig, NewestFirst, QueueDiscipline, QueueingShedderConfig};
pub use controlled_delay::ControlledDelay;
pub use error::LoadShedderError;
pub use figures::ShedderFigures;
pub use fixed::Fixed;
pub use gradient2::{Gradient2, Gradient2Config};
pub use knee::Knee;
pub use layer::{
    KeyedThrottleLayer, LoadShedderLayer, LoadShedderService, QueueingLoadShedderLayer, QueueingLoadShedderService,
    ThrottleLayer, ThrottleService,
};
pub use limit::{LimitAlgorithm, LimitRange, Probe, Window, WindowSize};
pub use limit_cut::LimitCut;
pub use limiter::Passage;
#[cfg(feature = "metrics")]
pub use metrics::ShedderMetrics;
pub use pressure::{Feeling, Marks, Pressure};
pub use queueing::QueueingLoadShedder;
pub use sampling::Sampling;
pub use seawall_core::{Enforcement, Error, Percent, PercentError, Rejection, WrapErrorLayer};
pub use shedder::LoadShedder;
pub use step::{Ladder, Step};
pub use throttle::{Throttle, ThrottleConfig};
pub use vegas::{Vegas, VegasConfig};
pub use wait::ShedderWait;
pub use watch::LoopDelay;
