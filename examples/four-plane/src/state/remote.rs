//! The client of the embedded database.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use seawall::pool::{Manager, Pool, PoolStatus};
use tokio::net::TcpStream;

use super::connect::Dial;
use super::connections::{flattened, operation, pool};
use super::wire::{self, Answer, Question};
use super::{Catalog, Counted, StateError, View};
use crate::data::City;

/// A [`Catalog`] in the state instance's process.
#[derive(Debug)]
pub struct RemoteCatalog {
    connections: Pool<Dialled>,
}

#[derive(Debug)]
struct Dialled(Dial);

impl Manager for Dialled {
    type Connection = TcpStream;
    type Error = StateError;

    async fn connect(&self) -> Result<TcpStream, StateError> {
        self.0.database().await
    }

    async fn check(&self, stream: &mut TcpStream) -> Result<(), StateError> {
        ask(stream, &Question::Largest { limit: 0 }).await.map(drop)
    }

    fn is_stale(&self, error: &StateError) -> bool {
        error.is_stale()
    }
}

async fn ask(stream: &mut TcpStream, question: &Question) -> Result<Answer, StateError> {
    wire::write(stream, question).await.map_err(StateError::database)?;
    let answer: Option<Answer> = wire::read(stream).await.map_err(StateError::database)?;
    answer.ok_or_else(|| StateError::database(std::io::ErrorKind::UnexpectedEof.into()))
}

impl RemoteCatalog {
    /// Of the state instance that `dial` finds.
    pub fn new(dial: Dial) -> Self {
        Self { connections: pool(Dialled(dial)) }
    }

    async fn ask(&self, question: Question) -> Result<Answer, StateError> {
        // Views that were counted before the connection broke would be counted twice.
        let once = matches!(question, Question::RecordViews { .. });
        let question = Arc::new(question);
        let asking = operation(move |stream: &mut TcpStream| {
            let question = Arc::clone(&question);
            Box::pin(async move { ask(stream, &question).await })
        });
        let connections = &self.connections;
        let asked = if once { connections.run(asking).await } else { connections.run_idempotent(asking).await };
        match asked.map_err(|error| flattened(error, "database"))? {
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
    fn connections(&self) -> Option<PoolStatus> {
        Some(self.connections.status())
    }

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

    async fn record_views(&self, views: &[View], at: SystemTime) -> Result<(), StateError> {
        match self.ask(Question::RecordViews { views: views.to_vec(), at }).await? {
            Answer::Recorded => Ok(()),
            answer => Err(other(&answer, "that it recorded")),
        }
    }

    async fn popular(&self, limit: usize, now: SystemTime) -> Result<Vec<Counted>, StateError> {
        self.counted(Question::Popular { limit, now }).await
    }

    async fn seen_together(&self, item: u32, limit: usize, now: SystemTime) -> Result<Vec<Counted>, StateError> {
        self.counted(Question::SeenTogether { item, limit, now }).await
    }

    async fn recommended(&self, user: &str, limit: usize, now: SystemTime) -> Result<Vec<Counted>, StateError> {
        self.counted(Question::Recommended { user: user.to_owned(), limit, now }).await
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
