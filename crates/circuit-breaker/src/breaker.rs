#![expect(clippy::inline_always, reason = "out of line, the end of a call would save registers around the clock")]

use std::{fmt, sync::Arc, time::Duration};

use seawall_core::{
    Admission, CallContext, Class, Entropy, Gate, NoWait, Outcome, Rejection, ThreadEntropy, Timestamp,
    assigned_stripe,
    sync::{
        CachePadded,
        atomic::{
            AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed},
        },
    },
    thread_stripe,
};

use crate::{
    admission::REJECTION,
    config::{BreakerConfig, Window},
    counters::Counters,
    hot::{Hot, RoundCount},
    ledger::Ledger,
    lock::Lock,
    peers::{Member, Peers},
    results::Results,
    settings::Settings,
    state::State,
    streak::Streak,
    ticket::BreakerTicket,
    word::{Tag, Word},
};

pub(crate) const SUCCESS: Outcome = Outcome::Finished(Class::Success);

/// The decision: admits calls while the other side is well, refuses them while it is not, and finds out with a few
/// probes when it is well again. A [`Gate`], so [`CircuitBreakerLayer`](crate::CircuitBreakerLayer) makes a Tower layer
/// of it; by hand it is [`Breaker::try_admit`] and [`Breaker::record`].
///
/// ```
/// use seawall_circuit_breaker::{Breaker, BreakerConfig, Outcome, Class, State, Timestamp, Window};
/// use std::time::Duration;
///
/// let breaker = Breaker::from(BreakerConfig::builder().window(Window::Calls(10)).min_calls(2).build()?);
/// let now = Timestamp::from_nanos(1_000);
/// for _ in 0..2 {
///     let ticket = breaker.try_admit(now)?;
///     breaker.record(ticket, Outcome::Finished(Class::Failure), Duration::from_millis(3), now);
/// }
/// assert_eq!(breaker.state(), State::Open);
/// assert!(breaker.try_admit(now).unwrap_err().retry_after() > Some(Duration::from_secs(2)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Breaker {
    pub(crate) hot: CachePadded<Hot>,
    pub(crate) settings: Settings,
    pub(crate) member: Arc<Member>,
    pub(crate) peers: Option<Peers>,
    pub(crate) streak: Streak,
    pub(crate) counters: Counters,
    pub(crate) ledger: Lock<Ledger>,
    pub(crate) config_window: Window,
    /// Whether no result may open it: calls to many that have nothing to do with each other pass.
    pub(crate) is_for_strangers: bool,
}

impl From<BreakerConfig> for Breaker {
    fn from(config: BreakerConfig) -> Self {
        let config = &config.valid;
        // The only random word from outside: where this breaker's own sequence starts.
        let seed = config.seed.unwrap_or_else(|| ThreadEntropy.next_u64());
        let member = Arc::new(Member::new(Results::new(config), Word::NEW.tag()));
        if let Some(peers) = &config.peers {
            peers.join(&member);
        }
        Self {
            hot: CachePadded::new(Hot {
                word: AtomicU64::new(Word::NEW.bits()),
                until: AtomicU64::new(0),
                given_up: RoundCount::default(),
                hanging: RoundCount::default(),
                probed_at: AtomicU64::new(0),
                probed_beside_at: AtomicU64::new(0),
                closed_at: AtomicU64::new(0),
                wary_until: AtomicU64::new(0),
                evidence: Default::default(),
                bad_at: AtomicU64::new(0),
                draw: AtomicU64::new(seed),
            }),
            settings: Settings::new(config),
            member,
            peers: config.peers.clone(),
            streak: Streak::default(),
            counters: Counters::default(),
            ledger: Lock::new(Ledger::new(config, seed)),
            config_window: config.window,
            is_for_strangers: false,
        }
    }
}

impl Gate for Breaker {
    type Ticket = BreakerTicket;
    type Wait = NoWait;
    const FORESEES: bool = true;

    #[inline(always)]
    fn admit(
        &self,
        _: impl FnOnce() -> CallContext,
        now: impl FnOnce() -> Timestamp,
    ) -> Admission<BreakerTicket, NoWait> {
        let word = self.word();
        if word.admits_all() {
            let start = if self.settings.ignores_latency() { BreakerTicket::UNSTAMPED } else { now() };
            return Admission::Admitted(BreakerTicket { tag: word.tag(), start });
        }
        let stripe = thread_stripe();
        if word.is_forced_open() && self.refuses_plainly(stripe) {
            return Admission::Refused(REJECTION);
        }
        // Read here, so that what follows needs no register across a call. Nobody asks when what is forced ends.
        let at = if word.is_forced_open() { Timestamp::ZERO } else { now() };
        match self.admit_unclosed(word, at, stripe) {
            Ok(ticket) => Admission::Admitted(ticket),
            Err(rejection) => Admission::Refused(rejection),
        }
    }

    /// The clock is read here, and the thread asked for its stripe: what nearly every call comes to then calls nothing, so it
    /// saves no registers.
    #[inline(always)]
    fn finish(&self, ticket: BreakerTicket, outcome: Outcome, now: impl FnOnce() -> Timestamp) {
        let is_plain = outcome == SUCCESS && self.settings.are_plain();
        if is_plain && self.counts_for_nothing(ticket.tag) {
            return;
        }
        let at = now();
        let stripe = if is_plain { assigned_stripe() } else { None };
        let counted = stripe.and_then(|stripe| self.try_count(stripe, ticket.tag, at));
        if counted != Some(false) {
            self.finish_otherwise(ticket, outcome, at, counted.is_some());
        }
    }

    /// Stamps the start of a call of which only its age when it is cancelled is asked: one that is ready at once has none.
    #[inline]
    fn pending(&self, ticket: &mut BreakerTicket, now: impl FnOnce() -> Timestamp) {
        if ticket.start == BreakerTicket::UNSTAMPED && self.settings.counts_cancelled() {
            ticket.start = now();
        }
    }

    fn pushback(&self, ticket: &BreakerTicket, wait: Duration, now: impl FnOnce() -> Timestamp) {
        let longest = self.settings.pushback();
        // "At once" and a date that has passed ask for nothing.
        if longest != 0 && !wait.is_zero() {
            let wait = Timestamp::ZERO.saturating_add(wait).as_nanos().min(longest);
            self.push_back(ticket.tag, wait, now());
        }
    }

    fn trip(&self, ticket: &BreakerTicket, wait: Option<Duration>, now: impl FnOnce() -> Timestamp) {
        self.open_for_answer(ticket.tag, wait, now());
    }

    /// While it is open, and in half-open while all places are taken by probes that are still waited for. Not while only a share
    /// of the refusals is carried out, which is left to chance.
    fn refusal(&self, now: impl FnOnce() -> Timestamp) -> Option<Rejection> {
        self.foresee(self.word(), now)
    }

    fn refused_as_foreseen(&self) {
        self.count_refusal();
    }

    /// Counts, and opens for nobody's results, answers or pushback: only by hand. Nor is it a peer of those that have a key.
    fn shared_by_strangers(mut self) -> Self {
        self.is_for_strangers = true;
        if let Some(peers) = self.peers.take() {
            peers.leave(&self.member);
        }
        self
    }

    /// A closed circuit with nothing bad in its window may be forgotten, or with nothing bad for `stable_for` in one of
    /// calls, once it is no longer wary of the last outage nor on its ramp; so may one that nobody has called for `stable_for` after its open time, or since its last probe. What
    /// somebody forced may not.
    fn is_idle(&self, now: impl FnOnce() -> Timestamp) -> bool {
        let (word, at) = (self.word(), now());
        match word.state() {
            State::Closed => self.has_recovered(word, at) && self.has_nothing_bad(word, at),
            State::Open => self.is_long_after(&self.hot.until, at),
            State::HalfOpen => self.is_long_after(&self.hot.probed_at, at),
            State::ForcedOpen | State::ForcedClosed | State::Disabled => false,
        }
    }
}

impl Breaker {
    /// Whether a closed circuit has left the last outage behind.
    fn has_recovered(&self, word: Word, at: Timestamp) -> bool {
        at.as_nanos() >= self.hot.wary_until.load(Relaxed) && (!word.is_ramping() || self.share_up_the_ramp(at) >= 1.0)
    }

    /// Whether the window holds nothing bad, or nothing that is younger than a healthy spell.
    fn has_nothing_bad(&self, word: Word, at: Timestamp) -> bool {
        let is_old = matches!(self.member.window, Results::Calls(_)) && self.is_long_after(&self.hot.bad_at, at);
        is_old || self.member.window.figures(word.tag(), at).is_all_good()
    }

    fn is_long_after(&self, stamp: &AtomicU64, at: Timestamp) -> bool {
        at.as_nanos() > stamp.load(Relaxed).saturating_add(self.settings.stable_for())
    }

    /// Asks for one call.
    ///
    /// # Errors
    /// A [`Rejection`] while the circuit is open, with the exact time until it is not, or half-open with all places
    /// taken.
    pub fn try_admit(&self, now: Timestamp) -> Result<BreakerTicket, Rejection> {
        let word = self.word();
        if word.admits_all() {
            return Ok(BreakerTicket { tag: word.tag(), start: now });
        }
        self.admit_unclosed(word, now, thread_stripe())
    }

    /// Takes back the ticket of a call that ended with `outcome` after `latency`, which need not be the time since it
    /// was admitted. A ticket of an earlier state changes nothing.
    #[expect(clippy::needless_pass_by_value, reason = "a ticket is given back once")]
    pub fn record(&self, ticket: BreakerTicket, outcome: Outcome, latency: Duration, now: Timestamp) {
        let word = self.word();
        if word.tag() == ticket.tag {
            self.count(word, outcome, Timestamp::ZERO.saturating_add(latency).as_nanos(), now);
        } else if ticket.tag != Tag::UNTRACKED {
            self.count_late();
        }
    }

    /// The state. An open circuit whose time is over says so until somebody calls.
    pub fn state(&self) -> State {
        self.word().state()
    }

    #[inline]
    pub(crate) fn word(&self) -> Word {
        // Acquire: partner is the store in `change`, so that who sees a state sees its open time and its empty window.
        Word::from_bits(self.hot.word.load(Acquire))
    }

    /// Moves from one word to the next, or says which it is by now.
    pub(crate) fn exchange(&self, from: Word, to: Word) -> Result<(), Word> {
        // AcqRel, Acquire: partners are `word` and this itself.
        match self.hot.word.compare_exchange(from.bits(), to.bits(), AcqRel, Acquire) {
            Ok(_) => Ok(()),
            Err(newer) => Err(Word::from_bits(newer)),
        }
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker")
            .field("state", &self.state())
            .field("window", &self.config_window)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    const FAILED: Outcome = Outcome::Finished(Class::Failure);
    const SUCCEEDED: Outcome = Outcome::Finished(Class::Success);

    /// One second in, so that stamps differ from zero.
    const START: Timestamp = Timestamp::from_nanos(1_000_000_000);

    fn breaker(probes: u32) -> Breaker {
        BreakerConfig::builder()
            .window(Window::Calls(2))
            .min_calls(2)
            .open_for(Duration::ZERO)
            .jitter(0.0)
            .probes(probes)
            .seed(1)
            .build()
            .unwrap()
            .into()
    }

    fn end(breaker: &Breaker, ticket: BreakerTicket, outcome: Outcome) {
        breaker.record(ticket, outcome, Duration::ZERO, START);
    }

    /// Opened at the start, so that a call a nanosecond later is a probe.
    fn open(breaker: &Breaker) -> Timestamp {
        for _ in 0..2 {
            end(breaker, breaker.try_admit(START).unwrap(), FAILED);
        }
        assert_eq!(breaker.state(), State::Open);
        START.saturating_add(Duration::from_nanos(1))
    }

    fn model(body: impl Fn() + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(body);
    }

    #[test]
    fn no_more_calls_than_probes_pass_when_the_open_time_is_over() {
        model(|| {
            let breaker = Arc::new(breaker(1));
            let due = open(&breaker);
            let other = Arc::clone(&breaker);
            let there = thread::spawn(move || other.try_admit(due).ok());

            let here = breaker.try_admit(due).ok();
            let there = there.join().unwrap();

            assert_eq!(u32::from(here.is_some()) + u32::from(there.is_some()), 1);
            assert_eq!(breaker.state(), State::HalfOpen);
        });
    }

    #[test]
    fn two_failures_that_trip_together_open_once() {
        model(|| {
            let breaker = Arc::new(breaker(1));
            let (first, second) = (breaker.try_admit(START).unwrap(), breaker.try_admit(START).unwrap());
            let other = Arc::clone(&breaker);
            let there = thread::spawn(move || end(&other, first, FAILED));

            end(&breaker, second, FAILED);
            there.join().unwrap();

            assert_eq!((breaker.state(), breaker.snapshot(START).openings), (State::Open, 1));
        });
    }

    #[test]
    fn the_last_of_two_probes_always_ends_the_round() {
        model(|| {
            let breaker = Arc::new(breaker(2));
            let due = open(&breaker);
            let (first, second) = (breaker.try_admit(due).unwrap(), breaker.try_admit(due).unwrap());
            let other = Arc::clone(&breaker);
            let there = thread::spawn(move || end(&other, first, SUCCEEDED));

            end(&breaker, second, SUCCEEDED);
            there.join().unwrap();

            assert_eq!(breaker.state(), State::Closed);
        });
    }

    #[test]
    fn a_failing_probe_that_loses_the_word_to_a_new_probe_still_counts() {
        model(|| {
            let breaker = Arc::new(breaker(2));
            let due = open(&breaker);
            let first = breaker.try_admit(due).unwrap();
            let other = Arc::clone(&breaker);
            let there = thread::spawn(move || end(&other, first, FAILED));

            let second = breaker.try_admit(due).unwrap();
            end(&breaker, second, FAILED);
            there.join().unwrap();

            assert_eq!((breaker.state(), breaker.snapshot(due).openings), (State::Open, 2));
        });
    }

    #[test]
    fn a_place_given_back_while_another_call_asks_is_neither_lost_nor_doubled() {
        model(|| {
            let breaker = Arc::new(breaker(1));
            let due = open(&breaker);
            let first = breaker.try_admit(due).unwrap();
            let other = Arc::clone(&breaker);
            let there = thread::spawn(move || end(&other, first, Outcome::Finished(Class::Ignored)));

            let here = breaker.try_admit(due).ok();
            there.join().unwrap();

            assert_eq!(breaker.try_admit(due).is_ok(), here.is_none());
        });
    }

    #[test]
    fn no_call_takes_the_place_of_a_probe_that_is_given_up_on() {
        model(|| {
            let breaker = Arc::new(breaker(2));
            let due = open(&breaker);
            let first = breaker.try_admit(due).unwrap();
            let other = Arc::clone(&breaker);
            let there = thread::spawn(move || end(&other, first, Outcome::TimedOut));
            let impatient = Arc::clone(&breaker);

            let second = breaker.try_admit(due).unwrap();
            let gone = thread::spawn(move || {
                let age = Duration::from_secs(1);
                impatient.record(second, Outcome::Cancelled, Duration::ZERO, START.saturating_add(age));
            });
            let third = breaker.try_admit(due).ok();
            there.join().unwrap();
            gone.join().unwrap();

            assert_eq!(third, None);
            assert_eq!((breaker.state(), breaker.snapshot(due).openings), (State::Open, 2));
        });
    }

    #[test]
    fn of_two_calls_that_come_when_a_probe_has_hung_for_long_enough_one_goes_beside_it() {
        model(|| {
            let config =
                BreakerConfig::builder().window(Window::Calls(2)).min_calls(2).open_for(Duration::ZERO).jitter(0.0);
            let config = config.probes(3).probes_at_once(1).max_probe_age(Duration::MAX).seed(1);
            let breaker = Arc::new(Breaker::from(config.build().unwrap()));
            let due = open(&breaker);
            let hangs = breaker.try_admit(due).unwrap();
            let later = due.saturating_add(Duration::from_secs(1));
            let other = Arc::clone(&breaker);
            let there = thread::spawn(move || other.try_admit(later).ok());

            let here = breaker.try_admit(later).ok();
            let there = there.join().unwrap();

            assert_eq!(u32::from(here.is_some()) + u32::from(there.is_some()), 1);
            // It is answered, so the next one goes at once.
            end(&breaker, here.or(there).unwrap(), FAILED);
            assert!(breaker.try_admit(later).is_ok());
            drop(hangs);
        });
    }

    /// Of a call that the ramp lets through.
    fn ticket(breaker: &Breaker) -> BreakerTicket {
        BreakerTicket { tag: breaker.word().tag(), start: START }
    }

    /// Closed again at the first nanosecond after its open time, at the foot of a ramp of one nanosecond.
    fn on_a_ramp() -> (Breaker, Timestamp) {
        let config =
            BreakerConfig::builder().window(Window::Calls(2)).min_calls(2).open_for(Duration::ZERO).jitter(0.0);
        let breaker: Breaker = config.probes(1).ramp(Duration::from_nanos(1)).seed(1).build().unwrap().into();
        let due = open(&breaker);
        end(&breaker, breaker.try_admit(due).unwrap(), SUCCEEDED);
        assert!(breaker.word().is_ramping());
        (breaker, due.saturating_add(Duration::from_nanos(1)))
    }

    #[test]
    fn two_calls_that_come_at_the_end_of_a_ramp_both_pass_and_it_has_ended() {
        model(|| {
            let (breaker, top) = on_a_ramp();
            let breaker = Arc::new(breaker);
            let other = Arc::clone(&breaker);
            let there = thread::spawn(move || other.try_admit(top).is_ok());

            let here = breaker.try_admit(top).is_ok();

            assert!(here && there.join().unwrap());
            assert!(breaker.word().admits_all());
        });
    }

    #[test]
    fn a_call_that_gives_up_on_a_probe_never_opens_what_that_probe_has_closed() {
        model(|| {
            let config =
                BreakerConfig::builder().window(Window::Calls(2)).min_calls(2).open_for(Duration::ZERO).jitter(0.0);
            let breaker: Breaker = config.probes(1).ramp(Duration::from_secs(1)).seed(1).build().unwrap().into();
            let breaker = Arc::new(breaker);
            let probe = breaker.try_admit(open(&breaker)).unwrap();
            let other = Arc::clone(&breaker);
            let there = thread::spawn(move || end(&other, probe, SUCCEEDED));

            drop(breaker.try_admit(START.saturating_add(Duration::from_secs(3_600))));
            there.join().unwrap();

            // It is over, or goes on in the same outage.
            let snapshot = breaker.snapshot(START);
            let reopenings = snapshot.outage.map(|outage| outage.reopenings);
            assert!([(1, None), (2, Some(1))].contains(&(snapshot.openings, reopenings)), "{snapshot:?}");
        });
    }

    #[test]
    fn the_end_of_a_ramp_never_undoes_an_opening() {
        model(|| {
            let (breaker, top) = on_a_ramp();
            let tickets = [ticket(&breaker), ticket(&breaker)];
            let breaker = Arc::new(breaker);
            let other = Arc::clone(&breaker);
            let there = thread::spawn(move || drop(other.try_admit(top)));

            for ticket in tickets {
                end(&breaker, ticket, FAILED);
            }
            there.join().unwrap();

            assert_ne!(breaker.state(), State::Closed);
        });
    }

    #[test]
    fn a_result_from_before_a_reset_never_counts_after_it() {
        model(|| {
            let breaker = Arc::new(breaker(1));
            let ticket = breaker.try_admit(START).unwrap();
            let other = Arc::clone(&breaker);
            let late = thread::spawn(move || end(&other, ticket, FAILED));

            breaker.reset(START);
            end(&breaker, breaker.try_admit(START).unwrap(), FAILED);
            late.join().unwrap();

            assert_eq!((breaker.state(), breaker.snapshot(START).figures.failures), (State::Closed, 1));
        });
    }
}
