//! The recommendation role.

use crate::link::Instance;
use crate::services::serving;

/// Serves until drained.
///
/// # Errors
/// When a listener cannot be bound.
pub async fn serve(instance: Instance) -> anyhow::Result<()> {
    serving::health_only(instance).await
}
