//! The client of the cache: of Redis, and of the embedded cache, which speaks the same protocol.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;
use seawall::pool::{Manager, Pool, PoolStatus};
use seawall::rate_limiter::RedisStore;
use tokio::net::TcpStream;

use super::connect::{Dial, REDIS};
use super::connections::{flattened, operation, pool};
use super::resp::{Resp, command};
use super::{Cache, Cached, StateError};

/// A [`Cache`] behind the state instance's cache listener.
#[derive(Debug)]
pub struct RedisCache {
    connections: Pool<LoggedIn>,
}

#[derive(Debug)]
struct LoggedIn(Dial);

impl Manager for LoggedIn {
    type Connection = Resp<TcpStream>;
    type Error = StateError;

    async fn connect(&self) -> Result<Resp<TcpStream>, StateError> {
        let login = match self.0.parts().and_then(|parts| parts.redis_url) {
            Some(url) => Some(
                RedisUrl::parse(&url)
                    .map_err(|error| StateError::Failed { part: "cache", reason: error.to_string() })?,
            ),
            None => None,
        };
        log_in(self.0.cache().await?, login.as_ref()).await
    }

    async fn check(&self, connection: &mut Resp<TcpStream>) -> Result<(), StateError> {
        ask(connection, &[ping()]).await.map(drop)
    }

    fn is_stale(&self, error: &StateError) -> bool {
        error.is_stale()
    }
}

async fn log_in(stream: TcpStream, login: Option<&RedisUrl>) -> Result<Resp<TcpStream>, StateError> {
    let mut connection = Resp::new(stream);
    for frame in login.into_iter().flat_map(RedisUrl::login) {
        ask(&mut connection, &[frame]).await?;
    }
    Ok(connection)
}

/// Logs in over `stream`, and hears from the other side that it is a Redis.
///
/// # Errors
/// When it refuses, or is none.
pub(super) async fn greet(stream: TcpStream, url: &RedisUrl) -> Result<(), StateError> {
    let mut connection = log_in(stream, Some(url)).await?;
    let answers = ask(&mut connection, &[ping()]).await?;
    match answers.as_slice() {
        [BytesFrame::SimpleString(pong)] if pong == "PONG" => Ok(()),
        answers => Err(other(answers, "PONG")),
    }
}

/// Forgets every entry whose key begins with `prefix`: the server may hold others' too.
///
/// # Errors
/// When it cannot be reached, or refuses.
pub(crate) async fn forget(url: &str, prefix: &str) -> Result<(), StateError> {
    let failed = |error: RedisUrlError| StateError::Failed { part: "cache", reason: error.to_string() };
    let url = RedisUrl::parse(url).map_err(failed)?;
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await.map_err(StateError::cache)?;
    let mut connection = log_in(stream, Some(&url)).await?;
    let words = |words: &[&'static [u8]]| words.iter().map(|word| Bytes::from_static(word)).collect::<Vec<_>>();
    let frame = |words: Vec<Bytes>| BytesFrame::Array(words.into_iter().map(BytesFrame::BulkString).collect());
    let mut cursor = Bytes::from_static(b"0");
    loop {
        let pattern = Bytes::from(format!("{prefix}*"));
        let scan = [words(&[b"SCAN"]), vec![cursor], words(&[b"MATCH"]), vec![pattern], words(&[b"COUNT", b"1000"])];
        let answers = ask(&mut connection, &[frame(scan.concat())]).await?;
        let [BytesFrame::Array(parts)] = answers.as_slice() else { return Err(other(&answers, "a cursor and keys")) };
        let [BytesFrame::BulkString(next), BytesFrame::Array(keys)] = parts.as_slice() else {
            return Err(other(&answers, "a cursor and keys"));
        };
        if !keys.is_empty() {
            let delete = [vec![BytesFrame::BulkString(Bytes::from_static(b"DEL"))], keys.clone()].concat();
            ask(&mut connection, &[BytesFrame::Array(delete)]).await?;
        }
        if next == "0" {
            return Ok(());
        }
        cursor = next.clone();
    }
}

fn ping() -> BytesFrame {
    command([Bytes::from_static(b"PING")])
}

/// A Redis given by `redis://[[user]:password@]host[:port][/database]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisUrl {
    /// Name or address.
    pub host: String,
    /// 6379 when not given.
    pub port: u16,
    user: Option<String>,
    password: Option<String>,
    database: Option<u32>,
}

/// A URL that does not name a Redis.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("redis url is not of the form redis://[[user]:password@]host[:port][/database]")]
pub struct RedisUrlError;

impl RedisUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`RedisUrlError`] when it has another form; the text does not repeat the URL, since that may hold a password.
    pub fn parse(url: &str) -> Result<Self, RedisUrlError> {
        let uri: http::Uri = url.parse().map_err(|_| RedisUrlError)?;
        let (Some("redis"), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(RedisUrlError) };
        let login = authority.as_str().rsplit_once('@').map(|(login, _)| login);
        let (user, password) = match login.map(|login| login.split_once(':').ok_or(RedisUrlError)).transpose()? {
            Some((user, password)) => (Some(decoded(user)?).filter(|user| !user.is_empty()), Some(decoded(password)?)),
            None => (None, None),
        };
        let database = match uri.path().trim_start_matches('/') {
            "" => None,
            number => Some(number.parse().map_err(|_| RedisUrlError)?),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(RedisUrlError);
        }
        Ok(Self { host, port: authority.port_u16().unwrap_or(6379), user, password, database })
    }

    fn login(&self) -> impl Iterator<Item = BytesFrame> {
        let word = |text: &str| BytesFrame::BulkString(Bytes::copy_from_slice(text.as_bytes()));
        let auth = self.password.as_deref().map(|password| {
            BytesFrame::Array(
                [Some("AUTH"), self.user.as_deref(), Some(password)].into_iter().flatten().map(word).collect(),
            )
        });
        let select = self.database.map(|database| BytesFrame::Array(vec![word("SELECT"), word(&database.to_string())]));
        auth.into_iter().chain(select)
    }
}

fn decoded(text: &str) -> Result<String, RedisUrlError> {
    percent_encoding::percent_decode_str(text).decode_utf8().map(Into::into).map_err(|_| RedisUrlError)
}

/// Where the quotas are that the gateways share, while the cache is a Redis: a store that is gone while it is not.
pub fn quotas(dial: Dial, kind: &str) -> RedisStore {
    RedisStore::with_connect(move || {
        let login = LoggedIn(dial.clone());
        async move {
            if login.0.parts().is_none_or(|parts| parts.cache != REDIS) {
                return Err(io::ErrorKind::Unsupported.into());
            }
            login.connect().await.map(Resp::into_stream).map_err(io::Error::other)
        }
    })
    .with_prefix(format!("four-plane:quota:{kind}:"))
}

/// Sends commands and takes their answers, as many as there are commands.
async fn ask(connection: &mut Resp<TcpStream>, commands: &[BytesFrame]) -> Result<Vec<BytesFrame>, StateError> {
    connection.send(commands).await.map_err(StateError::cache)?;
    let mut answers = Vec::with_capacity(commands.len());
    for _ in commands {
        match connection.receive().await.map_err(StateError::cache)? {
            None => return Err(StateError::cache(io::ErrorKind::UnexpectedEof.into())),
            Some(BytesFrame::Error(reason)) => {
                return Err(StateError::Failed { part: "cache", reason: reason.to_string() });
            }
            Some(answer) => answers.push(answer),
        }
    }
    Ok(answers)
}

impl RedisCache {
    /// Of the state instance that `dial` finds.
    pub fn new(dial: Dial) -> Self {
        Self { connections: pool(LoggedIn(dial)) }
    }

    async fn ask(&self, commands: Vec<BytesFrame>) -> Result<Vec<BytesFrame>, StateError> {
        let commands = Arc::new(commands);
        let asking = operation(move |connection: &mut Resp<TcpStream>| {
            let commands = Arc::clone(&commands);
            Box::pin(async move { ask(connection, &commands).await })
        });
        let asked = self.connections.run_idempotent(asking).await;
        asked.map_err(|error| flattened(error, "cache"))
    }
}

fn other(answers: &[BytesFrame], expected: &'static str) -> StateError {
    StateError::Answer { part: "cache", answer: format!("{answers:?}"), expected }
}

#[async_trait]
impl Cache for RedisCache {
    fn connections(&self) -> Option<PoolStatus> {
        Some(self.connections.status())
    }

    async fn get(&self, key: &str) -> Result<Option<Cached>, StateError> {
        let key = Bytes::copy_from_slice(key.as_bytes());
        let commands =
            vec![command([Bytes::from_static(b"GET"), key.clone()]), command([Bytes::from_static(b"PTTL"), key])];
        match self.ask(commands).await?.as_slice() {
            // -2: it went between the two commands.
            [BytesFrame::Null, BytesFrame::Integer(_)] | [BytesFrame::BulkString(_), BytesFrame::Integer(-2)] => {
                Ok(None)
            }
            [BytesFrame::BulkString(value), BytesFrame::Integer(millis)] => {
                let remaining = Duration::from_millis(u64::try_from(*millis).unwrap_or(0));
                Ok(Some(Cached { value: value.clone(), remaining }))
            }
            answers => Err(other(answers, "a value and how long it stays")),
        }
    }

    async fn set(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StateError> {
        let key = Bytes::copy_from_slice(key.as_bytes());
        let millis = ttl.as_millis().max(1).to_string();
        let set = command([Bytes::from_static(b"SET"), key, value, Bytes::from_static(b"PX"), Bytes::from(millis)]);
        match self.ask(vec![set]).await?.as_slice() {
            [BytesFrame::SimpleString(_)] => Ok(()),
            answers => Err(other(answers, "OK")),
        }
    }

    async fn delete(&self, key: &str) -> Result<(), StateError> {
        let key = Bytes::copy_from_slice(key.as_bytes());
        match self.ask(vec![command([Bytes::from_static(b"DEL"), key])]).await?.as_slice() {
            [BytesFrame::Integer(_)] => Ok(()),
            answers => Err(other(answers, "how many went")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_host_port_login_and_database() {
        assert_eq!(
            RedisUrl::parse("redis://me:s%40cret@cache.example:7000/3"),
            Ok(RedisUrl {
                host: "cache.example".to_owned(),
                port: 7000,
                user: Some("me".to_owned()),
                password: Some("s@cret".to_owned()),
                database: Some(3),
            })
        );
        let short = RedisUrl::parse("redis://[::1]").unwrap();
        assert_eq!((short.host.as_str(), short.port), ("::1", 6379));
        assert_eq!(short.login().count(), 0);
    }

    #[test]
    fn another_form_is_refused_without_repeating_it() {
        for url in
            ["", "redis://", "rediss://host", "http://host", "redis://host/x", "redis://a@host", "redis://:%ff@h"]
        {
            let error = RedisUrl::parse(url).expect_err(url);

            assert_eq!(
                error.to_string(),
                "redis url is not of the form redis://[[user]:password@]host[:port][/database]"
            );
        }
    }

    #[test]
    fn the_login_comes_before_the_database() {
        let url = RedisUrl::parse("redis://:secret@host/2").unwrap();

        let commands: Vec<BytesFrame> = url.login().collect();

        let words = |words: &[&'static str]| {
            BytesFrame::Array(
                words.iter().map(|word| BytesFrame::BulkString(Bytes::from_static(word.as_bytes()))).collect(),
            )
        };
        assert_eq!(commands, [words(&["AUTH", "secret"]), words(&["SELECT", "2"])]);
    }
}
