//! Lines for people: a reader that is gone is no reason to stop, so nothing here fails or panics.

use std::fmt::Display;
use std::io::Write;

/// A line on standard output.
pub fn out(text: impl Display) {
    let _nobody_reads = writeln!(std::io::stdout().lock(), "{text}");
}

/// A line on standard error.
pub fn err(text: impl Display) {
    let _nobody_reads = writeln!(std::io::stderr().lock(), "{text}");
}
