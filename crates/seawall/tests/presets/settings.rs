use std::time::Duration;

use seawall::StackError;

use crate::scripted::{MS, SECOND};

#[test]
fn a_timeout_that_cannot_work_is_refused_and_blames_itself() {
    let text = |error: Option<StackError>| error.map(|error| error.to_string());
    let total = |total| text(seawall::client().with_total_timeout(total).err());
    let attempt = |attempt| text(seawall::client().with_attempt_timeout(attempt).err());

    assert_eq!(total(Duration::ZERO).as_deref(), Some("total is 0s; allowed is any time above 0s"));
    assert_eq!(attempt(Duration::ZERO).as_deref(), Some("attempt is 0s; allowed is any time above 0s"));
    assert_eq!(
        total(1_999 * MS).as_deref(),
        Some("total timeout is 1.999s; allowed is at least the attempt timeout, 2s")
    );
    assert_eq!(
        attempt(5 * SECOND + MS).as_deref(),
        Some("attempt timeout is 5.001s; allowed is at most the total timeout, 5s")
    );
    assert_eq!(
        attempt(Duration::from_micros(1_999)).as_deref(),
        Some(
            "attempt timeout is 1.999ms; allowed is 1ms and more beside the reserve of 1ms where the other side is told of it"
        )
    );
    for fits in [2 * SECOND, Duration::MAX] {
        assert_eq!(total(fits), None);
    }
    for fits in [2 * MS, 5 * SECOND] {
        assert_eq!(attempt(fits), None);
    }
}

#[test]
fn timeouts_are_checked_against_each_other_only_where_they_are_known() {
    let attempt = seawall::client().with_attempt_timeout(2 * MS).unwrap();

    assert_eq!(attempt.clone().with_total_timeout(2 * MS).unwrap().total().limit(), 2 * MS);
    assert!(seawall::client().without_attempt_timeout().with_total_timeout(2 * MS).is_ok());
    let total = seawall::client().with_total_timeout(3 * SECOND).unwrap();
    assert_eq!(
        total.with_attempt_timeout(4 * SECOND).unwrap_err(),
        StackError::AttemptExceedsTotal { attempt: 4 * SECOND, total: 3 * SECOND }
    );
    assert!(seawall::client().with_total(attempt.total().clone()).with_attempt_timeout(Duration::MAX).is_ok());
    let silent = attempt.without_deadline_header().with_attempt_timeout(Duration::from_micros(999));
    assert_eq!(silent.unwrap().attempt().limit(), Duration::from_micros(999));
}

#[test]
fn a_server_that_could_answer_nobody_is_refused() {
    let refused = seawall::server().with_max_deadline(Duration::ZERO);

    assert_eq!(refused.unwrap_err().to_string(), "max_deadline is 0s; allowed is any time above 0s");
}
