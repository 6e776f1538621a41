use bytes::{Bytes, BytesMut};
use http_body::Body;
use seawall_core::{Environment, Gate};

use crate::{GuardedBody, HeldBody};

/// A body whose whole content may be at hand, and that can be made of one: what [`GoodAnswers`](crate::GoodAnswers) keeps.
///
/// Of what comes over a connection it is behind a [`WholeBodyLayer`](crate::WholeBodyLayer), also within the presets.
pub trait Content: Sized {
    /// All of it, where it is there and no longer than `limit` bytes.
    fn content(&self, limit: u64) -> Option<Bytes>;

    /// A body of `content`.
    fn of(content: Bytes) -> Self;
}

impl Content for Bytes {
    fn content(&self, limit: u64) -> Option<Bytes> {
        (u64::try_from(self.len()).is_ok_and(|length| length <= limit)).then(|| self.clone())
    }

    fn of(content: Bytes) -> Self {
        content
    }
}

/// Trailers are no content: a body that has some cannot be made again.
impl<B: Body<Data = Bytes> + Unpin> Content for HeldBody<B> {
    fn content(&self, limit: u64) -> Option<Bytes> {
        let (frames, length) = self.whole().filter(|(_, length)| *length <= limit)?;
        let mut data = frames.iter().map(|frame| frame.data_ref());
        if frames.len() <= 1 {
            return data.next().unwrap_or(Some(&Bytes::new())).cloned();
        }
        let mut content = BytesMut::with_capacity(usize::try_from(length).ok()?);
        data.try_for_each(|data| data.map(|data| content.extend_from_slice(data)))?;
        Some(content.freeze())
    }

    fn of(content: Bytes) -> Self {
        Self::of_data(content)
    }
}

/// One that is made of a content holds no place.
impl<B: Content + Body<Data = Bytes>, G: Gate, E: Environment> Content for GuardedBody<B, G, E> {
    fn content(&self, limit: u64) -> Option<Bytes> {
        self.get_ref().and_then(|body| body.content(limit))
    }

    fn of(content: Bytes) -> Self {
        Self::unguarded(content)
    }
}
