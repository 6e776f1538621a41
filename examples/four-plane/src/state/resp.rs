//! RESP, the protocol of Redis, over any stream.

use std::io;

use bytes::{Bytes, BytesMut};
use redis_protocol::resp2::{decode::decode_bytes_mut, encode::extend_encode, types::BytesFrame};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// No message is longer: 8 MiB, far above any answer that is cached.
const MAX_MESSAGE: usize = 8 << 20;

/// A connection that carries frames.
#[derive(Debug)]
pub struct Resp<S> {
    stream: S,
    received: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Resp<S> {
    /// Over this stream, from its beginning.
    pub fn new(stream: S) -> Self {
        Self { stream, received: BytesMut::new() }
    }

    /// The stream, in between two exchanges.
    pub fn into_stream(self) -> S {
        self.stream
    }

    /// Sends frames in one write.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn send(&mut self, frames: &[BytesFrame]) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        for frame in frames {
            extend_encode(&mut bytes, frame, false).map_err(|error| invalid(&error))?;
        }
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await
    }

    /// The next frame; `None` when the other side has closed the connection in between two.
    ///
    /// # Errors
    /// When the connection breaks, or what comes is no RESP or longer than 8 MiB.
    pub async fn receive(&mut self) -> io::Result<Option<BytesFrame>> {
        loop {
            if let Some((frame, _, _)) = decode_bytes_mut(&mut self.received).map_err(|error| invalid(&error))? {
                return Ok(Some(frame));
            }
            if self.received.len() > MAX_MESSAGE {
                return Err(invalid(&"a message is longer than 8 MiB"));
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                let between = self.received.is_empty();
                return if between { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }
}

/// A command: its name and arguments.
pub fn command<const N: usize>(words: [Bytes; N]) -> BytesFrame {
    BytesFrame::Array(words.into_iter().map(BytesFrame::BulkString).collect())
}

fn invalid(error: &impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
