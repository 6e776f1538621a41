//! Shielded work ends once as well, and is the one thing that a caller who drops it does not stop.

use std::time::Duration;

use seawall::{
    core::{Env, Error, TokioClock},
    timeout::Shield,
};
use seawall_testkit::{Booked, Probe, Recorder, Script};
use tower::ServiceExt;

const LIMIT: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn every_piece_of_work_ends_in_exactly_one_outcome() {
    let (probe, recorder) = (Probe::new(), Recorder::default());
    let shield = Shield::with_env(LIMIT, Env::new().with_clock(TokioClock).with_observer(recorder.clone())).unwrap();
    let booked = || {
        let Booked { returned, failed, timed_out, dropped, panicked, .. } = recorder.booked();
        [returned, failed, timed_out, dropped, panicked]
    };

    assert_eq!(shield.run(probe.clone().oneshot(Script::Answer)).await, Ok("answered"));
    assert_eq!(shield.run(probe.clone().oneshot(Script::AnswerLater)).await, Ok("answered"));
    assert_eq!(booked(), [2, 0, 0, 0, 0]);
    assert!(matches!(shield.run(probe.clone().oneshot(Script::Fail)).await, Err(Error::Inner(_))));
    assert_eq!(booked(), [2, 1, 0, 0, 0]);
    let cut = shield.run(probe.clone().oneshot(Script::Hang)).await;
    assert!(matches!(cut, Err(Error::Rejected(rejection)) if rejection.reason().is_timeout()));
    assert_eq!(booked(), [2, 1, 1, 0, 0]);
    for script in [Script::PanicInCall, Script::PanicInPoll] {
        assert!(tokio::spawn(shield.run(probe.clone().oneshot(script))).await.unwrap_err().is_panic());
    }
    assert_eq!((booked(), probe.running()), ([2, 1, 1, 0, 2], 0));
}

#[tokio::test(start_paused = true)]
async fn what_its_caller_drops_goes_on_and_holds_nothing_after_its_limit() {
    let (probe, recorder) = (Probe::new(), Recorder::default());
    let shield = Shield::with_env(LIMIT, Env::new().with_clock(TokioClock).with_observer(recorder.clone())).unwrap();

    for script in [Script::Hold, Script::Hang] {
        drop(shield.run(probe.clone().oneshot(script)));
    }
    tokio::task::yield_now().await;
    assert_eq!((probe.running(), recorder.booked().total()), (2, 0));
    probe.release(1);
    tokio::task::yield_now().await;
    assert_eq!((probe.running(), recorder.booked().returned), (1, 1));
    tokio::time::sleep(2 * LIMIT).await;

    let Booked { returned, timed_out, dropped, .. } = recorder.booked();
    assert_eq!((probe.running(), [returned, timed_out, dropped]), (0, [1, 1, 0]));
}
