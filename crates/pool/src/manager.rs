/// Makes connections of one kind, and judges them.
///
/// The pool never calls a manager while it holds a lock. A panic in here costs the one connection that it was about.
///
/// # Examples
/// ```
/// use seawall_pool::Manager;
///
/// /// Connections to one address.
/// struct ToAddress(std::net::SocketAddr);
///
/// impl Manager for ToAddress {
///     type Connection = std::net::TcpStream;
///     type Error = std::io::Error;
///
///     async fn connect(&self) -> Result<Self::Connection, Self::Error> {
///         std::net::TcpStream::connect(self.0) // a real one would not block
///     }
///
///     async fn check(&self, connection: &mut Self::Connection) -> Result<(), Self::Error> {
///         connection.peer_addr().map(|_| ())
///     }
///
///     fn target(&self) -> Option<String> {
///         Some(self.0.to_string())
///     }
///
///     fn is_stale(&self, error: &Self::Error) -> bool {
///         matches!(error.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe)
///     }
/// }
/// # let _ = ToAddress(([127, 0, 0, 1], 5432).into());
/// ```
pub trait Manager: Send + Sync + 'static {
    /// What is kept.
    type Connection: Send + 'static;

    /// What connecting, checking and using a connection fail with.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Opens a connection. Runs in a task of its own, so a caller that gives up does not cut it.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, Self::Error>> + Send;

    /// Asks an idle connection for a sign of life, usually by one round trip. Runs in a task of its own as well.
    ///
    /// It is asked only about connections that lay idle for longer than
    /// [`PoolConfig::check_after`](crate::PoolConfig::check_after).
    fn check(&self, connection: &mut Self::Connection) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Where connections go, for the text of a [`ConnectError`](crate::ConnectError): a host and port, without secrets.
    /// Asked when a connect has failed. Default: nothing.
    fn target(&self) -> Option<String> {
        None
    }

    /// Whether a connection that comes back is known to be useless; it is then closed. Must not wait. Default: `false`.
    fn is_broken(&self, connection: &mut Self::Connection) -> bool {
        let _ = connection;
        false
    }

    /// Whether `error`, from an operation on a reused connection, says that the other side had closed the connection
    /// before it took the operation in. [`Pool::run_idempotent`](crate::Pool::run_idempotent) then tries once more, on
    /// a new connection. Default: `false`, which means never.
    fn is_stale(&self, error: &Self::Error) -> bool {
        let _ = error;
        false
    }
}
