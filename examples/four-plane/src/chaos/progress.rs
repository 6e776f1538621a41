//! What a measurement is at, for who waits minutes for its row.

use std::fmt::Display;

use crate::clock;
use crate::say;

/// Who hears of each step of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nobody: the caller says itself what it is at.
    Silent,
    /// Standard error, with the seconds since the command began and what is measured.
    Of(&'static str),
}

impl Progress {
    pub(super) fn step(self, text: impl Display) {
        if let Self::Of(measured) = self {
            say::err(format_args!("{:>4} s  {measured}: {text}", clock::since_start().as_secs()));
        }
    }
}
