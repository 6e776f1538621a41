//! What a gate of which only a share is enforced hears of its calls.
#![expect(clippy::disallowed_types, reason = "the gate of a test keeps what it hears")]
use std::{
    future::{Pending, pending},
    sync::{Arc, Mutex},
    time::Duration,
};

use seawall_core::{
    Admission, CallContext, Class, Enforced, Enforcement, Gate, NoWait, Outcome, Pattern, Percent, Reason, Rejection,
    Timestamp,
};

/// Refuses calls of the tenant 1, and keeps what it is told of the others.
#[derive(Default)]
struct Told(Mutex<Vec<&'static str>>);

impl Told {
    fn say(&self, what: &'static str) {
        self.0.lock().expect("nobody panicked").push(what);
    }
}

impl Gate for Told {
    type Ticket = ();
    type Wait = NoWait;

    fn admit(&self, context: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<()> {
        if context().tenant == 1 {
            return Admission::Refused(Rejection::new(Pattern::Bulkhead, Reason::BulkheadFull));
        }
        Admission::Admitted(())
    }

    fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {
        self.say("finish");
    }

    fn pending(&self, (): &mut (), _: impl FnOnce() -> Timestamp) {
        self.say("pending");
    }

    fn pushback(&self, (): &(), _: Duration, _: impl FnOnce() -> Timestamp) {
        self.say("pushback");
    }

    fn refused_inside(&self, (): &()) {
        self.say("refused inside");
    }

    fn trip(&self, (): &(), _: Option<Duration>, _: impl FnOnce() -> Timestamp) {
        self.say("trip");
    }

    fn is_idle(&self, _: impl FnOnce() -> Timestamp) -> bool {
        self.0.lock().expect("nobody panicked").is_empty()
    }
}

/// All that can be said of a call of `tenant`; what the gate has heard.
fn heard_of(tenant: u64) -> Vec<&'static str> {
    let gate = Enforced::new(Told::default(), Enforcement::Shadow);
    let now = || Timestamp::ZERO;
    assert!(gate.is_idle(now));
    let Admission::Admitted(mut ticket) = gate.admit(|| CallContext::new().with_tenant(tenant), now) else {
        unreachable!("nothing is enforced")
    };
    gate.pending(&mut ticket, now);
    gate.pushback(&ticket, Duration::ZERO, now);
    gate.refused_inside(&ticket);
    gate.trip(&ticket, None, now);
    gate.finish(ticket, Outcome::Finished(Class::Success), now);
    let heard = gate.gate().0.lock().expect("nobody panicked").clone();
    assert_eq!(gate.is_idle(now), heard.is_empty());
    heard
}

/// Always full; keeps how it was asked.
#[derive(Default)]
struct Full(Told);

impl Gate for Full {
    type Ticket = ();
    type Wait = Pending<Result<(), Rejection>>;

    fn admit(
        &self,
        _: impl FnOnce() -> CallContext,
        _: impl FnOnce() -> Timestamp,
    ) -> Admission<(), Pending<Result<(), Rejection>>> {
        self.0.say("in line");
        Admission::Queued(pending())
    }

    fn admit_at_once(&self, _: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Option<()> {
        self.0.say("at once");
        None
    }

    fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {}
}

#[test]
fn a_call_that_is_spared_is_never_in_line() {
    let half = Enforcement::Percent(Percent::new(50).expect("allowed"));
    for (enforcement, asked, spared) in [
        (Enforcement::Enforce, ["in line"; 4], 0),
        (half, ["in line", "at once", "in line", "at once"], 2),
        (Enforcement::Shadow, ["at once"; 4], 4),
        (Enforcement::Off, ["at once"; 4], 0),
    ] {
        let gate = Enforced::new(Full::default(), enforcement);

        let waits = [(); 4].map(|()| matches!(gate.admit(CallContext::new, || Timestamp::ZERO), Admission::Queued(_)));

        assert_eq!(waits, asked.map(|asked| asked == "in line"));
        assert_eq!(*gate.gate().0.0.lock().expect("nobody panicked"), asked);
        assert_eq!(gate.spared(), spared);
    }
}

#[test]
fn a_call_that_is_spared_is_never_in_line_of_a_gate_that_others_hold_too() {
    let held = Arc::new(Full::default());
    let gate = Enforced::new(Arc::clone(&held), Enforcement::Shadow);

    assert!(matches!(gate.admit(CallContext::new, || Timestamp::ZERO), Admission::Admitted(None)));

    assert_eq!(*held.0.0.lock().expect("nobody panicked"), ["at once"]);
    assert_eq!(gate.spared(), 1);
}

#[test]
fn one_within_another_lets_off_whom_the_inner_one_would_and_asks_it_for_no_place_in_line() {
    for (enforcement, spared) in [(Enforcement::Shadow, (0, 1)), (Enforcement::Enforce, (1, 0))] {
        let gate = Enforced::new(Enforced::new(Full::default(), enforcement), Enforcement::Shadow);

        assert!(matches!(gate.admit(CallContext::new, || Timestamp::ZERO), Admission::Admitted(_)));

        assert_eq!(*gate.gate().gate().0.0.lock().expect("nobody panicked"), ["at once"]);
        assert_eq!((gate.spared(), gate.gate().spared()), spared);
    }
}

#[test]
fn it_hears_all_of_a_call_that_it_let_in() {
    assert_eq!(heard_of(2), ["pending", "pushback", "refused inside", "trip", "finish"]);
}

#[test]
fn it_hears_nothing_of_a_call_that_was_spared() {
    assert!(heard_of(1).is_empty());
}
