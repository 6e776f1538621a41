//! What happened, for the page and for whoever follows the stream.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::{broadcast, watch};

use crate::clock;

/// How many events the status shows.
const KEPT: usize = 200;
/// How many events a slow follower of the stream may be behind before it misses some.
const BEHIND: usize = 256;

/// How bad it is.
#[derive(Serialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "the three severities of the status document")]
pub enum Severity {
    /// It happened as it should.
    Info,
    /// Someone may want to look.
    Warn,
    /// Something is broken.
    Error,
}

impl Severity {
    /// By its name; anything unknown is an error, so that nobody overlooks it.
    pub fn from_name(name: &str) -> Self {
        match name {
            "info" => Self::Info,
            "warn" => Self::Warn,
            _ => Self::Error,
        }
    }
}

/// One line.
#[derive(Serialize, Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Counts up from 1.
    pub id: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// How bad it is.
    pub severity: Severity,
    /// Where: `edge`, `service`, `state` or `control`.
    pub plane: &'static str,
    /// One sentence.
    pub text: String,
}

/// The list of events. Clones share it.
#[derive(Debug, Clone)]
pub struct Events {
    recent: Arc<watch::Sender<VecDeque<Event>>>,
    live: broadcast::Sender<Event>,
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

impl Events {
    /// An empty list.
    pub fn new() -> Self {
        Self { recent: Arc::new(watch::Sender::new(VecDeque::new())), live: broadcast::Sender::new(BEHIND) }
    }

    /// Adds a line.
    pub fn add(&self, severity: Severity, plane: &'static str, text: impl Into<String>) {
        let text = text.into();
        let at_ms = clock::unix_ms();
        self.recent.send_modify(|recent| {
            let id = recent.back().map_or(0, |event| event.id).saturating_add(1);
            let event = Event { id, at_ms, severity, plane, text };
            if recent.len() >= KEPT {
                recent.pop_front();
            }
            recent.push_back(event.clone());
            let _nobody_follows = self.live.send(event);
        });
    }

    /// The latest, newest first.
    pub fn recent(&self) -> Vec<Event> {
        self.recent.borrow().iter().rev().cloned().collect()
    }

    /// Those after `id` that are still kept, oldest first, and what comes after them.
    pub fn follow(&self, id: Option<u64>) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let recent = self.recent.borrow();
        let live = self.live.subscribe();
        let missed = recent.iter().filter(|event| id.is_some_and(|id| event.id > id)).cloned().collect();
        (missed, live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_two_hundred_are_kept() {
        let events = Events::new();

        for number in 1..=250 {
            events.add(Severity::Info, "control", number.to_string());
        }

        let recent = events.recent();
        assert_eq!((recent.len(), recent[0].text.as_str(), recent[199].text.as_str()), (200, "250", "51"));
    }

    #[test]
    fn a_follower_gets_what_it_missed_and_then_what_comes() {
        let events = Events::new();
        events.add(Severity::Info, "edge", "one");
        events.add(Severity::Warn, "edge", "two");

        let (missed, mut live) = events.follow(Some(1));
        let (nothing, _) = events.follow(None);
        events.add(Severity::Error, "edge", "three");

        assert_eq!(missed.iter().map(|event| event.text.as_str()).collect::<Vec<_>>(), ["two"]);
        assert!(nothing.is_empty());
        assert_eq!(live.try_recv().unwrap().text, "three");
    }
}
