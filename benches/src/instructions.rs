//! Instructions per call, counted by valgrind's callgrind: the same on every machine, whatever else it does.

use std::process::Command;

/// Calls that are counted: enough that the loop around them does not show.
pub const COUNTED_CALLS: u64 = 2_000;

/// Instructions per call of the row `name`, over those of the bare call when `bare` is given. `None` where valgrind is
/// missing.
pub fn per_call(name: &str) -> Option<f64> {
    let program = std::env::current_exe().ok()?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*counted_calls*"])
        .arg(program)
        .args(["--count", name])
        .output()
        .ok()?;
    let report = String::from_utf8_lossy(&output.stderr);
    let collected = report.lines().rev().find_map(|line| line.split_once("Collected : ")).map(|(_, count)| count)?;
    let count: f64 = collected.trim().parse().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "a small constant")]
    Some(count / COUNTED_CALLS as f64)
}

/// What callgrind counts: it collects inside functions of this name only.
#[inline(never)]
pub fn counted_calls(operation: &mut dyn crate::operation::Operation) {
    operation.run(COUNTED_CALLS);
}
