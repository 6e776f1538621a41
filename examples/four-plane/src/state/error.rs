//! Why database or cache did not answer.

use std::io;

use seawall::pool::PoolError;

/// Why database or cache did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The connection could not be made, or broke.
    #[error("the connection to the {part} failed")]
    Connection {
        /// `database` or `cache`.
        part: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The other side answered what the protocol does not allow here.
    #[error("the {part} answered {answer}; expected is {expected}")]
    Answer {
        /// `database` or `cache`.
        part: &'static str,
        /// What came.
        answer: String,
        /// What may come.
        expected: &'static str,
    },
    /// The other side said that it failed.
    #[error("the {part} failed: {reason}")]
    Failed {
        /// `database` or `cache`.
        part: &'static str,
        /// What it said.
        reason: String,
    },
    /// PostgreSQL or the connection to it failed.
    #[error("postgresql failed")]
    Postgres(#[from] tokio_postgres::Error),
    /// The pool has no connection to give.
    #[error("there is no connection to the {part}")]
    NoConnection {
        /// `database` or `cache`.
        part: &'static str,
        /// Why.
        source: Box<PoolError<Self>>,
    },
    /// No state instance is in the topology.
    #[error("no state instance is up")]
    Absent,
}

impl StateError {
    /// For `map_err` on what reads from or writes to the database's connection.
    pub(super) fn database(source: io::Error) -> Self {
        Self::Connection { part: "database", source }
    }

    /// For `map_err` on what reads from or writes to the cache's connection.
    pub(super) fn cache(source: io::Error) -> Self {
        Self::Connection { part: "cache", source }
    }

    /// Whether the other side had closed the connection before it took the question in.
    pub(super) fn is_stale(&self) -> bool {
        match self {
            Self::Connection { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::BrokenPipe
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::UnexpectedEof
            ),
            Self::Postgres(error) => error.is_closed(),
            _ => false,
        }
    }
}
