use std::{fmt, io, pin::Pin};

use bytes::{Bytes, BytesMut};
use redis_protocol::resp2::{decode::decode_bytes_mut, encode::extend_encode, types::BytesFrame};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{Answer, Exchange, SCRIPT, SCRIPT_SHA1, Store, script_answer, script_arguments};

const DEFAULT_PREFIX: &str = "seawall:rate:";
/// No answer of the script, nor an error, comes near it: 64 KiB.
const MAX_ANSWER: usize = 64 << 10;

/// Why a Redis did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedisStoreError {
    /// It could not be reached, or the connection broke.
    #[error("the connection to redis broke")]
    Connection(#[source] io::Error),
    /// What came is not the protocol of Redis, version 2.
    #[error("redis answered what is not RESP: {what}")]
    Protocol {
        /// What is wrong with it.
        what: String,
    },
    /// The login was refused.
    #[error("redis refused the login: {answer}")]
    Login {
        /// What it said.
        answer: String,
    },
}

/// A [`Store`] in a Redis, over one connection that is made when it is needed and made anew when it breaks.
///
/// Quotas are kept by [`SCRIPT`], called by its hash and sent whole when the server does not know it. Any server that speaks
/// RESP 2 and runs Lua will do. Each key is one of Redis, so a cluster's proxy may send them where it likes.
///
/// ```no_run
/// use seawall_core::MonotonicClock;
/// use seawall_rate_limiter::{DistributedKeyedGcra, DistributedQuota, Quota, RedisStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let quota = DistributedQuota::new(Quota::per_second(1_000)?.with_burst(200)?, 8)?;
/// let limiter = DistributedKeyedGcra::new(quota);
/// tokio::spawn(limiter.supply(RedisStore::tcp("127.0.0.1:6379").with_prefix("api:"), MonotonicClock));
/// # Ok(())
/// # }
/// ```
pub struct RedisStore {
    connect: Box<Connect>,
    connection: Option<Connection>,
    prefix: String,
    /// Sent first on each connection.
    login: Vec<BytesFrame>,
}

type Connect = dyn FnMut() -> Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>> + Send;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl RedisStore {
    /// The Redis at `host:port`.
    pub fn tcp(address: impl Into<String>) -> Self {
        let address = address.into();
        Self::with_connect(move || {
            let address = address.clone();
            async move {
                let named = |cause: io::Error| io::Error::new(cause.kind(), format!("{address}: {cause}"));
                let stream = TcpStream::connect(&address).await.map_err(named)?;
                stream.set_nodelay(true)?;
                Ok(stream)
            }
        })
    }

    /// A Redis behind streams of one's own: over TLS, through a socket file, found by a sentinel. `connect` makes a new one.
    pub fn with_connect<F, S>(mut connect: impl FnMut() -> F + Send + 'static) -> Self
    where
        F: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let connect = move || -> Pin<Box<dyn Future<Output = _> + Send>> {
            let connecting = connect();
            Box::pin(async move { connecting.await.map(|stream| Box::new(stream) as Box<dyn Stream>) })
        };
        Self { connect: Box::new(connect), connection: None, prefix: DEFAULT_PREFIX.to_owned(), login: Vec::new() }
    }

    /// What the names of keys begin with. Default `seawall:rate:`. Processes share a quota when it has the same name.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Logs in on each connection. An empty `user` is the default user.
    #[must_use]
    pub fn with_login(mut self, user: &str, password: &str) -> Self {
        let words = ["AUTH", user, password].into_iter().filter(|word| !word.is_empty());
        self.login.insert(0, command(words.map(bulk)));
        self
    }

    /// Uses this database of the server. Default 0.
    #[must_use]
    pub fn with_database(mut self, database: u32) -> Self {
        self.login.push(command(["SELECT", &database.to_string()].map(bulk)));
        self
    }

    async fn connected(&mut self) -> Result<Connection, RedisStoreError> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let stream = (self.connect)().await.map_err(RedisStoreError::Connection)?;
        let mut connection = Connection { stream, received: BytesMut::new() };
        for answer in connection.ask(&self.login).await? {
            if let BytesFrame::Error(answer) = answer {
                return Err(RedisStoreError::Login { answer: answer.to_string() });
            }
        }
        Ok(connection)
    }

    /// One call of the script.
    fn call(&self, how: &str, script: &str, exchange: &Exchange<'_>) -> BytesFrame {
        let key = format!("{}{}", self.prefix, exchange.key);
        let arguments = script_arguments(exchange).map(|number| bulk(&number.to_string()));
        command([how, script, "1", &key].map(bulk).into_iter().chain(arguments))
    }
}

impl Store for RedisStore {
    type Error = RedisStoreError;

    async fn exchange(&mut self, exchanges: &[Exchange<'_>]) -> Result<Vec<Option<Answer>>, RedisStoreError> {
        // Put back only when all of its answers are read: a call that fails or is dropped leaves no stray ones.
        let mut connection = self.connected().await?;
        let calls: Vec<_> = exchanges.iter().map(|it| self.call("EVALSHA", SCRIPT_SHA1, it)).collect();
        let mut answers = connection.ask(&calls).await?;
        let unknown: Vec<_> =
            (0..).zip(&answers).filter(|(_, answer)| is_no_script(answer)).map(|(at, _)| at).collect();
        if !unknown.is_empty() {
            let whole = unknown.iter().filter_map(|at: &usize| exchanges.get(*at));
            let whole: Vec<_> = whole.map(|it| self.call("EVAL", SCRIPT, it)).collect();
            for (at, answer) in unknown.iter().zip(connection.ask(&whole).await?) {
                if let Some(place) = answers.get_mut(*at) {
                    *place = answer;
                }
            }
        }
        self.connection = Some(connection);
        Ok(answers.iter().map(answer_of).collect())
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connected = self.connection.is_some();
        f.debug_struct("RedisStore")
            .field("prefix", &self.prefix)
            .field("connected", &connected)
            .finish_non_exhaustive()
    }
}

struct Connection {
    stream: Box<dyn Stream>,
    received: BytesMut,
}

impl Connection {
    /// Sends commands in one write; their answers.
    async fn ask(&mut self, commands: &[BytesFrame]) -> Result<Vec<BytesFrame>, RedisStoreError> {
        let mut bytes = BytesMut::new();
        for command in commands {
            extend_encode(&mut bytes, command, false).map_err(|error| protocol(&error))?;
        }
        self.stream.write_all(&bytes).await.map_err(RedisStoreError::Connection)?;
        self.stream.flush().await.map_err(RedisStoreError::Connection)?;
        let mut answers = Vec::with_capacity(commands.len());
        while answers.len() < commands.len() {
            answers.push(self.receive().await?);
        }
        Ok(answers)
    }

    async fn receive(&mut self) -> Result<BytesFrame, RedisStoreError> {
        loop {
            if let Some((frame, _, _)) = decode_bytes_mut(&mut self.received).map_err(|error| protocol(&error))? {
                return Ok(frame);
            }
            if self.received.len() > MAX_ANSWER {
                return Err(protocol(&"an answer is longer than 64 KiB"));
            }
            if self.stream.read_buf(&mut self.received).await.map_err(RedisStoreError::Connection)? == 0 {
                return Err(RedisStoreError::Connection(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

fn protocol(what: &impl ToString) -> RedisStoreError {
    RedisStoreError::Protocol { what: what.to_string() }
}

fn bulk(word: &str) -> BytesFrame {
    BytesFrame::BulkString(Bytes::copy_from_slice(word.as_bytes()))
}

fn command(words: impl IntoIterator<Item = BytesFrame>) -> BytesFrame {
    BytesFrame::Array(words.into_iter().collect())
}

fn is_no_script(answer: &BytesFrame) -> bool {
    matches!(answer, BytesFrame::Error(error) if error.starts_with("NOSCRIPT"))
}

/// `None` for an error: a key that holds something else, a server that is loading or may not write.
fn answer_of(frame: &BytesFrame) -> Option<Answer> {
    let BytesFrame::Array(numbers) = frame else { return None };
    match numbers.as_slice() {
        [BytesFrame::Integer(granted), BytesFrame::Integer(full_in)] => Some(script_answer(*granted, *full_in)),
        _ => None,
    }
}
