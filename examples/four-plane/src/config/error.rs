//! What the user got wrong.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::state::provision::ProvisionError;

/// What the user got wrong. The process says so in one line and exits with code 2.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No such command.
    #[error("command is {command:?}; allowed are run, load, chaos, drill, score, verify, help, version")]
    Command {
        /// The text given.
        command: String,
    },
    /// A flag or argument that the command does not have.
    #[error("{command}: {cause}; `four-plane help` lists what is allowed")]
    Flag {
        /// The command.
        command: &'static str,
        /// What is wrong with it, naming it.
        cause: String,
    },
    /// A flag that the command cannot do without.
    #[error("{command}: {flag} is missing; allowed is {allowed}")]
    Missing {
        /// The command.
        command: &'static str,
        /// The flag.
        flag: &'static str,
        /// What it may hold.
        allowed: &'static str,
    },
    /// A field holds something that it cannot hold.
    #[error("{field} is {value:?}; allowed is {allowed}")]
    Value {
        /// The field or flag.
        field: String,
        /// What it holds.
        value: String,
        /// What it may hold.
        allowed: &'static str,
    },
    /// A field of the configuration file that does not exist.
    #[error("unknown field {field:?}; allowed are {allowed}")]
    UnknownField {
        /// The field.
        field: String,
        /// Those that exist.
        allowed: &'static str,
    },
    /// A file that configures something cannot be used.
    #[error("{field} {}: {cause}", path.display())]
    File {
        /// What it is.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: Box<Self>,
    },
    /// The configuration file is not JSON.
    #[error("not a JSON object: {cause}")]
    NotJson {
        /// Where the parser stopped.
        cause: String,
    },
    /// A file or folder cannot be read or written.
    #[error("{field} {}: {cause}", path.display())]
    Path {
        /// The flag that names it.
        field: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// Another stack keeps its data there.
    #[error("data {}: another four-plane uses this folder; choose another one", path.display())]
    FolderInUse {
        /// The folder.
        path: PathBuf,
    },
    /// Someone else listens there.
    #[error("{field} {address}: {cause}; choose another address, port 0 takes a free one")]
    Bind {
        /// The flag that names it.
        field: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        cause: std::io::Error,
    },
    /// What answers at a URL is of no use.
    #[error(transparent)]
    Unusable(#[from] ProvisionError),
    /// Nothing answers at a URL.
    #[error("{field}: nothing answers at {host}:{port}: {cause}")]
    Unreachable {
        /// The flag that names it.
        field: &'static str,
        /// The host in the URL.
        host: String,
        /// The port in the URL, or the usual one.
        port: u16,
        /// What the system says.
        cause: std::io::Error,
    },
}
