//! What a run can be told, by file, environment and flags, in this order; the later one wins.

mod api_keys;
mod error;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;

pub use api_keys::ApiKeys;
pub use error::ConfigError;

use crate::link::{InstanceOptions, PressureMode, ProtectionMode, Role, StateMode};

/// The fields of the configuration file; flags have the same names with `-`, except `capacity`.
const FIELDS: &str = "listen, control, data, state, database_url, redis_url, load, ready_file, capacity, \
                      protection, pressure, trust_criticality, api_rate, api_keys, drain_grace";
/// Environment variables and the fields that they set.
pub(crate) const ENVIRONMENT: [(&str, &str); 2] =
    [("FOUR_PLANE_DATABASE_URL", "database_url"), ("FOUR_PLANE_REDIS_URL", "redis_url")];
/// Requests per second that one edge process declares: small enough that five times the capacity of both really
/// overloads them on a two-core machine.
const EDGE_CAPACITY: f64 = 250.0;
/// Requests per second that every other instance declares: above what the edges let through.
const INNER_CAPACITY: f64 = 1000.0;
/// Requests per second of the built-in load.
const LOAD: f64 = 200.0;
/// The most requests per second that can be asked for.
const MAX_RATE: f64 = 100_000.0;

/// Declared requests per second of one instance of each role.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Capacities {
    /// One of the two edge processes.
    pub edge: f64,
    /// One gateway.
    pub gateway: f64,
    /// One catalog instance.
    pub catalog: f64,
    /// One recommendation instance.
    pub recommendation: f64,
    /// The state instance.
    pub state: f64,
}

impl Capacities {
    /// That of one role.
    pub const fn of(&self, role: Role) -> f64 {
        match role {
            Role::Edge => self.edge,
            Role::Gateway => self.gateway,
            Role::Catalog => self.catalog,
            Role::Recommendation => self.recommendation,
            Role::State => self.state,
        }
    }

    const fn of_mut(&mut self, role: Role) -> &mut f64 {
        match role {
            Role::Edge => &mut self.edge,
            Role::Gateway => &mut self.gateway,
            Role::Catalog => &mut self.catalog,
            Role::Recommendation => &mut self.recommendation,
            Role::State => &mut self.state,
        }
    }
}

/// Everything that a run can be told.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RunOptions {
    /// Where the edge listens. Default `127.0.0.1:8080`; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where control plane and page listen. By default the edge's port plus one, or a free one where that is taken or does
    /// not exist.
    pub control: Option<SocketAddr>,
    /// Load generated from within, in requests per second, 0 to 100,000. Default 200; 0 sends nothing.
    pub load: f64,
    /// Written when everything answers.
    pub ready_file: Option<PathBuf>,
    /// Declared requests per second of the instances.
    pub capacity: Capacities,
    /// What every instance is told as well.
    pub instance: InstanceOptions,
}

impl Default for RunOptions {
    fn default() -> Self {
        let inner = INNER_CAPACITY;
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            control: None,
            load: LOAD,
            ready_file: None,
            capacity: Capacities {
                edge: EDGE_CAPACITY,
                gateway: inner,
                catalog: inner,
                recommendation: inner,
                state: inner,
            },
            instance: InstanceOptions { data: PathBuf::from("four-plane-data"), ..InstanceOptions::default() },
        }
    }
}

impl RunOptions {
    /// Takes over everything that a configuration file says.
    ///
    /// # Errors
    /// [`ConfigError::File`] when it cannot be read, is not a JSON object, or holds a field or value that is not allowed.
    pub fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let of_path = |cause| ConfigError::Path { field: "config", path: path.to_owned(), cause };
        let text = std::fs::read_to_string(path).map_err(of_path)?;
        self.read_json(&text).map_err(|cause| ConfigError::File {
            field: "config file",
            path: path.to_owned(),
            cause: Box::new(cause),
        })
    }

    fn read_json(&mut self, text: &str) -> Result<(), ConfigError> {
        for (field, value) in &object(text)? {
            match value {
                Value::Object(inner) if field == "capacity" => {
                    for (role, value) in inner {
                        self.set_capacity(role, &plain(value))?;
                    }
                }
                value => self.set(field, &plain(value))?,
            }
        }
        Ok(())
    }

    /// Sets one field from its text.
    ///
    /// # Errors
    /// [`ConfigError::UnknownField`] or [`ConfigError::Value`].
    pub fn set(&mut self, field: &str, text: &str) -> Result<(), ConfigError> {
        const ADDRESS: &str = "an address and a port such as 127.0.0.1:8080";
        match field {
            "listen" => self.listen = parse(field, text, ADDRESS)?,
            "control" => self.control = Some(parse(field, text, ADDRESS)?),
            "data" => self.instance.data = path(field, text)?,
            "ready_file" => self.ready_file = Some(path(field, text)?),
            "load" => self.load = rate(field, text, 0.0, "0 to 100000 requests per second")?,
            "state" => {
                self.instance.state = match text {
                    "auto" => StateMode::Auto,
                    "embedded" => StateMode::Embedded,
                    _ => return Err(wrong(field, text, "auto or embedded")),
                }
            }
            "protection" => {
                self.instance.protection = match text {
                    "on" => ProtectionMode::On,
                    "off" => ProtectionMode::Off,
                    _ => return Err(wrong(field, text, "on or off")),
                }
            }
            "pressure" => {
                self.instance.pressure = match text {
                    "on" => PressureMode::On,
                    "off" => PressureMode::Off,
                    _ => return Err(wrong(field, text, "on or off")),
                }
            }
            "api_rate" => {
                let allowed = "1 to 1000000 requests per second of each caller";
                let rate = parse(field, text, allowed)?;
                if !(1..=1_000_000).contains(&rate) {
                    return Err(wrong(field, text, allowed));
                }
                self.instance.api_rate = rate;
            }
            "drain_grace" => {
                let allowed = "0 to 600 seconds";
                let seconds: f64 = parse(field, text, allowed)?;
                if !(0.0..=600.0).contains(&seconds) {
                    return Err(wrong(field, text, allowed));
                }
                self.instance.drain_grace = Duration::from_secs_f64(seconds);
            }
            "api_keys" => self.instance.api_keys = ApiKeys::read(&path(field, text)?)?,
            "trust_criticality" => self.instance.trust_criticality = parse(field, text, "true or false")?,
            "database_url" => {
                let allowed = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE";
                endpoint(field, text, &["postgres", "postgresql"], 5432, allowed)?;
                self.instance.database_url = Some(text.to_owned());
            }
            "redis_url" => {
                endpoint(field, text, &["redis"], 6379, "redis://HOST:PORT")?;
                self.instance.redis_url = Some(text.to_owned());
            }
            "capacity" => return Err(wrong(field, text, "an object such as {\"edge\": 250}")),
            _ => return Err(ConfigError::UnknownField { field: field.to_owned(), allowed: FIELDS }),
        }
        Ok(())
    }

    fn set_capacity(&mut self, role: &str, text: &str) -> Result<(), ConfigError> {
        let field = format!("capacity.{role}");
        let role = role.parse().map_err(|_| ConfigError::UnknownField {
            field: field.clone(),
            allowed: "capacity.edge, capacity.gateway, capacity.catalog, capacity.recommendation, capacity.state",
        })?;
        *self.capacity.of_mut(role) = rate(&field, text, 1.0, "1 to 100000 requests per second")?;
        Ok(())
    }

    /// The servers given by URL: flag, host and port of each.
    ///
    /// # Errors
    /// [`ConfigError::Value`] when a URL names no host.
    pub fn servers(&self) -> Result<Vec<(&'static str, String, u16)>, ConfigError> {
        let mut servers = Vec::new();
        if let Some(url) = &self.instance.database_url {
            let (host, port) = endpoint("database_url", url, &["postgres", "postgresql"], 5432, "a URL with a host")?;
            servers.push(("database_url", host, port));
        }
        if let Some(url) = &self.instance.redis_url {
            let (host, port) = endpoint("redis_url", url, &["redis"], 6379, "a URL with a host")?;
            servers.push(("redis_url", host, port));
        }
        Ok(servers)
    }
}

/// A rate in requests per second, at least `least`.
pub(crate) fn rate(field: &str, text: &str, least: f64, allowed: &'static str) -> Result<f64, ConfigError> {
    let rate: f64 = parse(field, text, allowed)?;
    if (least..=MAX_RATE).contains(&rate) { Ok(rate) } else { Err(wrong(field, text, allowed)) }
}

pub(crate) fn parse<T: FromStr>(field: &str, text: &str, allowed: &'static str) -> Result<T, ConfigError> {
    text.parse().map_err(|_| wrong(field, text, allowed))
}

pub(crate) fn wrong(field: &str, text: &str, allowed: &'static str) -> ConfigError {
    ConfigError::Value { field: field.to_owned(), value: text.to_owned(), allowed }
}

/// The fields of a JSON object.
fn object(text: &str) -> Result<serde_json::Map<String, Value>, ConfigError> {
    serde_json::from_str(text).map_err(|error| ConfigError::NotJson { cause: error.to_string() })
}

fn path(field: &str, text: &str) -> Result<PathBuf, ConfigError> {
    if text.is_empty() { Err(wrong(field, text, "a path")) } else { Ok(PathBuf::from(text)) }
}

fn endpoint(
    field: &str,
    url: &str,
    schemes: &[&str],
    usual_port: u16,
    allowed: &'static str,
) -> Result<(String, u16), ConfigError> {
    // The password stays out of the message.
    let shown = || url.rsplit_once('@').map_or_else(|| url.to_owned(), |(_, host)| format!("…@{host}"));
    let uri: http::Uri = url.parse().map_err(|_| wrong(field, &shown(), allowed))?;
    let host = uri.host().filter(|host| !host.is_empty());
    let port = match (uri.port_u16(), uri.authority()) {
        (Some(port), _) => Some(port),
        // A port that is none, 99999 say, is not the usual one.
        (None, Some(authority)) => authority.as_str().ends_with(host.unwrap_or_default()).then_some(usual_port),
        (None, None) => None,
    };
    match (uri.scheme_str(), host, port) {
        (Some(scheme), Some(host), Some(port)) if schemes.contains(&scheme) => Ok((host.to_owned(), port)),
        _ => Err(wrong(field, &shown(), allowed)),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        RunOptions::default().read_json(text).unwrap_err().to_string()
    }

    #[test]
    fn a_file_sets_the_fields_that_it_names_and_leaves_the_others() {
        let mut options = RunOptions::default();

        options
            .read_json(r#"{"listen": "127.0.0.1:9000", "load": 50, "state": "embedded", "capacity": {"edge": 10}}"#)
            .unwrap();

        assert_eq!(options.listen, SocketAddr::from(([127, 0, 0, 1], 9000)));
        assert_eq!((options.load, options.capacity.edge, options.capacity.gateway), (50.0, 10.0, 1000.0));
        assert_eq!(options.instance.state, StateMode::Embedded);
        assert_eq!(options.control, None);
    }

    #[test]
    fn numbers_may_be_quoted() {
        let mut options = RunOptions::default();

        options.read_json(r#"{"load": "50", "api_rate": "7", "capacity": {"edge": "10"}}"#).unwrap();

        assert_eq!((options.load, options.instance.api_rate, options.capacity.edge), (50.0, 7, 10.0));
    }

    #[test]
    fn an_unknown_field_is_named_with_those_that_exist() {
        assert_eq!(message(r#"{"lisen": 1}"#), format!("unknown field \"lisen\"; allowed are {FIELDS}"));
        assert!(
            message(r#"{"capacity": {"cdn": 1}}"#)
                .starts_with("unknown field \"capacity.cdn\"; allowed are capacity.edge")
        );
    }

    #[test]
    fn a_wrong_value_is_named_with_what_is_allowed() {
        for (text, expected) in [
            (r#"{"listen": "here"}"#, "listen is \"here\"; allowed is an address and a port such as 127.0.0.1:8080"),
            (r#"{"load": -1}"#, "load is \"-1\"; allowed is 0 to 100000 requests per second"),
            (r#"{"load": "5O"}"#, "load is \"5O\"; allowed is 0 to 100000 requests per second"),
            (r#"{"load": "NaN"}"#, "load is \"NaN\"; allowed is 0 to 100000 requests per second"),
            (r#"{"api_rate": 0}"#, "api_rate is \"0\"; allowed is 1 to 1000000 requests per second of each caller"),
            (r#"{"drain_grace": "NaN"}"#, "drain_grace is \"NaN\"; allowed is 0 to 600 seconds"),
            (r#"{"state": "real"}"#, "state is \"real\"; allowed is auto or embedded"),
            (r#"{"capacity": {"edge": 0}}"#, "capacity.edge is \"0\"; allowed is 1 to 100000 requests per second"),
            (r#"{"capacity": 5}"#, "capacity is \"5\"; allowed is an object such as {\"edge\": 250}"),
            (r#"{"redis_url": "http://x"}"#, "redis_url is \"http://x\"; allowed is redis://HOST:PORT"),
            (r#"{"redis_url": "redis://x:99999"}"#, "redis_url is \"redis://x:99999\"; allowed is redis://HOST:PORT"),
            (r#"{"data": ""}"#, "data is \"\"; allowed is a path"),
        ] {
            assert_eq!(message(text), expected);
        }
    }

    #[test]
    fn a_password_is_not_repeated_in_a_message() {
        let text = message(r#"{"database_url": "mysql://me:secret@host/db"}"#);

        assert!(text.starts_with("database_url is \"…@host/db\""), "{text}");
    }

    #[test]
    fn what_is_no_json_object_is_refused_with_the_place() {
        assert!(message("{\"listen\": ").starts_with("not a JSON object: EOF"));
        assert!(message("[]").starts_with("not a JSON object: invalid type"));
    }

    #[test]
    fn the_usual_port_stands_in_for_a_missing_one() {
        let mut options = RunOptions::default();
        options.set("database_url", "postgresql://me:pw@db/cities").unwrap();
        options.set("redis_url", "redis://cache:7000").unwrap();

        let servers = options.servers().unwrap();

        assert_eq!(servers, [("database_url", "db".to_owned(), 5432), ("redis_url", "cache".to_owned(), 7000)]);
    }
}
