//! The experiments behind the bars.
mod goodput;
mod jitter;
mod recovery;
mod sharing;
mod throttle;

pub use goodput::{Case, Goodput, LOADS, Measured, goodput, measure};
pub use jitter::{Contended, JITTERS, contended};
pub use recovery::{BEFORE, OVERLOAD, Overload, Recovery, Retries, breakers, overloaded_kinds, recovery};
pub use sharing::{Critical, Fair, critical, fair};
pub use throttle::{Throttled, throttled};
