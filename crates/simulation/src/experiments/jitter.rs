//! Clients that fail together, and what keeps them from coming back together.
use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use seawall_backoff_with_jitter::{Backoff, Jitter, Position};

use crate::{Random, each};

/// The jitters compared, the default first.
pub const JITTERS: [(&str, Jitter); 5] = [
    ("full", Jitter::Full),
    ("equal", Jitter::Equal),
    ("decorrelated", Jitter::Decorrelated),
    ("smooth", Jitter::Smooth),
    ("none", Jitter::None),
];

const INITIAL: Duration = Duration::from_millis(5);
const MAX: Duration = Duration::from_secs(2);
/// A message takes so long, in nanoseconds, give or take.
const DELAY: f64 = 10e6;
const SPREAD: f64 = 2e6;

/// What it took until each of the clients had written once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contended {
    /// The clients that begin together.
    pub clients: u32,
    /// The jitter's name.
    pub jitter: &'static str,
    /// The seed.
    pub seed: u64,
    /// Reads and writes sent.
    pub calls: u64,
    /// Until the last was done, in seconds.
    pub seconds: f64,
}

/// Clients that all want to write one row at once: each reads it and writes it back, which works if nobody else wrote in
/// between; who fails waits and reads again. All sizes with all jitters.
///
/// # Source
/// Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: the scenario, with its delays and waits.
pub fn contended(clients: &[u32], seeds: &[u64]) -> Vec<Contended> {
    let mut cases = Vec::new();
    for count in clients {
        for jitter in JITTERS {
            for seed in seeds {
                cases.push((*count, jitter, *seed));
            }
        }
    }
    each(&cases, |(count, (name, jitter), seed)| {
        let (calls, seconds) = Row::new(*count, *jitter, *seed).write_all();
        Contended { clients: *count, jitter: name, seed: *seed, calls, seconds }
    })
}

/// What reaches the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Message {
    Read,
    /// Holds if the row is still at this version.
    Write(u32),
}

/// A row, its version, and the messages on their way to it.
struct Row {
    backoff: Backoff,
    random: Random,
    waits: Vec<Position>,
    version: u32,
    /// When, in which order, from whom, what.
    messages: BinaryHeap<Reverse<(u64, u64, u32, Message)>>,
    sent: u64,
}

impl Row {
    fn new(clients: u32, jitter: Jitter, seed: u64) -> Self {
        let backoff = Backoff::exponential(INITIAL, 2.0, MAX).and_then(|backoff| backoff.with_jitter(jitter));
        let mut row = Self {
            backoff: backoff.expect("in range"),
            random: Random::new(seed, u64::from(clients)),
            waits: vec![Position::START; clients as usize],
            version: 0,
            messages: BinaryHeap::new(),
            sent: 0,
        };
        for client in 0..clients {
            row.send(0, client, Message::Read);
        }
        row
    }

    fn delay(&mut self) -> u64 {
        SPREAD.mul_add(self.random.normal(), DELAY).max(0.0) as u64
    }

    fn send(&mut self, at: u64, client: u32, message: Message) {
        self.sent += 1;
        let reaches = at + self.delay();
        self.messages.push(Reverse((reaches, self.sent, client, message)));
    }

    /// How many messages it took until all had written, and how many seconds.
    fn write_all(mut self) -> (u64, f64) {
        let mut last = 0;
        while let Some(Reverse((now, _, client, message))) = self.messages.pop() {
            let heard = now + self.delay();
            match message {
                Message::Read => self.send(heard, client, Message::Write(self.version)),
                Message::Write(version) if version == self.version => {
                    self.version += 1;
                    last = heard;
                }
                Message::Write(_) => {
                    let word = self.random.next_u64();
                    let wait = self.backoff.next(&mut self.waits[client as usize], word);
                    self.send(heard + wait.as_nanos() as u64, client, Message::Read);
                }
            }
        }
        (self.sent, last as f64 / 1e9)
    }
}
