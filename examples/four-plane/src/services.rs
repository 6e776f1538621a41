//! The roles: what each child process serves.

pub mod cached;
pub mod catalog;
pub mod client;
pub mod criticality;
pub mod database;
pub mod edge;
pub mod faults;
pub mod figures;
mod flush;
pub mod gateway;
pub mod guard;
pub mod instances;
pub mod last_good;
pub mod limits;
pub(crate) mod listening;
pub mod metrics;
pub mod peer;
pub mod problem;
pub mod recommendation;
pub mod serving;
pub mod state;
mod state_side;
pub mod upstream;
pub mod user;
pub mod views;
pub mod workers;

use crate::link::{Instance, Role};

/// Serves the instance's role until it is drained.
///
/// # Errors
/// When the listeners cannot be bound or the role cannot start.
pub async fn serve(instance: Instance) -> anyhow::Result<()> {
    match instance.role {
        Role::Edge => edge::serve(instance).await,
        Role::Gateway => gateway::serve(instance).await,
        Role::Catalog => catalog::serve(instance).await,
        Role::Recommendation => recommendation::serve(instance).await,
        Role::State => state::serve(instance).await,
    }
}
