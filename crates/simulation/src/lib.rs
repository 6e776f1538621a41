//! A deterministic world in virtual time: clients, networks and servers of many kinds around the real cores of seawall.
//!
//! ```
//! use seawall_simulation::{Protection, Scenario, World, kind};
//!
//! let kind = kind("one-worker").ok_or("no such kind")?;
//! let figures = World::run(&Scenario::steady(&kind, Protection::KneeQueue, 2.0, 1));
//! assert_eq!(figures.trace, World::run(&Scenario::steady(&kind, Protection::KneeQueue, 2.0, 1)).trace);
//! # Ok::<(), &str>(())
//! ```
//!
//! Everything random follows from a seed, and each purpose draws from a sequence of its own: two protections are tried on
//! the same arrivals with the same demands and the same troubles. A run takes one thread and no clock.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "times and counts of a simulation, far from the edges of their types"
)]
mod bars;
mod chart;
mod client;
mod clock;
mod door;
mod draw;
mod events;
pub mod experiments;
mod figures;
mod kind;
mod machine;
mod parallel;
mod plain_knee;
mod random;
mod rounds;
mod scenario;
mod serving;
mod slab;
mod stage;
pub mod table;
mod wake;
mod world;

pub use bars::{Bar, Size, bars};
pub use chart::{Chart, Line};
pub use door::Protection;
pub use draw::charts;
pub use figures::{Count, Figures, Sample, Served, TENTH};
pub use kind::{Kind, kind, kinds};
pub use machine::Trouble;
pub use parallel::each;
pub use random::{Law, Random};
pub use scenario::{Clients, Load, Network, Rejections, Scenario};
pub use stage::{Discipline, StageSpec};
pub use world::World;
