//! The roles: what each child process serves.

pub mod catalog;
pub mod edge;
pub mod gateway;
pub mod recommendation;
pub mod serving;
pub mod state;

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
