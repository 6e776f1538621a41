//! The text format of metrics, as the control plane reads it.

use serde::Deserialize;
use serde_json::Value;

use crate::{expect, parse};

// The reader is part of a program, which no other package can use.
#[path = "../../../examples/four-plane/src/control/exposition.rs"]
mod exposition;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    text: String,
    promtool: String,
    #[serde(rename = "said")]
    _said: String,
}

/// Lint is a matter of taste: what promtool parses is read, what it does not is refused.
pub(crate) fn prometheus_text(case: &Value) -> Result<(), String> {
    let Case { text, promtool, .. } = parse(case)?;
    let is_read = exposition::samples(&text).is_ok();
    expect("whether it is read", &is_read, &matches!(promtool.as_str(), "clean" | "lint"))
}
