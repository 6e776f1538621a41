use std::time::Duration;

use seawall_core::{Entropy, ThreadEntropy};

use crate::{Backoff, backoff::Position};

/// The waits of a [`Backoff`], one after another, without end unless one is set. Made by [`Backoff::delays`].
#[derive(Clone, Debug)]
pub struct Delays<R = ThreadEntropy> {
    backoff: Backoff,
    position: Position,
    entropy: R,
    left: Left,
}

/// What the waits to come may add up to.
#[derive(Clone, Debug)]
enum Left {
    Anything,
    AtMost(Duration),
    Nothing,
}

impl<R: Entropy> Delays<R> {
    pub(crate) const fn new(backoff: Backoff, entropy: R) -> Self {
        Self { backoff, position: Position::START, entropy, left: Left::Anything }
    }

    /// Ends before the waits, from here on, come to more than `total`. Default: no end.
    ///
    /// ```
    /// use seawall_backoff_with_jitter::{Backoff, Jitter};
    /// use seawall_core::ThreadEntropy;
    /// use std::time::Duration;
    ///
    /// let backoff = Backoff::unhurried().with_jitter(Jitter::None)?;
    /// let waits = backoff.delays(ThreadEntropy).with_max_total(Duration::from_secs(10));
    /// assert_eq!(waits.map(|wait| wait.as_secs()).collect::<Vec<_>>(), [1, 2, 4]);
    /// # Ok::<(), seawall_backoff_with_jitter::BackoffError>(())
    /// ```
    #[must_use]
    pub const fn with_max_total(mut self, total: Duration) -> Self {
        self.left = Left::AtMost(total);
        self
    }
}

impl<R: Entropy> Iterator for Delays<R> {
    type Item = Duration;

    #[inline]
    fn next(&mut self) -> Option<Duration> {
        if matches!(self.left, Left::Nothing) {
            return None;
        }
        let wait = self.backoff.next(&mut self.position, self.entropy.next_u64());
        if let Left::AtMost(left) = self.left {
            let Some(rest) = left.checked_sub(wait) else {
                self.left = Left::Nothing;
                return None;
            };
            self.left = Left::AtMost(rest);
        }
        Some(wait)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self.left {
            Left::Anything => (usize::MAX, None),
            Left::AtMost(_) => (0, None),
            Left::Nothing => (0, Some(0)),
        }
    }
}

impl<R: Entropy> std::iter::FusedIterator for Delays<R> {}
