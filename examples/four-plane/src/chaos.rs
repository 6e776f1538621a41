//! Breaks a stack of its own and measures what it does.

/// Measures one fault, or all.
///
/// # Errors
/// When a fault cannot be measured.
pub async fn run(_fault: Option<&str>, _json: bool) -> anyhow::Result<()> {
    anyhow::bail!("no fault can be measured")
}
