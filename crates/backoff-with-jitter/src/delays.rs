use std::time::Duration;

use seawall_core::{Entropy, ThreadEntropy};

use crate::{Backoff, backoff::Position};

/// The waits of a [`Backoff`], one after another, without end. Made by [`Backoff::delays`].
#[derive(Clone, Debug)]
pub struct Delays<R = ThreadEntropy> {
    backoff: Backoff,
    position: Position,
    entropy: R,
}

impl<R: Entropy> Delays<R> {
    pub(crate) const fn new(backoff: Backoff, entropy: R) -> Self {
        Self { backoff, position: Position::START, entropy }
    }
}

impl<R: Entropy> Iterator for Delays<R> {
    type Item = Duration;

    #[inline]
    fn next(&mut self) -> Option<Duration> {
        Some(self.backoff.next(&mut self.position, self.entropy.next_u64()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}

impl<R: Entropy> std::iter::FusedIterator for Delays<R> {}
