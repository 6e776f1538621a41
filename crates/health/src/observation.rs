use std::fmt;

use crate::Status;

/// What one run of a check found.
///
/// A check may answer with a `Result<(), E>` instead: `Ok` passes, the text of an error is the output of a failure.
///
/// # Examples
/// ```
/// use seawall_health::{Observation, Status};
///
/// let slow = Observation::warn("slow").with_value(0.9, "s");
/// assert_eq!(slow.status(), Status::Warn);
/// assert_eq!(Observation::from(Err::<(), _>("refused")), Observation::fail("refused"));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    status: Status,
    output: Option<String>,
    value: Option<(f64, &'static str)>,
    conclusive: bool,
}

impl Observation {
    /// It works.
    pub const fn pass() -> Self {
        Self { status: Status::Pass, output: None, value: None, conclusive: false }
    }

    /// It works, and somebody should look at it.
    pub fn warn(output: impl Into<String>) -> Self {
        Self { status: Status::Warn, output: Some(output.into()), value: None, conclusive: false }
    }

    /// It does not work.
    pub fn fail(output: impl Into<String>) -> Self {
        Self { status: Status::Fail, output: Some(output.into()), value: None, conclusive: false }
    }

    /// A failure that needs no other to confirm it: whoever was asked said so itself. Silence may be chance, and waits for
    /// the [threshold](crate::CheckConfig::failures). A pass is none the more certain for it.
    ///
    /// ```
    /// use seawall_health::Observation;
    ///
    /// let draining = Observation::fail("503 Service Unavailable").conclusive();
    /// assert!(draining.is_conclusive());
    /// ```
    #[must_use]
    pub const fn conclusive(mut self) -> Self {
        self.conclusive = true;
        self
    }

    /// With what was measured, and its unit. Values that are no finite number are left out of answers.
    #[must_use]
    pub const fn with_value(mut self, value: f64, unit: &'static str) -> Self {
        self.value = Some((value, unit));
        self
    }

    /// What was found; never [`Status::Unknown`].
    pub const fn status(&self) -> Status {
        self.status
    }

    /// Whether a failure counts without others that confirm it.
    pub const fn is_conclusive(&self) -> bool {
        self.conclusive
    }

    /// What the check says about it.
    pub fn output(&self) -> Option<&str> {
        self.output.as_deref()
    }

    /// What was measured, and its unit.
    pub const fn value(&self) -> Option<(f64, &'static str)> {
        self.value
    }
}

impl<E: fmt::Display> From<Result<(), E>> for Observation {
    fn from(result: Result<(), E>) -> Self {
        match result {
            Ok(()) => Self::pass(),
            Err(error) => Self::fail(error.to_string()),
        }
    }
}
