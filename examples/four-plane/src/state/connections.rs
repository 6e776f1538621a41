//! Connections that are kept between calls.

use std::fmt;

use tokio::sync::Mutex;

use super::StateError;

/// Makes connections of one kind.
pub(super) trait Connect: Send + Sync + fmt::Debug {
    type Connection: Send;

    fn connect(&self) -> impl Future<Output = Result<Self::Connection, StateError>> + Send;
}

/// Connections that are kept between calls.
pub(super) struct Connections<C: Connect> {
    connect: C,
    idle: Mutex<Vec<C::Connection>>,
}

impl<C: Connect> fmt::Debug for Connections<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("connect", &self.connect).finish_non_exhaustive()
    }
}

impl<C: Connect> Connections<C> {
    pub(super) fn new(connect: C) -> Self {
        Self { connect, idle: Mutex::default() }
    }

    /// A connection, which the caller gives back with [`Self::keep`] when its call succeeded.
    pub(super) async fn take(&self) -> Result<C::Connection, StateError> {
        let kept = self.idle.lock().await.pop();
        match kept {
            Some(connection) => Ok(connection),
            None => self.connect.connect().await,
        }
    }

    pub(super) async fn keep(&self, connection: C::Connection) {
        self.idle.lock().await.push(connection);
    }
}
