//! The simulated world: what one event of it costs.

use std::sync::LazyLock;

use seawall_simulation::{Protection, Scenario, World, kind};

use super::{BARE, Row, Side};
use crate::operation::Operation;

/// What the command `speed` runs: the default server at twice its capacity.
static SCENARIO: LazyLock<Scenario> = LazyLock::new(|| {
    let kind = kind("fast-workers").unwrap_or_else(|| unreachable!("it is one of the kinds"));
    Scenario::steady(&kind, Protection::KneeQueue, 2.0, 1)
});

/// Until then the limit grows from its start, and most calls wait.
const SETTLED: u64 = 100_000;

/// Events of one world after another.
struct Events(World<'static>);

impl Operation for Events {
    fn run(&mut self, iterations: u64) {
        for _ in 0..iterations {
            if !self.0.advance() {
                self.0 = World::new(&SCENARIO);
            }
        }
    }

    /// A world is one thread's: another.
    fn share(&self) -> Box<dyn Operation> {
        event()
    }
}

fn event() -> Box<dyn Operation> {
    let mut events = Events(World::new(&SCENARIO));
    events.run(SETTLED);
    Box::new(events)
}

pub(super) fn rows() -> Vec<Row> {
    let row = Row {
        name: "simulation/event",
        clock: "none",
        over_bare_call: false,
        beneath: BARE,
        may_allocate: false,
        ours: Side { name: "seawall", make: event },
        peers: Vec::new(),
    };
    vec![row.allocating()]
}
