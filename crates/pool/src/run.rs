use seawall_core::{Environment, Timer};

use crate::{Connection, Manager, Pool, RunError, status::Closing};

impl<M: Manager, E: Environment<Clock: Timer>> Pool<M, E> {
    /// Runs one operation on a connection, once.
    ///
    /// When this is dropped or panics in the middle, the connection is closed: nobody gets one with half an answer in
    /// it.
    ///
    /// # Errors
    /// [`RunError::Pool`] when there is no connection, [`RunError::Operation`] when the operation fails.
    pub async fn run<T, F>(&self, operation: F) -> Result<T, RunError<M::Error>>
    where
        F: AsyncFnOnce(&mut M::Connection) -> Result<T, M::Error>,
    {
        let mut connection = self.get().await?;
        connection.set_closing(Some(Closing::Broken));
        let result = operation(&mut connection).await;
        connection.set_closing(None);
        if result.as_ref().is_err_and(|error| self.manager().is_stale(error)) {
            connection.set_closing(Some(Closing::Stale));
        }
        result.map_err(RunError::Operation)
    }

    /// Runs one operation on a connection, and once more on a new one when the first was reused and had gone stale:
    /// when [`Manager::is_stale`] says so of the error. Never a third time.
    ///
    /// Only for operations that do no harm when they are done twice: the other side may have begun the first. The new
    /// connection takes the place of the stale one, so nobody overtakes, and what else is idle is checked before it is
    /// handed out. When this is dropped or panics in the middle, the connection is closed.
    ///
    /// # Errors
    /// [`RunError::Pool`] when there is no connection, [`RunError::Operation`] when the operation fails.
    ///
    /// # Examples
    /// ```
    /// use seawall_pool::{Manager, Pool};
    /// # struct Database;
    /// # impl Manager for Database {
    /// #     type Connection = String;
    /// #     type Error = std::io::Error;
    /// #     async fn connect(&self) -> Result<String, std::io::Error> { Ok("cities".to_owned()) }
    /// #     async fn check(&self, _: &mut String) -> Result<(), std::io::Error> { Ok(()) }
    /// # }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let pool = Pool::new(Database);
    /// let found = pool.run_idempotent(async |connection| Ok(connection.len())).await;
    /// assert_eq!(found.unwrap(), 6);
    /// # }
    /// ```
    pub async fn run_idempotent<T, F>(&self, mut operation: F) -> Result<T, RunError<M::Error>>
    where
        F: AsyncFnMut(&mut M::Connection) -> Result<T, M::Error>,
    {
        let mut connection = self.get().await?;
        let reused = connection.is_reused();
        let mut result = guarded(&mut connection, &mut operation).await;
        if result.as_ref().is_err_and(|error| self.manager().is_stale(error)) {
            connection.set_closing(Some(Closing::Stale));
            if reused {
                let mut connection = connection.renew().await?;
                result = guarded(&mut connection, &mut operation).await;
                if result.as_ref().is_err_and(|error| self.manager().is_stale(error)) {
                    connection.set_closing(Some(Closing::Stale));
                }
            }
        }
        result.map_err(RunError::Operation)
    }
}

/// Runs the operation; the connection is closed unless it comes to its end.
async fn guarded<M, E, T, F>(connection: &mut Connection<M, E>, operation: &mut F) -> Result<T, M::Error>
where
    M: Manager,
    E: Environment<Clock: Timer>,
    F: AsyncFnMut(&mut M::Connection) -> Result<T, M::Error>,
{
    connection.set_closing(Some(Closing::Broken));
    let result = operation(connection).await;
    connection.set_closing(None);
    result
}
