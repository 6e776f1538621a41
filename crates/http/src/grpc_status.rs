use seawall_core::{Reason, Rejection};

use crate::problem::is_shed;

/// The gRPC status that tells a caller why it was refused or cut: `DEADLINE_EXCEEDED` (4) where time ran out,
/// `RESOURCE_EXHAUSTED` (8) for a quota or an overload, which a breaker must not count as a failure, `UNAVAILABLE` (14) for
/// everything else.
///
/// ```
/// use seawall_core::{Pattern, Reason, Rejection};
///
/// let cut = Rejection::new(Pattern::Timeout, Reason::TotalTimeout);
/// assert_eq!(seawall_http::grpc_status(&cut), 4);
/// ```
///
/// # Source
/// gRPC, "Status codes and their use".
pub const fn grpc_status(rejection: &Rejection) -> u8 {
    match rejection.reason() {
        Reason::DeadlineTooClose => {
            if is_shed(rejection) {
                8
            } else {
                4
            }
        }
        reason if reason.is_timeout() => 4,
        Reason::RateLimited | Reason::TooHeavy => 8,
        reason if is_overload(reason) => 8,
        _ => 14,
    }
}

/// Whether the server says that it has too much to do.
pub(crate) const fn is_overload(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Overloaded | Reason::QueueFull | Reason::QueueTimeout | Reason::BulkheadFull | Reason::Throttled
    )
}

#[cfg(test)]
mod tests {
    use seawall_core::Pattern;

    use super::*;

    #[test]
    fn time_that_ran_out_what_is_exhausted_and_everything_else_differ() {
        let status = |reason| grpc_status(&Rejection::new(Pattern::Timeout, reason));

        let late = [Reason::AttemptTimeout, Reason::TotalTimeout, Reason::DeadlineExceeded, Reason::DeadlineTooClose];
        assert_eq!(late.map(status), [4; 4]);
        assert_eq!(grpc_status(&Rejection::new(Pattern::LoadShedder, Reason::DeadlineTooClose)), 8);
        assert_eq!(
            [Reason::RateLimited, Reason::TooHeavy, Reason::Overloaded, Reason::BulkheadFull].map(status),
            [8; 4]
        );
        assert_eq!([Reason::CircuitOpen, Reason::NoEndpoints].map(status), [14; 2]);
    }
}
