use std::{fmt, time::Duration};

const SECONDS_A_YEAR: u64 = 365 * 24 * 60 * 60;
/// From here on whole years are as exact as anybody reads.
const LONG_YEARS: u64 = 10;

/// A time in a text for people, as `Duration`'s `Debug` has it but for `0s`, whole years from ten on, and `Duration::MAX` by
/// its name.
///
/// A time that somebody has set is told [exactly](Self::exact), so that it is found again; one that was measured or computed
/// is [rounded up](Self::rounded_up), since its nanoseconds say nothing.
///
/// ```
/// use seawall_core::Span;
/// use std::time::Duration;
///
/// assert_eq!(Span::exact(Duration::from_micros(1_500)).to_string(), "1.5ms");
/// assert_eq!(Span::exact(Duration::MAX).to_string(), "Duration::MAX");
/// assert_eq!(Span::rounded_up(Duration::from_nanos(832_287_793)).to_string(), "833ms");
/// ```
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Span(Duration);

impl Span {
    /// As it is.
    pub const fn exact(time: Duration) -> Self {
        Self(time)
    }

    /// Rounded up to whole milliseconds.
    pub const fn rounded_up(time: Duration) -> Self {
        match time.checked_add(Duration::from_nanos(999_999)) {
            Some(raised) => {
                let millis = Duration::from_millis(raised.subsec_millis() as u64);
                Self(Duration::from_secs(raised.as_secs()).saturating_add(millis))
            }
            None => Self(time),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let years = self.0.as_secs() / SECONDS_A_YEAR;
        match self.0 {
            Duration::ZERO => f.write_str("0s"),
            Duration::MAX => f.write_str("Duration::MAX"),
            _ if years >= LONG_YEARS => write!(f, "{years} years"),
            time => write!(f, "{time:?}"),
        }
    }
}

/// Gives an error type the `Debug` that names the type and holds the error's text: `QuotaError(burst is 0; …)`. `main` prints
/// that of the error it returns, and so does `unwrap`.
#[doc(hidden)]
#[macro_export]
macro_rules! debug_as_text {
    ($error:ident) => {
        impl ::core::fmt::Debug for $error {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::write!(f, "{}({self})", ::core::stringify!($error))
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_was_set_is_told_exactly() {
        for (time, text) in [
            (Duration::ZERO, "0s"),
            (Duration::from_nanos(1), "1ns"),
            (Duration::from_millis(1_500), "1.5s"),
            (Duration::from_secs(10 * SECONDS_A_YEAR - 1), "315359999s"),
            (Duration::from_secs(10 * SECONDS_A_YEAR), "10 years"),
            (Duration::from_nanos(i64::MAX.unsigned_abs()), "292 years"),
            (Duration::MAX, "Duration::MAX"),
        ] {
            assert_eq!(Span::exact(time).to_string(), text);
        }
    }

    #[test]
    fn a_time_that_was_measured_is_rounded_up_to_milliseconds() {
        for (time, text) in [
            (Duration::ZERO, "0s"),
            (Duration::from_nanos(1), "1ms"),
            (Duration::from_millis(1), "1ms"),
            (Duration::from_nanos(1_000_001), "2ms"),
            (Duration::from_nanos(4_999_000_001), "5s"),
            (Duration::MAX, "Duration::MAX"),
        ] {
            assert_eq!(Span::rounded_up(time).to_string(), text);
        }
    }
}
