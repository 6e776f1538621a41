//! What is to happen, in the order of time.
use std::{cmp::Reverse, collections::BinaryHeap};

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    /// The next call begins.
    Arrival,
    /// A closed-loop user has thought.
    Thought,
    /// An attempt reaches its server.
    Reach,
    /// A stage of a server has finished work.
    Done,
    /// An answer reaches its client.
    Reply,
    /// A client has waited long enough for an attempt.
    Timeout,
    /// A client has waited long enough before its next attempt.
    Retry,
    /// A call in a shedder's queue has waited long enough.
    Expiry,
    /// A server changes its pace.
    Trouble,
    /// The run's figures are noted.
    Sample,
    /// The deadline of an attempt has passed, as its server knows.
    Cancel,
}

/// One thing to happen; of two at the same time the one that was planned first comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Event {
    pub(crate) at: u64,
    order: u64,
    pub(crate) what: What,
    pub(crate) index: u32,
    /// Must equal that of what `index` names, or the event is out of date.
    pub(crate) generation: u32,
}

/// The events to come.
#[derive(Debug, Default)]
pub(crate) struct Events {
    heap: BinaryHeap<Reverse<Event>>,
    order: u64,
}

impl Events {
    pub(crate) fn push(&mut self, at: u64, what: What, index: u32, generation: u32) {
        self.order += 1;
        self.heap.push(Reverse(Event { at, order: self.order, what, index, generation }));
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.heap.pop().map(|Reverse(event)| event)
    }
}
