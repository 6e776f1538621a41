#![expect(clippy::disallowed_types, reason = "one body's record, which two attempts never touch at once")]

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use seawall_core::BoxError;

/// A request body that records what goes by, so that a further attempt can send it again. Made by
/// [`ReplayBodies`](crate::ReplayBodies).
///
/// An attempt first sends what was recorded, then goes on with the original body where the attempt before stopped, and
/// records that too; trailers are kept. Once more than the limit has gone by, nothing is recorded any more and what was
/// is freed: the attempt under way goes on, and there is no other. The same holds once the original body has failed.
pub struct ReplayBody<B> {
    tape: Arc<Mutex<Tape<B>>>,
    /// How much of the record this attempt has sent.
    sent: usize,
    trailers_sent: bool,
    /// An older attempt must not read on where a newer one does.
    attempt: u32,
}

/// Why an attempt's body ends early: as an error, so that nobody takes what was sent of it for all of it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Broken {
    #[error("a further attempt sends this body")]
    Superseded,
    #[error("the body has a frame that is neither data nor trailers")]
    UnknownFrame,
}

/// The original body and what went by of it.
struct Tape<B> {
    body: Option<Pin<Box<B>>>,
    record: Record,
    /// The attempt that may read.
    attempt: u32,
}

struct Record {
    chunks: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    /// How many bytes may yet be recorded; nothing: the record is off.
    room: Option<usize>,
}

impl<B> ReplayBody<B> {
    /// `body`, of which up to `limit` bytes are recorded, or nothing.
    pub(crate) fn new(body: B, limit: Option<usize>) -> Self {
        let record = Record { chunks: VecDeque::new(), trailers: None, room: limit };
        let tape = Tape { body: Some(Box::pin(body)), record, attempt: 0 };
        Self { tape: Arc::new(Mutex::new(tape)), sent: 0, trailers_sent: false, attempt: 0 }
    }

    /// A handle that makes further attempts.
    pub(crate) fn handle(&self) -> ReplayHandle<B> {
        ReplayHandle { tape: Arc::clone(&self.tape) }
    }
}

/// Makes the bodies of further attempts.
pub(crate) struct ReplayHandle<B> {
    tape: Arc<Mutex<Tape<B>>>,
}

impl<B> ReplayHandle<B> {
    /// The body of one more attempt, unless too much has gone by.
    pub(crate) fn again(&self) -> Option<ReplayBody<B>> {
        let mut tape = lock(&self.tape);
        tape.record.room?;
        tape.attempt = tape.attempt.saturating_add(1);
        Some(ReplayBody { tape: Arc::clone(&self.tape), sent: 0, trailers_sent: false, attempt: tape.attempt })
    }
}

/// A body that panicked has failed; its record is as it was.
fn lock<B>(tape: &Mutex<Tape<B>>) -> MutexGuard<'_, Tape<B>> {
    tape.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Record {
    /// Keeps what goes by, as long as it fits.
    fn keep(&mut self, data: &Bytes) {
        let Some(room) = self.room else { return };
        match room.checked_sub(data.len()) {
            Some(left) => {
                self.room = Some(left);
                self.chunks.push_back(data.clone());
            }
            None => self.switch_off(),
        }
    }

    fn switch_off(&mut self) {
        self.room = None;
        self.chunks = VecDeque::new();
        self.trailers = None;
    }

    fn bytes(&self) -> u64 {
        let bytes = self.chunks.iter().map(Bytes::len).fold(0, usize::saturating_add);
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

impl<B: Body<Error: Into<BoxError>>> Tape<B> {
    /// The next frame of the original body, recorded.
    fn poll_on(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        let frame = std::task::ready!(body.as_mut().poll_frame(cx));
        let record = &mut self.record;
        Poll::Ready(match frame {
            None => {
                self.body = None;
                None
            }
            Some(Err(error)) => {
                record.switch_off();
                self.body = None;
                Some(Err(error.into()))
            }
            Some(Ok(frame)) => Some(Ok(match frame.into_data() {
                Ok(mut data) => {
                    let data = data.copy_to_bytes(data.remaining());
                    record.keep(&data);
                    Frame::data(data)
                }
                Err(frame) => {
                    let Ok(trailers) = frame.into_trailers() else {
                        record.switch_off();
                        self.body = None;
                        return Poll::Ready(Some(Err(Broken::UnknownFrame.into())));
                    };
                    if record.room.is_some() {
                        record.trailers = Some(trailers.clone());
                    }
                    self.body = None;
                    Frame::trailers(trailers)
                }
            })),
        })
    }
}

impl<B: Body<Error: Into<BoxError>>> Body for ReplayBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let mut tape = lock(&this.tape);
        if this.attempt != tape.attempt {
            return Poll::Ready(Some(Err(Broken::Superseded.into())));
        }
        if let Some(data) = tape.record.chunks.get(this.sent).cloned() {
            this.sent = this.sent.saturating_add(1);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if tape.body.is_none() {
            let trailers = if this.trailers_sent { None } else { tape.record.trailers.clone() };
            this.trailers_sent = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let frame = std::task::ready!(tape.poll_on(cx));
        this.sent = tape.record.chunks.len();
        this.trailers_sent = tape.body.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let tape = lock(&self.tape);
        if self.attempt != tape.attempt {
            return false;
        }
        let all_sent = self.sent >= tape.record.chunks.len();
        match &tape.body {
            None => all_sent && (self.trailers_sent || tape.record.trailers.is_none()),
            Some(body) => all_sent && body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let tape = lock(&self.tape);
        let sent = tape.record.chunks.iter().take(self.sent).map(Bytes::len).fold(0, usize::saturating_add);
        let recorded = tape.record.bytes().saturating_sub(u64::try_from(sent).unwrap_or(u64::MAX));
        let rest = tape.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(recorded));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(recorded)) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayBody").field("attempt", &self.attempt).field("sent", &self.sent).finish_non_exhaustive()
    }
}

impl<B> fmt::Debug for ReplayHandle<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayHandle").finish_non_exhaustive()
    }
}
