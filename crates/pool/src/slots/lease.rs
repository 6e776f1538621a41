//! A connection in somebody's hands, or in nobody's.

use std::panic::Location;

use seawall_core::Timestamp;

use crate::status::Checkout;

/// How long a connection may live and how often it was handed out.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(super) expires_at: Timestamp,
    pub(super) uses: u32,
}

/// A connection that nobody has.
#[derive(Debug)]
pub(crate) struct Idle<C> {
    pub(crate) connection: C,
    pub(super) life: Life,
    pub(super) since: Timestamp,
}

/// A connection that a caller has.
#[derive(Debug)]
pub(crate) struct Lease<C> {
    pub(crate) connection: C,
    pub(super) life: Life,
    pub(super) place: Place,
}

impl<C> Lease<C> {
    /// Whether another caller had this connection before.
    pub(crate) const fn is_reused(&self) -> bool {
        self.life.uses > 1
    }

    pub(crate) fn into_parts(self) -> (C, Place) {
        (self.connection, self.place)
    }
}

/// Where a checkout is noted.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place(usize);

/// Who has had a connection since when.
#[derive(Debug, Default)]
pub(super) struct Checkouts {
    notes: Vec<Option<(Timestamp, &'static Location<'static>)>>,
    free: Vec<usize>,
}

impl Checkouts {
    pub(super) fn note(&mut self, now: Timestamp, at: &'static Location<'static>) -> Place {
        let place = self.free.pop().unwrap_or(self.notes.len());
        match self.notes.get_mut(place) {
            Some(free) => *free = Some((now, at)),
            None => self.notes.push(Some((now, at))),
        }
        Place(place)
    }

    pub(super) fn strike(&mut self, place: Place) {
        if self.notes.get_mut(place.0).and_then(Option::take).is_some() {
            self.free.push(place.0);
        }
    }

    pub(super) fn count(&self) -> usize {
        self.notes.len().saturating_sub(self.free.len())
    }

    pub(super) fn oldest(&self, now: Timestamp) -> Option<Checkout> {
        let (since, at) = self.notes.iter().flatten().min_by_key(|(since, _)| *since)?;
        Some(Checkout { held: now.since(*since), at })
    }
}
