//! The document's scorecard.

/// Prints it.
///
/// # Errors
/// When nothing can be measured.
pub async fn run(_json: bool) -> anyhow::Result<()> {
    anyhow::bail!("nothing can be scored")
}
