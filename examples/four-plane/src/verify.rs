//! One row for every figure, box, cell and arrow of the document.

pub mod rows;

/// Prints the rows; `json` as one JSON object a line, otherwise as a table.
///
/// # Errors
/// When a row cannot be measured.
pub async fn run(_json: bool) -> anyhow::Result<()> {
    anyhow::bail!("verify has no rows")
}
