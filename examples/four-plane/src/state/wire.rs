//! How services and the embedded database talk: frames of JSON over TCP, one answer per question, in order.
//!
//! A frame is its length in bytes (4, big-endian) and that much JSON.

use std::io;
use std::time::SystemTime;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{Catalog, Counted, StateError, View};
use crate::data::City;

/// No frame is longer: 4 MiB, room for some 20,000 cities.
const MAX_FRAME: u32 = 4 << 20;

/// A call of one method of [`Catalog`].
#[derive(Serialize, Deserialize, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Question {
    Item { id: u32 },
    Search { query: String, limit: usize },
    Largest { limit: usize },
    RecordViews { views: Vec<View>, at: SystemTime },
    Popular { limit: usize, now: SystemTime },
    SeenTogether { item: u32, limit: usize, now: SystemTime },
    Recommended { user: String, limit: usize, now: SystemTime },
}

/// What the method returned.
#[derive(Serialize, Deserialize, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Item(Option<City>),
    Cities(Vec<City>),
    Recorded,
    Counted(Vec<Counted>),
    Failed { reason: String },
}

/// Writes one frame.
pub(super) async fn write<T: Serialize + Sync>(
    stream: &mut (impl AsyncWrite + Unpin + Send),
    message: &T,
) -> io::Result<()> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = u32::try_from(frame.len().saturating_sub(4)).ok().filter(|length| *length <= MAX_FRAME);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a frame is longer than 4 MiB"))?;
    frame.splice(..4, length.to_be_bytes());
    stream.write_all(&frame).await?;
    stream.flush().await
}

/// Reads one frame; `None` when the other side has closed the connection in between two.
pub(super) async fn read<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin + Send)) -> io::Result<Option<T>> {
    let length = match stream.read_u32().await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        length => length?,
    };
    if length > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is longer than 4 MiB"));
    }
    let mut frame = vec![0; usize::try_from(length).unwrap_or_default()];
    stream.read_exact(&mut frame).await?;
    Ok(Some(serde_json::from_slice(&frame)?))
}

/// Answers questions from one connection until the other side closes it.
///
/// # Errors
/// When the connection breaks or something else than a question comes.
pub async fn serve(catalog: &dyn Catalog, mut stream: impl AsyncRead + AsyncWrite + Unpin + Send) -> io::Result<()> {
    while let Some(question) = read(&mut stream).await? {
        let answer =
            answer(catalog, question).await.unwrap_or_else(|error| Answer::Failed { reason: error.to_string() });
        write(&mut stream, &answer).await?;
    }
    Ok(())
}

async fn answer(catalog: &dyn Catalog, question: Question) -> Result<Answer, StateError> {
    Ok(match question {
        Question::Item { id } => Answer::Item(catalog.item(id).await?),
        Question::Search { query, limit } => Answer::Cities(catalog.search(&query, limit).await?),
        Question::Largest { limit } => Answer::Cities(catalog.largest(limit).await?),
        Question::RecordViews { views, at } => {
            catalog.record_views(&views, at).await?;
            Answer::Recorded
        }
        Question::Popular { limit, now } => Answer::Counted(catalog.popular(limit, now).await?),
        Question::SeenTogether { item, limit, now } => Answer::Counted(catalog.seen_together(item, limit, now).await?),
        Question::Recommended { user, limit, now } => Answer::Counted(catalog.recommended(&user, limit, now).await?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frame_comes_out_as_it_went_in_and_then_the_end() {
        let (mut near, mut far) = tokio::io::duplex(64);
        let question = Question::Search { query: "é".to_owned(), limit: 3 };

        write(&mut near, &question).await.unwrap();
        drop(near);

        assert_eq!(read(&mut far).await.unwrap(), Some(question));
        assert_eq!(read::<Question>(&mut far).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_length_over_the_bound_is_refused_before_anything_is_reserved() {
        let (mut near, mut far) = tokio::io::duplex(64);

        near.write_u32(u32::MAX).await.unwrap();

        assert_eq!(read::<Question>(&mut far).await.unwrap_err().to_string(), "a frame is longer than 4 MiB");
    }

    #[tokio::test]
    async fn a_frame_that_holds_no_question_ends_the_connection() {
        let (mut near, far) = tokio::io::duplex(64);
        let catalog = super::super::Embedded::new(&[], super::super::views::Views::default());

        write(&mut near, &"what").await.unwrap();

        assert_eq!(serve(&catalog, far).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_connection_that_ends_inside_a_frame_is_an_error() {
        let (mut near, mut far) = tokio::io::duplex(64);
        near.write_u32(9).await.unwrap();
        near.write_all(b"{").await.unwrap();
        drop(near);

        assert_eq!(read::<Question>(&mut far).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
