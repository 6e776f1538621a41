//! Work that goes on when its caller has gone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use seawall_core::{Clock, Env, Error, InheritDeadline, Reason, Rejection, Timestamp, TokioClock};
use seawall_timeout::{Shield, TimeoutError, inherited_deadline};
use tokio::sync::Notify;

const SECOND: Duration = Duration::from_secs(1);

fn shield(limit: Duration) -> Shield<Env<TokioClock>> {
    Shield::with_env(limit, Env::new().with_clock(TokioClock)).expect("allowed")
}

#[tokio::test(start_paused = true)]
async fn shielded_work_finishes_although_nobody_waits_for_it() {
    let (begun, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let work = {
        let (begun, done) = (Arc::clone(&begun), Arc::clone(&done));
        async move {
            begun.notify_one();
            tokio::time::sleep(SECOND).await;
            done.notify_one();
            Ok::<_, std::io::Error>(())
        }
    };
    let request = tokio::spawn({
        let shield = shield(5 * SECOND);
        async move { shield.run(work).await.is_ok() }
    });
    begun.notified().await;

    request.abort();

    assert!(request.await.expect_err("aborted").is_cancelled());
    // Paused time runs on only when nothing else can: work that was cut is missed at once.
    assert!(tokio::time::timeout(60 * SECOND, done.notified()).await.is_ok(), "the work was cut");
}

#[tokio::test(start_paused = true)]
async fn shielded_work_has_a_limit_of_its_own() {
    struct Dropped(Arc<AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }
    let dropped = Arc::new(AtomicBool::new(false));
    let held = Dropped(Arc::clone(&dropped));

    let cut = shield(SECOND)
        .run(async move {
            let _held = held;
            std::future::pending::<Result<(), std::io::Error>>().await
        })
        .await;

    assert_eq!(cut.as_ref().err().and_then(Error::rejection).map(Rejection::reason), Some(Reason::TotalTimeout));
    assert!(dropped.load(SeqCst));
}

#[tokio::test(start_paused = true)]
async fn shielded_work_inherits_its_own_limit_and_not_the_callers_deadline() {
    let limit = TokioClock.now().saturating_add(SECOND);
    let work = async { Ok::<_, std::io::Error>(inherited_deadline()) };

    let seen = InheritDeadline::new(Timestamp::ZERO, async { shield(SECOND).run(work).await }).await;

    assert_eq!(seen.ok(), Some(Some(limit)));
}

#[tokio::test]
#[should_panic(expected = "in the work")]
async fn a_panic_in_shielded_work_goes_on_in_whoever_waits() {
    let _ = shield(SECOND).run(async { panic!("in the work") as Result<(), std::io::Error> }).await;
}

#[test]
fn a_limit_of_nothing_is_refused() {
    assert_eq!(Shield::new(Duration::ZERO).map(drop), Err(TimeoutError::Zero { field: "total" }));
}
