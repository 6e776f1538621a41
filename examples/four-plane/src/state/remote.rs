//! The client of the embedded database.

use async_trait::async_trait;
use tokio::net::TcpStream;

use super::connect::Dial;
use super::connections::{Connect, Connections};
use super::wire::{self, Answer, Question};
use super::{Catalog, Counted, StateError, View};
use crate::data::City;

/// A [`Catalog`] in the state instance's process.
#[derive(Debug)]
pub struct RemoteCatalog {
    connections: Connections<Dialled>,
}

#[derive(Debug)]
struct Dialled(Dial);

impl Connect for Dialled {
    type Connection = TcpStream;

    async fn connect(&self) -> Result<TcpStream, StateError> {
        self.0.database().await
    }
}

impl RemoteCatalog {
    /// Of the state instance that `dial` finds.
    pub fn new(dial: Dial) -> Self {
        Self { connections: Connections::new(Dialled(dial)) }
    }

    async fn ask(&self, question: Question) -> Result<Answer, StateError> {
        let mut stream = self.connections.take().await?;
        wire::write(&mut stream, &question).await.map_err(StateError::database)?;
        let answer: Option<Answer> = wire::read(&mut stream).await.map_err(StateError::database)?;
        let answer = answer.ok_or_else(|| StateError::database(std::io::ErrorKind::UnexpectedEof.into()))?;
        self.connections.keep(stream).await;
        match answer {
            Answer::Failed { reason } => Err(StateError::Failed { part: "database", reason }),
            answer => Ok(answer),
        }
    }
}

fn other(answer: &Answer, expected: &'static str) -> StateError {
    StateError::Answer { part: "database", answer: format!("{answer:?}"), expected }
}

#[async_trait]
impl Catalog for RemoteCatalog {
    async fn item(&self, id: u32) -> Result<Option<City>, StateError> {
        match self.ask(Question::Item { id }).await? {
            Answer::Item(item) => Ok(item),
            answer => Err(other(&answer, "an item")),
        }
    }

    async fn search(&self, query: &str, limit: usize) -> Result<Vec<City>, StateError> {
        match self.ask(Question::Search { query: query.to_owned(), limit }).await? {
            Answer::Cities(cities) => Ok(cities),
            answer => Err(other(&answer, "cities")),
        }
    }

    async fn largest(&self, limit: usize) -> Result<Vec<City>, StateError> {
        match self.ask(Question::Largest { limit }).await? {
            Answer::Cities(cities) => Ok(cities),
            answer => Err(other(&answer, "cities")),
        }
    }

    async fn record_views(&self, views: &[View]) -> Result<(), StateError> {
        match self.ask(Question::RecordViews { views: views.to_vec() }).await? {
            Answer::Recorded => Ok(()),
            answer => Err(other(&answer, "that it recorded")),
        }
    }

    async fn popular(&self, limit: usize) -> Result<Vec<Counted>, StateError> {
        self.counted(Question::Popular { limit }).await
    }

    async fn seen_together(&self, item: u32, limit: usize) -> Result<Vec<Counted>, StateError> {
        self.counted(Question::SeenTogether { item, limit }).await
    }

    async fn recommended(&self, user: &str, limit: usize) -> Result<Vec<Counted>, StateError> {
        self.counted(Question::Recommended { user: user.to_owned(), limit }).await
    }
}

impl RemoteCatalog {
    async fn counted(&self, question: Question) -> Result<Vec<Counted>, StateError> {
        match self.ask(question).await? {
            Answer::Counted(counted) => Ok(counted),
            answer => Err(other(&answer, "counted items")),
        }
    }
}
