//! A real HTTP server on one core, with work that keeps it busy, driven beyond what it can do from another core.
//!
//! `cargo run --release -p seawall-benches --bin overload -- [--json]`

pub mod driver;
pub mod protection;
pub mod server;
pub mod work;
